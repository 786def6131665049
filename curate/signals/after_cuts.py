"""Signals of the texts as they are after their cuts: stages "signals" of the families after_cuts_<family>.

In: documents, cuts and the plain signals. Out: family length of every source with cuts, and every family that a rule or a component
asks for after cuts. Only documents with cuts are measured again; the others' values are the plain ones, since their text is. Of those,
a document that an earlier stage measured after the same cuts is copied from it (reuse.py). Imports recipe, engine, store, reuse, cuts,
signals.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate import engine, reuse
from curate.cuts import Cuts, cut_texts, read_cuts
from curate.engine import Task
from curate.recipe import Recipe, Source
from curate.signals import AFTER_CUTS, FAMILIES, Measurer, measurers, ratio_of
from curate.signals import measure as pass_
from curate.store import Stage, Store


class _Earlier(NamedTuple):
    """An earlier stage like one of ours, the documents it was made of, and the folder of their cuts."""

    documents: reuse.Older
    cuts: Path
    stage: Stage


@dataclass(frozen=True)
class _Plan:
    """What to measure of one source: the families' measurers, their plain stages, and the stages to fill, in one order."""

    words: str  # how words are cut: sources.*.words
    measurers: tuple[Measurer, ...]
    plain: tuple[Stage, ...]
    stages: tuple[Stage, ...]
    earlier: dict[str, tuple[_Earlier, ...]]  # fingerprint of a stage to fill -> where rows of it may be copied from
    n_keys: int  # shards of the documents


def measure(
    store: Store, recipe: Recipe, documents: Mapping[str, Stage], signals: Mapping[tuple[str, str], Stage], cuts: Mapping[str, Stage],
    workers: int,
) -> dict[tuple[str, str], Stage]:  # fmt: skip
    """(source, after_cuts_<family>) -> its finished stage."""
    found: dict[tuple[str, str], Stage] = {}
    tasks: list[Task] = []
    for name, given in documents.items():
        source = recipe.sources[name]
        names = wanted(recipe, source, name in cuts)
        mine = tuple(m for m in measurers(recipe, source) if m.family.name in names)
        parents = [given.root, cuts[name].root] if name in cuts else [given.root]
        after = tuple(replace(m, family=m.family.after_cuts()) for m in mine)
        stages = tuple(pass_.signals_stage(store, m, parents, recipe.sources[name].words) for m in after)
        plain = tuple(signals[name, m.family.name] for m in mine)
        n_keys = sum(key != "quarantine" for key in given.keys)
        plan = _Plan(source.words, mine, plain, stages, _earlier(given, stages) if name in cuts else {}, n_keys)
        found |= {(name, m.family.name): stage for m, stage in zip(after, stages, strict=True)}
        for key in given.keys if mine else []:
            if key != "quarantine":
                path = given.shard_path(key) / "documents.parquet"
                cut_path = cuts[name].shard_path(key) / "cuts.parquet" if name in cuts else None
                outputs = tuple((stage, key) for stage in stages)
                tasks.append(Task(outputs, measure_shard, (path, cut_path, plan, key), max(1, path.stat().st_size)))
    engine.run(tasks, workers=workers, label="measure after cuts")
    for (name, _), stage in found.items():
        stage.finish([key for key in documents[name].keys if key != "quarantine"])
    return found


def _earlier(documents: Stage, stages: Sequence[Stage]) -> dict[str, tuple[_Earlier, ...]]:
    """By fingerprint of the stages that are not complete: complete ones over older documents of the source and any cuts of them."""
    todo = [stage for stage in stages if not stage.complete]
    older = {one.root: one for one in reuse.older_documents(documents, itself=True)} if todo else {}
    infos = (
        ((path.parent, reuse.info_of(path)) for path in sorted((documents.store / "cuts").glob("*/stage.json"))) if older else ()
    )
    over = [(folder, info) for folder, info in infos if info is not None]
    found = {}
    for stage in todo:
        mine = []
        for root, one in older.items():
            for folder, info in over:
                if info["parents"][0] == root:
                    parents = [root, info["root"]]
                    sister = Store(stage.store).stage(stage.name, version=stage.version, settings=stage.settings, parents=parents)
                    if sister.complete:
                        mine.append(_Earlier(one, folder, sister))
        found[stage.fingerprint] = tuple(mine[: reuse.N_OLDER])
    return found


def wanted(recipe: Recipe, source: Source, has_cuts: bool) -> set[str]:
    """Names of the families to measure after cuts."""
    names = [rule.signal for rule in recipe.rules if rule.sources is None or source.name in rule.sources]
    names += [name.removeprefix("-") for name in recipe.dedup.priority]
    names += sorted(recipe.mixture.values_of(source.name))
    columns = {column for name in names for column in ratio_of(name) or (name,)}
    found = {name for name, f in FAMILIES.items() if columns.intersection(AFTER_CUTS + c.name for c in f.columns)}
    return found | ({"length"} if has_cuts else set())


