"""Phase after phase, before anything is packed: what there is of each component, the plan, and the passes that carry it out.

Kept documents with their components, the phases of a mixture and what was consumed before in; parts, plans and uses out. Imports recipe
and mixture's budget, going_on, held_out, labels, overlong, selection.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from curate.recipe import PhaseSpec, Recipe
from mixture import budget, going_on
from mixture.going_on import Before
from mixture.held_out import hold_out
from mixture.labels import labels
from mixture.overlong import LeftOut, check_any, leave_out
from mixture.selection import Documents, Labels, Part, Pattern, State, Use, documents, part, passes


@dataclass(frozen=True)
class Known:
    """What a mixture is planned over."""

    docs: Documents
    home: np.ndarray  # int16 (n,): the component where a held-out document counts, -1 in none
    held: np.ndarray  # bool (n,): held out
    before: Before  # what earlier runs consumed
    counted: Labels | None  # which tokens are labels, where a phase counts them
    left: LeftOut  # what no component takes, for its length or since it is refused


def known(
    recipe: Recipe, tables: MutableMapping[str, pa.Table], shards: Sequence[Path], patterns: Sequence[Pattern],
    copies: Mapping[str, Mapping[str, Any]], tokenizer: Mapping[str, Any],
) -> Known:  # fmt: skip
    """Tables (empty afterwards) and the rest as build.plan_and_pack has them."""
    specs, leaves = recipe.mixture.phase_list, recipe.mixture.leaves
    times = {name: [b["copies"] for b in given["bins"]] for name, given in copies.items()}
    docs, left = leave_out(
        documents(tables, {name: c.from_ for name, c in leaves.items()}, patterns, times), recipe.mixture, shards
    )
    check_any(docs, left, shards)
    counted = labels(docs, shards) if any(spec.unit == "loss_tokens" for spec in specs) else None
    before = going_on.consumed(recipe, docs, dict(tokenizer), counted is not None)
    home = docs.first_of({c for spec in specs for c in present(spec)})
    held = np.zeros(docs.n, np.bool_)
    if recipe.held_out is not None or before.held.any():
        most, at_most = (0, Fraction(0))
        if recipe.held_out is not None:
            most, at_most = recipe.held_out.per_component.count, recipe.held_out.at_most.value
        held = hold_out(docs, home, most, at_most, recipe.seed, before.state.used > 0, before.held)
    return Known(docs, home, held, before, counted, left)


def present(spec: PhaseSpec) -> set[int]:
    """The components that have a budget in a phase."""
    return {c for c, ask in enumerate(spec.asks) if ask is not None}


def plan_phases(
    specs: Sequence[PhaseSpec], docs: Documents, assigned: Sequence[np.ndarray], held: np.ndarray, state: State,
    counted: Labels | None, seed: int, usable: np.ndarray | None = None,
) -> tuple[list[list[Part]], list[budget.Plan], list[Use]]:  # fmt: skip
    """`assigned`: per phase the component of each document. `state` ends as it is after the last phase. `usable` (of a miniature): the
    documents that passes may hold; the others are in their components all the same. Raises budget.Infeasible."""
    parts: list[list[Part]] = []
    plans: list[budget.Plan] = []
    uses: list[Use] = []
    for f, spec in enumerate(specs):
        in_phase, stocks = parts_of(spec, docs, assigned[f], held, state, counted)
        plan = budget.plan(spec, stocks)
        for found in in_phase:
            holds = found if usable is None else _only(found, usable)
            uses += passes(docs, state, holds, plan.targets[found.component], seed, spec.name, f)
        parts.append(in_phase)
        plans.append(plan)
    return parts, plans, uses


def parts_of(
    spec: PhaseSpec, docs: Documents, assigned: np.ndarray, held: np.ndarray, state: State, counted: Labels | None
) -> tuple[list[Part], list[budget.Stock]]:
    """The components of a phase with their documents, and what the planner has to know of all components."""
    in_phase, stocks = [], [budget.NOTHING] * len(docs.components)
    for c, ask in enumerate(spec.asks):
        if ask is None:
            continue
        own = docs.of(c, assigned)
        own = own[~held[own]] if held.any() else own
        found = part(docs, state, c, own, ask.max_epochs, spec.unit, counted, spec.packing == "single")
        stocks[c] = budget.Stock(found.unique, found.epoch, found.epoch_documents, found.cap)
        in_phase.append(found)
    return in_phase, stocks


def _only(found: Part, usable: np.ndarray) -> Part:
    keep = usable[found.own]
    return replace(found, own=found.own[keep], copies=found.copies[keep])
