"""A run of preferences in, its charts out: rewards, margins, accuracy, and how much of the margin is mere length.

Everything is worked out from the sums of the steps. Imports train.report.{chart,find,series}, train.watch.{pairs,words}; numpy.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from train.report.chart import Axis, Line, chart
from train.report.find import Run
from train.report.series import COARSE, Bins, binned, coarse
from train.watch import words
from train.watch.pairs import SUMS, length_bias, means

LENGTH_NOTE = (
    "Pearson's r of a pair's reward margin and how many tokens longer its chosen answer is, over the pairs of about {each:,.0f} steps. "
    "Near 1: longer answers are what is rewarded."
)


def preferences(run: Run, axis: Axis) -> str:
    steps = run.history.steps
    if not steps.groups["pairs"]:
        return ""
    n, bins = steps.of("pairs", "all", "n"), coarse(len(steps))

    def mean(name: str, key: str, colour: int = 0, group: str = "all") -> Line:
        return Line(name, binned(axis.tokens, steps.of("pairs", group, key), steps.of("pairs", group, "n"), bins), None, colour)

    both = [mean("chosen", "chosen"), mean("rejected", "rejected", 1)]
    drawn = chart("rewards", both, axis, _three, note="beta times what the policy gives an answer beyond the reference, in nats.")
    drawn += chart("reward margin", [mean("all", "margin"), *_components(run, axis, "margin", bins)], axis, _three)
    right = [mean("all", "correct"), *_components(run, axis, "correct", bins)]
    drawn += chart("accuracy: chosen above rejected", right, axis, words.share, most=1.0, from_zero=True)
    lengths = [mean("chosen", "chosen_tokens"), mean("rejected", "rejected_tokens", 1)]
    drawn += chart("tokens of an answer", lengths, axis, lambda v: f"{v:.0f}", from_zero=True)
    line = Line("all", correlation(run, axis.tokens))
    if len(line.middle) > 1:
        drawn += chart("length bias", [line], axis, lambda v: f"{v:.2f}", note=LENGTH_NOTE.format(each=n.size / len(line.middle)))
    return drawn


def _components(run: Run, axis: Axis, key: str, bins: int) -> list[Line]:
    names = [name for name in run.history.steps.groups["pairs"] if name != "all"]
    steps = run.history.steps
    return [
        Line(name, binned(axis.tokens, steps.of("pairs", name, key), steps.of("pairs", name, "n"), bins), None, number)
        for number, name in enumerate(names, start=1)
        if len(names) > 1
    ]


def correlation(run: Run, x: np.ndarray, n_bins: int = COARSE // 4) -> Bins:
    """r over bins of equally many steps; bins with too few pairs, or where nothing varies, are left out."""
    steps = run.history.steps
    sums = {name: steps.of("pairs", "all", name) for name in SUMS}
    edges = np.unique(np.linspace(0, len(steps), min(n_bins, max(1, len(steps) // 4)) + 1).astype(int))
    points = []
    for first, end in pairwise(edges):
        r = length_bias({name: float(values[first:end].sum()) for name, values in sums.items()})
        if r is not None:
            points.append((float(x[first:end].mean()), r))
    columns = np.array(points).reshape(-1, 2).T
    return Bins(columns[0], columns[1], columns[1], columns[1])


def tile(run: Run) -> list[tuple[str, str, str]]:
    """Figures of the last twentieth of the steps."""
    steps = run.history.steps
    if not steps.groups["pairs"] or not len(steps):
        return []
    n = max(1, len(steps) // 20)
    of = means({key: float(steps.of("pairs", "all", key)[-n:].sum()) for key in SUMS})
    said = f"mean of the last {n:,} steps"
    return [("accuracy", words.share(of["accuracy"]), said), ("reward margin", _three(of["margin"]), said)]


def _three(value: float) -> str:
    return f"{value:.3f}"
