"""Planning over groups of documents instead of documents: what a source has of each pattern of components, and how much of it is used.

In: Cells (documents, tokens, loss tokens and lengths of the documents of one source that match the same components), after held-out.
Out: a Run for plan.py. The rules are selection.py's, applied to whole cells: in a phase a cell belongs to the first of its components
that the phase has; the least used go first. Exact where cells are and where every component has the same documents in all of its
phases, all in one unit; else as good as the assumption that documents of a cell are used alike. Imports errors, manifest, recipe, and
mixture's budget, plan, plan_rows, policies.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

import numpy as np

from curate.errors import CurateError
from curate.manifest import read_manifest, rows_consumed
from curate.recipe import Mixture, PhaseSpec, Recipe
from mixture import plan_rows
from mixture.budget import NOTHING, Infeasible, Stock, plan
from mixture.plan import Phase, Rows, Run
from mixture.policies import water_fill


@dataclass(frozen=True)
class Cell:
    """Documents of one source that match the same components: `copies` {leaf: uses in an epoch of it}, in recipe order. Fractions where
    a part of them is held out."""

    source: str
    copies: Mapping[str, Fraction]
    documents: int | Fraction
    tokens: int | Fraction
    loss_tokens: int | Fraction
    lengths: np.ndarray = field(
        default_factory=lambda: np.empty(0, np.int64), compare=False
    )  # int64, order statistics; empty: unknown

    def amount(self, unit: str) -> int | Fraction:
        return {"tokens": self.tokens, "loss_tokens": self.loss_tokens, "examples": self.documents}[unit]


def over_cells(cells: Sequence[Cell], consumed: Mapping[str, int] | None = None) -> Run:
    """`consumed`: leaf -> tokens that earlier runs trained on, of the cells whose first component it is."""

    def run(mixture: Mixture) -> list[Phase]:
        used = [Fraction(0)] * len(cells)  # uses begun, on average over the documents of a cell
        _take_consumed(cells, used, consumed or {})
        phases = []
        for spec in mixture.phase_list:
            phases.append(_phase(spec, cells, used))
            if phases[-1].problem is not None:
                break
        return phases

    return run


def _take_consumed(cells: Sequence[Cell], used: list[Fraction], consumed: Mapping[str, int]) -> None:
    for leaf, tokens in consumed.items():
        own = [i for i, cell in enumerate(cells) if next(iter(cell.copies), None) == leaf and cell.tokens]
        whole = sum(cells[i].tokens for i in own)
        for i in own:
            used[i] += Fraction(tokens, whole)


def consumed_of(recipe: Recipe) -> dict[str, int]:
    """Leaf -> tokens of the builds that the recipe continues, as far as they were trained on: by their manifests' shares."""
    found: dict[str, int] = {}
    for i, old in enumerate(recipe.mixture.continues):
        manifest = read_manifest(recipe.path(old.manifest, f"mixture.continues.{i}.manifest"))
        n_rows = sum(phase["order"]["n_sequences"] for phase in manifest["phases"])
        rows = old.rows
        if rows is None:
            receipt = recipe.path(old.receipt or "", f"mixture.continues.{i}.receipt")
            try:
                rows = rows_consumed(json.loads(receipt.read_text()), manifest)
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise CurateError("this is no receipt of a run", where=str(receipt), found=repr(error)) from error
        for component in manifest["components"]:
            tokens = sum(phase["tokens"] for phase in component["phases"])
            found[component["name"]] = found.get(component["name"], 0) + tokens * min(rows, n_rows) // max(n_rows, 1)
    return found


def without_the_rest(recipe: Recipe) -> Recipe:
    """Without held-out documents and earlier builds, which are counted for all documents and not for a sample of them."""
    return recipe.model_copy(update={"held_out": None, "mixture": recipe.mixture.model_copy(update={"continues": []})})


def scaled(found: Sequence[Cell], share: Fraction, recipe: Recipe) -> list[Cell]:
    """Cells of a sample as those of all documents, less what is held out of each component at most."""
    kept = dict.fromkeys(recipe.mixture.leaves, Fraction(1))
    if recipe.held_out is not None:
        for leaf in kept:
            tokens = sum(c.tokens for c in found if next(iter(c.copies), None) == leaf) / share
            most = min(Fraction(recipe.held_out.per_component.count), recipe.held_out.at_most.value * tokens)
            kept[leaf] = 1 - most / tokens if tokens else Fraction(1)
    return [
        replace(c, **{name: round(getattr(c, name) * kept.get(next(iter(c.copies), ""), Fraction(1)) / share)
                      for name in ("documents", "tokens", "loss_tokens")})
        for c in found
    ]  # fmt: skip


