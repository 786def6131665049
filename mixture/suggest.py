"""The smallest changes that make an infeasible phase feasible, each of its kind and each tried before it is offered.

In: a PhaseSpec, its stocks, the tree of levels.py. Out: {recipe key: value}, one mapping for each alternative: a token further and it
fails. Kinds: more epochs; a smaller total; another on_shortage; a lower floor; a larger total. Imports recipe, units and levels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

from curate.recipe import Ask, PhaseSpec
from curate.recipe.strict import COUNTS, SHARES
from curate.units import decimal, quantity
from mixture.levels import Node, Solution, Stock, bound, grow, is_rigid, outcome, solve

Change = dict[str, str]
_UNITS = (*COUNTS, *SHARES, "share_of_documents", "epochs", "multiplier")


def suggestions(phase: PhaseSpec, stocks: Sequence[Stock], root: Node) -> list[Change]:
    """Alternatives, the most likely first."""
    found = [change for kind in (_more_epochs, _smaller_total, _other_shortage, _lower_floor, _larger_total)
             for change in kind(phase, stocks, root)]  # fmt: skip
    return [change for change in found if after(phase, stocks, change)]


def after(phase: PhaseSpec, stocks: Sequence[Stock], change: Mapping[str, str]) -> Solution | None:
    """The outcome with a change applied."""
    phase, stocks = applied(phase, stocks, change)
    return outcome(grow(phase, stocks), phase.on_shortage)


def applied(phase: PhaseSpec, stocks: Sequence[Stock], change: Mapping[str, str]) -> tuple[PhaseSpec, list[Stock]]:
    """The phase and its stocks as the changed recipe has them; what was consumed stays consumed."""
    new = list(stocks)

    def ask(one: Ask) -> Ask:
        read: dict[str, Any] = {
            name: quantity(change[f"{one.key}.{name}"], _UNITS) for name in ("budget", "floor") if f"{one.key}.{name}" in change
        }
        if (most := change.get(f"{one.component_key}.max_epochs")) is not None and not one.parts:
            i = phase.leaves.index(one.name)
            own = stocks[i]
            more = Fraction(most) * own.epoch // 1 - one.max_epochs * own.epoch // 1
            new[i] = replace(own, cap=own.cap + int(more))
            one = replace(one, max_epochs=Fraction(most))
        return replace(one, parts=tuple(map(ask, one.parts)), **read)

    parts = tuple(map(ask, phase.parts))
    own: dict[str, Any] = {name: change[f"{phase.key}.{name}"] for name in ("on_shortage",) if f"{phase.key}.{name}" in change}
    total = quantity(change.get(f"{phase.key}.total", str(phase.total)), COUNTS)
    return replace(phase, parts=parts, total=total, **own), new


def _more_epochs(phase: PhaseSpec, stocks: Sequence[Stock], root: Node) -> Iterator[Change]:
    """Every rigid leaf up to what it is asked for; where water flows, the one leaf that needs the least more passes. A total that may
    shrink needs no more than its floors."""
    bends = phase.on_shortage == "bend_shares"
    bound(root, bends, False)
    total = root.wanted if phase.on_shortage != "shrink_total" else max(ceil(root.lo), 1)
    caps: dict[int, int] = {}

    def need(node: Node, value: Fraction) -> None:
        if not node.parts:
            if node.stock.cap < value:
                caps[node.index] = ceil(value)
        elif is_rigid(node, bends):
            whole = node.whole
            for part in node.parts:
                need(part, part.wanted * value / whole if whole else Fraction(0))
        elif node.hi < value:
            caps.update(_one_cap(node, value, bends))

    need(root, Fraction(total))
    asks = {ask.name: ask for ask in phase.asks if ask is not None}
    change = {}
    for i, cap in caps.items():
        ask, own = asks[phase.leaves[i]], stocks[i]
        if not own.epoch:
            return
        consumed = int(ask.max_epochs * own.epoch // 1) - own.cap
        change[f"{ask.component_key}.max_epochs"] = epochs_for(cap + consumed, own.epoch)
    if change:
        yield change


def _one_cap(node: Node, value: Fraction, bends: bool) -> dict[int, int]:
    """{leaf: cap}: the one leaf of `node` with which it can have `value`, in the fewest passes more."""
    best: tuple[Fraction, int, int] | None = None
    for leaf in sorted(node.leaves(), key=lambda leaf: -leaf.stock.epoch):  # of the largest a pass gives the most
        own = leaf.stock
        if not own.epoch or (best and Fraction(ceil(value - node.hi), own.epoch) >= best[0]):
            continue

        def enough(cap: int, leaf: Node = leaf, own: Stock = own) -> bool:
            leaf.stock = replace(own, cap=cap)
            bound(node, bends, False)
            return node.hi >= value

        lacks = own.cap + ceil(value - node.hi)  # enough where every level above the leaf flows
        cap = lacks if enough(lacks) and not enough(lacks - 1) else smallest(enough, own.cap, own.cap + ceil(value))
        leaf.stock = own
        bound(node, bends, False)
        if cap is not None and (best is None or Fraction(cap - own.cap, own.epoch) < best[0]):
            best = Fraction(cap - own.cap, own.epoch), leaf.index, cap
    return {best[1]: best[2]} if best else {}


def _smaller_total(phase: PhaseSpec, stocks: Sequence[Stock], root: Node) -> Iterator[Change]:
    """The largest total with the same shares, or, where they may bend, with all there is."""
    bends = phase.on_shortage == "bend_shares"
    bound(root, bends, True)
    most = min(int(root.wanted), int(root.hi // 1))
    for total in range(most, max(most - 3, 0), -1):  # a group whose own bound is a fraction may round up past it
        if total == root.wanted or (found := solve(root, total, bends, shrinks=True)) is None:
            continue
        change = {f"{phase.key}.total": f"{total} {phase.unit}", **_as_counts(root, found, phase.unit, bends)}
        if after(phase, stocks, change):
            yield change
            return


def _as_counts(root: Node, found: Solution, unit: str, bends: bool) -> Change:
    """Budgets as counts, down to the first level with a policy; none where shares say the same."""
    fixed: list[Node] = []

    def down(node: Node) -> None:
        if node.is_fixed:
            fixed.extend(node.parts)
            for part in node.parts:
                down(part)

    down(root)
    if not bends and all(node.ask and node.ask.budget and node.ask.budget.unit not in (*COUNTS, "epochs") for node in fixed):
        return {}
    return {
        f"{node.ask.key}.budget": f"{sum(found.targets[leaf.index] for leaf in node.leaves())} {unit}"
        for node in fixed
        if node.ask
    }


def _other_shortage(phase: PhaseSpec, stocks: Sequence[Stock], root: Node) -> Iterator[Change]:
    if phase.on_shortage == "fail":
        for other in ("shrink_total", "bend_shares"):
            yield {f"{phase.key}.on_shortage": other}


def _lower_floor(phase: PhaseSpec, stocks: Sequence[Stock], root: Node) -> Iterator[Change]:
    """One floor, the one that has to give the least."""
    best: tuple[int, Change] | None = None
    for node in root.all():
        if node.ask is None or not node.floor:
            continue
        key = f"{node.ask.key}.floor"

        def fails(floor: int, key: str = key) -> bool:
            return after(phase, stocks, {key: f"{floor} {phase.unit}"}) is None

        if fails(0):
            continue
        floor = smallest(fails, 0, node.floor)  # the first that fails
        if floor is not None and (best is None or node.floor - floor + 1 < best[0]):
            best = node.floor - floor + 1, {key: f"{floor - 1} {phase.unit}"}
    if best:
        yield best[1]


def _larger_total(phase: PhaseSpec, stocks: Sequence[Stock], root: Node) -> Iterator[Change]:
    """The smallest total that has room for every floor."""
    bound(root, phase.on_shortage == "bend_shares", False)
    if root.lo > root.wanted:
        yield {f"{phase.key}.total": f"{ceil(root.lo)} {phase.unit}"}


def smallest(holds: Callable[[int], bool], no: int, yes: int) -> int | None:
    """The smallest n in (no, yes] for which `holds`, that stays true once it is; None if there is none."""
    if not holds(yes):
        return None
    while yes - no > 1:
        middle = (no + yes) // 2
        no, yes = (no, middle) if holds(middle) else (middle, yes)
    return yes


def epochs_for(tokens: int, epoch: int) -> str:
    """Smallest decimal c of enough digits with floor(c * epoch) = tokens."""
    scale = 10 ** len(str(epoch))
    return decimal(Fraction(-(-tokens * scale // epoch), scale))


def ceil(value: Fraction) -> int:
    return -(-value.numerator // value.denominator)
