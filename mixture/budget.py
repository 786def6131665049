"""Token budgets in exact integers: requests, caps and unique tokens in; tokens to train per component out.

Request units: tokens, share_of_tokens (of the total), epochs. An epoch is the component's unique tokens, with `copies` each times
its copies (selection.py). A cap is floor(max_epochs * epoch). A request is feasible when no ideal (a fraction) is above its cap, so
rounding can never pass a cap.
Rounding is by largest remainder, ties to the first component. Fractions and integers only. Imports errors and units.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from curate.errors import CurateError
from curate.recipe import Mixture
from curate.units import Quantity


class Infeasible(CurateError):
    """No such mixture exists. `suggestions`: alternatives, each {"set": {recipe key: value}} and each enough on its own.

    Every one is the smallest of its kind: a token further and it fails. `short`: {component: {requested, cap, needs_unique}};
    needs_unique: tokens that an epoch lacks, which are unique tokens where they come with one copy each.
    """

    suggestions: list[dict[str, Any]]
    short: dict[str, dict[str, int]]


@dataclass(frozen=True)
class Request:
    """What the recipe asks for one component."""

    name: str
    budget: Quantity
    max_epochs: Fraction


@dataclass(frozen=True)
class Plan:
    """Tokens per component, in recipe order. `bent` names the policy that had to act, "" if none had to."""

    requested: list[int]
    targets: list[int]
    caps: list[int]
    binding: list[str]  # components whose cap is below what was asked
    bent: str
    level: Fraction | None  # bend_shares: what the shares of the others were multiplied by

    @property
    def total(self) -> int:
        return sum(self.targets)


def exact(number: int | float | str | Fraction) -> Fraction:
    """A recipe's decimal as written: 1.1 is 11/10, not the nearest binary fraction."""
    return Fraction(str(number)) if isinstance(number, float) else Fraction(number)


def requests(mixture: Mixture) -> list[Request]:
    return [Request(name, c.budget, exact(c.max_epochs)) for name, c in mixture.leaves.items()]


def check(asked: Sequence[Request], total: int) -> None:
    """What arithmetic alone excludes, before any document is read. Raises Infeasible."""
    for r in asked:
        if r.budget.unit == "epochs" and r.budget.value > r.max_epochs:
            key = f"mixture.components.{r.name}"
            sets = [{f"{key}.max_epochs": _decimal(r.budget.value)}, {f"{key}.budget": f"{_decimal(r.max_epochs)} epochs"}]
            raise _infeasible(
                f"the budget of {r.name} passes its own cap", sets,
                where=key, found=f"budget {r.budget}, max_epochs {_decimal(r.max_epochs)}",
            )  # fmt: skip
    if all(r.budget.unit != "epochs" for r in asked):
        _check_sum(asked, ideals(asked, total, [0] * len(asked)), total)


