"""What a mixture will be, before it is built: phase by phase what is asked, what is there, what that gives, and what would help.

In: a mixture and a `Run` that plans it over what is known of the documents (plan_cells.py, plan_documents.py) or has planned it
already (plan_manifest.py). Out: plain data, which curate/inspect/plan_screen.py renders. Writes nothing. Imports recipe, and
mixture's batches, budget, steps.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from curate.recipe import Mixture, PhaseSpec
from curate.recipe.files import apply_set
from mixture.budget import Infeasible, Plan, Stock
from mixture.levels import grow
from mixture.steps import steps_of

R_STAR = 15.39  # data-constrained law, Muennighoff et al. 2023, arXiv 2305.16264 (huggingface/datablations): English web text


@dataclass(frozen=True)
class Rows:
    """Sequences of a component in one phase. `unavoidable`: tokens of padding that no packing of these lengths can do without."""

    rows: int
    padding: int
    unavoidable: int


@dataclass(frozen=True)
class Phase:
    """One phase as it is planned, per leaf of the mixture; amounts in the unit of the phase but for `tokens` and `seen`.

    `plan` None: it is infeasible, `problem` says why. `seen`: of the leaf's documents of this phase, tokens used at least once and
    tokens used in all, by the end of it. `before`: the same two before it, None where that is not known. `rows()`: packed when it is
    asked for; None where lengths are not known."""

    spec: PhaseSpec
    stocks: list[Stock]
    plan: Plan | None
    problem: Infeasible | None
    tokens: list[int]
    before: list[tuple[float, float] | None]
    seen: list[tuple[float, float]]
    rows: Callable[[], list[Rows | None]]


Run: TypeAlias = Callable[[Mixture], list[Phase]]  # up to and with the first phase that is infeasible


def effective(unique: float, trained: float) -> float:
    """D' = U + U R* (1 - exp(-R / R*)), R = epochs - 1: what repeated data is worth. A hint, for planning only."""
    if trained <= unique or unique <= 0:
        return float(trained)
    return unique + unique * R_STAR * (1 - math.exp(-(trained / unique - 1) / R_STAR))


def changed(mixture: Mixture, change: Mapping[str, str]) -> Mixture:
    """The mixture with a suggestion {recipe key: value} applied, as `--set` would."""
    data = {"mixture": copy.deepcopy(mixture.model_dump(mode="json", by_alias=True, exclude_none=True))}
    for key, value in change.items():
        apply_set(data, f"{key}={value}")
    return Mixture.model_validate(data["mixture"])


def alternatives(run: Run, mixture: Mixture, problem: Infeasible) -> list[dict[str, str]]:
    """Changes with which every phase is feasible, each tried. Where one change lets another phase fail, that phase's change of the same
    kind is added; of other kinds only where no kind does alone."""
    tried = [_completed(run, mixture, first["set"], True) for first in problem.suggestions]
    if not any(tried):
        tried = [_completed(run, mixture, first["set"], False) for first in problem.suggestions]
    found: list[dict[str, str]] = []
    for change in tried:
        if change and change not in found:
            found.append(change)
    return found


def _completed(run: Run, mixture: Mixture, first: Mapping[str, str], is_pure: bool) -> dict[str, str]:
    """`first` with what the phases after it need; {} where they need what nobody knows, or another kind of change."""
    change = dict(first)
    kind = _kind(change)
    for _ in range(2 * len(mixture.phase_list) + 1):
        error = run(changed(mixture, change))[-1].problem
        if error is None:
            return change
        more = [s["set"] for s in error.suggestions]
        alike = [s for s in more if _kind(s) == kind]
        chosen = alike[0] if alike else more[0] if more and not is_pure else {}
        if all(change.get(key) == value for key, value in chosen.items()):
            break
        change |= chosen
    return {}


def _kind(change: Mapping[str, str]) -> str:
    return next(iter(change)).rpartition(".")[2]


def report(
    name: str, mixture: Mixture, run: Run, *, known: str, is_exact: bool, global_batch: str | None = None,
    tokens_per_second: float | None = None, hints: Sequence[str] = (),
) -> dict[str, Any]:  # fmt: skip
    """`known`: where the numbers of the documents come from. Raises CurateError for a global batch that is not whole rows."""
    phases = run(mixture)
    problem = phases[-1].problem
    changes = alternatives(run, mixture, problem) if problem is not None else []
    data: dict[str, Any] = {
        "name": name, "known": known, "exact": is_exact, "feasible": problem is None, "problem": str(problem) if problem else "",
        "why": _without_next(problem) if problem else "",
        "changes": [{"set": change, "yaml": yaml_lines(change)} for change in changes],
        "phases": [_phase(phase) for phase in phases],
        "components": [row for phase in phases for row in _components(phase)], "hints": list(hints),
    }  # fmt: skip
    _add_steps(data["phases"], global_batch, tokens_per_second)
    return data


def _without_next(problem: Infeasible) -> str:
    return "\n".join(line for line in str(problem).split("\n  next:")[0].splitlines())


