"""One pass over the documents: every signal family and the signatures that are not in the store yet.

In: documents shards. Out: stages "signals" (per source and family: <family>.parquet, and <family>.spans.parquet where the family
finds spans) and "signatures" (bands.npy, normalised.npy, n_shingles.npy), rows in the order of the documents. Batches of a shard
are measured side by side by threads: kernels run without the GIL. Documents that an earlier stage measured are copied from it
(reuse.py), so an arrival costs what its new documents cost. Imports recipe, store, reuse, engine, text and the families.

On disk a signature is 8 bytes per band, 4 for n_shingles and 16 for the normalised hash: 148 bytes a document with 16 bands.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate import engine, reuse, text
from curate.engine import Task
from curate.recipe import Near, Recipe, Source
from curate.schema import SPANS
from curate.signals import Batch, Family, Measurer, Spans, measurers
from curate.signals.gopher import stop_words
from curate.store import Stage, Store, array_root, digest, table_root
from curate.text.tokenizers import MATH

SIGNATURES_VERSION = 4  # normalised texts hashed as UTF-8
MATH_SIGNATURES_VERSION = 5  # of words: math: shingles and normalised texts tell formulas apart
SIGNATURE_FILES = ("bands", "n_shingles", "normalised")
SIGNATURE_SEED = 0  # fixed: another seed of the recipe reorders the training, it does not measure again

Signature = tuple[np.ndarray, np.ndarray, np.ndarray]
Older = tuple[tuple[reuse.Older, Stage], ...]  # earlier stages like one of ours, with the documents they were made of
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Plan:
    """What to measure of one source; `stages` in the order of `measurers`."""

    words: str  # how words are cut: sources.*.words
    measurers: tuple[Measurer, ...]
    stages: tuple[Stage, ...]
    near: Near
    signatures: Stage
    older: dict[str, Older]  # fingerprint of a stage to fill -> where rows of it may be copied from
    n_keys: int  # shards of the documents


class _Job(NamedTuple):
    """One output of a shard that is missing: of a family, or the signatures (`measurer` None)."""

    measurer: Measurer | None
    stage: Stage
    known: list[reuse.Known]
    fresh: np.ndarray  # (n,) int64 ascending: the rows to measure


def tasks(
    store: Store, recipe: Recipe, documents: Mapping[str, Stage]
) -> tuple[dict[tuple[str, str], Stage], dict[str, Stage], list[Task]]:
    """(signals stage of every (source, family), signatures stage of every source, one task per documents shard)."""
    signals: dict[tuple[str, str], Stage] = {}
    signatures: dict[str, Stage] = {}
    work: list[Task] = []
    for name, stage in documents.items():
        _warn_without_stop_words(recipe, recipe.sources[name])
        plan = _plan(store, recipe, recipe.sources[name], stage)
        signals |= {(name, m.family.name): s for m, s in zip(plan.measurers, plan.stages, strict=True)}
        signatures[name] = plan.signatures
        for key in stage.keys:
            if key != "quarantine":
                path = stage.shard_path(key) / "documents.parquet"
                outputs = tuple((s, key) for s in (*plan.stages, plan.signatures))
                work.append(Task(outputs, measure_shard, (path, plan, key), max(1, path.stat().st_size)))
    return signals, signatures, work


def signals_stage(store: Store, measurer: Measurer, parents: list[str], words: str) -> Stage:
    """The stage of one family for one source, whose `words` it counts; parents are the roots of what its texts come from."""
    settings = {"family": measurer.family.name, **measurer.settings}
    if measurer.needs_words:
        settings |= text.segmentation(words)
    return store.stage("signals", version=measurer.family.version, settings=settings, parents=parents)


def _plan(store: Store, recipe: Recipe, source: Source, documents: Stage) -> _Plan:
    root = documents.root
    wanted = tuple(measurers(recipe, source))
    stages = tuple(signals_stage(store, m, [root], source.words) for m in wanted)
    signatures = signatures_stage(store, recipe, source, root)
    todo = [stage for stage in (*stages, signatures) if not stage.complete]
    older = reuse.older_documents(documents) if todo else []
    keys = [key for key in documents.keys if key != "quarantine"]
    found = {stage.fingerprint: tuple(reuse.sisters(stage, older)) for stage in todo}
    return _Plan(source.words, wanted, stages, recipe.dedup.near or Near(), signatures, found, len(keys))


def signatures_stage(store: Store, recipe: Recipe, source: Source, root: str) -> Stage:
    """The stage of a source's signatures; `root`: of its documents."""
    near = recipe.dedup.near or Near()
    settings = {
        **text.segmentation(source.words), "ngram": near.ngram, "bands": near.bands, "rows": near.rows, "seed": SIGNATURE_SEED,
        **text.folding(near.fold), **text.shingle_identity(source.words),
    }  # fmt: skip
    version = MATH_SIGNATURES_VERSION if source.words == MATH else SIGNATURES_VERSION
    return store.stage("signatures", version=version, settings=settings, parents=[root])


