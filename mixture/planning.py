"""Phase after phase, before anything is packed: what there is of each component, the plan, and the passes that carry it out.

Documents with their components, the phases of a mixture and what was consumed before in; parts, plans and uses out. Imports recipe and
mixture's budget, selection.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from curate.recipe import PhaseSpec
from mixture import budget
from mixture.selection import Documents, Labels, Part, State, Use, part, passes


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
        in_phase, stocks = [], [budget.Stock(0, 0, 0, 0)] * len(docs.components)
        for c, ask in enumerate(spec.asks):
            if ask is None:
                continue
            own = docs.of(c, assigned[f])
            own = own[~held[own]] if held.any() else own
            found = part(docs, state, c, own, ask.max_epochs, spec.unit, counted)
            stocks[c] = budget.Stock(found.unique, found.epoch, found.epoch_documents, found.cap)
            in_phase.append(found)
        plan = budget.plan(spec, stocks)
        for found in in_phase:
            holds = found if usable is None else _only(found, usable)
            uses += passes(docs, state, holds, plan.targets[found.component], seed, spec.name, f)
        parts.append(in_phase)
        plans.append(plan)
    return parts, plans, uses


def _only(found: Part, usable: np.ndarray) -> Part:
    keep = usable[found.own]
    return replace(found, own=found.own[keep], copies=found.copies[keep])
