"""Promise 6: the same rows on any number of ranks; so the same receipt, and the same weights but for rounding."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.train.conftest import TINY, weights
from tests.train.test_cpt import stop_after
from train import cpt

TOP = Path(__file__).resolve().parents[2]


def torchrun(n: int, run_file: Path, module: str = "tests.train.ranks") -> str:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(n)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(TOP)}
    done = subprocess.run(
        [*command, "-m", module, str(n), str(run_file)],
        cwd=TOP,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
def test_two_ranks_equal_one(run_file: Callable[..., Path], tmp_path: Path) -> None:
    model = {"init": {**TINY, "attention_dropout": 0.0}, "seed": 1}
    cpt.run(run_file("one", model=model))
    assert "matches plan to the token" in torchrun(2, run_file("two", model=model))
    one, two = tmp_path / "one" / "step-000006", tmp_path / "two" / "step-000006"
    assert (one / "receipt.json").read_bytes() == (two / "receipt.json").read_bytes()
    a, b = weights(one), weights(two)
    assert max((a[name] - b[name]).abs().max().item() for name in a) < 1e-6


@pytest.mark.slow
def test_one_rank_goes_on_where_two_stopped(
    run_file: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = {"init": {**TINY, "attention_dropout": 0.0}, "seed": 1}
    cpt.run(run_file("one", model=model))
    with monkeypatch.context() as patched:
        stop_after(patched, 3)
        cpt.run(run_file("both", model=model))
    torchrun(2, run_file("both", model=model))
    one, both = tmp_path / "one" / "step-000006", tmp_path / "both" / "step-000006"
    assert (one / "receipt.json").read_bytes() == (both / "receipt.json").read_bytes()
    a, b = weights(one), weights(both)
    assert max((a[name] - b[name]).abs().max().item() for name in a) < 1e-6
