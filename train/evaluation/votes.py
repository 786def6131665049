"""Votes and their key in; who wins how often, whether judges agree, whether the place of an answer decided: numbers and a table out.

A win rate is (wins + ties / 2) / votes. Intervals draw prompts, with all pairs and votes of a prompt together: many judges of one answer
are no new evidence about the model. Agreement: Cohen's kappa of two judges, Fleiss' of all that voted on the same pairs (Fleiss 1971), over the
three outcomes: one model, a tie, the other. Place: the share of decided votes that went to the answer shown first, 50 % without bias.
May import train.evaluation.{bootstrap,judge}; numpy.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from train.evaluation import bootstrap
from train.evaluation.bootstrap import Estimate, OfSums
from train.evaluation.judge import Vote

OUTCOMES = (1.0, 0.5, 0.0)  # of the first of two models in the order of their names: won, tied, lost


@dataclass(frozen=True)
class Rate:
    """`model` against `other` (all others where it is '')."""

    model: str
    other: str
    rate: Estimate
    wins: int
    ties: int
    losses: int


@dataclass(frozen=True)
class Agreement:
    """`kappa` is nan where the judges said one and the same of every pair: then nothing tells agreement from habit."""

    judges: tuple[str, ...]
    n: int
    same: float
    kappa: Estimate


@dataclass(frozen=True)
class Place:
    judge: str  # '' of all
    first: Estimate
    n_decided: int
    n_reversed: int | None  # pairs whose verdict turned with the order, of a judge that was asked in both
    n_both: int


@dataclass(frozen=True)
class Outcome:
    rates: list[Rate]
    agreement: list[Agreement]
    places: list[Place]
    n_votes: int
    n_skipped: int
    n_replaced: int
    n_pairs: int
    n_voted: int
    n_equal: int

    def data(self) -> dict[str, Any]:
        return _plain(asdict(self))

    def text(self) -> str:
        return table(self)


def _plain(value: Any) -> Any:
    """JSON has no NaN: null where nothing was measured."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def count(votes: Sequence[Vote], key: Mapping[str, Any], n_replaced: int = 0, *, seed: int = 0) -> Outcome:
    said = [vote for vote in votes if vote.vote != "skip"]
    judges = sorted({vote.judge for vote in said})
    return Outcome(
        rates(said, key, seed), agreements(said, key, judges, seed), [place(said, "", seed), *(place(said, j, seed) for j in judges)],
        len(said), len(votes) - len(said), n_replaced, len(key["pairs"]), len({vote.pair for vote in said}), len(key["equal"]),
    )  # fmt: skip


def outcome(vote: Vote, key: Mapping[str, Any], model: str) -> float:
    """1 where the model won, 1/2 for a tie, 0 where it lost."""
    if vote.vote == "tie":
        return 0.5
    return float(key["pairs"][vote.pair][vote.vote] == model)


# ---- win rates


def rates(votes: Sequence[Vote], key: Mapping[str, Any], seed: int = 0) -> list[Rate]:
    """Every two models that were compared, both ways; of more than two models each against all others first."""
    found = []
    models = key["models"]
    if len(models) > 2:
        found = [_rate(votes, key, model, "", seed) for model in models]
    return found + [_rate(votes, key, one, two, seed) for one, two in itertools.permutations(models, 2)]


def _rate(votes: Sequence[Vote], key: Mapping[str, Any], model: str, other: str, seed: int) -> Rate:
    by_prompt: dict[tuple[str, str], list[float]] = defaultdict(list)
    for vote in votes:
        pair = key["pairs"][vote.pair]
        two = {pair["a"], pair["b"]}
        if model in two and (not other or other in two):
            by_prompt[pair["task"], pair["item"]].append(outcome(vote, key, model))
    each = [one for ones in by_prompt.values() for one in ones]
    rate = bootstrap.estimate([(sum(ones), len(ones)) for ones in by_prompt.values()], bootstrap.ratio, seed=seed)
    return Rate(model, other, rate, each.count(1.0), each.count(0.5), each.count(0.0))


# ---- agreement


def agreements(votes: Sequence[Vote], key: Mapping[str, Any], judges: Sequence[str], seed: int = 0) -> list[Agreement]:
    """Fleiss of all where there are three or more, then Cohen of every two; only over pairs that they all voted on."""
    by_judge: dict[str, dict[str, int]] = {judge: {} for judge in judges}
    for vote in votes:
        pair = key["pairs"][vote.pair]
        by_judge[vote.judge][vote.pair] = OUTCOMES.index(outcome(vote, key, min(pair["a"], pair["b"])))
    groups = ([tuple(judges)] if len(judges) > 2 else []) + list(itertools.combinations(judges, 2))
    found = []
    for group in groups:
        common = sorted(set.intersection(*(set(by_judge[judge]) for judge in group)))
        said = np.array([[by_judge[judge][pair] for judge in group] for pair in common], int).reshape(-1, len(group))
        metric = cohen if len(group) == 2 else fleiss
        same = float((said == said[:, :1]).all(axis=1).mean()) if len(said) else math.nan
        found.append(Agreement(group, len(said), same, bootstrap.estimate([*said], metric, seed=seed)))
    return found


def _confusion(said: Sequence[np.ndarray]) -> np.ndarray:
    k = len(OUTCOMES)
    return np.stack([np.eye(k * k)[one[0] * k + one[1]] for one in said])


