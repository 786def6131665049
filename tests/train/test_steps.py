"""The rate of every step of a run over phases, worked out by hand; lengths in steps, tokens and shares."""

from __future__ import annotations

from typing import Any

import pytest

from curate.errors import CurateError
from mixture.batches import Phase
from train.config import RunFile
from train.steps import plan_run

# 128 tokens a step: 24 rows of 32 are 6 steps, 8 of 64 are 4, 16 of 16 are 2
PHASES = [Phase("main", 0, 24, 32), Phase("long", 24, 8, 64), Phase("short", 32, 16, 16)]


def rates(schedule: dict, n: int = 12, **changes: Any) -> list[float]:
    run = RunFile.model_validate({
        "method": "cpt", "name": "x", "manifest": "m", "model": {"init": "a/b"}, "global_batch": "128 tokens",
        "schedule": {"peak_lr": 1.0, **schedule}, "save": {"to": "run"}, **changes,
    })  # fmt: skip
    plan = plan_run(run, PHASES)
    assert plan.n_steps == n
    return [plan.schedule.rate(step) for step in range(n)]


def test_one_curve_over_all_phases() -> None:
    assert rates({"kind": "linear"}) == pytest.approx([1 - k / 12 for k in range(12)])


def test_the_last_phase_falls_from_where_the_common_curve_has_come_to() -> None:
    """Ten steps of wsd without its decay would need one: here the common part is constant, the anneal linear to nothing."""
    found = rates({"kind": "constant", "warmup": "2 steps", "phases": {"short": {"kind": "linear"}}})
    assert found == pytest.approx([0.5, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0.5])


def test_a_phase_in_the_middle() -> None:
    """main falls to 0.4 over six steps; long stays there; short has the common curve anew, over its own two steps."""
    found = rates({"kind": "linear", "floor": 0.4, "phases": {"long": {"kind": "constant"}}})
    assert found == pytest.approx([1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.4, 0.4, 0.4, 1.0, 0.7])


def test_a_phase_with_its_own_peak_and_warmup_from_the_rate_before() -> None:
    """long: from 0.2, which main has come to, up to 2 in two steps (1.1, 2), then 2 and half-way to the floor of 1."""
    long = {"kind": "linear", "peak_lr": 2.0, "warmup": "2 steps", "floor": 1.0}
    found = rates({"kind": "linear", "floor": 0.2, "phases": {"long": long, "short": {"kind": "constant"}}})
    main = [0.2 + 0.8 * (1 - k / 6) for k in range(6)]
    assert found == pytest.approx([*main, 1.1, 2.0, 2.0, 1.5, 1.0, 1.0])


def test_shares_are_of_the_curve_and_tokens_are_steps() -> None:
    """main and long are one curve of 10 steps: 20 % warmup are 2, 256 tokens of decay are 2; short has 50 % warmup, so 1 of 2."""
    schedule = {
        "kind": "wsd", "warmup": "20 %", "decay": "256 tokens", "phases": {"short": {"kind": "constant", "peak_lr": 0.6, "warmup": "50 %"}}
    }  # fmt: skip
    assert rates(schedule) == pytest.approx([0.5, 1, 1, 1, 1, 1, 1, 1, 1, 0.5, 0.6, 0.6])


def test_steps_down_by_shares() -> None:
    """At half and at three quarters of 12 steps, not below the floor."""
    found = rates({"kind": "step", "at": ["50 %", "75 %"], "factor": 0.1, "floor": 0.05})
    assert found == pytest.approx([1] * 6 + [0.1] * 3 + [0.05] * 3)


def test_a_run_that_ends_inside_a_phase_has_the_whole_curve() -> None:
    """8 steps: 6 of main and 2 of long; the curve comes down within them, the third phase is never begun."""
    found = rates(
        {"kind": "constant", "phases": {"long": {"kind": "linear"}, "short": {"kind": "constant"}}}, 8, stop={"after": "8 steps"}
    )
    assert found == pytest.approx([1, 1, 1, 1, 1, 1, 1, 0.5])


def test_polynomial_in_a_phase() -> None:
    found = rates(
        {
            "kind": "constant",
            "phases": {"long": {"kind": "polynomial", "power": 2.0}, "short": {"kind": "constant", "peak_lr": 0.3}},
        }
    )
    assert found == pytest.approx([1] * 6 + [1, 9 / 16, 4 / 16, 1 / 16] + [0.3] * 2)


def test_after_an_anneal_to_nothing_a_phase_says_its_peak_or_has_the_common_one() -> None:
    """The curve before has come to 0, which is no peak."""
    found = rates({"kind": "constant", "phases": {"main": {"kind": "linear", "peak_lr": 0.6}}})
    assert found == pytest.approx([0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 1, 1, 1, 1, 1, 1])


@pytest.mark.parametrize(
    ("schedule", "said"),
    [
        ({"phases": {"longer": {}}}, "there is no such phase"),
        (
            {"kind": "constant", "phases": {"short": {"kind": "wsd", "warmup": "1 steps", "decay": "2 steps"}}},
            "longer than the run",
        ),
        ({"kind": "linear", "floor": 0.1, "phases": {"short": {"floor": 0.5}}}, "the floor is above the peak"),
    ],
)
def test_mistakes(schedule: dict, said: str) -> None:
    with pytest.raises(CurateError, match=said):
        rates(schedule)
