"""Promise 6: the same rows on any number of ranks; so the same receipt, and the same weights but for rounding."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.train.conftest import TINY, last, residual, weights
from tests.train.test_cpt import stop_after
from train import cpt

TOP = Path(__file__).resolve().parents[2]


TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node")
ACCELERATE = (
    sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(TOP / "recipes/train/accelerate/ddp.yaml"),
    "--main_process_port", "0", "--num_processes",
)  # fmt: skip


def torchrun(n: int, run_file: Path, module: str = "tests.train.ranks", launch: Sequence[str] = TORCHRUN) -> str:
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "ACCELERATE_USE_CPU": "true",
        "PYTHONPATH": os.pathsep.join([str(TOP), *filter(None, [os.environ.get("PYTHONPATH")])]),
    }
    done = subprocess.run(
        [*launch, str(n), "-m", module, str(n), str(run_file)],
        cwd=TOP,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("launch", [TORCHRUN, ACCELERATE], ids=["torchrun", "accelerate_launch"])
def test_two_ranks_equal_one(run_file: Callable[..., Path], tmp_path: Path, launch: Sequence[str]) -> None:
    """Under torchrun, and under `accelerate launch` with the shipped configuration, which shares out GPUs and here processors."""
    model = {"init": {**TINY, "attention_dropout": 0.0}, "seed": 1}
    cpt.run(run_file("one", model=model))
    assert "matches plan to the token" in torchrun(2, run_file("two", model=model), launch=launch)
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


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"adapt": {"lora": {"r": 4, "dropout": 0.2}}, "skip": ["5", "8-9"]},
        {"optimizer": {"name": "muon"}, "adapt": {"full": {"freeze": "model.layers.0.*"}}},
        {"optimizer": {"name": "adafactor"}, "micro_batch": 1},
    ],
    ids=["dropout and skipped rows", "muon, a part frozen", "adafactor, accumulated"],
)
def test_two_ranks_equal_one_in_other_ways(run_file: Callable[..., Path], tmp_path: Path, changes: dict) -> None:
    """A row draws its dropout whichever process has it, also where rows before it are left out."""
    changes = {"model": {"init": {**TINY, "attention_dropout": 0.0}, "seed": 1}, **changes}
    cpt.run(run_file("one", **changes))
    assert "matches plan to the token" in torchrun(2, run_file("two", **changes))
    one, two = last(tmp_path / "one"), last(tmp_path / "two")
    assert (one / "receipt.json").read_bytes() == (two / "receipt.json").read_bytes()
    mean, largest = residual(weights(one), weights(two))
    print(f"weights {mean:.1e}, at most {largest:.1e}")
    assert mean < 1e-6 and largest < 1e-5


@pytest.mark.slow
def test_processes_round_alike(run_file: Callable[..., Path], tmp_path: Path) -> None:
    """Rounding by lot: the processes' weights stay the same, so the loss of a step is that of one process but for rounding in bf16."""
    pytest.importorskip("torchao", reason="needs torchao: pip install torchao")
    if shutil.which("c++") is None:
        pytest.skip("torchao compiles its step: needs a C++ compiler")
    model = {"init": {**TINY, "attention_dropout": 0.0}, "seed": 1, "dtype": "bf16", "weights": "bf16"}
    torchrun(2, run_file("two", model=model, optimizer={"rounding": "stochastic"}), "tests.train.ranks_alike")
