"""A miniature of a mixture: the same shares and the same epochs of every component, from a nested part of the documents it trains on.

In: documents, the plan and the uses of the whole mixture, a share b of it. Out: the documents of the miniature, and budgets that are b
times what the whole realises. Imports recipe and mixture's order, planning, selection.

**Documents.** Those that belong to the same component in every phase are a cell; those of a cell that the whole uses in the same phases
equally often (and that have the same copies) are a stratum. A stratum is ordered by keyed_hash(id, key(seed, "miniature")), and
document d stands at the share of the stratum (in the unit of the phases; tokens where they differ) that comes before it; in the least
used stratum of a cell (if it is not the only one) at the share up to its end. A cell is ordered by that place, then the hash, and the
miniature takes the shortest beginning of it with, for every phase and in its unit, at least b of the cell's epoch and b of what the whole
uses of it there. So the miniature of 1/64 lies inside that of 1/32, every stratum is in it in proportion, and of a component that is
one cell an epoch is b of the whole's to within one document (a second one at most where documents have copies). Where that does not do
(an extra pass would begin, a cap would bind) 1, 2, 4, ... documents more are taken of each cell.
**Uses.** Planned and packed as any mixture, by the rule of selection.py, but its passes hold only documents that the whole trains on:
of a component that the whole does not use up, the same part of what is left over is in the component and over budget.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from curate.recipe import PhaseSpec, Recipe
from mixture import budget, order
from mixture.planning import plan_phases, present
from mixture.selection import Documents, Labels, Part, State, Use, labels_of, rest_of, whole_of


@dataclass(frozen=True)
class Planned:
    """A miniature before it is packed."""

    docs: Documents  # those outside it are in no component, held-out ones as they were
    assigned: list[np.ndarray]  # per phase, as planning.plan_phases has it
    usable: np.ndarray  # bool (n,): trained on in the whole
    parts: list[list[Part]]
    plans: list[budget.Plan]
    uses: list[Use]
    state: State


def plan_miniature(recipe: Recipe, docs: Documents, held: np.ndarray, before: State, counted: Labels | None) -> Planned:
    """`before`: what the recipe's `continues` consumed. Raises budget.Infeasible where even all documents do not do."""
    assert recipe.miniature is not None
    whole, specs = recipe.miniature.of.phase_list, recipe.mixture.phase_list
    assigned = [docs.first_of(present(spec)) for spec in whole]
    after = before.copy()
    parts, _, uses = plan_phases(whole, docs, assigned, held, after, counted, recipe.seed)
    cells = _Cells(docs, whole, assigned, held, parts, uses, after, counted, recipe.seed)
    last = {(use.phase, use.component): use.pass_ for use in uses}
    for extra in cells.extras():
        inside = cells.draw(recipe.miniature.share, extra)
        is_all = bool(inside[cells.members].all())
        small = replace(docs, patterns=[*docs.patterns, ()], pattern=np.where(inside | held, docs.pattern, len(docs.patterns)))
        in_phase, state = [small.first_of(present(spec)) for spec in specs], before.copy()
        try:
            found = plan_phases(specs, small, in_phase, held, state, counted, recipe.seed, cells.usable)
        except budget.Infeasible:
            if is_all:
                raise
            continue
        if is_all or all(use.pass_ <= last.get((use.phase, use.component), -1) for use in found[2]):
            return Planned(small, in_phase, cells.usable, *found, state)
    raise AssertionError("all documents of a mixture are no miniature of it")


