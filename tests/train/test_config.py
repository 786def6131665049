"""Every mistake in a run file is one message that says where and what is allowed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from curate.errors import CurateError
from mixture.batches import Phase
from train.config import RunFile, load_run
from train.steps import micro_rows, plan_run

Write = Callable[..., Path]


def one(n_rows: int = 22, length: int = 32) -> list[Phase]:
    return [Phase("main", 0, n_rows, length)]


# 22 rows of 32 tokens, 5 of 64 and 9 of 16
THREE = [Phase("main", 0, 22, 32), Phase("long", 22, 5, 64), Phase("short", 27, 9, 16)]


def test_defaults_and_units(run_file: Write) -> None:
    run = load_run(run_file())
    assert run.global_batch.count == 128 and run.optimizer.betas == (0.9, 0.95) and run.save.keep == 3
    plan = plan_run(run, one())
    assert (plan.steps.rows, plan.n_steps, plan.schedule.curves[0].n_warmup, plan.save_every) == ((4,), 6, 2, None)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"global_bach": "128 tokens"}, "did you mean 'global_batch'"),
        ({"global_batch": 128}, "a number needs its unit"),
        ({"global_batch": "4 steps"}, "this unit has no meaning here"),
        ({"method": "grpo"}, "method"),
        ({"schedule": {"kind": "wsd", "peak_lr": 1e-3}}, "decay: belongs to kind wsd"),
        ({"schedule": {"kind": "cosine", "peak_lr": 1e-3, "floor": 1e-2}}, "above peak_lr"),
        ({"stop": {"after": "next_week"}}, "stop.after"),
        ({"model": {"init": "no/such/place"}}, "there is no model here"),
        ({"model": {"init": "org/name"}}, "revision is missing"),
        ({"manifest": "nowhere/manifest.json"}, "there is no manifest here"),
        ({"track": {"to": ["wanb"]}}, "track.to"),
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
        plan_run(load_run(run_file(global_batch="100 tokens")), one())
    assert "96 tokens or 128 tokens" in str(error.value)


def test_no_row_is_trained_twice(run_file: Write) -> None:
    with pytest.raises(CurateError) as error:
        plan_run(load_run(run_file(stop={"after": "7 steps"})), one())
    assert "1 to 6 steps" in str(error.value)


def test_parts_of_the_run(run_file: Write) -> None:
    schedule = {"kind": "wsd", "peak_lr": 1e-3, "warmup": "1 %", "decay": "128000 tokens"}
    run = load_run(run_file(schedule=schedule, save={"to": "x", "every": "1280 tokens"}, evaluate={"held_out_every": "25 steps"}))
    plan = plan_run(run, one(8000))
    assert (plan.n_steps, plan.schedule.curves[0].n_warmup, plan.schedule.curves[0].n_decay) == (2000, 20, 1000)
    assert (plan.save_every, plan.held_out_every) == (10, 25)
    with pytest.raises(CurateError, match="longer than the run"):
        plan_run(run, one(4000))


def test_micro_batch(run_file: Write) -> None:
    run: RunFile = load_run(run_file(micro_batch="auto"))
    plan = plan_run(run, one())
    assert micro_rows(run, plan, length=32, world=1, device="cpu") == 4
    assert micro_rows(run, plan, length=32, world=2, device="cpu") == 2
    assert micro_rows(run, plan, length=8192, world=1, device="cpu") == 1


def test_several_phases_are_one_run(run_file: Write) -> None:
    # 128 tokens are 4 rows of 32, 2 of 64, 8 of 16: 6 + 3 + 2 steps, and one schedule over them
    schedule = {"kind": "wsd", "peak_lr": 1e-3, "warmup": "128 tokens", "decay": "50 %"}
    plan = plan_run(load_run(run_file(schedule=schedule)), THREE)
    assert (plan.steps.rows, plan.n_steps, plan.schedule.ends) == ((4, 2, 8), 11, [11])
    assert (plan.schedule.curves[0].n_warmup, plan.schedule.curves[0].n_decay) == (1, 6)
    with pytest.raises(CurateError) as error:
        plan_run(load_run(run_file(global_batch="96 tokens")), THREE)
    assert "sequences of 16 and of 32 and of 64 tokens" in str(error.value) and "64 tokens or 128 tokens" in str(error.value)


def test_a_micro_batch_holds_as_many_tokens_in_every_phase(run_file: Write) -> None:
    run = load_run(run_file(micro_batch=3))
    plan = plan_run(run, THREE)
    assert [micro_rows(run, plan, length=length, world=1, device="cpu") for length in (32, 64, 16)] == [3, 1, 6]
    assert [micro_rows(run, plan, length=length, world=2, device="cpu") for length in (32, 64, 16)] == [2, 1, 4]


def test_canonical_form_loads_again(run_file: Write) -> None:
    run = load_run(run_file())
    assert RunFile.model_validate(run.canonical()) == run
