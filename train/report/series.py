"""Columns of steps in; few enough points for a drawing out, none of which hides an extreme: of every bin its mean, lowest and highest.

The mean of a bin is sum over sum (nats over tokens), not a mean of means. numpy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FINE, COARSE = 500, 120  # bins of the extremes, about a pixel each; most bins of the line through the means


@dataclass(frozen=True)
class Bins:
    """float64 arrays of equal length, one entry a bin that has a value, in the order of x."""

    x: np.ndarray  # mean x of the bin
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray

    def __len__(self) -> int:
        return len(self.x)


def binned(x: np.ndarray, above: np.ndarray, below: np.ndarray | None = None, n_bins: int = FINE) -> Bins:
    """`above / below` over x; steps where that is no number are left out. Without `below`, of `above` as it is."""
    below = np.ones_like(above) if below is None else below
    good = np.isfinite(above) & np.isfinite(below) & (below > 0)
    x, above, below = x[good], above[good], below[good]
    if not len(x):
        return Bins(*(np.zeros(0) for _ in range(4)))
    span = x[-1] - x[0]
    place = np.zeros(len(x), np.int64) if span <= 0 else np.minimum(((x - x[0]) / span * n_bins).astype(np.int64), n_bins - 1)
    values, filled = above / below, np.bincount(place, minlength=n_bins)
    low, high = np.full(n_bins, np.inf), np.full(n_bins, -np.inf)
    np.minimum.at(low, place, values)
    np.maximum.at(high, place, values)
    sums = [np.bincount(place, weights=of, minlength=n_bins) for of in (x, above, below)]
    has = filled > 0
    return Bins(sums[0][has] / filled[has], sums[1][has] / sums[2][has], low[has], high[has])


def coarse(n_steps: int) -> int:
    """Bins of a line through means: about four steps each, so that a line can be followed through the noise of single steps."""
    return min(COARSE, max(1, n_steps // 4)) if n_steps > 40 else max(1, n_steps)
