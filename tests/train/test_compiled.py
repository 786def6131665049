"""Layers compiled by torch: the same losses and weights but for rounding, with adapters and recomputation too."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch._dynamo.utils import counters

from tests.train.conftest import TINY
from tests.train.test_invariance import alike
from tests.train.test_trajectory import FAMILIES
from train import cpt

RunFile = Callable[..., Path]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("c++") is None, reason="torch.compile on a CPU needs a C++ compiler"),
]


@pytest.mark.parametrize(
    "changes",
    [
        {"model": {"init": {**TINY, "attention_dropout": 0.0}}},
        {"model": {"init": FAMILIES["gemma3"]}},
        {"model": {"init": {**TINY, "attention_dropout": 0.0}}, "adapt": {"lora": {"r": 4, "dropout": 0.2}}},
        {"model": {"init": {**TINY, "attention_dropout": 0.0}, "checkpointing": True}},
    ],
    ids=["llama", "gemma3", "lora with dropout", "activations computed again"],
)
def test_compiled_layers_change_nothing_but_rounding(run_file: RunFile, tmp_path: Path, changes: dict) -> None:
    torch._dynamo.reset()
    counters.clear()
    with torch._dynamo.config.patch(fail_on_recompile_limit_hit=True):  # else it goes on uncompiled and says so in a log only
        for name, compiled in (("plain", False), ("compiled", True)):
            assert cpt.run(run_file(name, **{**changes, "model": {**changes["model"], "seed": 1, "compile": compiled}})) == 0
    assert counters["stats"]["unique_graphs"] > 0
    alike(tmp_path / "plain", tmp_path / "compiled")
