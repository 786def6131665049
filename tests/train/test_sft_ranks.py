"""SFT on two processes, DDP and FSDP2: the rows, the receipt and, but for rounding, the weights of one; checkpoints go over between them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.train.conftest import TINY, last, residual, weights
from tests.train.test_cpt import stop_after
from tests.train.test_ranks import torchrun
from tests.train.test_sft import RunFile, sft_file
from tests.train.test_sharded import SHARDED, apart
from train import sft

__all__ = ["sft_file"]  # a fixture
MODEL = {"init": {**TINY, "attention_dropout": 0.0}, "seed": 1}
pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "changes",
    [{}, {"adapt": {"lora": {"r": 4, "dropout": 0.2}}, "skip": ["5", "8-9"]}, {"micro_batch": 1}],
    ids=["full", "lora with dropout, rows skipped", "accumulated"],
)
def test_two_processes_equal_one(sft_file: RunFile, tmp_path: Path, changes: dict) -> None:
    sft.run(sft_file("one", model=MODEL, **changes))
    assert "matches plan to the token" in torchrun(2, sft_file("two", model=MODEL, **changes))
    one, two = last(tmp_path / "one"), last(tmp_path / "two")
    assert (one / "receipt.json").read_bytes() == (two / "receipt.json").read_bytes()
    mean, largest = residual(weights(one), weights(two))
    print(f"weights {mean:.1e}, at most {largest:.1e}")
    assert mean < 1e-6 and largest < 1e-5


def test_two_go_on_where_one_stopped(sft_file: RunFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sft.run(sft_file("whole", model=MODEL))
    with monkeypatch.context() as patched:
        stop_after(patched, 3)
        sft.run(sft_file("both", model=MODEL))
    torchrun(2, sft_file("both", model=MODEL))
    assert apart(last(tmp_path / "whole"), last(tmp_path / "both")) < 1e-6


def test_fsdp2_equals_one_process(sft_file: RunFile, tmp_path: Path) -> None:
    settings = {"model": {**MODEL, "checkpointing": True}, "micro_batch": 1}
    sft.run(sft_file("one", **settings, save={"every": "3 steps", "to": str(tmp_path / "one")}))
    said = torchrun(2, sft_file("two", **settings, save={"every": "3 steps", "to": str(tmp_path / "two")}), SHARDED)
    n = sum(value.numel() for value in weights(tmp_path / "one" / "step-000003").values())
    # accelerate cuts embeddings, norm and head of a transformers model out too
    assert said.count(f"6 units, {n // 2} of {n} numbers here") == 2
    assert "matches plan to the token" in said
    for step in ("step-000003", "step-000006"):
        assert apart(tmp_path / "one" / step, tmp_path / "two" / step) < 1e-6
