"""Stage "cuts": which parts of a source's documents are not trained on, and what stands in their place.

In: the recipe's `cuts:` and the spans of the families they name. Out, per shard of documents: cuts.parquet (schema.CUTS): by (row,
start), without overlaps, row by row those of the documents. How many documents are enough for boilerplate, and what stays of it, is
decided here, over spans that name their counts. Documents are never edited: `cut_texts` is for measuring after cuts, mixture.cuts
applies them when tokens are made. Imports recipe, engine, schema, store, signals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate import engine, schema
from curate.errors import CurateError, nearest
from curate.recipe import Cut, Recipe, Source
from curate.signals import repeats
from curate.signals.family import Family
from curate.store import Stage, Store, table_root

VERSION = 2  # a cut carries its count
# A line that goes takes with it whatever was found inside it, and so does a paragraph or a run of words.
SWALLOWS = frozenset({"lines", *repeats.FAMILIES})
MIN_DOCUMENTS = 50  # a line of fewer is no boilerplate: the default (a guess)


class Entry(NamedTuple):
    """One entry of `cuts:` for one source: the kinds of a span family in a fixed order, and what stands in place of each.

    Of repeats (schema.REPEATS) only the spans that stand in `min_documents` documents of `per`, and not the first place there where
    `keep_first`. An entry that names lines and paragraphs is one Entry for each.
    """

    family: str
    kinds: tuple[str, ...]
    replacements: tuple[str, ...]
    per: Literal["corpus", "source", "domain"] | None = None  # None: not of repeats
    min_documents: int = 1
    keep_first: bool = False

    def settings(self) -> list[Any]:
        """As the stage's settings have it: what verify chooses the spans by."""
        found: list[Any] = [self.family, [list(pair) for pair in zip(self.kinds, self.replacements, strict=True)]]
        return found if self.per is None else [*found, [self.per, self.min_documents, self.keep_first]]

    def chosen(self, spans: pa.Table) -> pa.Table:
        """The spans of these kinds that are cut."""
        found = spans.filter(pc.is_in(spans["kind"], value_set=pa.array(self.kinds, pa.string())))
        if self.per is None:
            return found
        wanted = pc.greater_equal(found[f"n_{self.per}_documents"], self.min_documents)
        return found.filter(pc.and_not(wanted, found[f"is_first_in_{self.per}"]) if self.keep_first else wanted)


class Cuts(NamedTuple):
    """The cuts of a shard, by (row, start); start and end are bytes of the document."""

    row: np.ndarray  # (n,) int64
    start: np.ndarray  # (n,) int64
    end: np.ndarray  # (n,) int64
    kind: pa.Array  # string
    replacement: pa.Array  # string


def entries(recipe: Recipe, source: Source) -> list[Entry]:
    """What the recipe cuts out of a source, in its order. Raises CurateError for a kind that no family finds."""
    mine = [(i, cut) for i, cut in enumerate(recipe.cuts) if cut.sources is None or source.name in cut.sources]
    repeats.min_words(recipe)
    return [*(entry for i, cut in mine for entry in _entries(cut, f"cuts[{i}]")), *_contamination(recipe, source)]


def _contamination(recipe: Recipe, source: Source) -> list[Entry]:
    """What `decontaminate: {action: cut}` cuts: items of evaluation sets, and passages without their question where those act."""
    from curate.signals import contamination

    given = recipe.decontaminate
    if given is None or given.action != "cut" or (given.sources is not None and source.name not in given.sources):
        return []
    kinds = (contamination.ITEM, contamination.PASSAGE)[: 2 if given.passages == "act" else 1]
    return [Entry(contamination.FAMILY.name, kinds, ("",) * len(kinds))]


def _entries(cut: Cut, where: str) -> list[Entry]:
    _check_keys(cut, where)
    if cut.kind == "repeated_substrings":
        return [_repeats(repeats.SUBSTRINGS, cut, 1, "first")]
    if cut.kind == "boilerplate_lines":
        if unknown := [name for name in cut.of if name not in repeats.OF_BOILERPLATE]:
            raise CurateError(
                f"cuts of kind boilerplate_lines know no {unknown[0]!r}", where=where, allowed=", ".join(repeats.OF_BOILERPLATE)
            )
        wanted = [family for name, family in repeats.OF_BOILERPLATE.items() if name in cut.of or not cut.of]
        return [_repeats(family, cut, MIN_DOCUMENTS, "none") for family in wanted]
    return [_entry(cut, where)]


_OF_REPEATS = ("boilerplate_lines", "repeated_substrings")
_ONLY = {"min_documents": _OF_REPEATS, "per": _OF_REPEATS, "keep": _OF_REPEATS, "min_words": _OF_REPEATS[1:]}


