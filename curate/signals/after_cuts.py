"""Signals of the texts as they are after their cuts: stages "signals" of the families after_cuts_<family>.

In: documents, cuts and the plain signals. Out: family length of every source with cuts, and every family that a rule asks for after
cuts. Only documents with cuts are measured again; the others' values are the plain ones, since their text is. Imports recipe, engine,
store, cuts, signals.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate import engine
from curate.cuts import Cuts, cut_texts, read_cuts
from curate.engine import Task
from curate.recipe import Recipe, Source
from curate.signals import AFTER_CUTS, FAMILIES, Measurer, measurers, ratio_of
from curate.signals import measure as pass_
from curate.store import Stage, Store


@dataclass(frozen=True)
class _Plan:
    """What to measure of one source: the families' measurers, their plain stages, and the stages to fill, in one order."""

    words: str  # how words are cut: sources.*.words
    measurers: tuple[Measurer, ...]
    plain: tuple[Stage, ...]
    stages: tuple[Stage, ...]


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
        plan = _Plan(recipe.sources[name].words, mine, tuple(signals[name, m.family.name] for m in mine), stages)
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


def wanted(recipe: Recipe, source: Source, has_cuts: bool) -> set[str]:
    """Names of the families to measure after cuts."""
    columns = {
        column for rule in recipe.rules if rule.sources is None or source.name in rule.sources
        for column in ratio_of(rule.signal) or (rule.signal,)
    }  # fmt: skip
    found = {name for name, f in FAMILIES.items() if columns.intersection(AFTER_CUTS + c.name for c in f.columns)}
    return found | ({"length"} if has_cuts else set())


def measure_shard(path: Path, cut_path: Path | None, plan: _Plan, key: str) -> None:
    """Measure the cut documents of one shard again and publish every output that is missing."""
    todo = [i for i, stage in enumerate(plan.stages) if not stage.published(key)]
    mine = [plan.measurers[i] for i in todo]
    file = pq.ParquetFile(path)
    cuts = read_cuts(cut_path) if cut_path else None
    rows = np.unique(cuts.row) if cuts else np.empty(0, np.int64)
    parts = list(_measured(file, cuts, rows, mine, plan.words)) if cuts else []
    ids = file.read(columns=["id"]).column("id")
    place = np.arange(len(ids))  # in the plain rows, followed by the measured ones
    place[rows] = len(ids) + np.arange(len(rows))
    for n, i in enumerate(todo):
        family = plan.measurers[i].family
        plain = pq.read_table(plan.plain[i].shard_path(key) / f"{family.name}.parquet")
        columns: dict[str, Any] = {}
        for field in list(family.schema())[1:]:
            again = [pa.array(part[n][field.name], field.type) for part in parts]
            both = pa.concat_arrays([*plain[field.name].chunks, *again, pa.array([], field.type)])
            columns[AFTER_CUTS + field.name] = both.take(pa.array(place))
        pass_.publish(plan.stages[i], key, family.after_cuts(), ids, [columns])


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
