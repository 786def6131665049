"""Intervals: by hand, beside scipy's, and by how often they hold the truth."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from train.evaluation import bootstrap
from train.evaluation.bootstrap import OfSums, bits_per_byte, difference, estimate, interval, mean, ratio

ONES = [1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 0.0, 1.0, 1.0, 1.0]


def test_all_resamples_of_three_items_by_hand():
    """27 resamples of {0, 3, 6}: their mean is 3 and its variance 6 / 3 = 2; ten thousand draws come near both, and each mean is a whole number."""
    drawn = bootstrap.Drawn.of([[0.0, 3.0, 6.0]], mean, 1, 10_000).resamples[0]
    every = sorted({sum(three) / 3 for three in itertools.product([0, 3, 6], repeat=3)})
    assert sorted(set(drawn)) == pytest.approx(every)
    assert drawn.mean() == pytest.approx(3, abs=4 * math.sqrt(2 / 10_000))
    assert drawn.var() == pytest.approx(2, rel=0.05)


def test_wilson_by_hand():
    """9 of 10 (Wilson 1927; z = 1.95996): (9 + 1.92073) / 13.84146 = 0.78899, half 1.95996 sqrt(0.9 + 0.96036) / 13.84146 = 0.19314."""
    low, high = bootstrap.wilson(9, 10)
    assert (low, high) == (pytest.approx(0.59585, abs=1e-4), pytest.approx(0.98213, abs=1e-4))
    assert interval([1.0] * 9 + [0.0]) == (low, high)
    from scipy.stats import binomtest

    for k, n in ((0, 7), (3, 20), (20, 20), (499, 500)):
        theirs = binomtest(k, n).proportion_ci(method="wilson")
        assert bootstrap.wilson(k, n) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_change_of_shares_by_hand():
    """3 lost and 1 won of 18: (4, 2) / 20, so -0.1 and 1.95996 sqrt((0.3 - 0.01) / 20) = 0.23601."""
    assert bootstrap.change_of_shares(3, 1, 18) == pytest.approx((-0.33601, 0.13601), abs=1e-4)
    before = {i: 1.0 for i in range(18)} | {17: 0.0}
    after = {**before, 0: 0.0, 1: 0.0, 2: 0.0, 17: 1.0}
    found = difference(before, after)
    assert found.change.value == pytest.approx(-2 / 18)
    assert (found.change.low, found.change.high) == bootstrap.change_of_shares(3, 1, 18)


def test_no_item_changed_is_not_certainty():
    found = difference(dict(enumerate(ONES)), dict(enumerate(ONES)))
    assert found.change.value == 0 and found.change.low < 0 < found.change.high


@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_ends_are_those_of_scipy(method):
    """Other draws, so near but not equal: 40,000 resamples of 80 skewed scores."""
    from scipy.stats import bootstrap as theirs

    values = np.random.default_rng(3).beta(0.4, 2.0, 80)
    ours = estimate([*values], seed=1, n=40_000, method=method)
    ends = theirs((values,), np.mean, n_resamples=40_000, method=method, rng=np.random.default_rng(2)).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((ends.low, ends.high), abs=0.002)


def test_expanded_percentiles_are_those_of_t():
    from scipy.stats import norm, t

    for n in (5, 10, 50, 1000):
        out = norm.cdf(-math.sqrt(n / (n - 1)) * t.ppf(0.975, n - 1))
        assert bootstrap._expanded(n) == pytest.approx([out, 1 - out], rel=0.06)
    values = np.random.default_rng(5).normal(0, 1, 8).tolist()
    wide, narrow = estimate(values), estimate(values, method="percentile")
    assert wide.low < narrow.low < wide.value < narrow.high < wide.high


def test_a_metric_of_sums_equals_the_same_metric_item_by_item():
    pairs = [(2.0, 3.0), (1.0, 4.0), (5.0, 6.0), (0.5, 1.0), (3.0, 3.5)]

    def slowly(items):
        return sum(a for a, _ in items) / sum(b for _, b in items)

    for method in ("chosen", "bca"):
        one, two = estimate(pairs, ratio, seed=4, method=method), estimate(pairs, slowly, seed=4, method=method)
        assert (one.value, one.low, one.high) == pytest.approx((two.value, two.low, two.high))
    before, after = dict(enumerate(pairs)), {i: (a * (1 + i / 50), b) for i, (a, b) in enumerate(pairs)}
    one, two = difference(before, after, ratio), difference(before, after, slowly)
    assert (one.relative.low, one.relative.high) == pytest.approx((two.relative.low, two.relative.high))


def test_bits_per_byte_by_hand():
    """(693.147 + 1386.294) nats over (500 + 500) bytes are 3,000 bits over 1,000 bytes."""
    assert bits_per_byte([(1000 * math.log(2), 500), (2000 * math.log(2), 500)]) == pytest.approx(3.0)


def test_pairing_takes_away_what_both_find_hard():
    """Documents differ a lot, the two models by 1 % on each: the paired interval is a point, that of one model is wide."""
    random = np.random.default_rng(0)
    before = {i: (float(nats), 1000.0) for i, nats in enumerate(random.uniform(300, 1500, 40))}
    after = {i: (nats * 1.01, n_bytes) for i, (nats, n_bytes) in before.items()}
    found = difference(before, after, bits_per_byte)
    assert (found.relative.low, found.relative.high) == (pytest.approx(0.01), pytest.approx(0.01))
    low, high = interval([*before.values()], bits_per_byte)
    assert (high - low) / found.before > 0.1


def test_missing_items_are_counted_and_unpaired_ones_too():
    found = estimate([1.0, None, 0.0, float("nan"), 1.0])
    assert (found.value, found.n, found.n_missing) == (pytest.approx(2 / 3), 3, 2)
    assert estimate([(1.0, 2.0), (float("nan"), 1.0)], ratio).n_missing == 1
    two = difference({"a": 1.0, "b": 0.0, "c": None, "d": 1.0}, {"a": 0.0, "b": 0.0, "c": 1.0, "e": 1.0})
    assert (two.n, two.n_unpaired, two.before, two.after) == (2, 3, 0.5, 0.0)


def test_nothing_to_draw():
    assert math.isnan(estimate([]).low) and math.isnan(estimate([None]).value)
    found = difference({"a": 1.0}, {"b": 1.0})
    assert math.isnan(found.change.value) and found.n_unpaired == 2


def test_a_metric_that_is_mostly_undefined_has_no_interval():
    """Share of the ones among items above a half: with one such item of five, a third of the resamples have none."""
    metric = OfSums(lambda items: np.array([[x, float(x > 0.5)] for x in items]), ratio.value)
    found = estimate([0.0, 0.0, 0.0, 0.0, 1.0], metric)
    assert found.value == 1 and math.isnan(found.low)


def test_zero_before_has_no_relative_change():
    found = difference({0: 0.0, 1: 0.0}, {0: 1.0, 1: 0.0})
    assert found.change.value == 0.5 and math.isnan(found.relative.value) and math.isnan(found.relative.low)


def test_seeds():
    values = np.random.default_rng(1).random(30).tolist()
    assert interval(values, seed=1) == interval(values, seed=1) != interval(values, seed=2)


def test_blocks_do_not_change_the_draws(monkeypatch):
    values = np.random.default_rng(1).random(30).tolist()
    whole = interval(values, seed=1)
    monkeypatch.setattr(bootstrap, "_AT_ONCE", 100)
    assert interval(values, seed=1) == pytest.approx(whole, abs=1e-12)


@pytest.mark.parametrize("p", [0.5, 0.9, 0.98])
@pytest.mark.parametrize("n", [20, 100, 500])
def test_shares_hold_the_truth_nearly_as_often_as_they_say(p, n):
    """Exact, over all outcomes of a binomial law. Wilson's interval goes up and down with n; plain resampling holds 33 % at 0.98 of 20."""
    held = sum(
        math.comb(n, k) * p**k * (1 - p) ** (n - k)
        for k in range(n + 1)
        if bootstrap.wilson(k, n)[0] <= p <= bootstrap.wilson(k, n)[1]
    )
    assert 0.91 < held < 0.985


def test_a_paired_change_holds_the_truth_about_as_often_as_it_says():
    """300 samples of 60 documents, rise 2 %: at least 90 % hold it (95 % would be right, the standard error is 1.3)."""
    held = 0
    for i in range(300):
        random = np.random.default_rng([i, 7])
        n_bytes = np.exp(random.normal(7, 1, 60))
        nats = 0.9 * n_bytes * np.exp(random.normal(0, 0.25, 60))
        rise = 1.02 * np.exp(random.normal(-(0.03**2) / 2, 0.03, 60))  # its mean is 1.02, whatever the document
        before, after = ({k: (x, b) for k, (x, b) in enumerate(zip(a, n_bytes, strict=True))} for a in (nats, nats * rise))
        found = difference(before, after, bits_per_byte, seed=i, n=400).relative
        held += found.low <= 0.02 <= found.high
    assert 0.90 < held / 300 <= 1