def _check_keys(cut: Cut, where: str) -> None:
    """Keys that say nothing for the entry's kind are mistakes."""
    for key, kinds in _ONLY.items():
        if getattr(cut, key) is not None and cut.kind not in kinds:
            raise CurateError(f"cuts of kind {cut.kind} know no {key}:", where=where, allowed=f"{key}: of {', '.join(kinds)}")
    if cut.kind == "repeated_substrings" and cut.of:
        raise CurateError("repeated substrings are of one kind", where=where, found=f"of: {', '.join(cut.of)}", allowed="no of:")
    if cut.kind not in ("pii", "secrets") and cut.as_ == "constant":
        what = "lines are removed" if "lines" in cut.kind else "substrings are removed"
        raise CurateError(f"{what}, nothing stands in their place", where=where, found="as: constant", allowed="as: removed")


def _repeats(family: Family, cut: Cut, min_documents: int, keep: str) -> Entry:
    keep_first = (cut.keep or keep) == "first"
    return Entry(family.name, family.span_kinds, ("",), cut.per or "corpus", cut.min_documents or min_documents, keep_first)


def _entry(cut: Cut, where: str) -> Entry:
    from curate.signals import lines, pii, secrets

    family = {"pii": pii.FAMILY, "secrets": secrets.FAMILY, "lines": lines.FAMILY}[cut.kind]
    put = {"pii": pii.placeholder, "secrets": secrets.placeholder}.get(cut.kind, lambda kind, how: "")
    groups = sorted({kind.partition("_")[0] for kind in family.span_kinds if cut.kind == "lines"})
    wanted: set[str] = set()
    if not cut.of:
        known = ", ".join(["all", *groups, *family.span_kinds])
        raise CurateError(
            f"cuts of kind {cut.kind} say which kinds they are of", where=where, found="no of:", allowed=f"of: {known}"
        )
    for name in cut.of:
        found = [kind for kind in family.span_kinds if name in ("all", kind) or (name in groups and kind.startswith(f"{name}_"))]
        if not found:
            known_names = ["all", *groups, *family.span_kinds]
            close = nearest(name, known_names)
            raise CurateError(
                f"cuts of kind {cut.kind} know no {name!r}", where=where, allowed=", ".join(close or known_names),
                next=f"did you mean {close[0]!r}?" if close else "",
            )  # fmt: skip
        wanted.update(found)
    kinds = tuple(kind for kind in family.span_kinds if kind in wanted)
    return Entry(family.name, kinds, tuple(put(kind, cut.as_) for kind in kinds))


def cut(
    store: Store, recipe: Recipe, documents: Mapping[str, Stage], signals: Mapping[tuple[str, str], Stage], workers: int
) -> dict[str, Stage]:
    """source -> its finished stage "cuts"; sources without cuts are absent. Counts: cuts and bytes of each kind."""
    stages: dict[str, Stage] = {}
    tasks: list[engine.Task] = []
    for name, given in documents.items():
        asked = entries(recipe, recipe.sources[name])
        if not asked:
            continue
        families = {entry.family: signals[name, entry.family] for entry in asked}
        settings = {"entries": [entry.settings() for entry in asked]}
        parents = [given.root, *(families[family].root for family in sorted(families))]
        stages[name] = stage = store.stage("cuts", version=VERSION, settings=settings, parents=parents)
        for key in given.keys:
            if key != "quarantine":
                spans = {f: s.shard_path(key) / f"{f}.spans.parquet" for f, s in families.items()}
                weight = 1 + sum(path.stat().st_size for path in spans.values())
                tasks.append(engine.Task(((stage, key),), cut_shard, (stage, key, asked, spans), weight))
    engine.run(tasks, workers=workers, label="cuts")
    for name, stage in stages.items():
        stage.finish([key for key in documents[name].keys if key != "quarantine"])
    return stages


def cut_shard(stage: Stage, key: str, asked: Sequence[Entry], spans: Mapping[str, Path]) -> None:
    """Merge the asked spans of one shard and publish them."""
    tables = {family: pq.read_table(path) for family, path in spans.items()}
    table = merged(asked, tables)
    counts: dict[str, int] = {}
    sizes = pc.subtract(table["end"], table["start"])
    for kind in sorted({kind for entry in asked for kind in entry.kinds}):
        own = pc.equal(table["kind"], kind)
        counts[f"cuts {kind}"] = pc.sum(own).as_py() or 0
        counts[f"bytes {kind}"] = pc.sum(sizes.filter(own)).as_py() or 0
    with stage.shard(key) as out:
        pq.write_table(table, out.path / "cuts.parquet", compression="zstd")
        out.done(table.num_rows, table_root(table), counts)


