"""How often do 95 % intervals of train.evaluation.bootstrap hold the truth? Many samples of known laws; the ends of four kinds side by side.

    python -m tests.bench.bootstrap [--samples 1000]

Every line is one law: `samples` data sets of n items, an interval of each, the share of them that hold the true value, in per cent; 95 is
right, less is too sure of itself. The share's own standard error is 0.7 for 1,000 samples. `missed` says on which side the truth lay
(below the interval / above it), `width` is the mean width of the chosen kind's interval, in the unit of the metric.
The truth is known in closed form where there is one, else it is the metric of one sample of two million items.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np

from train.evaluation import bootstrap
from train.evaluation.bootstrap import Drawn, Estimate, Method, Metric, OfSums, bits_per_byte, mean

METHODS: tuple[Method, ...] = get_args(Method)
CHOSEN: Method = "chosen"
Draw = Callable[[np.random.Generator, int], Any]


@dataclass(frozen=True)
class Law:
    name: str
    n: int
    draw: Draw  # items, or (before, after)
    metric: Metric
    truth: float
    of: str = "value"  # value | change | relative


def counts(items: Any) -> np.ndarray:
    """(n, 4) true positives, false positives, false negatives, true negatives of (gold, guess)."""
    gold, guess = np.asarray(items, bool).T
    return np.stack([gold & guess, ~gold & guess, gold & ~guess, ~gold & ~guess], axis=1).astype(float)


def f_half(sums: np.ndarray) -> np.ndarray:
    tp, fp, fn, _ = sums.T
    with np.errstate(invalid="ignore"):
        return 1.25 * tp / (1.25 * tp + 0.25 * fn + fp)


def mcc(sums: np.ndarray) -> np.ndarray:
    tp, fp, fn, tn = sums.T
    with np.errstate(invalid="ignore"):
        return (tp * tn - fp * fn) / np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))


def answers(p: float) -> Draw:
    return lambda random, n: (random.random(n) < p).astype(float)


def answers_twice(both: float, lost: float, won: float) -> Draw:
    """Right before and after; only before; only after."""

    def draw(random: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        kind = random.choice(4, n, p=[both, lost, won, 1 - both - lost - won])
        return np.isin(kind, (0, 1)).astype(float), np.isin(kind, (0, 2)).astype(float)

    return draw


def documents(random: np.random.Generator, n: int) -> np.ndarray:
    """(n, 2) nats and bytes: lengths are log-normal, longer texts are a little cheaper per byte."""
    n_bytes = np.exp(random.normal(7, 1, n))
    rate = 0.9 * (n_bytes / 1000) ** -0.05 * np.exp(random.normal(0, 0.25, n))
    return np.stack([rate * n_bytes, n_bytes], axis=1)


def documents_twice(random: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The second model costs about 2 % more, on some documents less."""
    before = documents(random, n)
    return before, before * np.stack([np.exp(random.normal(0.02, 0.03, n)), np.ones(n)], axis=1)


def labels(random: np.random.Generator, n: int) -> np.ndarray:
    gold = random.random(n) < 0.3
    return np.stack([gold, np.where(random.random(n) < 0.8, gold, ~gold)], axis=1)


def scores(random: np.random.Generator, n: int) -> np.ndarray:
    """Skewed scores in [0, 1], as of ROUGE-L: mean 1/6."""
    return random.beta(0.4, 2.0, n)


def laws() -> Iterator[Law]:
    big = np.random.default_rng(0)
    for p in (0.5, 0.9, 0.98):
        for n in (20, 50, 200, 500):
            yield Law(f"accuracy {p:.2f}", n, answers(p), mean, p)
    for n in (10, 20, 50, 200):
        yield Law("mean of skewed scores", n, scores, mean, 0.4 / 2.4)
    for n in (20, 50, 200, 500):
        yield Law("accuracy 0.60 to 0.58, paired", n, answers_twice(0.52, 0.08, 0.06), mean, -0.02, "change")
    price = bits_per_byte(documents(big, 2_000_000))
    for n in (10, 20, 50, 200):
        yield Law("bits per byte", n, documents, bits_per_byte, price)
    first, second = documents_twice(big, 2_000_000)
    rise = bits_per_byte(second) / bits_per_byte(first) - 1
    for n in (10, 20, 50, 200):
        yield Law("bits per byte, rise in %", n, documents_twice, bits_per_byte, rise, "relative")
    right, wrong = 0.3 * 0.8, 0.2
    truths = np.array([[right, 0.7 * wrong, 0.3 * wrong, 0.7 * 0.8]])
    for name, value in (("F0.5", f_half), ("MCC", mcc)):
        for n in (20, 50, 200, 500):
            yield Law(name, n, labels, OfSums(counts, value), float(value(truths)[0]))


def found(law: Law, i: int) -> list[Estimate]:
    """The intervals of one sample, a kind each, from the same resamples."""
    drawn = law.draw(np.random.default_rng([i, law.n]), law.n)
    sides = [[*drawn]] if law.of == "value" else [[*side] for side in drawn]
    resampled = Drawn.of(sides, law.metric, i, bootstrap.N)
    return [resampled.estimate(law.of, method, 0) for method in METHODS]


def coverage(law: Law, samples: int) -> tuple[list[float], tuple[float, float], float, float]:
    """Shares in per cent: held by each kind; missed by the chosen kind below and above; its width; not defined."""
    held, missed, widths, undefined = [0] * len(METHODS), [0, 0], [], 0
    for i in range(samples):
        estimates = found(law, i)
        held = [h + (one.low <= law.truth <= one.high) for h, one in zip(held, estimates, strict=True)]
        one = estimates[METHODS.index(CHOSEN)]
        undefined += math.isnan(one.low)
        missed = [missed[0] + (law.truth < one.low), missed[1] + (law.truth > one.high)]
        widths.append(one.high - one.low)
    share = 100 / samples
    return [share * h for h in held], (share * missed[0], share * missed[1]), float(np.nanmean(widths)), share * undefined


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=1000)
    samples, started = parser.parse_args().samples, time.monotonic()
    print(f"{samples:,} samples a line, {bootstrap.N:,} resamples; intervals that hold the truth, in % (95 is right)\n")
    head = "".join(f"{name:>12}" for name in METHODS)
    print(f"{'':<32}{'n':>5}{head}{'missed':>14}{'width':>9}{'undefined':>11}")
    all_held = []
    for law in laws():
        held, missed, width, undefined = coverage(law, samples)
        all_held.append(held)
        cells = "".join(f"{share:>12.1f}" for share in held)
        sides = f"{missed[0]:.1f} / {missed[1]:.1f}"
        print(f"{law.name:<32}{law.n:>5}{cells}{sides:>14}{width:>9.3f}{undefined:>11.1f}", flush=True)
    print(f"\n{'mean distance from 95':<37}" + "".join(f"{d:>12.1f}" for d in np.abs(np.array(all_held) - 95).mean(axis=0)))
    print(f"{time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
