"""Planning over the documents themselves: the numbers a build of them would have, without packing tokens or writing anything.

In: what a build plans over (planning.py). Out: a Run for plan.py, exact; or, of a sample, Cells for plan_cells.py. Imports recipe, and
mixture's budget, kernels, pack, plan, plan_cells, plan_rows, planning, selection.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from curate.recipe import Mixture, PhaseSpec
from mixture import kernels, plan_rows
from mixture.budget import Infeasible, plan
from mixture.pack import PACKING
from mixture.plan import Phase, Rows, Run
from mixture.plan_cells import Cell
from mixture.planning import Known, parts_of, present
from mixture.selection import Documents, Part, State, Use, passes


def over_documents(of: Known, seed: int) -> Run:
    """The same plans, passes and rows as a build's. `seed`: the recipe's."""

    def run(mixture: Mixture) -> list[Phase]:
        state, phases = of.before.state.copy(), []
        for number, spec in enumerate(mixture.phase_list):
            phases.append(_phase(of, seed, state, spec, number))
            if phases[-1].problem is not None:
                break
        return phases

    return run


def _phase(of: Known, seed: int, state: State, spec: PhaseSpec, number: int) -> Phase:
    docs, n = of.docs, len(of.docs.components)
    parts, stocks = parts_of(spec, docs, docs.first_of(present(spec)), of.held, state, of.counted)
    before: list[tuple[float, float] | None] = [*_all_seen(docs, state, parts, n)]
    tokens = [0] * n
    try:
        done = plan(spec, stocks)
    except Infeasible as error:
        return Phase(spec, stocks, None, error, tokens, before, [(0.0, 0.0)] * n, lambda: [None] * n)
    uses: list[list[Use]] = [[] for _ in range(n)]
    for found in parts:
        c = found.component
        uses[c] = passes(docs, state, found, done.targets[c], seed, spec.name, number)
        tokens[c] = sum(int(use.n_tokens.sum()) for use in uses[c])
    return Phase(
        spec, stocks, done, None, tokens, before, _all_seen(docs, state, parts, n), lambda: [_packed(mine, spec) for mine in uses]
    )  # fmt: skip


def _packed(uses: Sequence[Use], spec: PhaseSpec) -> Rows:
    packed = [PACKING[spec.packing](use.n_tokens, spec.row_length) for use in uses]
    return Rows(
        sum(p.n_rows for p in packed), sum(p.padding(spec.row_length) for p in packed),
        sum(p.unavoidable(spec.row_length) for p in packed),
    )  # fmt: skip


def _all_seen(docs: Documents, state: State, parts: Sequence[Part], n: int) -> list[tuple[float, float]]:
    """Per component: tokens used at least once, tokens used in all."""
    found = [(0.0, 0.0)] * n
    for mine in parts:
        own = mine.own
        is_cut = (state.used[own] == 1) & (state.rest[own] > 0)
        seen = np.where(is_cut, state.rest[own], np.where(state.used[own] > 0, docs.n_tokens[own], 0))
        found[mine.component] = float(seen.sum()), float(state.tokens[own].sum())
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
