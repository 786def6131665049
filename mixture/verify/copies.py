"""Who is in which component, counted again: the patterns of every tokenized document, its copies, which passes may hold it.

In: `Kept` and `Used` of uses.py, the recipe, and the membership that the caller reads from the stages again. Out: findings. Imports
schema, recipe, mixture's members, order, statement and verify.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate import schema
from curate.recipe import Recipe
from mixture import members, order, statement
from mixture.verify.documents import Found, read
from mixture.verify.report import Report
from mixture.verify.uses import SELECTION, Kept, Used


class Membership(Protocol):
    """What verify needs of curate.membership.Membership."""

    @property
    def patterns(self) -> Sequence[Sequence[tuple[int, int]]]: ...

    @property
    def copies(self) -> Mapping[str, Mapping[str, Any]]: ...

    @property
    def pattern(self) -> Callable[[str, str], np.ndarray]: ...


@dataclass(frozen=True)
class Members:
    """Which components each document of Kept matches. Components are the recipe's leaves, by number."""

    names: list[str]
    pattern: np.ndarray  # int64 (n_kept,), index into patterns
    patterns: Sequence[Sequence[tuple[int, int]]]  # (component, bin of its copies, -1 in none), in recipe order
    bins: Mapping[str, Mapping[str, Any]]  # of components with copies: {by, origin, bins: [{from, copies, ...}]}
    usable: np.ndarray | None = None  # bool (n_kept,), of a miniature: the documents that its passes may hold

    def of(self, component: int, phase: Collection[int]) -> np.ndarray:
        """Numbers in Kept of the documents that belong to `component` where the components `phase` have a budget."""
        first = [next((c for c, _ in pattern if c in phase), -1) == component for pattern in self.patterns]
        return np.flatnonzero(np.array([*first, False], np.bool_)[self.pattern])

    def ever(self, component: int, phases: Sequence[Collection[int]]) -> np.ndarray:
        """Those that belong to it in any of the phases, ascending."""
        return np.unique(np.concatenate([np.empty(0, np.int64), *(self.of(component, phase) for phase in phases)]))

    def bin(self, component: int, own: np.ndarray) -> np.ndarray:
        """int64: the bins of the copies of these documents of `component`, -1 in none."""
        found = [dict(pattern).get(component, -1) for pattern in self.patterns]
        return np.array([*found, -1], np.int64)[self.pattern[own]]

    def copies(self, component: int, own: np.ndarray) -> np.ndarray:
        """int64: how often an epoch of `component` uses these documents of it."""
        given = self.bins.get(self.names[component], {}).get("bins", [])
        return np.array([*(b["copies"] for b in given), 1], np.int64)[self.bin(component, own)]  # bin -1 is the last


def phases_of(recipe: Recipe) -> list[list[int]]:
    """Per phase the components that have a budget in it."""
    return [[c for c, ask in enumerate(phase.asks) if ask is not None] for phase in recipe.mixture.phase_list]


def needs_membership(recipe: Recipe) -> bool:
    """Does it take a document's signals to know its component and its copies?"""
    return any(leaf.where or leaf.copies is not None for leaf in recipe.mixture.leaves.values())


def members_of(
    kept: Kept, recipe: Recipe, tokens: Mapping[str, Found], documents: Mapping[str, Found], again: Membership | None
) -> Members:
    """`again` None: of a recipe that needs none, where the source of a document says it all."""
    names = list(recipe.mixture.leaves)
    if again is None:
        by_source = [
            [(c, -1) for c, leaf in enumerate(recipe.mixture.leaves.values()) if name in leaf.from_] for name in kept.sources
        ]
        return Members(names, kept.source.astype(np.int64), by_source, {})
    pattern = np.empty(kept.id.size, np.int64)
    shards = ((source, key) for source, stage in tokens.items() for key in stage.info["keys"])
    for number, (source, key) in enumerate(shards):
        own = slice(int(kept.first[number]), int(kept.first[number + 1]))
        ids = np.asarray(pq.read_table(documents[source].file(key, "documents.parquet"), columns=["id"])["id"].to_pylist(), "S32")
        found = again.pattern(source, key)
        pattern[own] = found[np.searchsorted(ids, kept.id[own])]
    return Members(names, pattern, again.patterns, again.copies)


