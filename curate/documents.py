"""Raw files in, the stage `documents` out: per source, tables cut by id prefix and sorted by id, and what was quarantined.

Step two gathers each shard's id range from the runs of step one (ingest.py), tells equals apart and writes documents.parquet
(schema.DOCUMENTS); key "quarantine" holds quarantine.parquet. Counts: n_read, n_documents, n_quarantined, n_outside_sample,
n_repaired, text_bytes. Imports ingest, sources, engine, schema, store.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate import engine, schema
from curate.ingest import ID_BYTES, RUN, Run, hash_files, plan_runs, read_range, run_tasks, settings_of
from curate.recipe import Recipe, Source
from curate.sources import check_source, list_files
from curate.sources.libraries import libraries
from curate.store import Stage, Store, digest, read_json, table_root, write_json

VERSION = 2  # columns of preferences, parts and licence evidence
SHARD_DOCUMENTS = 16384
MAX_SHARDS = 65536  # keys have five digits; beyond a billion documents shards grow instead
GROUP_TEXT_BYTES = 256 << 20  # neighbouring small shards are gathered together, so that runs are opened less often
ROW_GROUP_TEXT_BYTES = 32 << 20
QUARANTINE = "quarantine"


class Plan(NamedTuple):
    """One source on its way: its stages and the runs its files are read into."""

    source: Source
    documents: Stage
    runs_stage: Stage
    names: Stage
    runs: list[Run]


def n_shards(n_documents: int) -> int:
    """The number of shards of a source: the smallest power of two that keeps them at about 16384 documents or fewer."""
    n = 1
    while n * SHARD_DOCUMENTS < n_documents and n < MAX_SHARDS:
        n *= 2
    return n


def document_keys(stage: Stage) -> list[str]:
    """The keys of a finished documents stage that hold documents."""
    return [key for key in stage.keys if key != QUARANTINE]


def ingest(store: Store, recipe: Recipe, workers: int) -> dict[str, Stage]:
    """Bring every source of the recipe into the store; source -> its finished documents stage.

    Raises CurateError for patterns that match nothing and fields that are not there, before anything is read in full.
    """
    files = {name: list_files(recipe, source) for name, source in recipe.sources.items()}
    for name, source in recipe.sources.items():
        check_source(source, files[name], recipe.limits)
    hashes = hash_files(store, list({(f.path, f.format): f for found in files.values() for f in found}.values()), workers)
    recipe.check_mirror({path: one.sha256 for (path, _), one in hashes.items()})
    plans = {}
    for name, source in recipe.sources.items():
        settings = settings_of(recipe, source) | libraries(source, {f.format for f in files[name]})
        sha256 = {f: hashes[f.path, f.format].sha256 for f in files[name]}
        listed = digest(
            *(part for f, own in sha256.items() for part in (f.name, f.format, own, *([f.beside] if f.beside else [])))
        )
        raw = list(sha256.values())
        runs = plan_runs(source, files[name], hashes)
        named = digest(*(part for run in runs for part in (run.key, *(f.name for f in run.files))))
        plans[name] = Plan(
            source,
            store.stage("documents", version=VERSION, settings={**settings, "files": listed}, raw=raw),
            store.stage("ingest_runs", version=VERSION, settings=settings),
            store.stage("ingest_names", version=VERSION, settings={"runs": named}),
            runs,
        )
    todo = [plan for plan in plans.values() if not plan.documents.complete]
    tasks = [task for plan in todo for task in run_tasks(plan.runs_stage, recipe, plan.source, plan.runs)]
    engine.run(tasks, workers=workers, label="read")
    tasks = [task for plan in todo for task in sort_tasks(plan, workers)]
    engine.run(tasks, workers=workers, label="sort")
    for plan in todo:
        _finish(plan)
    return {name: plan.documents for name, plan in plans.items()}


def sort_tasks(plan: Plan, workers: int) -> list[engine.Task]:
    """The tasks that write the shards of a source from its runs, which are all published."""
    if not plan.names.published("all"):
        with plan.names.shard("all") as shard:
            listed = [[run.key, [file.name for file in run.files]] for run in plan.runs]
            write_json(shard.path / "names.json", {"runs": listed})
            shard.done(len(listed), plan.names.fingerprint)
    counts = _run_counts(plan)
    n = n_shards(counts["n_documents"])
    per_task = max(1, min(GROUP_TEXT_BYTES * n // max(counts["text_bytes"], 1), n // (workers or os.cpu_count() or 1)))
    args: tuple = (plan.documents, plan.runs_stage, plan.names)
    tasks = [engine.Task(((plan.documents, QUARANTINE),), write_quarantine, (*args, plan.source.name))]
    for first in range(0, n, per_task):
        shards = range(first, min(first + per_task, n))
        outputs = tuple((plan.documents, f"{shard:05d}") for shard in shards)
        weight = counts["text_bytes"] * len(shards) // n + 1
        tasks.append(engine.Task(outputs, write_shards, (*args, plan.source, shards, n), weight))
    return tasks


def _run_counts(plan: Plan) -> dict[str, int]:
    """Sums over the runs as often as they are used: files of equal content share a run but are files each."""
    total: dict[str, int] = {}
    for run in plan.runs:
        for name, value in read_json(plan.runs_stage.shard_path(run.key) / "shard.json")["counts"].items():
            total[name] = total.get(name, 0) + value
    return total


def _finish(plan: Plan) -> None:
    n = n_shards(_run_counts(plan)["n_documents"])
    keys = [f"{shard:05d}" for shard in range(n)] + [QUARANTINE]
    counts: dict[str, int] = {}
    for key in keys:
        for name, value in read_json(plan.documents.shard_path(key) / "shard.json")["counts"].items():
            counts[name] = counts.get(name, 0) + value
    if counts["n_read"] != counts["n_documents"] + counts["n_quarantined"]:
        raise RuntimeError(f"source {plan.source.name}: the sums do not close: {counts}")
    plan.documents.finish(keys)


def write_shards(stage: Stage, runs: Stage, names: Stage, source: Source, shards: range, n: int) -> None:
    """The task that writes some neighbouring shards of `n`. Memory: their text, twice."""
    bits = n.bit_length() - 1
    low, high = (None if i == n else (i << (8 * ID_BYTES - bits)).to_bytes(ID_BYTES, "big") for i in (shards.start, shards.stop))
    rows = _gather(runs, names, low or b"", high)
    order = _order(rows)
    keys = rows.column("key").to_pylist()
    ends = {shard: 0 for shard in shards}
    for i in order:
        ends[int.from_bytes(keys[i][:ID_BYTES], "big") >> (8 * ID_BYTES - bits)] += 1
    start = 0
    for shard, n_rows in ends.items():
        part = order[start : start + n_rows]
        start += n_rows
        if not stage.published(f"{shard:05d}"):
            table = _documents(rows.take(pa.array(part, pa.int64())), source)
            _publish(stage, f"{shard:05d}", table)


def _gather(runs: Stage, names: Stage, low: bytes, high: bytes | None) -> pa.Table:
    """Rows of the id range from every part of every run, with the names their files have today."""
    tables = []
    for key, files in read_json(names.shard_path("all") / "names.json")["runs"]:
        listed = pa.array(files, pa.string())
        for path in sorted(runs.shard_path(key).glob("part-*.arrow")):
            part = read_range(path, low, high)
            if part.num_rows:
                tables.append(part.append_column("file", _names(listed, part)))
    return pa.concat_tables(tables) if tables else _EMPTY


def _names(listed: pa.Array, rows: pa.Table) -> pa.ChunkedArray:
    """The name of the file of every row, and of its member where that is an archive."""
    files = listed.take(rows.column("file_index"))
    return pc.if_else(pc.is_null(rows.column("member")), files, pc.binary_join_element_wise(files, rows.column("member"), "!/"))


def _order(rows: pa.Table) -> list[int]:
    """By id hash, then by the hash of all mapped fields; what is equal even then differs in its origin only."""
    columns = [rows.column(name).to_pylist() for name in ("key", "file", "byte_offset")]
    found = list(zip(*columns, range(rows.num_rows), strict=True))
    found.sort()
    return [row[3] for row in found]


def _documents(rows: pa.Table, source: Source) -> pa.Table:
    """Rows of one shard in order -> schema.DOCUMENTS: ids with their disambiguators, declared language and licence filled in."""
    ids, last, equals = [], b"", 0
    for key in rows.column("key").to_pylist():
        equals = equals + 1 if key[:ID_BYTES] == last else 0
        last = key[:ID_BYTES]
        ids.append(f"{last.hex()}{equals:08x}")
    columns: dict[str, Any] = {name: rows.column(name) for name in rows.column_names if name in schema.DOCUMENTS.names}
    columns["id"] = pa.array(ids, schema.ID)
    columns["source"] = pa.repeat(pa.scalar(source.name), len(ids))
    if source.language is not None:
        columns["language"] = pc.fill_null(columns["language"], source.language)
    if source.license.declared is not None:  # a row that says what nobody understands stays unknown
        says_nothing = pc.and_(pc.is_null(columns["license"]), pc.is_null(columns["license_evidence"]))
        columns["license"] = pc.if_else(says_nothing, source.license.declared, columns["license"])
    return pa.table([columns[name] for name in schema.DOCUMENTS.names], schema=schema.DOCUMENTS)


def _publish(stage: Stage, key: str, table: pa.Table) -> None:
    sizes = pc.binary_length(table.column("text"))
    with stage.shard(key) as shard:
        _write_row_groups(shard.path / "documents.parquet", table, sizes.to_pylist())
        repaired = pc.sum(table.column("is_repaired")).as_py() or 0
        counts = {"n_documents": table.num_rows, "n_repaired": repaired, "text_bytes": pc.sum(sizes).as_py() or 0}
        shard.done(table.num_rows, table_root(table, exclude=schema.ORIGIN), counts)


def _write_row_groups(path: Path, table: pa.Table, sizes: list[int]) -> None:
    options = {"compression": "zstd", "use_dictionary": ["source", "language", "license", "file"], "write_statistics": ["id"]}
    with pq.ParquetWriter(path, schema.DOCUMENTS, **options) as writer:
        start, held = 0, 0
        for i, size in enumerate(sizes):
            if held and held + size > ROW_GROUP_TEXT_BYTES:
                writer.write_table(table.slice(start, i - start), row_group_size=i - start)
                start, held = i, 0
            held += size
        if start < table.num_rows:
            writer.write_table(table.slice(start), row_group_size=table.num_rows - start)


def write_quarantine(stage: Stage, runs: Stage, names: Stage, source: str) -> None:
    """The task that writes key "quarantine". Its root is a constant: what was lost does not change what was found."""
    tables, counts = [], {"n_read": 0, "n_outside_sample": 0}
    for key, files in read_json(names.shard_path("all") / "names.json")["runs"]:
        run = read_json(runs.shard_path(key) / "shard.json")["counts"]
        counts = {name: value + run[name] for name, value in counts.items()}
        bad = pq.read_table(runs.shard_path(key) / "quarantine.parquet")
        listed = _names(pa.array(files, pa.string()), bad)
        tables.append(bad.append_column("file", listed).append_column("source", pa.repeat(pa.scalar(source), bad.num_rows)))
    table = pa.concat_tables(tables).select(schema.QUARANTINE.names).cast(schema.QUARANTINE)
    table = table.sort_by([(name, "ascending") for name in ("file", "byte_offset", "cause", "detail")])
    with stage.shard(QUARANTINE) as shard:
        pq.write_table(table, shard.path / "quarantine.parquet", compression="zstd")
        shard.done(0, digest(QUARANTINE), {**counts, "n_quarantined": table.num_rows})  # rows counts documents


_EMPTY = RUN.append(pa.field("file", pa.string())).empty_table()
