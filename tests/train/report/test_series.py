"""Bins of steps: none of them hides an extreme, and their means are sums over sums."""

from __future__ import annotations

import numpy as np
import pytest

from train.report.chart import ticks_of, tokens_word
from train.report.series import binned, coarse


def test_mean_low_and_high_of_a_bin() -> None:
    # four steps in two bins: nats 2, 30 over 1, 10 tokens; 6, 8 over 2, 2
    bins = binned(np.array([1.0, 2.0, 9.0, 10.0]), np.array([2.0, 30.0, 6.0, 8.0]), np.array([1.0, 10.0, 2.0, 2.0]), 2)
    assert bins.x.tolist() == [1.5, 9.5]
    assert bins.mean.tolist() == [32 / 11, 3.5]
    assert (bins.low.tolist(), bins.high.tolist()) == ([2.0, 3.0], [3.0, 4.0])


def test_one_spike_in_a_hundred_thousand_steps_is_seen() -> None:
    values = np.ones(100_000)
    values[77_777], values[12_345] = 50.0, -7.0
    bins = binned(np.arange(100_000.0), values)
    assert len(bins) == 500 and bins.high.max() == 50.0 and bins.low.min() == -7.0
    assert np.flatnonzero(bins.high == 50.0).tolist() == [77_777 // 200]


def test_steps_without_a_value_are_left_out() -> None:
    bins = binned(np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, np.nan, 3.0, 4.0]), np.array([1.0, 1.0, 0.0, 2.0]), 10)
    assert bins.x.tolist() == [1.0, 4.0] and bins.mean.tolist() == [1.0, 2.0]
    assert len(binned(np.zeros(0), np.zeros(0))) == 0
    assert binned(np.array([5.0]), np.array([2.0])).mean.tolist() == [2.0]


def test_short_runs_are_drawn_step_by_step() -> None:
    assert [coarse(n) for n in (0, 1, 40, 41, 400, 10**6)] == [1, 1, 40, 10, 100, 120]


def test_ticks_are_round_and_inside() -> None:
    assert ticks_of(0, 230_000, False, 4) == [0, 100_000, 200_000]
    assert ticks_of(1.93, 2.11, False, 4) == pytest.approx([1.95, 2.0, 2.05, 2.1])
    assert ticks_of(0.4, 120, True, 5) == [1.0, 10.0, 100.0]
    assert ticks_of(3, 3, False, 5) == [3]


def test_words_for_tokens() -> None:
    assert [tokens_word(v) for v in (0, 999, 1500, 2.5e6, 2e11)] == ["0", "999", "1.5k", "2.5M", "200B"]