def _phase(spec: PhaseSpec, cells: Sequence[Cell], used: list[Fraction]) -> Phase:
    """Plan one phase and count its uses into `used`."""
    n, unit = len(spec.leaves), spec.unit
    present = {name for name, ask in zip(spec.leaves, spec.asks, strict=True) if ask is not None}
    own: dict[str, list[int]] = {name: [] for name in spec.leaves}
    for i, cell in enumerate(cells):
        first = next((name for name in cell.copies if name in present), None)
        if first is not None and cell.amount("tokens"):
            own[first].append(i)
    stocks = [NOTHING] * n
    consumed = [0] * n
    for k, (name, ask) in enumerate(zip(spec.leaves, spec.asks, strict=True)):
        if ask is not None:
            mine = [(cells[i], cells[i].copies[name], used[i]) for i in own[name]]
            epoch = int(sum((c.amount(unit) * m for c, m, _ in mine), Fraction(0)))
            gone = sum((c.amount(unit) * u for c, _, u in mine), Fraction(0))
            documents = sum((c.documents * m for c, m, _ in mine), Fraction(0))
            unique = int(sum(c.amount(unit) for c, _, _ in mine))
            most = -(-ask.max_epochs // 1)
            left = sum((c.amount(unit) * max(most * m - u, Fraction(0)) for c, m, u in mine), Fraction(0))
            consumed[k] = int(-(-gone // 1))
            cap = min(int(ask.max_epochs * epoch // 1) - consumed[k], int(left // 1))
            stocks[k] = Stock(unique, epoch, int(documents), cap)
    before: list[tuple[float, float] | None] = [_seen(cells, used, own[name]) for name in spec.leaves]
    try:
        done = plan(spec, stocks)
    except Infeasible as error:
        return Phase(spec, stocks, None, error, [0] * n, before, [(0.0, 0.0)] * n, lambda: [None] * n)
    tokens = [0] * n
    for k, name in enumerate(spec.leaves):
        if spec.asks[k] is not None and done.targets[k]:
            tokens[k] = _use(cells, used, own[name], name, done.targets[k], unit)
    after = [_seen(cells, used, own[name]) for name in spec.leaves]

    def rows() -> list[Rows | None]:
        sample = plan_rows.sample_of(len(present))
        return [
            _rows(spec, [cells[i] for i in own[name]], name, stocks[k], consumed[k], done.targets[k], tokens[k], sample)
            if name in present else None
            for k, name in enumerate(spec.leaves)
        ]  # fmt: skip

    return Phase(spec, stocks, done, None, tokens, before, after, rows)


def _seen(cells: Sequence[Cell], used: Sequence[Fraction], own: Sequence[int]) -> tuple[float, float]:
    """(tokens used at least once, tokens used in all) of these cells."""
    return (
        float(sum(cells[i].tokens * min(used[i], Fraction(1)) for i in own)), float(sum(cells[i].tokens * used[i] for i in own))
    )  # fmt: skip


def _use(cells: Sequence[Cell], used: list[Fraction], own: Sequence[int], name: str, target: int, unit: str) -> int:
    """Use `target` of these cells, the least used first; the tokens of it."""
    weights = [cells[i].copies[name] * cells[i].amount(unit) for i in own]
    floors = [used[i] * cells[i].amount(unit) for i in own]
    whole = sum(floors, Fraction(0)) + target
    values, _ = water_fill(weights, floors, [max(floor, whole) for floor in floors], whole)
    tokens = Fraction(0)
    for i, value in zip(own, values, strict=True):
        if amount := cells[i].amount(unit):
            tokens += (value / amount - used[i]) * cells[i].tokens
            used[i] = value / amount
    return round(tokens)


def _rows(
    spec: PhaseSpec, cells: Sequence[Cell], name: str, stock: Stock, consumed: int, target: int, tokens: int, sample: int
) -> Rows | None:
    """Passes hold an epoch each; with copies, the documents that are due."""
    per_epoch = int(max((-(-cell.copies[name] // 1) for cell in cells), default=1))
    in_unit = plan_rows.passes_of(consumed, target, max(stock.epoch // per_epoch, 1))
    passes = [round(Fraction(tokens * part, target)) for part in in_unit]
    if spec.packing == "concat":
        return plan_rows.concat(passes, spec.sequence_length)
    known = [cell for cell in cells if cell.documents]
    if any(not cell.lengths.size for cell in known):
        return None
    if spec.packing == "single":
        rows = round(tokens * sum(cell.documents for cell in known) / max(sum(cell.tokens for cell in known), 1))
        return Rows(rows, 0, 0)
    return plan_rows.best_fit(passes, _mixed(known, name, sample), spec.sequence_length, sample)


def _mixed(cells: Sequence[Cell], name: str, sample: int) -> np.ndarray:
    """Order statistics of the lengths of an epoch of all these cells."""
    if not cells:
        return np.empty(0, np.int64)
    weights = np.array([float(cell.documents * cell.copies[name]) for cell in cells])
    each = np.maximum((weights / weights.sum() * sample).astype(np.int64), 1)
    parts = [
        cell.lengths[((np.arange(n) + 0.5) * cell.lengths.size / n).astype(np.int64)]
        for cell, n in zip(cells, each.tolist(), strict=True)
    ]
    return np.sort(np.concatenate(parts))