def signature_tasks(store: Store, recipe: Recipe, source: Source, documents: Stage) -> tuple[Stage, list[Task]]:
    """The signatures alone, of texts that are only compared with (dedup.against)."""
    stage = signatures_stage(store, recipe, source, documents.root)
    keys = [key for key in documents.keys if key != "quarantine"]
    older = () if stage.complete else tuple(reuse.sisters(stage, reuse.older_documents(documents)))
    plan = _Plan(source.words, (), (), recipe.dedup.near or Near(), stage, {stage.fingerprint: older}, len(keys))
    paths = {key: documents.shard_path(key) / "documents.parquet" for key in keys}
    return stage, [
        Task(((stage, key),), measure_shard, (path, plan, key), max(1, path.stat().st_size)) for key, path in paths.items()
    ]


def _warn_without_stop_words(recipe: Recipe, source: Source) -> None:
    if source.stop_words or stop_words(source.language):
        return
    for rule in recipe.rules:
        if rule.signal == "n_stop_words" and (rule.sources is None or source.name in rule.sources):
            message = "rule %s: source %s (language %s) has no stop-word list, n_stop_words is 0"
            log.warning(message, rule.name, source.name, source.language)


def measure_shard(path: Path, plan: _Plan, key: str) -> None:
    """Publish every output of one documents shard that is missing, measuring only what no earlier stage holds."""
    jobs = _jobs(path, plan, key)
    file = pq.ParquetFile(path)
    ids = file.read(columns=["id"]).column("id")
    parts = _measured(file, plan, jobs)
    for job, found in zip(jobs, parts, strict=True):
        if job.measurer is None:
            _publish_signatures(job.stage, key, plan.near.bands, found, job.known, job.fresh)
        else:
            publish(job.stage, key, job.measurer.family, ids, found, job.known, job.fresh)


def _jobs(path: Path, plan: _Plan, key: str) -> list[_Job]:
    lookup = reuse.Lookup(path, key, plan.n_keys)
    n = pq.read_metadata(path).num_rows
    jobs = []
    for measurer, stage in [*zip(plan.measurers, plan.stages, strict=True), (None, plan.signatures)]:
        if stage.published(key):
            continue
        files = [f"{name}.npy" for name in SIGNATURE_FILES] if measurer is None else _files(measurer.family)
        reads = measurer.reads if measurer else ()
        known = lookup.known(stage, plan.older.get(stage.fingerprint, ()), reads, files)
        is_fresh = np.ones(n, bool)
        for one in known:
            is_fresh[one.row] = False
        jobs.append(_Job(measurer, stage, known, np.flatnonzero(is_fresh)))
    return jobs


def _files(family: Family) -> list[str]:
    return [f"{family.name}.parquet", *([f"{family.name}.spans.parquet"] if family.span_kinds else [])]