def ideals(asked: Sequence[Request], total: int, epoch: Sequence[int]) -> list[Fraction]:
    """Tokens each request means, before rounding. Epochs are whole tokens: 1.5 epochs of 5 tokens are 7, never 8."""
    values = []
    for r, e in zip(asked, epoch, strict=True):
        if r.budget.unit == "tokens":
            values.append(r.budget.value)
        elif r.budget.unit == "share_of_tokens":
            values.append(r.budget.value * total)
        elif r.budget.unit == "epochs":
            values.append(Fraction(r.budget.value * e // 1))
        else:
            raise ValueError(f"no budget in {r.budget.unit}")
    return values


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


def water_fill(weights: Sequence[Fraction], caps: Sequence[int], total: int) -> tuple[list[Fraction], Fraction]:
    """(values, level) with value_i = min(cap_i, level * weight_i) and sum(values) = total. Needs the caps to allow it."""
    values = [Fraction(0)] * len(weights)
    left, weight = Fraction(total), sum(weights, Fraction(0))
    level = left / weight
    active = sorted((i for i, w in enumerate(weights) if w > 0), key=lambda i: caps[i] / weights[i])
    while active and level * weights[active[0]] > caps[active[0]]:  # the first to be full, until the rest fits
        i = active.pop(0)
        values[i] = Fraction(caps[i])
        left -= caps[i]
        weight -= weights[i]
        level = left / weight if weight else level
    for i in active:
        values[i] = level * weights[i]
    return values, level


def plan(
    asked: Sequence[Request], total: int, unique: Sequence[int], on_shortage: str = "fail", epoch: Sequence[int] | None = None
) -> Plan:
    """Tokens to train per component, given the unique tokens left after held-out. Raises Infeasible.

    `epoch`: tokens of one epoch per component where copies make it longer than its unique tokens."""
    epoch = unique if epoch is None else epoch
    wanted = ideals(asked, total, epoch)
    if on_shortage == "fail" or all(r.budget.unit != "epochs" for r in asked):
        _check_sum(asked, wanted, total)
    caps = [int(r.max_epochs * e // 1) for r, e in zip(asked, epoch, strict=True)]
    binding = [i for i, (q, cap) in enumerate(zip(wanted, caps, strict=True)) if q > cap]
    names = [asked[i].name for i in binding]
    whole = sum(wanted, Fraction(0))
    requested = largest_remainder(wanted, int(whole // 1))
    if not binding and whole == total:
        return Plan(requested, requested, caps, [], "", None)
    shrunk = _shrunk_total(wanted, caps, total)
    if on_shortage == "shrink_total" and shrunk > 0:
        targets = largest_remainder([q * shrunk / whole for q in wanted], shrunk)
        return Plan(requested, targets, caps, names, "shrink_total", None)
    most = sum(cap for q, cap in zip(wanted, caps, strict=True) if q > 0)
    if on_shortage == "bend_shares" and most >= total:
        values, level = water_fill(wanted, caps, total)
        return Plan(requested, largest_remainder(values, total), caps, names, "bend_shares", level)
    raise _shortage(asked, total, unique, epoch, wanted, caps, binding, on_shortage)


def _shrunk_total(wanted: Sequence[Fraction], caps: Sequence[int], total: int) -> int:
    """The largest total at which the shares stay and no ideal is above its cap."""
    whole = sum(wanted, Fraction(0))
    bounds = [Fraction(cap) * whole / q for q, cap in zip(wanted, caps, strict=True) if q > 0]
    return int(min([*bounds, Fraction(total), whole]) // 1)


def _check_sum(asked: Sequence[Request], wanted: Sequence[Fraction], total: int) -> None:
    whole = sum(wanted, Fraction(0))
    if whole == total and total > 0:
        return
    sets: list[dict[str, str]] = []
    shares = sum((r.budget.value for r in asked if r.budget.unit == "share_of_tokens"), Fraction(0))
    if shares < 1:
        other = (whole - shares * total) / (1 - shares)
        if other.denominator == 1 and other > 0:
            sets.append({"mixture.total": f"{other} tokens"})
    largest = max(range(len(asked)), key=lambda i: wanted[i])
    fixed = wanted[largest] + total - whole
    if fixed > 0 and (budget := _budget(fixed, asked[largest].budget.unit, total)):
        sets.append({f"mixture.components.{asked[largest].name}.budget": budget})
    off = f"{_number(abs(total - whole))} tokens too {'few' if whole < total else 'many'}"
    raise _infeasible(
        f"the budgets do not add up to the total: {off}", sets, where="mixture.total",
        found=f"budgets {_number(whole)} tokens, total {total:,} tokens",
    )  # fmt: skip


def _shortage(
    asked: Sequence[Request], total: int, unique: Sequence[int], epoch: Sequence[int], wanted: Sequence[Fraction],
    caps: Sequence[int], binding: Sequence[int], on_shortage: str,
) -> Infeasible:  # fmt: skip
    whole = sum(wanted, Fraction(0))
    sets: list[dict[str, str]] = []
    if whole == total and all(epoch[i] for i in binding):  # more passes: the smallest decimal that covers what is asked
        sets.append({f"mixture.components.{asked[i].name}.max_epochs": _epochs_for(wanted[i], epoch[i]) for i in binding})
    shrunk = _shrunk_total(wanted, caps, total)
    most = [cap if q > 0 else 0 for q, cap in zip(wanted, caps, strict=True)]
    if on_shortage == "bend_shares":
        shrunk, values = sum(most), [Fraction(cap) for cap in most]
    else:
        values = [q * shrunk / whole if whole else q for q in wanted]
    if shrunk > 0:
        tokens = largest_remainder(values, shrunk)
        budgets = {f"mixture.components.{r.name}.budget": f"{t} tokens" for r, t in zip(asked, tokens, strict=True)}
        sets.append({"mixture.total": f"{shrunk} tokens", **budgets})
    if on_shortage == "fail":
        if shrunk > 0:
            sets.append({"mixture.on_shortage": "shrink_total"})
        if sum(most) >= total:
            sets.append({"mixture.on_shortage": "bend_shares"})
    found = "; ".join(
        f"{asked[i].name} asks {_number(wanted[i])} tokens, has {unique[i]:,} unique, "
        f"{f'with copies {epoch[i]:,} an epoch, ' if epoch[i] != unique[i] else ''}"
        f"{_decimal(asked[i].max_epochs)} epochs allow {caps[i]:,}"
        for i in binding
    )
    error = _infeasible("not enough tokens for the mixture", sets, where="mixture", found=found)
    error.short = {
        asked[i].name: {
            "requested": _ceil(wanted[i]), "cap": caps[i],
            "needs_unique": int(-(-_ceil(wanted[i]) // asked[i].max_epochs)) - epoch[i],
        }
        for i in binding
    }  # fmt: skip
    return error


def _infeasible(what: str, sets: list[dict[str, str]], *, where: str, found: str) -> Infeasible:
    lines = ["; ".join(f"{key}: {value}" for key, value in change.items()) for change in sets]
    error = Infeasible(what, where=where, found=found, next="\n        or ".join(lines) or "another mixture")
    error.suggestions = [{"set": change} for change in sets]
    error.short = {}
    return error


def _epochs_for(tokens: Fraction, epoch: int) -> str:
    """Smallest decimal c of enough digits with floor(c * epoch) = ceil(tokens)."""
    scale = 10 ** len(str(epoch))
    return _decimal(Fraction(-(-_ceil(tokens) * scale // epoch), scale))


def _budget(tokens: Fraction, unit: str, total: int) -> str:
    """`tokens` in the unit the recipe used where that is exact, in the other one where only that is, else ""."""
    share = f"{_decimal(tokens / total * 100)} % of tokens" if _is_decimal(tokens / total) else ""
    count = f"{int(tokens)} tokens" if tokens.denominator == 1 else ""
    return (share or count) if unit == "share_of_tokens" else (count or share)


def _ceil(value: Fraction) -> int:
    return -(-value.numerator // value.denominator)


def _is_decimal(value: Fraction) -> bool:
    rest = value.denominator
    for p in (2, 5):
        while rest % p == 0:
            rest //= p
    return rest == 1


def _decimal(value: Fraction) -> str:
    """Exact decimal digits where there are some, else a fraction."""
    if not _is_decimal(value):
        return str(value)
    digits = 0
    while (value * 10**digits).denominator != 1:
        digits += 1
    text = str(int(value * 10**digits)).rjust(digits + 1, "0")
    return f"{text[:-digits]}.{text[-digits:]}" if digits else text


def _number(value: Fraction) -> str:
    return f"{int(value):,}" if value.denominator == 1 else f"{float(value):,.2f}"
