"""How a level is shared out: weights of each policy, and the water-filling that all of them go through, within floors and caps.

In: unique tokens (or whatever a phase counts), policies, floors, caps. Out: exact fractions, the same on every machine. With source i
of U_i unique tokens, budget B, floors and caps: find lambda with sum_i min(cap_i, max(floor_i, lambda w_i)) = B, and give each
source its term. w_i is
- proportional: U_i;
- temperature: U_i^(1/T), with `at_most` of min(U_i, at_most) (seqio); T = 1 is proportional (mT5, XLM-R 3.33; mBERT 1.43);
- unimax: 1, so every source gets the same until its cap (Chung et al. 2023, arXiv 2304.09151, with caps N U_i);
- weights: what was found elsewhere (DoReMi, RegMix, mixing laws);
- fixed: what the recipe asks, where shares are allowed to bend.
Imports recipe.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from decimal import ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction

from curate.recipe import Policy
from curate.recipe.phases import exact

# A power is ln, division, exp, each correctly rounded by the specification of decimal arithmetic, then rounded to DIGITS.
_ARITHMETIC = Context(prec=80, rounding=ROUND_HALF_EVEN, Emax=10**8, Emin=-(10**8))
DIGITS = 30


def weights(policy: Policy, names: Sequence[str], unique: Sequence[int]) -> list[Fraction]:
    """One weight for each name of a level; a source without anything weighs nothing, but for unimax and weights."""
    if policy.kind == "proportional":
        return [Fraction(u) for u in unique]
    if policy.kind == "temperature":
        assert policy.temperature is not None
        most = policy.at_most.count if policy.at_most is not None else None
        return [root(u if most is None else min(u, most), exact(policy.temperature)) for u in unique]
    if policy.kind == "unimax":
        return [Fraction(1)] * len(names)
    if policy.kind == "weights":
        given = policy.weights or {}
        return [exact(given[name] if name in given else given[name.rpartition("/")[2]]) for name in names]
    raise ValueError(f"policy {policy.kind} has no weights")


@functools.lru_cache(1 << 14)  # suggestions are tried with the same sizes
def root(value: int, temperature: Fraction) -> Fraction:
    """value^(1 / temperature) to DIGITS significant digits, exactly what a hand with enough paper would get."""
    if value <= 1:
        return Fraction(max(value, 0))
    context = _ARITHMETIC
    power = context.multiply(
        context.ln(Decimal(value)), context.divide(Decimal(temperature.denominator), Decimal(temperature.numerator))
    )
    return Fraction(Context(prec=DIGITS, rounding=ROUND_HALF_EVEN, Emax=10**8, Emin=-(10**8)).plus(context.exp(power)))


def water_fill(
    weights: Sequence[Fraction], floors: Sequence[Fraction | int], caps: Sequence[Fraction | int], total: Fraction | int
) -> tuple[list[Fraction], Fraction]:
    """(values, level) with value_i = min(cap_i, max(floor_i, level * weight_i)) and sum(values) = total; of several levels the lowest.

    Needs floor_i <= cap_i, and floors and caps that allow the total."""
    events = []  # (level at which source i leaves its floor, or reaches its cap; change of the slope)
    for w, floor, cap in zip(weights, floors, caps, strict=True):
        if w > 0:
            events += [(Fraction(floor) / w, w), (Fraction(cap) / w, -w)]
    filled, slope, level = sum(map(Fraction, floors), Fraction(0)), Fraction(0), Fraction(0)
    for at, change in sorted(events, key=lambda event: event[0]):
        if filled >= total or filled + slope * (at - level) >= total:
            break
        filled, slope, level = filled + slope * (at - level), slope + change, at
    if filled != total:
        if not slope or filled > total:
            raise ValueError(f"no level gives {total}: floors and caps do not allow it")
        level += (total - filled) / slope
    values = [min(Fraction(cap), max(Fraction(floor), level * w)) if w > 0 else Fraction(floor)
              for w, floor, cap in zip(weights, floors, caps, strict=True)]  # fmt: skip
    return values, level


def largest_remainder(values: Sequence[Fraction], total: int) -> list[int]:
    """Integers of sum `total`, each the floor or the ceiling of its value (Hamilton). Needs floor-sum <= total <= ceiling-sum."""
    floors = [int(v // 1) for v in values]
    rest = total - sum(floors)
    by_remainder = sorted((i for i, v in enumerate(values) if v.denominator != 1), key=lambda i: (floors[i] - values[i], i))
    if not 0 <= rest <= len(by_remainder):
        raise ValueError(f"{total} is not a rounding of {float(sum(values))}")
    for i in by_remainder[:rest]:
        floors[i] += 1
    return floors