def _measured(file: pq.ParquetFile, plan: _Plan, jobs: list[_Job]) -> list[list[Any]]:
    """By job, the batches of what was measured. Jobs that want the same rows share one pass over them."""
    parts: list[list[Any]] = [[] for _ in jobs]
    passes: dict[bytes, list[int]] = {}
    for i, job in enumerate(jobs):
        passes.setdefault(job.fresh.tobytes(), []).append(i)
    for members in passes.values():
        rows = jobs[members[0]].fresh
        wanted = [jobs[i].measurer for i in members]
        columns = sorted({name for m in wanted if m for name in m.reads})
        for found in in_threads(functools.partial(_measure, plan, wanted), batches(file, columns, rows=rows)):
            for i, part in zip(members, found, strict=True):
                parts[i].append(part)
    return parts


def _measure(plan: _Plan, wanted: list[Measurer | None], table: pa.Table) -> list[Any]:
    """One batch for every measurer (None: the signatures)."""
    needs_words = any(m is not None and m.needs_words for m in wanted)
    batch = as_batch(table, plan.words if needs_words else None)
    return [_signature(plan, batch) if m is None else m.measure(batch) for m in wanted]


def _signature(plan: _Plan, batch: Batch) -> Signature:
    near = plan.near
    keys = text.signatures_of(
        batch.data, batch.offsets, batch.segments, plan.words, ngram=near.ngram, bands=near.bands, rows=near.rows,
        seed=SIGNATURE_SEED, fold=near.fold,
    )  # fmt: skip
    return (*keys, text.normalised_hashes(batch.data, batch.offsets, plan.words))


def batches(
    file: pq.ParquetFile, columns: list[str], text_column: str = "text", rows: np.ndarray | None = None
) -> Iterator[pa.Table]:
    """The rows of a documents shard, about a MB of text at a time: the text and the columns asked for. `rows`: only these (int64,
    ascending); row groups without any are not read."""
    begin = 0
    for group in range(file.num_row_groups):
        end = begin + file.metadata.row_group(group).num_rows
        own = None if rows is None else rows[np.searchsorted(rows, begin) : np.searchsorted(rows, end)] - begin
        n, begin = end - begin, end
        if own is not None and not len(own):
            continue
        table = file.read_row_group(group, columns=[text_column, *columns])
        table = (table if own is None or len(own) == n else table.take(pa.array(own))).combine_chunks()
        first = 0
        for part in text.batches(table.column(text_column)):
            yield table.slice(first, len(part))
            first += len(part)


def as_batch(table: pa.Table, words: str | None) -> Batch:
    """The rows as the families get them; `words`: how to cut words, None where nobody needs them."""
    texts = table.column("text").combine_chunks()
    texts = texts.chunk(0) if isinstance(texts, pa.ChunkedArray) else texts
    data, offsets = text.buffers(texts)
    others = {name: table.column(name) for name in table.column_names if name != "text"}
    return Batch(texts, data, offsets, None if words is None else text.segment(data, offsets, words), others, {})


def in_threads(function: Any, items: Iterator[Any]) -> Iterator[Any]:
    """`map` over the engine's threads of this task, in order, with no more than a few items waiting."""
    if engine.threads <= 1:
        yield from map(function, items)
        return
    with ThreadPoolExecutor(engine.threads) as pool:
        waiting: list[Any] = []
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > 2 * engine.threads:
                yield waiting.pop(0).result()
        for future in waiting:
            yield future.result()


