"""How sure a metric is: items in, the ends of a 95 % interval out; of two models on the same items, of their difference too.

An item is what is drawn: a question, a document. One resample draws as many items as there are, each any number of times, and the metric is
computed anew on it: corpus metrics stay corpus metrics. A metric is any function of items to a number; one that is a function of sums over
items (a mean, bits per byte, F0.5, MCC, chrF++) is an `OfSums` and all its resamples are one product of matrices.
Missing items (None, NaN) are left out of value and interval alike and are counted; what a missing item means is for the caller to say.
An interval that cannot be told (no item, the metric undefined on more than MAX_UNDEFINED of the resamples) is (nan, nan).
The ends are percentiles of the resamples, a little further out than 2.5 and 97.5 for few items; of shares (means of zeros and ones) and of their
changes they have a closed form, because resamples of 20 right answers out of 20 know of no wrong one. docs/evidence/bootstrap.txt shows how often
each kind of interval holds the truth. numpy only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Literal

import numpy as np

N, LEVEL = 1000, 0.95  # resamples; how much of them lies between the ends
MAX_UNDEFINED = 0.05  # of the resamples
_AT_ONCE = 1 << 22  # numbers of a block of resamples in memory

Metric = Callable[[Sequence[Any]], float]
Method = Literal["chosen", "percentile", "expanded", "bca"]
METHOD: Method = "chosen"


@dataclass(frozen=True)
class OfSums:
    """A metric that is a function of sums over items.

    `statistics`: items to (n, k) numbers, a row for each item; `value`: (B, k) sums to (B,) values, nan where it is undefined."""

    statistics: Callable[[Sequence[Any]], np.ndarray]
    value: Callable[[np.ndarray], np.ndarray]

    def __call__(self, items: Sequence[Any]) -> float:
        return float(self.value(self.statistics(items).sum(axis=0, keepdims=True))[0]) if len(items) else math.nan


def _quotient(sums: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(sums[:, 1] == 0, np.nan, sums[:, 0] / sums[:, 1])


mean = OfSums(lambda values: np.stack([np.asarray(values, float), np.ones(len(values))], axis=1), _quotient)
ratio = OfSums(lambda pairs: np.asarray(pairs, float).reshape(-1, 2), _quotient)  # sum of the first by sum of the second
bits_per_byte = OfSums(ratio.statistics, lambda sums: _quotient(sums) / math.log(2))  # items are (nats, bytes)


@dataclass(frozen=True)
class Estimate:
    """A value and its interval; n items were there, n_missing were not."""

    value: float
    low: float
    high: float
    n: int
    n_missing: int = 0


@dataclass(frozen=True)
class Difference:
    """Two models on the `n` items that both have. `relative` is change / before; nan where before is 0."""

    before: float
    after: float
    change: Estimate
    relative: Estimate
    n: int
    n_unpaired: int  # items that only one of the two has


def interval(items: Sequence[Any], metric: Metric = mean, *, seed: int = 0, n: int = N) -> tuple[float, float]:
    """(low, high) of the 95 % interval."""
    found = estimate(items, metric, seed=seed, n=n)
    return found.low, found.high


def estimate(
    items: Sequence[Any], metric: Metric = mean, *, seed: int = 0, n: int = N, method: Method = METHOD
) -> Estimate:  # fmt: skip
    """The metric of the items with its interval."""
    there = [item for item in items if not is_missing(item)]
    missing = len(items) - len(there)
    if not there:
        return Estimate(math.nan, math.nan, math.nan, 0, missing)
    return Drawn.of([there], metric, seed, n).estimate("value", method, missing)


def difference(
    before: Mapping[Hashable, Any], after: Mapping[Hashable, Any], metric: Metric = mean, *,
    seed: int = 0, n: int = N, method: Method = METHOD,
) -> Difference:  # fmt: skip
    """What changed, paired by the keys: each resample draws the same items for both, so that what both find hard cancels out."""
    first, second = ({key: item for key, item in side.items() if not is_missing(item)} for side in (before, after))
    keys = [key for key in first if key in second]
    unpaired = len(first) + len(second) - 2 * len(keys)
    if not keys:
        nothing = Estimate(math.nan, math.nan, math.nan, 0, unpaired)
        return Difference(math.nan, math.nan, nothing, nothing, 0, unpaired)
    drawn = Drawn.of([[side[key] for key in keys] for side in (first, second)], metric, seed, n)
    change, relative = (drawn.estimate(what, method, unpaired) for what in ("change", "relative"))
    return Difference(float(drawn.whole[0, 0]), float(drawn.whole[1, 0]), change, relative, len(keys), unpaired)


def is_missing(item: Any) -> bool:
    """None, NaN, or a row of numbers with a NaN in it."""
    if item is None or (isinstance(item, float) and math.isnan(item)):
        return True
    return isinstance(item, tuple) and any((isinstance(x, float) and math.isnan(x)) or x is None for x in item)


def _relative(each: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(each[0] == 0, np.nan, (each[1] - each[0]) / np.abs(each[0]))


# what is told of a model's values (1, B), or of two models' (2, B)
OF: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "value": lambda each: each[0], "change": lambda each: each[1] - each[0], "relative": _relative,
}  # fmt: skip


@dataclass(frozen=True)
class Drawn:
    """A metric of one or two models, each array (n_models, ...): on all items, on every resample, without each item in turn (BCa asks)."""

    whole: np.ndarray  # (n_models, 1)
    resamples: np.ndarray  # (n_models, B)
    left_out: Callable[[], np.ndarray]  # (n_models, n_items)
    n_items: int
    right: np.ndarray | None = None  # (n_models, n_items) bool, where the metric is the mean of zeros and ones

    @staticmethod
    def of(sides: Sequence[Sequence[Any]], metric: Metric, seed: int, n: int) -> Drawn:
        size = len(sides[0])
        blocks = _draws(size, seed, n)
        if isinstance(metric, OfSums):
            return Drawn._of_sums([metric.statistics(side) for side in sides], metric.value, blocks)
        rows = [row for block in blocks for row in block.tolist()]
        resamples = [np.array([metric([side[i] for i in row]) for row in rows], float) for side in sides]
        return Drawn(
            np.array([[metric(side)] for side in sides], float), np.array(resamples),
            lambda: np.array([[metric([*side[:i], *side[i + 1 :]]) for i in range(size)] for side in sides], float), size,
        )  # fmt: skip

    @staticmethod
    def _of_sums(tables: list[np.ndarray], value: Callable[[np.ndarray], np.ndarray], blocks: list[np.ndarray]) -> Drawn:
        size, sums = len(tables[0]), [table.sum(axis=0) for table in tables]
        resamples: list[list[np.ndarray]] = [[] for _ in tables]
        for times in _times(blocks, size):
            for found, table in zip(resamples, tables, strict=True):
                found.append(value(times @ table))
        return Drawn(
            np.array([value(total[None]) for total in sums]), np.array([np.concatenate(found) for found in resamples]),
            lambda: np.array([value(total - table) for total, table in zip(sums, tables, strict=True)]), size,
_right(tables) if value is mean.value else None,
        )  # fmt: skip

    def estimate(self, what: str, method: Method, missing: int) -> Estimate:
        of = OF[what]
        value, draws = float(of(self.whole)[0]), of(self.resamples)
        defined = draws[~np.isnan(draws)]
        if math.isnan(value) or len(defined) < (1 - MAX_UNDEFINED) * len(draws):
            return Estimate(value, math.nan, math.nan, self.n_items, missing)
        if method == "chosen" and self.right is not None and what != "relative":
            return Estimate(value, *_of_shares(self.right), self.n_items, missing)
        tails = np.array([(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        if method in ("chosen", "expanded"):
            tails = _expanded(self.n_items)
        elif method == "bca":
            tails = _corrected(tails, value, defined, of(self.left_out()))
        low, high = np.quantile(defined, tails)
        return Estimate(value, float(low), float(high), self.n_items, missing)


def _of_shares(right: np.ndarray) -> tuple[float, float]:
    n = right.shape[1]
    if len(right) == 1:
        return wilson(int(right[0].sum()), n)
    return change_of_shares(int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum()), n)


def change_of_shares(n_lost: int, n_won: int, n: int) -> tuple[float, float]:
    """The 95 % interval of the change of a share over pairs (Bonett and Price 2012): it has a width where no item, or every one, changed."""
    z = NormalDist().inv_cdf((1 + LEVEL) / 2)
    lost, won = (n_lost + 1) / (n + 2), (n_won + 1) / (n + 2)
    half = z * math.sqrt((lost + won - (won - lost) ** 2) / (n + 2))
    return max(-1.0, won - lost - half), min(1.0, won - lost + half)


def wilson(n_right: int, n: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson 1927): it has a width where all items are right, or none."""
    z = NormalDist().inv_cdf((1 + LEVEL) / 2)
    middle, half = n_right + z * z / 2, z * math.sqrt(n_right * (n - n_right) / n + z * z / 4)
    return max(0.0, (middle - half) / (n + z * z)), min(1.0, (middle + half) / (n + z * z))


