"""What a mixture must not be: each mistake one message that names file, line and key, before any work.

A Mixture, the names of the sources and a map from keys to places in. Imports errors, units and recipe's own modules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction

from curate.errors import CurateError, nearest
from curate.recipe.mixture import SEPARATOR, Component, Condition, Group, Mixture, Policy
from curate.recipe.phases import Ask, PhaseSpec
from curate.recipe.strict import COUNTS
from curate.units import Quantity

Place = Callable[..., str]  # the parts of a key -> "file:line" of the longest part of it that stands in a file


def check_mixture(mixture: Mixture, sources: Iterable[str], place: Place) -> None:
    _check_nodes(mixture.components, ("mixture", "components"), list(sources), place)
    _check_phases(mixture, place)
    for phase in mixture.phase_list:
        at = phase.key if mixture.phases else "mixture.components"
        _check_level(phase.parts, phase.policy, phase, "phase " + phase.name if mixture.phases else "mixture", at, place, True)
        _check_reached(phase, mixture, place)


def _check_nodes(nodes: Mapping[str, Component | Group], at: tuple[str, ...], sources: list[str], place: Place) -> None:
    if not nodes:
        raise CurateError("no component", where=place(*at), allowed="NAME: {from: [SOURCE], role: target, budget: 5B tokens}")
    for name, node in nodes.items():
        here = (*at, name)
        if SEPARATOR in name or not name:
            raise CurateError(f"{'.'.join(here)}: a component's name has no {SEPARATOR}", where=place(*here), found=repr(name),
                              next="a group: NAME: {budget: ..., components: {...}} calls its leaves group/leaf")  # fmt: skip
        if isinstance(node, Group):
            _check_nodes(node.components, (*here, "components"), sources, place)
            continue
        if not node.from_:
            raise CurateError(f"{'.'.join(here)}.from: no source", where=place(*here), allowed=", ".join(sources))
        for source in node.from_:
            if source not in sources:
                close = nearest(source, sources)
                raise CurateError(
                    f"{'.'.join((*here, 'from'))}: no source {source!r}", where=place(*here, "from"),
                    allowed=", ".join(close or sources),
                )  # fmt: skip


def _check_phases(mixture: Mixture, place: Place) -> None:
    at = place("mixture")
    if (mixture.total is None) == (not mixture.phases):
        raise CurateError(
            "a mixture has either total: (one phase) or phases: (each with its own total)", where=at,
            found="both" if mixture.phases else "neither", allowed="total: 5B tokens",
        )  # fmt: skip
    names = list(_names(mixture.components))
    used: set[str] = set()
    for phase_name, phase in mixture.phases.items():
        here = ("mixture", "phases", phase_name)
        if not phase_name.replace("_", "").replace("-", "").isalnum():
            raise CurateError(f"{phase_name!r} is no name of a phase", where=place(*here), allowed="letters, digits, _ and -")
        policy = phase.policy or mixture.policy
        if not phase.components and policy.kind == "fixed":
            raise CurateError(
                f"phase {phase_name!r} asks for no component", where=place(*here),
                allowed="components: {NAME: 70 % of tokens}, or a policy: that shares it out",
            )  # fmt: skip
        asked = phase.components if phase.components is not None else dict.fromkeys(mixture.components)
        for name in asked:
            if name not in names:
                close = nearest(name, names)
                raise CurateError(
                    f"phase {phase_name!r}: no component {name!r}", where=place(*here, "components", name),
                    allowed=", ".join(close or names), next=f"did you mean {close[0]!r}?" if close else "",
                )  # fmt: skip
            if above := [other for other in asked if name.startswith(other + SEPARATOR)]:
                raise CurateError(
                    f"phase {phase_name!r} asks for group {above[0]!r} and for {name!r} inside it",
                    where=place(*here, "components", name), allowed="a group, or components of it",
                )  # fmt: skip
        used.update(leaf for leaf in mixture.leaves if any(leaf == name or leaf.startswith(name + SEPARATOR) for name in asked))
    if mixture.phases:
        for name, node in mixture.components.items():
            if node.budget is not None:
                raise CurateError(
                    f"component {name!r} has a budget of its own beside phases", where=place("mixture", "components", name, "budget"),
                    allowed=f"mixture.phases.NAME.components.{name}: {node.budget}",
                )  # fmt: skip
        if idle := [leaf for leaf in mixture.leaves if leaf not in used]:
            raise CurateError(
                f"component {idle[0]!r} is in no phase", where=place(*mixture.key_of(idle[0]).split(".")),
                next="name it in a phase, or leave it out",
            )  # fmt: skip


def _names(nodes: Mapping[str, Component | Group], prefix: str = "") -> Iterable[str]:
    for name, node in nodes.items():
        yield prefix + name
        if isinstance(node, Group):
            yield from _names(node.components, prefix + name + SEPARATOR)


def _check_level(
    parts: Sequence[Ask], policy: Policy, phase: PhaseSpec, what: str, key: str, place: Place, is_sized: bool
) -> None:
    """Budgets of one level: all or none, in units that go together. `is_sized`: a budget, not a policy, says how much the level has."""
    for ask in parts:
        at = place(*ask.key.split("."), "budget")
        if policy.kind == "fixed" and ask.budget is None:
            raise CurateError(
                f"{ask.key}: no budget", where=at, allowed="budget: 5B tokens, 30 % of tokens, 2 epochs, ...",
                next=f"or policy: proportional (temperature, unimax, weights) for {what}",
            )  # fmt: skip
        if policy.kind != "fixed" and ask.budget is not None:
            raise CurateError(f"{ask.key}: a budget where policy {policy.kind} decides", where=at, found=str(ask.budget),
                              next="leave budget: out (floor: and max_epochs: bound what the policy gives), or policy: fixed")  # fmt: skip
        for name, q in (("budget", ask.budget), ("floor", ask.floor)):
            _check_unit(q, phase, f"{ask.key}.{name}", place(*ask.key.split("."), name))
        if not is_sized and ask.budget is not None and ask.budget.unit in (*COUNTS, "epochs"):
            raise CurateError(
                f"{ask.key}: a policy decides how much {what} has, so its parts have shares of it", where=at, found=str(ask.budget),
                allowed=f"'... % of {phase.unit}', '... % of documents', '... x'",
            )  # fmt: skip
        if ask.parts and ask.policy is not None:
            inside = f"group {ask.name!r} (a group's policy is fixed unless it says otherwise)"
            _check_level(ask.parts, ask.policy, phase, inside, ask.component_key, place, is_sized and policy.kind == "fixed")
    units = {ask.budget.unit for ask in parts if ask.budget is not None}
    for unit, shown in (("share_of_documents", "% of documents"), ("multiplier", "x")):
        if unit in units and len(units) > 1:
            other = next(ask for ask in parts if ask.budget is not None and ask.budget.unit != unit)
            raise CurateError(f"{what}: budgets in '{shown}' stand beside others: on one level all have it, or none",
                              where=place(*other.key.split("."), "budget"), found=str(other.budget))  # fmt: skip
    if units == {"share_of_documents"}:
        whole = sum((ask.budget.value for ask in parts if ask.budget is not None), Fraction(0))
        if whole != 1:
            raise CurateError(
                f"{what}: the shares of documents do not add up to 100 %", where=place(*key.split(".")),
                found=str(Quantity(whole, "share_of_documents")),
            )  # fmt: skip
    if units == {"multiplier"} and not any(ask.budget.value for ask in parts if ask.budget is not None):
        raise CurateError(f"{what}: every multiplier is 0", where=place(*parts[0].key.split("."), "budget"))
    if policy.at_most is not None and policy.at_most.unit != phase.unit:
        raise CurateError(f"policy of {what}: at_most is not in the unit of the total", where=place(*key.split(".")),
                          found=str(policy.at_most), allowed=phase.unit)  # fmt: skip
    if policy.weights is not None:
        own = [ask.name.rpartition(SEPARATOR)[2] for ask in parts]
        if missing := [
            name for name, ask in zip(own, parts, strict=True) if name not in policy.weights and ask.name not in policy.weights
        ]:
            close = nearest(missing[0], policy.weights)
            raise CurateError(f"{what}: no weight for {missing[0]!r}", where=place(*key.split(".")),
                              found=", ".join(policy.weights), next=f"did you mean {close[0]!r}?" if close else
                              f"a weight for each of {', '.join(own)}; 0 leaves one out")  # fmt: skip


def _check_unit(q: Quantity | None, phase: PhaseSpec, key: str, at: str) -> None:
    if q is None or q.unit in ("epochs", "multiplier", "share_of_documents", phase.unit, f"share_of_{phase.unit}"):
        return
    unit = q.unit.removeprefix("share_of_")
    assert unit in COUNTS
    raise CurateError(
        f"{key}: counted in {unit}, the total of its phase in {phase.unit}", where=at, found=f"{q}; total {phase.total}",
        allowed=f"'... {phase.unit}', '... % of {phase.unit}', '... epochs'",
    )  # fmt: skip


def _check_reached(phase: PhaseSpec, mixture: Mixture, place: Place) -> None:
    """No component whose every document an earlier one of the phase takes."""
    leaves = mixture.leaves
    inside = [name for name, ask in zip(phase.leaves, phase.asks, strict=True) if ask is not None]
    for i, name in enumerate(inside):
        own = leaves[name]
        taken = {
            source: before for before in reversed(inside[:i]) for source in leaves[before].from_ if _covers(leaves[before].where, own.where)
        }  # fmt: skip
        if all(source in taken for source in own.from_):
            source, first = own.from_[0], taken[own.from_[0]]
            raise CurateError(
                f"source {source!r} feeds both {first!r} and {name!r}, and {first!r} takes every document: a document belongs to one "
                "component of a phase, the first that it fits", where=place(*mixture.key_of(name).split("."), "from"),
                next=f"a where: for {first!r}, or {name!r} before it",
            )  # fmt: skip


def _covers(first: Mapping[str, Condition], second: Mapping[str, Condition]) -> bool:
    """Whether every document that `second` lets in is one that `first` lets in."""
    return all(key in second and second[key].within(condition) for key, condition in first.items())
