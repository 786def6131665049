"""Every mistake in a run file is one message that says where and what is allowed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from curate.errors import CurateError
from train.config import RunFile, load_run, micro_rows, plan_run

Write = Callable[..., Path]


def test_defaults_and_units(run_file: Write) -> None:
    run = load_run(run_file())
    assert run.global_batch.count == 128 and run.optimizer.betas == (0.9, 0.95) and run.save.keep == 3
    plan = plan_run(run, 22, 32)
    assert (plan.batch_rows, plan.n_steps, plan.schedule.n_warmup, plan.save_every) == (4, 6, 2, None)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"global_bach": "128 tokens"}, "did you mean 'global_batch'"),
        ({"global_batch": 128}, "a number needs its unit"),
        ({"global_batch": "4 steps"}, "this unit has no meaning here"),
        ({"method": "sft"}, "method"),
        ({"schedule": {"kind": "wsd", "peak_lr": 1e-3}}, "decay: belongs to kind wsd"),
        ({"schedule": {"kind": "cosine", "peak_lr": 1e-3, "floor": 1e-2}}, "above peak_lr"),
        ({"stop": {"after": "next_week"}}, "stop.after"),
        ({"model": {"init": "no/such/place"}}, "there is no model here"),
        ({"model": {"init": "org/name"}}, "revision is missing"),
        ({"manifest": "nowhere/manifest.json"}, "there is no manifest here"),
        ({"track": {"to": ["wandb"]}}, "track.to"),
        ({"optimizer": {"betas": [0.9]}}, "optimizer.betas"),
    ],
)
def test_mistakes(run_file: Write, changes: dict, said: str) -> None:
    with pytest.raises(CurateError) as error:
        load_run(run_file(**changes))
    assert said in str(error.value) and "run.yaml:" in str(error.value)


def test_missing_key(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("method: cpt\nname: x\n")
    with pytest.raises(CurateError, match="the key 'manifest' is missing"):
        load_run(path)


def test_settings_from_the_command_line(run_file: Write) -> None:
    assert load_run(run_file(), ["schedule.peak_lr=1e-4", "micro_batch=1"]).schedule.peak_lr == 1e-4
    with pytest.raises(CurateError, match=r"--set schedule\.peak_rl"):
        load_run(run_file(), ["schedule.peak_rl=1"])


def test_batch_must_be_whole_sequences(run_file: Write) -> None:
    with pytest.raises(CurateError) as error:
        plan_run(load_run(run_file(global_batch="100 tokens")), 22, 32)
    assert "96 tokens or 128 tokens" in str(error.value)


def test_no_row_is_trained_twice(run_file: Write) -> None:
    with pytest.raises(CurateError) as error:
        plan_run(load_run(run_file(stop={"after": "7 steps"})), 22, 32)
    assert "1 to 6 steps" in str(error.value)


def test_parts_of_the_run(run_file: Write) -> None:
    schedule = {"kind": "wsd", "peak_lr": 1e-3, "warmup": "1 %", "decay": "128000 tokens"}
    run = load_run(run_file(schedule=schedule, save={"to": "x", "every": "1280 tokens"}, evaluate={"held_out_every": "25 steps"}))
    plan = plan_run(run, 8000, 32)
    assert (plan.n_steps, plan.schedule.n_warmup, plan.schedule.n_decay) == (2000, 20, 1000)
    assert (plan.save_every, plan.held_out_every) == (10, 25)
    with pytest.raises(CurateError, match="longer than the run"):
        plan_run(run, 4000, 32)


def test_micro_batch(run_file: Write) -> None:
    run: RunFile = load_run(run_file(micro_batch="auto"))
    plan = plan_run(run, 22, 32)
    assert micro_rows(run, plan, vocabulary=64, length=32, world=1) == 4
    assert micro_rows(run, plan, vocabulary=64, length=32, world=2) == 2
    assert micro_rows(run, plan, vocabulary=128_256, length=8192, world=1) == 1


def test_canonical_form_loads_again(run_file: Write) -> None:
    run = load_run(run_file())
    assert RunFile.model_validate(run.canonical()) == run
