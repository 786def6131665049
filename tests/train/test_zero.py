"""DeepSpeed's ZeRO 2 on two processes: the rows, the receipt and, but for rounding, the weights and optimizer state of one process."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.train.conftest import TINY
from tests.train.test_cpt import stop_after
from tests.train.test_ranks import torchrun
from tests.train.test_sharded import apart
from train import cpt

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("deepspeed") is None, reason="DS_BUILD_OPS=0 pip install deepspeed einops, and it runs"
    ),
]
RunFile = Callable[..., Path]
MODEL = {"init": {**TINY, "attention_dropout": 0.0}, "seed": 1}
ZERO = "tests.train.zero_ranks"


def test_equals_one_process(run_file: RunFile, tmp_path: Path) -> None:
    """Clipped (norms are above 1), two micro batches a step on each process, tied weights, a measurement before every save."""
    model = {**MODEL, "init": {**MODEL["init"], "tie_word_embeddings": True}}
    for name in ("one", "two"):
        save, often = {"every": "3 steps", "to": str(tmp_path / name)}, {"held_out_every": "3 steps"}
        path = run_file(name, model=model, micro_batch=1, save=save, evaluate=often)
        if name == "one":
            cpt.run(path)
        else:
            assert "matches plan to the token" in torchrun(2, path, ZERO)
    for step in ("step-000003", "step-000006"):
        assert apart(tmp_path / "one" / step, tmp_path / "two" / step) < 1e-6


@pytest.mark.parametrize("first", ["one", "two"])
def test_goes_on_the_other_way(run_file: RunFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str) -> None:
    """Three steps on one process without DeepSpeed and three on two with it, and the other way round."""
    cpt.run(run_file("whole", model=MODEL))
    short = run_file("both", model=MODEL)
    if first == "one":
        with monkeypatch.context() as patched:
            stop_after(patched, 3)
            cpt.run(short)
        torchrun(2, short, ZERO)
    else:
        monkeypatch.setenv("STOP_AFTER", "3")
        torchrun(2, short, ZERO)
        assert (tmp_path / "both" / "step-000003").is_dir()
        cpt.run(short)
    assert apart(tmp_path / "whole" / "step-000006", tmp_path / "both" / "step-000006") < 1e-6
