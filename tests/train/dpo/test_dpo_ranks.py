"""The same pairs on any number of processes: the same receipt, the same weights but for rounding; and a run goes on on another number."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.train.conftest import last, residual, weights
from train.dpo import run
from train.watch.log import read_log

TOP = Path(__file__).resolve().parents[3]


def torchrun(n: int, run_file: Path, module: str = "tests.train.dpo.ranks") -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "PYTHONPATH": str(TOP)}
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(n)]
    done = subprocess.run(
        [*launch, "-m", module, str(n), str(run_file)], cwd=TOP, env=environment, capture_output=True, text=True, timeout=300,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["sigmoid", "kto"])
def test_two_processes_are_one(run_file: Callable[..., Path], tmp_path: Path, loss: str) -> None:
    """The last step has two pairs; micro batches of 96 tokens leave fillers on one of the two."""
    how = {"loss": loss, "micro_tokens": 96, "schedule": {"kind": "constant", "peak_lr": 1e-4}}
    assert run.run(run_file("one", **how, reference_store=str(tmp_path / "reference-1"))) == 0
    assert "matches plan to the token" in torchrun(2, run_file("two", **how))
    one, two = last(tmp_path / "one"), last(tmp_path / "two")
    assert (one / "receipt.json").read_bytes() == (two / "receipt.json").read_bytes()
    assert residual(weights(one), weights(two))[1] <= 1e-5
    for key in ("loss", "margin", "correct", "chosen_tokens"):
        a, b = (read_log(tmp_path / name / "log.jsonl").steps.of("pairs", "all", key) for name in ("one", "two"))
        first = 1 if key == "correct" else 0  # in step 0 policy and reference are one: what is above 0 is rounding
        assert abs(a - b)[first:].max() <= 1e-4


@pytest.mark.slow
def test_a_run_of_two_goes_on_on_one(run_file: Callable[..., Path], tmp_path: Path) -> None:
    assert run.run(run_file("one")) == 0
    torchrun(2, run_file("two", stop={"after": "3 steps"}))
    assert run.run(run_file("two")) == 0
    assert residual(weights(last(tmp_path / "one")), weights(last(tmp_path / "two")))[1] <= 1e-5
    assert (last(tmp_path / "one") / "receipt.json").read_bytes() == (last(tmp_path / "two") / "receipt.json").read_bytes()


@pytest.mark.slow
def test_divided_weights_are_whole_ones(run_file: Callable[..., Path], tmp_path: Path) -> None:
    """FSDP2 on two processes."""
    assert run.run(run_file("one", reference_store=str(tmp_path / "reference-1"))) == 0
    said = torchrun(2, run_file("two"), "tests.train.dpo.sharded")
    assert said.count("3 units") == 2 and "matches plan to the token" in said  # two layers, and the rest
    one, two = last(tmp_path / "one"), last(tmp_path / "two")
    assert (one / "receipt.json").read_bytes() == (two / "receipt.json").read_bytes()
    assert residual(weights(one), weights(two))[1] <= 1e-5