def publish(
    stage: Stage, key: str, family: Family, ids: pa.ChunkedArray, parts: list[dict[str, Any]], known: Sequence[reuse.Known] = (),
    fresh: np.ndarray | None = None, n_measured: int | None = None,
) -> None:  # fmt: skip
    """Write the measured batches of one shard as the family's table, and its spans where it finds any. `parts` are of the rows
    `fresh` (None: all), the others are copied from `known`. `n_measured`: to be counted as measured, where it is not all of them."""
    schema = family.schema()
    columns = [pa.chunked_array([pa.array(part[f.name], f.type) for part in parts], f.type) for f in list(schema)[1:]]
    if known:
        assert fresh is not None
        tables = [reuse.read_rows(one, f"{family.name}.parquet", schema.names[1:]) for one in known]
        place = pa.array(np.argsort(np.concatenate([fresh, *(one.row for one in known)])))  # every row stands there once
        columns = [pa.chunked_array([*c.chunks, *(a for t in tables for a in t[name].chunks)], c.type).take(place)
                   for name, c in zip(schema.names[1:], columns, strict=True)]  # fmt: skip
    table = pa.table([ids.cast(schema.field("id").type), *columns], schema=schema).combine_chunks()
    with stage.shard(key) as shard:
        pq.write_table(table, shard.path / f"{family.name}.parquet", compression="zstd")
        root = table_root(table)
        if family.span_kinds:
            spans = _spans_table(family, [len(p[family.columns[0].name]) for p in parts], [part["spans"] for part in parts])
            spans = _with_known_spans(family, spans, known, fresh) if known else spans
            pq.write_table(spans, shard.path / f"{family.name}.spans.parquet", compression="zstd")
            root = digest(root, table_root(spans))
        shard.done(table.num_rows, root, _counts(table.num_rows, known, n_measured))


def _counts(n: int, known: Sequence[reuse.Known], n_measured: int | None = None) -> dict[str, int]:
    reused = sum(len(one.row) for one in known) if n_measured is None else n - n_measured
    return {"measured": n - reused, "reused": reused}


def _with_known_spans(family: Family, spans: pa.Table, known: Sequence[reuse.Known], fresh: np.ndarray | None) -> pa.Table:
    """`spans` (rows count within `fresh`) and those of the known rows, by row of the shard."""
    assert fresh is not None
    spans = spans.set_column(0, "row", pa.array(fresh[spans["row"].to_numpy()]))
    both = pa.concat_tables([spans, *(reuse.read_spans(one, f"{family.name}.spans.parquet") for one in known)])
    order = np.argsort(both["row"].to_numpy(), kind="stable")  # inside a row the order stays
    return both.take(pa.array(order)).cast(SPANS).combine_chunks()


def _spans_table(family: Family, rows: list[int], parts: list[Spans]) -> pa.Table:
    first = np.concatenate([[0], np.cumsum(rows)])
    none = np.empty(0, np.int64)
    row, start, end, kind = (np.concatenate([none, *column]) for column in (
        [p.row + first[i] for i, p in enumerate(parts)], [p.start for p in parts], [p.end for p in parts], [p.kind for p in parts],
    ))  # fmt: skip
    kinds = pa.array(family.span_kinds, pa.string()).take(pa.array(kind.astype(np.int64)))
    return pa.table([pa.array(row), pa.array(start), pa.array(end), kinds], schema=SPANS)


def _publish_signatures(
    stage: Stage, key: str, bands: int, parts: list[Signature], known: Sequence[reuse.Known], fresh: np.ndarray
) -> None:
    none = np.empty((0, bands), np.uint64), np.empty(0, np.uint32), np.empty((0, 2), np.uint64)
    arrays = [np.concatenate(column) for column in zip(none, *parts, strict=True)]
    if known:
        place = np.argsort(np.concatenate([fresh, *(one.row for one in known)]))
        arrays = [
            np.concatenate([array, *(reuse.read_arrays(one, f"{name}.npy") for one in known)])[place]
            for name, array in zip(SIGNATURE_FILES, arrays, strict=True)
        ]
    with stage.shard(key) as shard:
        for name, array in zip(SIGNATURE_FILES, arrays, strict=True):
            np.save(shard.path / f"{name}.npy", array)
        shard.done(len(arrays[0]), array_root(*arrays), _counts(len(arrays[0]), known))
