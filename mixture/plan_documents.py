"""Planning over the documents themselves: the numbers a build of them would have, without packing tokens or writing anything.

In: kept documents as a build takes them. Out: a Run for plan.py, exact; or, of a sample, Cells for plan_cells.py. Imports recipe, and
mixture's budget, going_on, labels, pack, planning, selection.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from curate.recipe import Mixture, PhaseSpec, Recipe
from mixture import going_on, kernels, plan_rows
from mixture.budget import NOTHING, Infeasible, Stock, plan
from mixture.labels import labels
from mixture.pack import concat, pack
from mixture.plan import Phase, Rows, Run
from mixture.plan_cells import Cell
from mixture.planning import present
from mixture.selection import Documents, Labels, Part, Pattern, State, Use, documents, hold_out, part, passes


@dataclass(frozen=True)
class Known:
    """Documents, which of them are held out, what earlier runs consumed, and what counts as a label."""

    docs: Documents
    held: np.ndarray  # bool (n,)
    state: State
    counted: Labels | None
    seed: int


def known(
    recipe: Recipe, tables: Mapping[str, pa.Table], shards: Sequence[Path], patterns: Sequence[Pattern],
    copies: Mapping[str, Mapping[str, Any]], tokenizer: Mapping[str, Any],
) -> Known:  # fmt: skip
    """As build.plan_and_pack begins. `tokenizer`: of the manifest; only a recipe that continues another needs it."""
    specs, leaves = recipe.mixture.phase_list, recipe.mixture.leaves
    times = {name: [b["copies"] for b in given["bins"]] for name, given in copies.items()}
    docs = documents(tables, {name: c.from_ for name, c in leaves.items()}, patterns, times)
    counted = labels(docs, shards) if any(spec.unit == "loss_tokens" for spec in specs) else None
    before = going_on.consumed(recipe, docs, dict(tokenizer), counted is not None)
    held = np.zeros(docs.n, np.bool_)
    if recipe.held_out is not None or before.held.any():
        most, at_most = (0, Fraction(0))
        if recipe.held_out is not None:
            most, at_most = recipe.held_out.per_component.count, recipe.held_out.at_most.value
        home = docs.first_of({c for spec in specs for c in present(spec)})
        held = hold_out(docs, home, most, at_most, recipe.seed, before.state.used > 0, before.held)
    return Known(docs, held, before.state, counted, recipe.seed)


def over_documents(of: Known) -> Run:
    """The same plans, passes and rows as a build's."""

    def run(mixture: Mixture) -> list[Phase]:
        state, phases = of.state.copy(), []
        for number, spec in enumerate(mixture.phase_list):
            phases.append(_phase(of, state, spec, number))
            if phases[-1].problem is not None:
                break
        return phases

    return run


def _phase(of: Known, state: State, spec: PhaseSpec, number: int) -> Phase:
    docs, n = of.docs, len(of.docs.components)
    assigned = docs.first_of(present(spec))
    parts: dict[int, Part] = {}
    stocks: list[Stock] = [NOTHING] * n
    for c, ask in enumerate(spec.asks):
        if ask is not None:
            own = docs.of(c, assigned)
            parts[c] = part(docs, state, c, own[~of.held[own]], ask.max_epochs, spec.unit, of.counted)
            stocks[c] = Stock(parts[c].unique, parts[c].epoch, parts[c].epoch_documents, parts[c].cap)
    before: list[tuple[float, float] | None] = [*_all_seen(docs, state, parts, n)]
    tokens = [0] * n
    try:
        done = plan(spec, stocks)
    except Infeasible as error:
        return Phase(spec, stocks, None, error, tokens, before, [(0.0, 0.0)] * n, lambda: [None] * n)
    uses: list[list[Use]] = [[] for _ in range(n)]
    for c, found in parts.items():
        uses[c] = passes(docs, state, found, done.targets[c], of.seed, spec.name, number)
        tokens[c] = sum(int(use.n_tokens.sum()) for use in uses[c])
    return Phase(
        spec, stocks, done, None, tokens, before, _all_seen(docs, state, parts, n), lambda: [_packed(mine, spec) for mine in uses]
    )  # fmt: skip


def _packed(uses: Sequence[Use], spec: PhaseSpec) -> Rows:
    packed = [(pack if spec.packing == "best_fit" else concat)(use.n_tokens, spec.sequence_length) for use in uses]
    return Rows(
        sum(p.n_rows for p in packed), sum(p.padding(spec.sequence_length) for p in packed),
        sum(p.unavoidable(spec.sequence_length) for p in packed),
    )  # fmt: skip


def _all_seen(docs: Documents, state: State, parts: Mapping[int, Part], n: int) -> list[tuple[float, float]]:
    found = [(0.0, 0.0)] * n
    for c, mine in parts.items():
        own = mine.own
        first = (state.used[own] == 1) & (state.rest[own] > 0)
        seen = np.where(first, state.rest[own], np.where(state.used[own] > 0, docs.n_tokens[own], 0))
        found[c] = float(seen.sum()), float(state.tokens[own].sum())
    return found


def cells(of: Known, names: Sequence[str]) -> list[Cell]:
    """The documents grouped by source and the components they match; held-out ones left out. `names`: of the components."""
    docs = of.docs
    kind = docs.source.astype(np.int64) * len(docs.patterns) + docs.pattern
    free = np.flatnonzero(~of.held)
    by_kind, ptr = kernels.group(kind[free], len(docs.sources) * len(docs.patterns))
    own = free[by_kind]
    loss = of.counted.whole if of.counted is not None else docs.n_loss_tokens
    found = []
    for number in np.flatnonzero(np.diff(ptr)).tolist():
        mine = own[ptr[number] : ptr[number + 1]]
        source, pattern = divmod(number, len(docs.patterns))
        times = {names[c]: Fraction(int(docs.copies[c][b])) for c, b in docs.patterns[pattern]}
        lengths = np.sort(docs.n_tokens[mine])
        step = max(1, lengths.size // plan_rows.SAMPLE)
        found.append(
            Cell(docs.sources[source], times, mine.size, int(lengths.sum()), int(loss[mine].sum()), lengths[step // 2 :: step])
        )
    return found