def _cohen(sums: np.ndarray) -> np.ndarray:
    k = len(OUTCOMES)
    shares = sums.reshape(-1, k, k) / sums.sum(axis=1)[:, None, None]
    observed = shares.trace(axis1=1, axis2=2)
    by_chance = (shares.sum(axis=1) * shares.sum(axis=2)).sum(axis=1)
    return _beyond_chance(observed, by_chance)


def _ratings(said: Sequence[np.ndarray]) -> np.ndarray:
    """(n, k + 1): how often each outcome was said of a pair, and the share of its pairs of judges that agree."""
    counts = np.stack([np.bincount(one, minlength=len(OUTCOMES)) for one in said]).astype(float)
    n = counts.sum(axis=1)
    return np.concatenate([counts, (((counts**2).sum(axis=1) - n) / (n * (n - 1)))[:, None]], axis=1)


def _fleiss(sums: np.ndarray, n_judges: int) -> np.ndarray:
    n_ratings = sums[:, :-1].sum(axis=1)
    by_chance = ((sums[:, :-1] / n_ratings[:, None]) ** 2).sum(axis=1)
    return _beyond_chance(sums[:, -1] * n_judges / n_ratings, by_chance)


def _beyond_chance(observed: np.ndarray, by_chance: np.ndarray) -> np.ndarray:
    room = 1 - by_chance
    return np.divide(observed - by_chance, room, out=np.full(len(room), np.nan), where=room > 1e-12)


cohen = OfSums(_confusion, _cohen)


def fleiss(said: Sequence[np.ndarray]) -> float:
    return float(_fleiss(_ratings(said).sum(axis=0, keepdims=True), len(said[0]))[0])


# ---- place


def place(votes: Sequence[Vote], judge: str = "", seed: int = 0) -> Place:
    """Of one judge, or of all."""
    own = [vote for vote in votes if not judge or vote.judge == judge]
    by_pair: dict[str, list[bool]] = defaultdict(list)
    for vote in own:
        by_pair[vote.pair] += [one == "a" for one in vote.orders or (vote.vote,) if one in ("a", "b")]
    decided = [(sum(ones), len(ones)) for ones in by_pair.values() if ones]
    both = [vote.orders for vote in own if len(vote.orders) == 2]
    turned = sum(set(orders) in ({"a"}, {"b"}) for orders in both)  # the same place twice: another answer each time
    first = bootstrap.estimate(decided, bootstrap.ratio, seed=seed)
    return Place(judge, first, sum(n for _, n in decided), turned if both else None, len(both))


# ---- words


def table(found: Outcome) -> str:
    lines = [
        f"{found.n_votes} votes on {found.n_voted} of {found.n_pairs} pairs"
        + (f"; {found.n_equal} more with equal answers were not asked about" if found.n_equal else "")
        + (f"; {found.n_skipped} times a judge could not say" if found.n_skipped else "")
        + (f"; {found.n_replaced} votes were replaced by a later one" if found.n_replaced else ""),
        "", "win rate (ties are half a win; 95 % interval over prompts)",
    ]  # fmt: skip
    shown = [rate for rate in found.rates if not rate.other or (-rate.rate.value, rate.model) < (rate.rate.value - 1, rate.other)]
    width = max((len(_versus(rate)) for rate in shown), default=0)
    lines += [
        f"  {_versus(rate):<{width}}  {_interval(rate.rate)}  {rate.wins} won, {rate.ties} tied, {rate.losses} lost{_sure(rate.rate)}"
        for rate in shown
    ]
    lines += ["", "agreement (kappa: 0 is chance, 1 is always)"]
    lines += [f"  {_agreement(one)}" for one in found.agreement] or ["  one judge: not measured"]
    lines += ["", "place (share of decided votes for the answer shown first; 50 % without bias)"]
    lines += [
        f"  {one.judge or 'all'}: {_interval(one.first)} of {one.n_decided}{_turned(one)}{_biased(one)}" for one in found.places
    ]
    return "\n".join(lines)


def _versus(rate: Rate) -> str:
    return f"{rate.model} over {rate.other or 'all others'}"


def _interval(one: Estimate) -> str:
    if math.isnan(one.value):
        return "not measured"
    ends = "no interval" if math.isnan(one.low) else f"{100 * one.low:.1f} to {100 * one.high:.1f}"
    return f"{100 * one.value:5.1f} % ({ends})"


def _sure(one: Estimate) -> str:
    return "; better" if one.low > 0.5 else "; worse" if one.high < 0.5 else "" if math.isnan(one.low) else "; not decided"


def _agreement(one: Agreement) -> str:
    who = " and ".join(one.judges) if len(one.judges) == 2 else f"all {len(one.judges)}"
    name = "Cohen's" if len(one.judges) == 2 else "Fleiss'"
    if not one.n:
        return f"{who}: no pair in common"
    said = "not defined (one outcome only)" if math.isnan(one.kappa.value) else f"{one.kappa.value:.2f}" + (
        "" if math.isnan(one.kappa.low) else f" ({one.kappa.low:.2f} to {one.kappa.high:.2f})"
    )  # fmt: skip
    return f"{who}: {name} kappa {said}, the same of {100 * one.same:.0f} % of {one.n} pairs"


def _turned(one: Place) -> str:
    return (
        ""
        if one.n_reversed is None
        else f"; the verdict turned with the order in {one.n_reversed} of {one.n_both} pairs (a tie then)"
    )


def _biased(one: Place) -> str:
    return "; biased to the first" if one.first.low > 0.5 else "; biased to the second" if one.first.high < 0.5 else ""
