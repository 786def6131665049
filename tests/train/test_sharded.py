"""FSDP2 on two processes: the rows, the receipt and, but for rounding, the weights of one process; checkpoints go over between them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from curate.errors import CurateError
from tests.train.conftest import TINY, optimizer_state, weights
from tests.train.sharded import CONFIG, environment
from tests.train.test_cpt import stop_after
from tests.train.test_ranks import torchrun
from train import cpt, processes
from train.config import Evaluate, load_run

RunFile = Callable[..., Path]
MODEL = {"init": {**TINY, "attention_dropout": 0.0}, "seed": 1}
SHARDED = "tests.train.sharded"


def apart(one: Path, other: Path) -> float:
    """The largest difference of two checkpoints' weights; their receipts are equal to the byte, and the optimizer's state nearly so."""
    assert (one / "receipt.json").read_bytes() == (other / "receipt.json").read_bytes()
    a, b = (weights(folder) for folder in (one, other))
    assert a.keys() == b.keys()
    p, q = (optimizer_state(folder) for folder in (one, other))
    assert p.keys() == q.keys() and max((p[name] - q[name]).abs().max().item() for name in p) < 1e-6
    return max((a[name] - b[name]).abs().max().item() for name in a)


@pytest.mark.slow
@pytest.mark.parametrize("tied", [False, True])
def test_equals_one_process(run_file: RunFile, tmp_path: Path, tied: bool) -> None:
    model = {**MODEL, "init": {**MODEL["init"], "tie_word_embeddings": tied}, "checkpointing": True}
    settings: dict[str, Any] = {"model": model, "micro_batch": 1, "save": {"every": "3 steps", "to": str(tmp_path / "one")}}
    cpt.run(run_file("one", **settings))
    said = torchrun(2, run_file("two", **{**settings, "save": {"every": "3 steps", "to": str(tmp_path / "two")}}), SHARDED)
    assert "matches plan to the token" in said
    n = sum(value.numel() for value in weights(tmp_path / "one" / "step-000003").values())
    assert said.count(f"3 units, {n // 2} of {n} numbers here") == 2  # two layers, and the rest
    for step in ("step-000003", "step-000006"):
        assert apart(tmp_path / "one" / step, tmp_path / "two" / step) < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("first", ["one", "two"])
def test_goes_on_the_other_way(run_file: RunFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str) -> None:
    """Three steps on one process and three on two that divide the weights, and the other way round."""
    cpt.run(run_file("whole", model=MODEL))
    short = run_file("both", model=MODEL)
    if first == "one":
        with monkeypatch.context() as patched:
            stop_after(patched, 3)
            cpt.run(short)
        torchrun(2, short, SHARDED)
    else:
        monkeypatch.setenv("STOP_AFTER", "3")
        torchrun(2, short, SHARDED)
        assert (tmp_path / "both" / "step-000003").is_dir()
        cpt.run(short)
    assert apart(tmp_path / "whole" / "step-000006", tmp_path / "both" / "step-000006") < 1e-6


def test_the_shipped_config_says_fsdp2() -> None:
    said = environment(CONFIG)
    assert said["ACCELERATE_USE_FSDP"] == "true" and said["FSDP_VERSION"] == "2"
    assert said["FSDP_AUTO_WRAP_POLICY"] == "TRANSFORMER_BASED_WRAP" and said["FSDP_CPU_RAM_EFFICIENT_LOADING"] == "false"


def test_a_suite_inside_is_refused_before_the_model_is_read(run_file: RunFile) -> None:
    """What a process is started with is enough to know: no process has read weights yet."""
    plugin = SimpleNamespace(cpu_ram_efficient_loading=False, activation_checkpointing=False)
    accelerator: Any = SimpleNamespace(is_fsdp2=True, state=SimpleNamespace(fsdp_plugin=plugin))
    plain = load_run(run_file("plain"))
    processes._check_sharded(accelerator, plain)
    asked = plain.model_copy(update={"evaluate": Evaluate(suite="recipes/eval/et-quick.yaml")})
    with pytest.raises(CurateError, match="a suite is not asked of a model that is divided"):
        processes._check_sharded(accelerator, asked)