def merged(asked: Sequence[Entry], spans: Mapping[str, pa.Table]) -> pa.Table:
    """Spans (schema.SPANS by family) to cuts (schema.CUTS): every byte of an asked span is cut, and no other.

    A span inside a line that goes is no cut of its own. Spans that still overlap become one cut, whose kind and replacement are
    those of the entry that stands first in the recipe (then: kind in the family's order, start, the longer one). `n_documents` is
    the largest count of the cut spans of that kind in it, null where the kind has none.
    """
    kinds = [(e.family in SWALLOWS, kind, put) for e in asked for kind, put in zip(e.kinds, e.replacements, strict=True)]
    none = np.empty(0, np.int64)
    parts: list[tuple[np.ndarray, ...]] = [(none, none, none, none, none)]
    rank = 0
    for entry in asked:
        chosen = entry.chosen(spans[entry.family])
        at = pc.index_in(chosen["kind"], value_set=pa.array(entry.kinds, pa.string()))
        ranks = at.to_numpy().astype(np.int64) + rank
        counts = np.zeros(len(ranks), np.int64) if entry.per is None else chosen[f"n_{entry.per}_documents"].to_numpy()
        parts.append((*(chosen[name].to_numpy() for name in ("row", "start", "end")), ranks, counts))
        rank += len(entry.kinds)
    row, start, end, rank_of, n_documents = (np.concatenate(column) for column in zip(*parts, strict=True))
    step = int(end.max(initial=0)) + 1  # documents one after another, so that spans of two never meet
    start, end = row * step + start, row * step + end
    given = start, rank_of, n_documents

    is_line = np.array([swallows for swallows, _, _ in kinds], bool)[rank_of]
    order = np.lexsort((rank_of, ~is_line, -end, start))
    start, end, rank_of, is_line = (column[order] for column in (start, end, rank_of, is_line))
    # How far the lines reach that begin no later; an equal line of a lower rank counts too.
    reach = np.maximum.accumulate(np.where(is_line, end, -1))
    alone = end > np.concatenate([[-1], reach[:-1]])
    start, end, rank_of = start[alone], end[alone], rank_of[alone]

    reach = np.maximum.accumulate(end)
    first = np.flatnonzero(start >= np.concatenate([[0], reach[:-1]])) if len(start) else none
    group = np.zeros(len(start), np.int64)
    group[first] = 1
    group = np.cumsum(group) - 1
    best = np.lexsort((-end, start, rank_of, group))
    _, leads = np.unique(group[best], return_index=True)
    winner = rank_of[best[leads]]
    until = np.maximum.reduceat(end, first) if len(first) else none
    rows = start[first] // step
    columns = [rows, start[first] - rows * step, until - rows * step]
    names = (pa.array([k[i] for k in kinds], pa.string()).take(pa.array(winner)) for i in (1, 2))
    number = np.unique([kind for _, kind, _ in kinds], return_inverse=True)[1]  # two entries may cut one kind
    of_cut = np.searchsorted(start[first], given[0], side="right") - 1  # a span lies in one cut
    own = number[given[1]] == number[winner[of_cut]]
    most = np.zeros(len(first), np.int64)
    np.maximum.at(most, of_cut[own], given[2][own])
    counts = pa.array(most, pa.int64(), mask=most == 0)
    return pa.table([*(pa.array(column, pa.int64()) for column in columns), *names, counts], schema=schema.CUTS)


def read_cuts(path: Path) -> Cuts:
    """cuts.parquet of one shard."""
    table = pq.read_table(path).combine_chunks()
    return Cuts(
        *(table[name].to_numpy() for name in ("row", "start", "end")),
        *(table[n].combine_chunks() for n in ("kind", "replacement")),
    )


def cut_texts(texts: pa.Array, rows: np.ndarray, cuts: Cuts) -> pa.LargeStringArray:
    """`texts` after their cuts. `rows` (n,) int64, ascending: which row of the shard each text is."""
    first, last = np.searchsorted(cuts.row, rows, "left").tolist(), np.searchsorted(cuts.row, rows, "right").tolist()
    starts, ends = cuts.start.tolist(), cuts.end.tolist()
    replacements = [text.encode() for text in cuts.replacement.to_pylist()]
    found = []
    for i, text in enumerate(texts):
        pieces: list[bytes] = []
        data, at = bytes(text.as_buffer()), 0
        for c in range(first[i], last[i]):
            pieces += (data[at : starts[c]], replacements[c])
            at = ends[c]
        pieces.append(data[at:])
        found.append(b"".join(pieces))
    return pa.array(found, pa.large_binary()).cast(pa.large_string())