class _Cells:
    """Documents in the order in which miniatures take them, cell by cell."""

    def __init__(
        self, docs: Documents, specs: Sequence[PhaseSpec], assigned: Sequence[np.ndarray], held: np.ndarray,
        parts: Sequence[Sequence[Part]], uses: Sequence[Use], after: State, counted: Labels | None, seed: int,
    ) -> None:  # fmt: skip
        """All of the whole mixture; `after`: its state at the end."""
        times, amounts = np.zeros((len(specs), docs.n), np.int64), np.zeros((len(specs), docs.n), np.int64)
        phase = np.zeros(docs.n, np.int64)  # the last in which each is used
        for use in uses:
            times[use.phase, use.documents] += 1
            amounts[use.phase, use.documents] += _amount(use, docs, specs[use.phase].unit, counted)
            phase[use.documents] = use.phase
        cut = np.flatnonzero((after.rest > 0) & times.any(axis=0))  # a miniature may use them to their end
        for f, spec in enumerate(specs):
            own = cut[phase[cut] == f]
            amounts[f, own] += rest_of(docs, own, after.rest[own], spec.unit, counted)
        self._copies = np.zeros((len(specs), docs.n), np.int64)
        for f, in_phase in enumerate(parts):
            for part in in_phase:
                self._copies[f, part.own] = part.copies
        self.usable: np.ndarray = np.asarray(times.any(axis=0))
        self.members = np.flatnonzero((np.stack(assigned) >= 0).any(axis=0) & ~held)
        own = self.members
        cell = _groups([of[own] for of in assigned])
        stratum = _groups([cell, *times[:, own], *self._copies[:, own]])
        high, low = docs.id.high[own], docs.id.low[own]
        rank = order.keyed_hash(high, low, order.key(seed, "miniature"))
        units = list(dict.fromkeys(spec.unit for spec in specs))
        weight = whole_of(docs, own, units[0] if len(units) == 1 else "tokens", counted)
        place = _places(weight, cell, stratum, times[:, own].sum(axis=0), (rank, high, low))
        by_place = np.lexsort((low, high, rank, place, cell))
        self._ordered = own[by_place]
        self._first = np.searchsorted(cell[by_place], np.arange(cell.max(initial=-1) + 2))
        epochs = (whole_of(docs, self._ordered, spec.unit, counted) for spec in specs)
        copies = self._copies[:, self._ordered]
        self._sums = [np.cumsum(amount) for amount in (*map(np.multiply, epochs, copies), *amounts[:, self._ordered])]
        self._assigned = assigned

    def extras(self) -> Iterator[int]:
        """How many documents more of each cell to try: 0, 1, 2, 4, ... all."""
        yield 0
        extra = 1
        while extra < 2 * max(1, self.members.size):
            yield extra
            extra *= 2

    def draw(self, share: Fraction, extra: int) -> np.ndarray:
        """bool (n,): the documents of the miniature."""
        inside = np.zeros(self.usable.size, np.bool_)
        for a, b in zip(self._first[:-1].tolist(), self._first[1:].tolist(), strict=True):
            n = 0
            for sums in self._sums:
                before = int(sums[a - 1]) if a else 0
                total = int(sums[b - 1]) - before
                need = -(-total * share.numerator // share.denominator)
                if need:
                    n = max(n, int(np.searchsorted(sums[a:b], before + need)) + 1)
            inside[self._ordered[a : min(b, a + n + extra)]] = True
        for f, of in enumerate(self._assigned):  # who has more copies than any that is used would make the epoch's passes more
            for c in np.unique(of[inside]).tolist():
                mine = inside & (of == c)
                most = int(self._copies[f, mine & self.usable].max(initial=0))
                if most:
                    inside &= ~(mine & ~self.usable & (self._copies[f] > most))
        return inside


def _amount(use: Use, docs: Documents, unit: str, counted: Labels | None) -> np.ndarray:
    if unit == "tokens":
        return use.n_tokens
    if unit == "examples":
        return (use.start == 0).astype(np.int64)
    assert counted is not None
    return labels_of(use, docs, counted)


def _groups(keys: Sequence[np.ndarray]) -> np.ndarray:
    """int64 (n,): the number of each distinct combination, in the order of the combinations."""
    found = np.zeros(keys[0].size, np.int64)
    for key in keys:
        _, number = np.unique(key, return_inverse=True)
        _, found = np.unique(found * (number.max(initial=0) + 1) + number, return_inverse=True)
    return found


def _places(
    n_tokens: np.ndarray,
    cell: np.ndarray,
    stratum: np.ndarray,
    times: np.ndarray,
    names: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> np.ndarray:
    """float64 (n,) in [0, 1]: where in its stratum each document stands, by hash."""
    rank, high, low = names
    by_hash = np.lexsort((low, high, rank, stratum))
    ends = np.cumsum(n_tokens[by_hash])
    begins = ends - n_tokens[by_hash]
    first = np.searchsorted(stratum[by_hash], np.arange(stratum.max(initial=-1) + 1))
    last = np.append(first[1:], stratum.size) - 1
    whole = np.maximum(ends[last] - begins[first], 1)
    of = stratum[by_hash]
    cell_of, times_of = cell[by_hash[first]], times[by_hash[first]]  # by stratum
    least = np.full(cell.max(initial=-1) + 1, np.iinfo(np.int64).max)
    np.minimum.at(least, cell_of, times_of)
    is_late = (times_of == least[cell_of]) & (np.bincount(cell_of, minlength=least.size)[cell_of] > 1)
    place = np.empty(stratum.size)
    place[by_hash] = (np.where(is_late[of], ends, begins) - begins[first][of]) / whole[of]
    return place
