"""A phase as a tree of groups: what every part is asked for, what floors and caps let it have, and what it gets. Exact fractions.

In: a PhaseSpec and a Stock per leaf. Out: a tree of Nodes; `solve` gives the values of the leaves, or None where there are none.

**Fixed levels are rigid**: parts keep the shares they ask for, so a level can have at most min_c(hi_c / share_c) and needs at least
max_c(lo_c / share_c). **Levels with a policy flow**: water-filling (policies.py) within lo and hi of the parts; such a level can have
the sum of its parts' hi and needs the sum of their lo. Under `bend_shares` fixed levels flow too, their weights what they ask.
Rounding is one step at the end: from the top down each node becomes floor or ceiling of its exact value, by largest remainder; sums
stay exact at every level, and since floors and caps of leaves are whole, no rounding passes one. Imports recipe and policies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

from curate.recipe import Ask, PhaseSpec, Policy, Quantity
from mixture.policies import largest_remainder, water_fill, weights


@dataclass(frozen=True)
class Stock:
    """What a leaf has, in the unit of the phase. `documents`: of an epoch (with copies: uses). `cap`: what this phase may still use; below 0
    where more than max_epochs allows was consumed."""

    unique: int
    epoch: int
    documents: int
    cap: int


NOTHING = Stock(0, 0, 0, 0)


@dataclass
class Node:
    """A leaf, a group, or the phase itself (name "")."""

    name: str
    ask: Ask | None
    wanted: Fraction  # what the recipe means, before floors and caps
    floor: int
    stock: Stock
    policy: Policy | None = None
    parts: list[Node] = field(default_factory=list)
    index: int = -1  # of a leaf, in recipe order
    lo: Fraction = Fraction(0)
    hi: Fraction = Fraction(0)

    @property
    def whole(self) -> Fraction:
        """What its parts ask together."""
        return sum((part.wanted for part in self.parts), Fraction(0))

    @property
    def is_fixed(self) -> bool:
        return self.policy is not None and self.policy.kind == "fixed"

    @property
    def has_epochs(self) -> bool:
        """Whether only the documents decide what its parts ask."""
        return any(
            part.ask is not None and part.ask.budget is not None and part.ask.budget.unit == "epochs" for part in self.parts
        )

    def leaves(self) -> list[Node]:
        return [leaf for part in self.parts for leaf in part.leaves()] if self.parts else [self]

    def all(self) -> list[Node]:
        return [self, *(node for part in self.parts for node in part.all())]


@dataclass(frozen=True)
class Solution:
    """By index of the leaf. `bent`: what had to give, "" if nothing had to."""

    values: dict[int, Fraction]
    targets: dict[int, int]
    levels: dict[str, Fraction]  # of a group, "" of the phase: the level of its water, 1 where nothing binds
    bent: str = ""


def grow(phase: PhaseSpec, stocks: Sequence[Stock]) -> Node:
    """The tree of a phase; `stocks`: one for each leaf of the mixture, read where the leaf is in the phase."""
    index = {name: i for i, name in enumerate(phase.leaves)}
    root = Node("", None, phase.total.value, 0, _sum([_stock(ask, stocks, index) for ask in phase.parts]), phase.policy)
    root.parts = _parts(phase.parts, root, stocks, index)
    return root


def _parts(asks: Sequence[Ask], of: Node, stocks: Sequence[Stock], index: dict[str, int]) -> list[Node]:
    assert of.policy is not None
    own = [_stock(ask, stocks, index) for ask in asks]
    if of.policy.kind == "fixed":
        wanted = ideals([ask.budget for ask in asks], of.wanted, own)
    else:
        w = weights(of.policy, [ask.name for ask in asks], [stock.unique for stock in own])
        whole = sum(w, Fraction(0))
        wanted = [of.wanted * one / whole if whole else Fraction(0) for one in w]
    nodes = []
    for ask, q, stock in zip(asks, wanted, own, strict=True):
        floor = -(-ideals([ask.floor], of.wanted, [stock])[0] // 1) if ask.floor is not None else 0
        node = Node(ask.name, ask, q, int(floor), stock, ask.policy, index=index.get(ask.name, -1))
        node.parts = _parts(ask.parts, node, stocks, index) if ask.parts else []
        nodes.append(node)
    return nodes


def _stock(ask: Ask, stocks: Sequence[Stock], index: dict[str, int]) -> Stock:
    return _sum([_stock(part, stocks, index) for part in ask.parts]) if ask.parts else stocks[index[ask.name]]


def _sum(stocks: Sequence[Stock]) -> Stock:
    return Stock(*(sum(getattr(s, name) for s in stocks) for name in ("unique", "epoch", "documents", "cap")))


def ideals(budgets: Sequence[Quantity | None], total: Fraction | int, stocks: Sequence[Stock]) -> list[Fraction]:
    """What the budgets of one level mean, before rounding. Epochs are whole: 1.5 epochs of 5 tokens are 7, never 8.

    `75 % of documents`: documents are drawn with these probabilities, so tokens are in proportion share x mean length (of a document
    of an epoch; without documents 1, so that the request fails instead of going to others). `1.5 x`: in proportion k x epoch."""
    values = []
    for q, stock in zip(budgets, stocks, strict=True):
        assert q is not None
        if q.unit == "share_of_documents":
            values.append(q.value * (Fraction(stock.epoch, stock.documents) if stock.documents else 1))
        elif q.unit == "multiplier":
            values.append(q.value * stock.epoch)
        elif q.unit == "epochs":
            values.append(Fraction(q.value * stock.epoch // 1))
        else:
            values.append(q.value * total if q.unit.startswith("share") else q.value)
    if any(q is not None and q.unit in ("share_of_documents", "multiplier") for q in budgets):  # all of the level
        if not any(values):  # nothing is there: what is asked for shows it
            values = [q.value for q in budgets if q is not None]
        whole = sum(values, Fraction(0))
        values = [total * value / whole if whole else Fraction(0) for value in values]
    return values


def outcome(root: Node, on_shortage: str) -> Solution | None:
    """What the phase gives, bent by `on_shortage` only where it must; None where there is nothing to give."""
    total = int(root.wanted)
    if total <= 0 or any(on_shortage == "fail" or not node.has_epochs for node in off(root)):
        return None
    if not off(root) and (found := solve(root, total)):
        return found
    if on_shortage == "shrink_total":
        bound(root, False, True)
        total = min(total, int(root.hi // 1))
        found = solve(root, total, shrinks=True) if total > 0 else None
        return found and replace(found, bent="shrink_total")
    found = solve(root, total, bends=True) if on_shortage == "bend_shares" else None
    return found and replace(found, bent="bend_shares")


def off(root: Node) -> list[Node]:
    """Fixed levels whose budgets do not add up to their own."""
    return [node for node in root.all() if node.is_fixed and node.whole != node.wanted]


def solve(root: Node, total: int, bends: bool = False, shrinks: bool = False) -> Solution | None:
    """Values that keep every floor and cap and sum to `total`, and their rounding; None where there are none."""
    bound(root, bends, shrinks)
    if not root.lo <= total <= root.hi or any(node.lo > node.hi for node in root.all()):
        return None
    values: dict[int, Fraction] = {}
    levels: dict[str, Fraction] = {}

    def share_out(node: Node, value: Fraction) -> None:
        if not node.parts:
            values[node.index] = value
            return
        if is_rigid(node, bends):
            whole = node.whole
            given = [part.wanted * value / whole if whole else Fraction(0) for part in node.parts]
        else:
            own = [part.wanted for part in node.parts]
            given, levels[node.name] = water_fill(own, [part.lo for part in node.parts], [part.hi for part in node.parts], value)
        for part, v in zip(node.parts, given, strict=True):
            share_out(part, v)

    share_out(root, Fraction(total))
    return Solution(values, rounded(root, values, total), levels)


def rounded(root: Node, values: Mapping[int, Fraction], total: int) -> dict[int, int]:
    """Every node the floor or the ceiling of the sum of its leaves' values."""
    sums: dict[str, Fraction] = {}

    def add(node: Node) -> Fraction:
        own = values[node.index] if not node.parts else sum((add(part) for part in node.parts), Fraction(0))
        sums[node.name] = own
        return own

    add(root)
    targets: dict[int, int] = {}

    def down(node: Node, target: int) -> None:
        if not node.parts:
            targets[node.index] = target
            return
        for part, t in zip(node.parts, largest_remainder([sums[part.name] for part in node.parts], target), strict=True):
            down(part, t)

    down(root, total)
    return targets


def is_rigid(node: Node, bends: bool) -> bool:
    return node.is_fixed and not bends


def bound(node: Node, bends: bool, shrinks: bool) -> None:
    """Set lo and hi of the node and all below it."""
    for part in node.parts:
        bound(part, bends, shrinks)
    node.lo, node.hi = Fraction(node.floor), Fraction(max(node.stock.cap, 0))
    if not node.parts:
        return
    if not is_rigid(node, bends):
        node.lo = max(node.lo, sum((part.lo for part in node.parts), Fraction(0)))
        node.hi = sum((part.hi if part.wanted > 0 else min(part.lo, part.hi) for part in node.parts), Fraction(0))
        return
    whole = node.whole
    asking = [part for part in node.parts if part.wanted > 0]
    node.hi = min((part.hi * whole / part.wanted for part in asking), default=Fraction(0))
    if shrinks and whole < node.wanted:  # nobody gets more than was asked for
        node.hi = min(node.hi, whole)
    node.lo = max([node.lo, *(part.lo * whole / part.wanted for part in asking)])
    if any(part.lo > 0 and part.wanted == 0 for part in node.parts):
        node.lo = node.hi + 1  # a floor under a budget of nothing