def _right(tables: Sequence[np.ndarray]) -> np.ndarray | None:
    are_shares = all(np.isin(table[:, 0], (0.0, 1.0)).all() and (table[:, 1] == 1).all() for table in tables)
    return np.array([table[:, 0] == 1 for table in tables]) if are_shares else None


def _draws(size: int, seed: int, n: int) -> list[np.ndarray]:
    """Places of the items of every resample, (n, size) in blocks. The same seed and size draw the same places."""
    random, step = np.random.default_rng(seed), max(1, _AT_ONCE // size)
    return [random.integers(0, size, (min(step, n - first), size)) for first in range(0, n, step)]


def _times(blocks: Sequence[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """How often each item is in each resample, (rows of the block, size) float64."""
    for drawn in blocks:
        places = drawn + np.arange(len(drawn))[:, None] * size
        yield np.bincount(places.ravel(), minlength=drawn.size).reshape(drawn.shape).astype(float)


def _expanded(n: int) -> np.ndarray:
    """Percentiles further out for few items (Hesterberg 2015, section 3.3): resamples vary by (n - 1) / n too little, and t is wider than z.

    The quantile of t is Cornish and Fisher's expansion: within 1 % from 5 items on."""
    z, nu = NormalDist().inv_cdf((1 + LEVEL) / 2), max(1, n - 1)
    t = (
        z
        + (z**3 + z) / (4 * nu)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * nu**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * nu**3)
    )
    out = NormalDist().cdf(-math.sqrt(n / nu) * t)
    return np.array([out, 1 - out])


def _corrected(tails: np.ndarray, value: float, draws: np.ndarray, left_out: np.ndarray) -> np.ndarray:
    """Efron's BCa: where the percentiles are to be taken, by the bias of the resamples and the skewness of the items."""
    normal = NormalDist()
    below = float(np.mean(draws < value) + np.mean(draws == value) / 2)
    if not 0 < below < 1:
        return tails
    bias = normal.inv_cdf(below)
    apart = np.nanmean(left_out) - left_out
    spread = float(np.nansum(apart**2))
    pull = float(np.nansum(apart**3)) / (6 * spread**1.5) if spread > 0 else 0.0
    moved = [bias + (bias + z) / (1 - pull * (bias + z)) for z in map(normal.inv_cdf, tails)]
    return np.array([normal.cdf(z) for z in moved])