def _phase(phase: Phase) -> dict[str, Any]:
    spec, plan = phase.spec, phase.plan
    found = [r for r, ask in zip(phase.rows(), spec.asks, strict=True) if ask is not None] if plan else []
    rows = [r for r in found if r is not None]
    is_known = bool(plan) and len(rows) == len(found)
    least = sum(
        -(-tokens // spec.sequence_length) for tokens in phase.tokens
    )  # of each component, without any padding but at its end
    return {
        "phase": spec.name, "unit": spec.unit, "requested": spec.total.count, "realised": plan.total if plan else None,
        "tokens": sum(phase.tokens) if plan else None, "sequence_length": spec.sequence_length, "packing": spec.packing,
        "on_shortage": spec.on_shortage, "policy": spec.policy.kind, "bent": plan.bent if plan else "",
        "level": float(plan.level) if plan and plan.level is not None else None,
        "levels": {name: float(level) for name, level in plan.levels.items() if name} if plan else {},
        "binding": list(plan.binding) if plan else [],
        "sequences": sum(r.rows for r in rows) if is_known else least if plan else None,
        "padding_tokens": sum(r.padding for r in rows) if is_known else None,
        "unavoidable_padding_tokens": sum(r.unavoidable for r in rows) if is_known else None,
        "steps": None, "days": None,
    }  # fmt: skip


def _components(phase: Phase) -> list[dict[str, Any]]:
    """Per leaf of the phase, in recipe order."""
    spec, plan = phase.spec, phase.plan
    wanted = {leaf.index: leaf.wanted for leaf in grow(spec, phase.stocks).leaves()}
    found = []
    for i, (name, ask, stock) in enumerate(zip(spec.leaves, spec.asks, phase.stocks, strict=True)):
        if ask is None:
            continue
        before, (seen, trained) = phase.before[i], phase.seen[i]
        target = plan.targets[i] if plan else None
        tokens = phase.tokens[i] if plan else None
        new = worth = None
        if plan and before is not None:
            new, worth = round(seen - before[0]), round(effective(seen, trained) - effective(*before))
        found.append({
            "phase": spec.name, "component": name, "group": name.rpartition("/")[0],
            "budget": str(ask.budget) if ask.budget else _policy_of(spec, name), "floor": str(ask.floor) if ask.floor else None,
            "requested": plan.requested[i] if plan else round(wanted[i]), "realised": target, "tokens": tokens,
            "share": _ratio(target, plan.total if plan else 0), "unique": stock.unique,
            "epoch": stock.epoch, "cap": max(stock.cap, 0), "max_epochs": float(ask.max_epochs),
            "at_cap": target is not None and target == max(stock.cap, 0), "epochs": _ratio(target, stock.epoch),
            "new_tokens": new, "repeated_tokens": tokens - new if tokens is not None and new is not None else None,
            "effective_tokens": worth,
        })  # fmt: skip
    return found


def _ratio(part: int | None, whole: int) -> float | None:
    return part / whole if part is not None and whole else None


def _policy_of(spec: PhaseSpec, leaf: str) -> str:
    """The policy that decides a leaf without a budget: its group's, or the phase's."""
    asks, policy = spec.parts, spec.policy
    while (group := next((ask for ask in asks if ask.parts and leaf.startswith(ask.name + "/")), None)) is not None:
        asks, policy = group.parts, group.policy or policy
    return policy.kind


def _add_steps(phases: list[dict[str, Any]], global_batch: str | None, tokens_per_second: float | None) -> None:
    """Every phase's last global batch is filled with empty rows, so its steps are a ceiling of their own."""
    for phase in phases:
        if tokens_per_second and phase["sequences"] is not None:
            phase["days"] = phase["sequences"] * phase["sequence_length"] / tokens_per_second / 86400
    if global_batch is None or any(phase["sequences"] is None for phase in phases):
        return
    stated = [
        {"name": p["phase"], "sequence_length": p["sequence_length"], "order": {"n_sequences": p["sequences"]}} for p in phases
    ]
    steps = steps_of({"phases": stated}, global_batch)
    for number, phase in enumerate(phases):
        phase["steps"] = steps.ends[number] - steps.first_step(number)


def yaml_lines(change: Mapping[str, str]) -> list[str]:
    """{recipe key: value} as the lines to paste."""
    tree: dict[str, Any] = {}
    for key, value in change.items():
        *above, last = key.split(".")
        node = tree
        for step in above:
            node = node.setdefault(step, {})
        node[last] = value

    def lines(node: Mapping[str, Any], indent: int) -> list[str]:
        said = []
        for key, value in node.items():
            if not isinstance(value, Mapping):
                said.append(f"{'  ' * indent}{key}: {value}")
            elif not indent or any(isinstance(below, Mapping) for below in value.values()):
                said += [f"{'  ' * indent}{key}:", *lines(value, indent + 1)]
            else:
                said.append(f"{'  ' * indent}{key}: {{{', '.join(f'{k}: {v}' for k, v in value.items())}}}")
        return said

    return lines(tree, 0)
