"""Budgets of a phase in exact integers: what the recipe asks and what each component has in, what to train per component out.

Everything is counted in the unit of the phase: tokens, loss tokens or examples. An epoch is the component's unique tokens, with
`copies` each times its copies (selection.py). A cap is floor(max_epochs * epoch), less what was consumed before. A request is feasible
when no ideal (a fraction) is above its cap, so rounding can never pass a cap. Levels and groups are levels.py, policies policies.py,
what to change suggest.py. Fractions and integers only. Imports errors, recipe, units.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from curate.errors import CurateError
from curate.recipe import Ask, Mixture, PhaseSpec
from curate.recipe.phases import exact
from curate.units import decimal, is_decimal
from mixture.levels import NOTHING, Node, Stock, bound, grow, ideals, is_rigid, off, outcome, rounded
from mixture.suggest import ceil, suggestions

__all__ = ["NOTHING", "Infeasible", "Plan", "Stock", "check", "exact", "plan"]


class Infeasible(CurateError):
    """No such mixture exists. `suggestions`: alternatives, each {"set": {recipe key: value}} and each enough on its own.

    Every one is the smallest of its kind: a token further and it fails. `short`: {component: {requested, cap, needs_unique}};
    needs_unique: tokens that an epoch lacks, which are unique tokens where they come with one copy each.
    """

    suggestions: list[dict[str, Any]]
    short: dict[str, dict[str, int]]


@dataclass(frozen=True)
class Plan:
    """In the unit of the phase, per leaf of the mixture in recipe order; 0 where the leaf is not in the phase.

    `bent` names the policy of shortage that had to act, "" if none had to. `level`: what the phase's ideals were multiplied by where
    water was filled (bend_shares, and every policy but fixed); `levels`: the same of every group, the phase's own is "".
    """

    requested: list[int]
    targets: list[int]
    caps: list[int]
    binding: list[str]  # components whose cap is below what was asked
    bent: str
    level: Fraction | None
    levels: dict[str, Fraction] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return sum(self.targets)


def check(mixture: Mixture) -> None:
    """What arithmetic alone excludes, before any document is read. Raises Infeasible."""
    for phase in mixture.phase_list:
        for ask in phase.asks:
            if ask is not None:
                _check_own_cap(ask)
        plenty = [_plenty(phase)] * len(phase.leaves)
        knows = _check_sums(phase, "", phase.parts, phase.policy.kind == "fixed", phase.total.value)
        if knows and any(node.floor for node in grow(phase, plenty).all()):
            plan(phase, plenty)  # floors fit, or they never will


def _plenty(phase: PhaseSpec) -> Stock:
    much = 2 * phase.total.count
    return Stock(much, much, much, much)


def _check_own_cap(ask: Ask) -> None:
    for what, q in (("budget", ask.budget), ("floor", ask.floor)):
        if q is not None and q.unit == "epochs" and q.value > ask.max_epochs:
            most = decimal(ask.max_epochs)
            sets = [{f"{ask.component_key}.max_epochs": decimal(q.value)}, {f"{ask.key}.{what}": f"{most} epochs"}]
            raise _infeasible(
                f"the {what} of {ask.name} passes its own cap", sets, where=ask.key, found=f"{what} {q}, max_epochs {most}"
            )


def _check_sums(phase: PhaseSpec, name: str, asks: Sequence[Ask], is_fixed: bool, wanted: Fraction | None) -> bool:
    """Sums of every fixed level that no document can change. True: no document has a say in any of them."""
    units = {ask.budget.unit for ask in asks if ask.budget is not None}
    by_documents = bool(units & {"epochs", "multiplier", "share_of_documents"})
    values: list[Fraction | None] = [None] * len(asks)
    if is_fixed and not by_documents:
        only_shares = all(unit.startswith("share") for unit in units)
        base = wanted if wanted is not None else Fraction(1) if only_shares else None
        if base is not None:
            found = ideals([ask.budget for ask in asks], base, [NOTHING] * len(asks))
            if sum(found, Fraction(0)) != base:
                raise _off(phase, name, asks, found, wanted)
            values = list(found) if wanted is not None else values
    knows = not by_documents and all(ask.floor is None or ask.floor.unit != "epochs" for ask in asks)
    for ask, value in zip(asks, values, strict=True):
        if ask.parts and ask.policy is not None:
            knows &= _check_sums(phase, ask.name, ask.parts, ask.policy.kind == "fixed", value)
    return knows


def plan(phase: PhaseSpec, stocks: Sequence[Stock]) -> Plan:
    """What to train per component. `stocks`: one per leaf of the mixture, given what is left after held-out. Raises Infeasible."""
    n = len(phase.leaves)
    root = grow(phase, stocks)
    for node in off(root):
        if phase.on_shortage == "fail" or not node.has_epochs:
            asks = [part.ask for part in node.parts if part.ask]
            raise _off(phase, node.name, asks, [part.wanted for part in node.parts], node.wanted)
    found = outcome(root, phase.on_shortage)
    if found is None:
        raise _shortage(phase, stocks, root)
    leaves = root.leaves()
    wanted = {leaf.index: leaf.wanted for leaf in leaves}
    asked = rounded(root, wanted, int(sum(wanted.values(), Fraction(0)) // 1))
    caps = {leaf.index: max(leaf.stock.cap, 0) for leaf in leaves}
    requested, targets, allowed = ([of.get(i, 0) for i in range(n)] for of in (asked, found.targets, caps))
    binding = [leaf.name for leaf in leaves if leaf.wanted > leaf.stock.cap]
    return Plan(requested, targets, allowed, binding, found.bent, found.levels.get(""), found.levels)


def _off(phase: PhaseSpec, name: str, asks: Sequence[Ask], values: Sequence[Fraction], wanted: Fraction | None) -> Infeasible:
    """The budgets of a level and its own do not add up. `wanted` None: only the documents decide it, `values` are shares of it."""
    units = [ask.budget.unit if ask.budget else "" for ask in asks]
    largest = max(range(len(asks)), key=lambda i: values[i])
    whole, sets = sum(values, Fraction(0)), []
    if wanted is None:
        by, found = f"{decimal(abs(1 - whole) * 100)} % too {'few' if whole < 1 else 'many'}", f"{decimal(whole * 100)} %"
        if (fixed := values[largest] + 1 - whole) > 0:
            sets.append({f"{asks[largest].key}.budget": f"{decimal(fixed * 100)} % of {phase.unit}"})
    else:
        share = f"share_of_{phase.unit}"
        shares = sum((ask.budget.value for ask in asks if ask.budget and ask.budget.unit == share), Fraction(0))
        if not name and shares < 1:
            other = (whole - shares * wanted) / (1 - shares)
            if other.denominator == 1 and other > 0:
                sets.append({f"{phase.key}.total": f"{other} {phase.unit}"})
        fixed = values[largest] + wanted - whole
        if fixed > 0 and (budget := _budget(fixed, units[largest], wanted, phase.unit)):
            sets.append({f"{asks[largest].key}.budget": budget})
        by = f"{_number(abs(wanted - whole))} {phase.unit} too {'few' if whole < wanted else 'many'}"
        found = f"budgets {_number(whole)} {phase.unit}, {'group' if name else 'total'} {_number(wanted)} {phase.unit}"
    to = f"of group {name} do not add up to it" if name else "do not add up to the total"
    where = asks[0].key.rpartition(".components.")[0] if name else f"{phase.key}.total"
    return _infeasible(f"the budgets {to}: {by}", sets, where=where, found=found)


def _shortage(phase: PhaseSpec, stocks: Sequence[Stock], root: Node) -> Infeasible:
    sets = suggestions(phase, stocks, root)
    short, lines, is_short = _why(phase, root)
    what = "not enough tokens for the mixture" if is_short else "the floors leave no such mixture"
    if phase.unit != "tokens":
        what = what.replace("tokens", phase.unit)
    error = _infeasible(what, sets, where=phase.key, found="; ".join(lines))
    error.short = {
        leaf.name: {
            "requested": ceil(leaf.wanted), "cap": max(leaf.stock.cap, 0),
            "needs_unique": int(-(-(ceil(leaf.wanted) + _consumed(leaf)) // _most(leaf))) - leaf.stock.epoch,
        }
        for leaf in short
    }  # fmt: skip
    return error


def _why(phase: PhaseSpec, root: Node) -> tuple[list[Node], list[str], bool]:
    """Leaves that lack something, a line for each constraint that binds, and whether a cap is among them."""
    bends = phase.on_shortage == "bend_shares"
    bound(root, bends, False)
    short: list[Node] = []
    lines: list[str] = []
    is_short = False

    def look(node: Node, value: Fraction) -> None:
        nonlocal is_short
        if not node.parts and value > node.stock.cap:
            is_short = True
            short.append(node)
            lines.append(_asks(node, value, phase.unit))
        elif node.floor > value:
            lines.append(f"{node.name} asks {_number(value)} {phase.unit}, its floor is {node.floor:,}")
        elif not node.parts:
            return
        elif is_rigid(node, bends):
            whole = node.whole
            for part in node.parts:
                look(part, part.wanted * value / whole if whole else Fraction(0))
        elif node.hi < value:
            is_short = True
            if node.is_fixed:  # bend_shares: what each lacks of what it asks
                for leaf in node.leaves():
                    if leaf.wanted > leaf.stock.cap:
                        short.append(leaf)
                        lines.append(_asks(leaf, leaf.wanted, phase.unit))
            name = f"group {node.name}" if node.name else "the total"
            if not node.is_fixed or not lines:
                lines.append(
                    f"{name} is {_number(value)} {phase.unit}, all caps together allow {_number(Fraction(node.hi // 1))}"
                )
        elif node.lo > value:
            name = f"group {node.name}" if node.name else "the total"
            lines.append(f"the floors take {_number(Fraction(ceil(node.lo)))} {phase.unit}, {name} is {_number(value)}")

    for node in root.all():
        if node.lo > node.hi and all(part.lo <= part.hi for part in node.parts):
            is_short |= not node.parts
            lines.append(_impossible(node, phase.unit, bends))
    look(root, root.wanted)
    return short, lines, is_short


def _impossible(node: Node, unit: str, bends: bool) -> str:
    """Why floors and caps of a node exclude each other whatever it is given."""
    name = f"group {node.name}" if node.name else "the mixture"
    if not node.parts:
        return f"{node.name} has a floor of {node.floor:,} {unit}, {_has(node)}"
    if unasked := [part for part in node.parts if part.lo > 0 and part.wanted == 0 and is_rigid(node, bends)]:
        return f"{unasked[0].name} has a floor of {_number(unasked[0].lo)} {unit} and is asked for none"
    return f"{name}: floors need {_number(Fraction(ceil(node.lo)))} {unit}, caps allow {_number(Fraction(node.hi // 1))}"


def _asks(leaf: Node, value: Fraction, unit: str) -> str:
    return f"{leaf.name} asks {_number(value)} {unit}, {_has(leaf)}"


def _has(leaf: Node) -> str:
    own, consumed = leaf.stock, _consumed(leaf)
    return (
        f"has {own.unique:,} unique, {f'with copies {own.epoch:,} an epoch, ' if own.epoch != own.unique else ''}"
        f"{decimal(_most(leaf))} epochs allow {max(own.cap, 0):,}{f' more ({consumed:,} are consumed)' if consumed else ''}"
    )


def _most(leaf: Node) -> Fraction:
    assert leaf.ask is not None
    return leaf.ask.max_epochs


def _consumed(leaf: Node) -> int:
    """By earlier phases, and by what the recipe goes on from."""
    return max(int(_most(leaf) * leaf.stock.epoch // 1) - leaf.stock.cap, 0)


def _infeasible(what: str, sets: list[dict[str, str]], *, where: str, found: str) -> Infeasible:
    lines = ["; ".join(f"{key}: {value}" for key, value in change.items()) for change in sets]
    error = Infeasible(what, where=where, found=found, next="\n        or ".join(lines) or "another mixture")
    error.suggestions = [{"set": change} for change in sets]
    error.short = {}
    return error


def _budget(amount: Fraction, unit: str, total: Fraction, counted_in: str) -> str:
    """`amount` in the unit the recipe used where that is exact, in the other one where only that is, else ""."""
    share = f"{decimal(amount / total * 100)} % of {counted_in}" if is_decimal(amount / total) else ""
    count = f"{int(amount)} {counted_in}" if amount.denominator == 1 else ""
    return (share or count) if unit.startswith("share") else (count or share)


def _number(value: Fraction) -> str:
    return f"{int(value):,}" if value.denominator == 1 else f"{float(value):,.2f}"
