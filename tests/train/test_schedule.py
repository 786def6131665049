"""Learning rates written out by hand."""

from __future__ import annotations

import math

import pytest

from train.schedule import Schedule


def rates(**settings: object) -> list[float]:
    schedule = Schedule(**{"peak": 1.0, "floor": 0.0, "n_warmup": 0, "n_decay": 0, **settings})  # type: ignore[arg-type]
    return [schedule.rate(step) for step in range(schedule.n_steps)]


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
