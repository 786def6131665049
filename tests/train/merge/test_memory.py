"""A merge holds blocks of tensors, not tensors: what a process takes for one of 256 MiB, three times."""

from __future__ import annotations

from pathlib import Path

import torch

from tests.memory import measured, needs_proc
from tests.train.merged import model, write_run

WORK = """
import contextlib, io
import train.merge.run, train.merge.sweep, tqdm, transformers
from train.merge.plan import COPIES
from train.merge.shards import BLOCK
from transformers import AutoModelForCausalLM
with contextlib.redirect_stdout(io.StringIO()):
    train.merge.run.run(sys.argv[2], ["to=" + sys.argv[3]])  # what is loaded once is loaded
    reset()
    before = resident()
    train.merge.run.run(sys.argv[1])
print(peak() - before, COPIES * BLOCK * 4)
"""


@needs_proc
def test_blocks_not_tensors(tmp_path: Path) -> None:
    for name in "abc":
        model(tmp_path / "small" / name, 1.0)
        model(tmp_path / name, 1.0, words=None, tensors={"model.layers.0.mlp.up_proj.weight": torch.ones(1 << 14, 1 << 12)})
    small = write_run(tmp_path / "small")
    more, planned = measured(WORK, write_run(tmp_path, rows="id"), small, tmp_path / "warm")
    assert 0 < more < planned < 256 << 20
