"""Learning rates written out by hand."""

from __future__ import annotations

import math

import pytest

from train.schedule import Curve, Schedule


def rates(**settings: object) -> list[float]:
    curve = Curve(**{"peak": 1.0, "floor": 0.0, **settings})  # type: ignore[arg-type]
    return [curve.rate(step) for step in range(curve.n_steps)]


def test_warmup_then_constant() -> None:
    assert rates(kind="constant", n_steps=6, n_warmup=4) == [0.25, 0.5, 0.75, 1, 1, 1]


def test_linear_to_a_floor() -> None:
    assert rates(kind="linear", n_steps=4, floor=0.2) == pytest.approx([1, 0.8, 0.6, 0.4])


def test_cosine() -> None:
    assert rates(kind="cosine", n_steps=5, n_warmup=1) == pytest.approx(
        [1, 1, (1 + math.sqrt(0.5)) / 2, 0.5, (1 - math.sqrt(0.5)) / 2]
    )


def test_wsd_is_flat_until_the_decay() -> None:
    assert rates(kind="wsd", n_steps=8, n_warmup=2, n_decay=4) == [0.5, 1, 1, 1, 1, 0.75, 0.5, 0.25]


def test_wsd_continues_flat_when_the_run_is_longer() -> None:
    assert rates(kind="wsd", n_steps=8, n_decay=2)[:6] == rates(kind="wsd", n_steps=20, n_decay=2)[:6]


def test_polynomial() -> None:
    assert rates(kind="polynomial", n_steps=4, power=2.0) == pytest.approx([1, 9 / 16, 4 / 16, 1 / 16])


def test_steps_down_but_not_below_the_floor() -> None:
    assert rates(kind="step", n_steps=6, at=(2, 4), factor=0.1, floor=0.05) == pytest.approx([1, 1, 0.1, 0.1, 0.05, 0.05])


def test_wsd_decays_in_other_shapes() -> None:
    assert rates(kind="wsd", n_steps=5, n_decay=4, shape="sqrt") == pytest.approx(
        [1, 1, 1 - 0.5, 1 - math.sqrt(0.5), 1 - math.sqrt(0.75)]
    )
    assert rates(kind="wsd", n_steps=5, n_decay=4, shape="cosine")[2:4] == pytest.approx([(1 + math.sqrt(0.5)) / 2, 0.5])


def test_warmup_from_where_the_curve_before_has_come_to() -> None:
    assert rates(kind="constant", n_steps=3, n_warmup=2, start=0.5) == [0.75, 1, 1]


def test_curves_follow_each_other() -> None:
    """Four flat steps, then a phase that falls from there to nothing, then the last rate stays."""
    schedule = Schedule([Curve("constant", 1.0, 0.0, 4), Curve("linear", 1.0, 0.0, 2)])
    assert [schedule.rate(step) for step in range(7)] == [1, 1, 1, 1, 1, 0.5, 0]