def check_members(build_dir: Path, recipe: Recipe, kept: Kept, found: Members, report: Report) -> None:
    """members.parquet says of every document what its values say, and is there only where it has to be."""
    path, sources = build_dir / members.NAME, members.by_query(recipe)
    if not sources:
        if path.exists():
            report.add(members.NAME, "no component of the recipe has a where:, yet the file is there")
        return
    table = read(path, report, build_dir)
    if table is None or not report.equal(members.NAME, "columns", schema.MEMBERS.names, table.column_names):
        return
    rank = np.array([list(recipe.sources).index(name) for name in kept.sources])
    own = np.flatnonzero(np.isin(kept.source, [kept.sources.index(name) for name in sources]))
    own = own[np.lexsort((kept.id[own], rank[kept.source[own]]))]
    if not report.equal(members.NAME, "rows", table.num_rows, int(own.size)):
        return
    lists = pa.array(
        [*([found.names[c] for c, _ in pattern] for pattern in found.patterns), []], table.schema.field("components").type
    )
    of = np.where(kept.n_tokens[own] > 0, found.pattern[own], len(found.patterns))  # a document without tokens matches nothing
    right = {
        "source": pa.array(kept.sources, pa.string()).take(pa.array(kept.source[own])),
        "id": pa.array(kept.id[own], pa.binary()).cast(pa.string()),
        "components": lists.take(pa.array(of)),
    }
    for name, values in right.items():
        stated = table[name].combine_chunks()
        joined = [pc.binary_join(column, "\n") if name == "components" else column for column in (stated, values)]
        wrong = pc.fill_null(pc.not_equal(*joined), True).to_numpy(zero_copy_only=False)
        for row in np.flatnonzero(wrong)[:3].tolist():
            what = f"{name}: {stated[row].as_py()} stated, {values[row].as_py()} counted"
            report.add(members.NAME, what, f"row {row}, id {right['id'][row].as_py()}")


class Passes:
    """How a component's copies are spread over the passes of an epoch, by the specification in selection.py. `own`: numbers in Kept."""

    def __init__(self, seed: int, phase: str, name: str, own: np.ndarray, copies: np.ndarray, kept: Kept) -> None:
        self.copies, self.per_epoch = copies, int(copies.max(initial=1))
        self.offset = np.zeros(own.size, np.int64)
        if self.per_epoch > 1:
            key = order.key(seed, "copies", phase, name)
            self.offset = (order.keyed_hash(*_halves(kept.id[own]), key) % np.uint64(self.per_epoch)).astype(np.int64)

    def before(self, number: int) -> np.ndarray:
        """int64 (own,): how often the passes before `number` hold each document."""
        return (number + self.offset) * self.copies // self.per_epoch - self.offset * self.copies // self.per_epoch


def _halves(ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ids of 32 hex digits (S32) as two uint64."""
    digits = np.frombuffer(ids.tobytes(), np.uint8).reshape(-1, 32)
    values = np.where(digits >= ord("a"), digits - (ord("a") - 10), digits - ord("0")).astype(np.uint8)
    both = np.ascontiguousarray(values[:, 0::2] << 4 | values[:, 1::2]).view(">u8").astype(np.uint64)
    return both[:, 0], both[:, 1]


def check_copies(
    manifest: Mapping[str, Any], recipe: Recipe, used: Used, kept: Kept, found: Members, held: np.ndarray, report: Report
) -> None:
    """`copies_per_epoch` of every component, over its documents in any phase, and that no document is used more than its copies in one
    epoch of a phase."""
    phases = phases_of(recipe)
    for c, component in enumerate(manifest["components"]):
        name = component["name"]
        stated = component.get("copies_per_epoch")
        if name not in found.bins:
            report.equal("manifest.json", f"{name}: copies_per_epoch", stated, None)
            continue
        own = found.ever(c, phases)
        own = own[(kept.n_tokens[own] > 0) & ~held[own]]
        mine = np.flatnonzero(used.is_train & (used.component == c) & (used.document >= 0))
        trained = np.zeros(kept.id.size, np.int64)
        np.add.at(trained, used.document[mine], used.length[mine])
        copies = found.copies(c, own)
        counted = statement.per_epoch(found.bins[name], found.bin(c, own), copies, kept.n_tokens[own], trained[own])
        for what in sorted({*counted, *(stated or {})}):
            report.equal("manifest.json", f"{name}: copies_per_epoch.{what}", (stated or {}).get(what), counted.get(what))
        for f, phase in enumerate(phases):
            if c in phase:
                mine = found.of(c, phase)
                mine = mine[(kept.n_tokens[mine] > 0) & ~held[mine]]
                _check_epochs(name, used.of(f, c), mine, found.copies(c, mine), used, kept, report)


def _check_epochs(
    name: str, rows: np.ndarray, own: np.ndarray, copies: np.ndarray, used: Used, kept: Kept, report: Report
) -> None:
    """No epoch of a phase uses a document more than its copies. `rows`: of the component in the phase."""
    most = np.zeros(kept.id.size, np.int64)
    most[own] = copies
    first = rows[used.chunk[rows] == 0]
    epoch = used.pass_[first] // copies.max(initial=1)
    for number in range(int(epoch.max(initial=-1)) + 1):
        uses = np.bincount(used.document[first[epoch == number]], minlength=kept.id.size)
        for document in np.flatnonzero(uses > most)[:3].tolist():
            report.add(
                SELECTION, f"{name}: used {uses[document]} times in epoch {number}, its copies are {most[document]}",
                f"id {kept.id[document].decode()}",
            )  # fmt: skip