def measure_shard(path: Path, cut_path: Path | None, plan: _Plan, key: str) -> None:
    """Publish every output of one shard that is missing, measuring only cut documents that no earlier stage holds."""
    todo = [i for i, stage in enumerate(plan.stages) if not stage.published(key)]
    mine = [plan.measurers[i] for i in todo]
    file = pq.ParquetFile(path)
    cuts = read_cuts(cut_path) if cut_path else None
    rows = np.unique(cuts.row) if cuts else np.empty(0, np.int64)
    lookup = reuse.Lookup(path, key, plan.n_keys)
    known = [_known(lookup, plan, i, cuts, rows) if cuts else [] for i in todo]
    held = [np.concatenate([np.empty(0, np.int64), *(one.row for one in of)]) for of in known]
    fresh = rows[~np.logical_and.reduce([np.isin(rows, of) for of in held])] if held else rows  # what any of them lacks
    parts = list(_measured(file, cuts, fresh, mine, plan.words)) if cuts else []
    ids = file.read(columns=["id"]).column("id")
    for n, i in enumerate(todo):
        family = plan.measurers[i].family
        plain = pq.read_table(plan.plain[i].shard_path(key) / f"{family.name}.parquet")
        names = family.after_cuts().schema().names[1:]
        copied = [reuse.read_rows(one, f"{AFTER_CUTS}{family.name}.parquet", names) for one in known[n]]
        place = np.arange(len(ids))  # in the plain rows, followed by the copied and then by the measured ones
        place[held[n]] = len(ids) + np.arange(len(held[n]))
        place[fresh] = len(ids) + len(held[n]) + np.arange(len(fresh))
        columns: dict[str, Any] = {}
        for field in list(family.schema())[1:]:
            again = [pa.array(part[n][field.name], field.type) for part in parts]
            old = [chunk for table in copied for chunk in table[AFTER_CUTS + field.name].chunks]
            both = pa.concat_arrays([*plain[field.name].chunks, *old, *again, pa.array([], field.type)])
            columns[AFTER_CUTS + field.name] = both.take(pa.array(place))
        pass_.publish(plan.stages[i], key, family.after_cuts(), ids, [columns], n_measured=len(fresh))


def _known(lookup: reuse.Lookup, plan: _Plan, i: int, cuts: Cuts, rows: np.ndarray) -> list[reuse.Known]:
    """Where the cut rows of the shard stand in earlier stages of family `i`, with the same text after the same cuts."""
    found: list[reuse.Known] = []
    mine, missing = _by_row(cuts), np.ones(len(rows), bool)
    for one in plan.earlier.get(plan.stages[i].fingerprint, ()):
        placed = lookup.places(one.documents, plan.measurers[i].reads)
        files = [f"{AFTER_CUTS}{plan.measurers[i].family.name}.parquet"]
        if (
            placed is None
            or not missing.any()
            or not all(reuse.is_usable(one.stage.path / key, files) and reuse.is_usable(one.cuts / key) for key in placed[0])
        ):
            continue
        theirs: dict[int, Any] = {}
        first = 0
        for key in placed[0]:
            theirs |= {row + first: cut for row, cut in _by_row(read_cuts(one.cuts / key / "cuts.parquet")).items()}
            first += reuse.n_rows(one.documents.path / key)
        place = placed[1][rows]
        same = np.array([p in theirs and theirs[p] == mine[r] for r, p in zip(rows.tolist(), place.tolist(), strict=True)], bool)
        new = same & missing
        missing &= ~new
        found.append(reuse.Known(one.stage.path, placed[0], rows[new], place[new]))
    return [one for one in found if len(one.row)]


def _by_row(cuts: Cuts) -> dict[int, list[tuple[int, int, str]]]:
    """row -> (start, end, replacement) of its cuts."""
    found: dict[int, list[tuple[int, int, str]]] = {}
    columns = (cuts.row.tolist(), cuts.start.tolist(), cuts.end.tolist(), cuts.replacement.to_pylist())
    for row, start, end, replacement in zip(*columns, strict=True):
        found.setdefault(row, []).append((start, end, replacement))
    return found


def _measured(file: pq.ParquetFile, cuts: Cuts, rows: np.ndarray, mine: list[Measurer], words: str) -> Any:
    """Per batch with cut documents: the columns of every family, of those documents only."""
    reads = sorted({name for m in mine for name in m.reads})

    def tables() -> Iterator[tuple[np.ndarray, pa.Table]]:
        first = 0
        for table in pass_.batches(file, reads):
            own = rows[np.searchsorted(rows, first) : np.searchsorted(rows, first + len(table))]
            if len(own):
                yield own, table.take(pa.array(own - first))
            first += len(table)

    def measure(given: tuple[np.ndarray, pa.Table]) -> list[dict[str, Any]]:
        own, table = given
        texts = cut_texts(table.column("text").combine_chunks(), own, cuts)
        table = table.set_column(table.column_names.index("text"), "text", texts)
        batch = pass_.as_batch(table, words if any(m.needs_words for m in mine) else None)
        return [m.measure(batch) for m in mine]

    return pass_.in_threads(measure, tables())
