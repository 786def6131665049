"""One pass over the documents: every signal family and the signatures that are not in the store yet.

In: documents shards. Out: stages "signals" (per source and family: <family>.parquet, and <family>.spans.parquet where the family
finds spans) and "signatures" (bands.npy, normalised.npy, n_shingles.npy), rows in the order of the documents. Batches of a shard
are measured side by side by threads: kernels run without the GIL. Imports recipe, store, engine, text and the families.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate import engine, text
from curate.engine import Task
from curate.recipe import Near, Recipe, Source
from curate.schema import SPANS
from curate.signals import Batch, Family, Measurer, Spans, measurers
from curate.signals.gopher import stop_words
from curate.store import Stage, Store, array_root, digest, table_root

SIGNATURES_VERSION = 2  # the normalised text is code points, not words
SIGNATURE_SEED = 0  # fixed: another seed of the recipe reorders the training, it does not measure again

Signature = tuple[np.ndarray, np.ndarray, np.ndarray]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Plan:
    """What to measure of one source; `stages` in the order of `measurers`."""

    words: str  # how words are cut: sources.*.words
    measurers: tuple[Measurer, ...]
    stages: tuple[Stage, ...]
    near: Near
    signatures: Stage


def tasks(
    store: Store, recipe: Recipe, documents: Mapping[str, Stage]
) -> tuple[dict[tuple[str, str], Stage], dict[str, Stage], list[Task]]:
    """(signals stage of every (source, family), signatures stage of every source, one task per documents shard)."""
    signals: dict[tuple[str, str], Stage] = {}
    signatures: dict[str, Stage] = {}
    work: list[Task] = []
    for name, stage in documents.items():
        _warn_without_stop_words(recipe, recipe.sources[name])
        plan = _plan(store, recipe, recipe.sources[name], stage.root)
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


def _plan(store: Store, recipe: Recipe, source: Source, root: str) -> _Plan:
    wanted = tuple(measurers(recipe, source))
    stages = tuple(signals_stage(store, m, [root], source.words) for m in wanted)
    near = recipe.dedup.near or Near()
    settings = {
        **text.segmentation(source.words), "ngram": near.ngram, "bands": near.bands, "rows": near.rows, "seed": SIGNATURE_SEED,
    }  # fmt: skip
    signatures = store.stage("signatures", version=SIGNATURES_VERSION, settings=settings, parents=[root])
    return _Plan(source.words, wanted, stages, near, signatures)


def _warn_without_stop_words(recipe: Recipe, source: Source) -> None:
    if source.stop_words or stop_words(source.language):
        return
    for rule in recipe.rules:
        if rule.signal == "n_stop_words" and (rule.sources is None or source.name in rule.sources):
            message = "rule %s: source %s (language %s) has no stop-word list, n_stop_words is 0"
            log.warning(message, rule.name, source.name, source.language)


def measure_shard(path: Path, plan: _Plan, key: str) -> None:
    """Measure one documents shard and publish every output that is missing."""
    todo = [(m, s) for m, s in zip(plan.measurers, plan.stages, strict=True) if not s.published(key)]
    near = None if plan.signatures.published(key) else plan.near
    needs_words = near is not None or any(m.needs_words for m, _ in todo)
    wanted = [m for m, _ in todo]

    def measure(batch: pa.Table) -> tuple[list[dict[str, Any]], Signature | None]:
        given = as_batch(batch, plan.words if needs_words else None)
        signature = None
        if near is not None:
            assert given.segments is not None
            bands = text.signatures(given.segments, ngram=near.ngram, bands=near.bands, rows=near.rows, seed=SIGNATURE_SEED)
            signature = (*bands, text.normalised_hashes(given.data, given.offsets))
        return [m.measure(given) for m in wanted], signature

    file = pq.ParquetFile(path)
    measured = list(in_threads(measure, batches(file, sorted({name for m in wanted for name in m.reads}))))
    ids = file.read(columns=["id"]).column("id")
    for i, (measurer, stage) in enumerate(todo):
        publish(stage, key, measurer.family, ids, [columns[i] for columns, _ in measured])
    if near is not None:
        _publish_signatures(plan.signatures, key, near.bands, [signature for _, signature in measured if signature is not None])


def batches(file: pq.ParquetFile, columns: list[str], text_column: str = "text") -> Iterator[pa.Table]:
    """The rows of a documents shard, about a MB of text at a time: the text and the columns asked for."""
    for group in range(file.num_row_groups):
        table = file.read_row_group(group, columns=[text_column, *columns]).combine_chunks()
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


def publish(stage: Stage, key: str, family: Family, ids: pa.ChunkedArray, parts: list[dict[str, Any]]) -> None:
    """Write the measured batches of one shard as the family's table, and its spans where it finds any."""
    schema = family.schema()
    columns = [pa.chunked_array([pa.array(part[f.name], f.type) for part in parts], f.type) for f in list(schema)[1:]]
    table = pa.table([ids.cast(schema.field("id").type), *columns], schema=schema).combine_chunks()
    with stage.shard(key) as shard:
        pq.write_table(table, shard.path / f"{family.name}.parquet", compression="zstd")
        root = table_root(table)
        if family.span_kinds:
            spans = _spans_table(family, [len(p[family.columns[0].name]) for p in parts], [part["spans"] for part in parts])
            pq.write_table(spans, shard.path / f"{family.name}.spans.parquet", compression="zstd")
            root = digest(root, table_root(spans))
        shard.done(table.num_rows, root)


def _spans_table(family: Family, rows: list[int], parts: list[Spans]) -> pa.Table:
    first = np.concatenate([[0], np.cumsum(rows)])
    none = np.empty(0, np.int64)
    row, start, end, kind = (np.concatenate([none, *column]) for column in (
        [p.row + first[i] for i, p in enumerate(parts)], [p.start for p in parts], [p.end for p in parts], [p.kind for p in parts],
    ))  # fmt: skip
    kinds = pa.array(family.span_kinds, pa.string()).take(pa.array(kind.astype(np.int64)))
    return pa.table([pa.array(row), pa.array(start), pa.array(end), kinds], schema=SPANS)


def _publish_signatures(stage: Stage, key: str, bands: int, parts: list[Signature]) -> None:
    none = np.empty((0, bands), np.uint64), np.empty(0, np.uint32), np.empty((0, 2), np.uint64)
    keys, n_shingles, normalised = (np.concatenate(column) for column in zip(none, *parts, strict=True))
    with stage.shard(key) as shard:
        np.save(shard.path / "bands.npy", keys)
        np.save(shard.path / "n_shingles.npy", n_shingles)
        np.save(shard.path / "normalised.npy", normalised)
        shard.done(len(keys), array_root(keys, n_shingles, normalised))
