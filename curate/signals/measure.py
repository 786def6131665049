"""One pass over the documents: every signal family and the signatures that are not in the store yet.

In: documents shards. Out: stages "signals" (per source and family: <family>.parquet) and "signatures" (bands.npy, normalised.npy,
n_shingles.npy), rows in the order of the documents. Imports recipe, store, engine, text, langid and the families.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate import langid, text
from curate.engine import Task
from curate.langid.fasttext_model import model_path
from curate.recipe import LanguageId, Near, Recipe, Source
from curate.signals import Family, families, gopher, language, length
from curate.store import Stage, Store, array_root, digest, table_root

SIGNATURES_VERSION = 1
SIGNATURE_SEED = 0  # fixed: another seed of the recipe reorders the training, it does not measure again

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Plan:
    """What to measure of one source. `stages` in the order of `families`; `specs` by name of a language family."""

    families: tuple[Family, ...]
    stages: tuple[Stage, ...]
    stop_words: tuple[str, ...]
    specs: dict[str, langid.Spec]
    near: Near
    signatures: Stage


def tasks(
    store: Store, recipe: Recipe, documents: Mapping[str, Stage]
) -> tuple[dict[tuple[str, str], Stage], dict[str, Stage], list[Task]]:
    """(signals stage of every (source, family), signatures stage of every source, one task per documents shard)."""
    specs = {entry.name: _spec(entry, recipe) for entry in recipe.language_id}
    signals: dict[tuple[str, str], Stage] = {}
    signatures: dict[str, Stage] = {}
    work: list[Task] = []
    for name, stage in documents.items():
        _warn_without_stop_words(recipe, recipe.sources[name])
        plan = _plan(store, recipe, recipe.sources[name], stage.root, specs)
        signals |= {(name, family.name): s for family, s in zip(plan.families, plan.stages, strict=True)}
        signatures[name] = plan.signatures
        for key in stage.keys:
            if key != "quarantine":
                path = stage.shard_path(key) / "documents.parquet"
                outputs = tuple((s, key) for s in (*plan.stages, plan.signatures))
                work.append(Task(outputs, measure_shard, (path, plan, key), max(1, path.stat().st_size)))
    return signals, signatures, work


def _plan(store: Store, recipe: Recipe, source: Source, root: str, specs: dict[str, langid.Spec]) -> _Plan:
    words = gopher.stop_words(source.language)
    segmentation = {"segmentation": text.SEGMENTATION_VERSION, "unicode": text.UNICODE_VERSION}
    settings = {"length": segmentation, "gopher_quality": segmentation | {"stop_words": digest(*words)}}
    settings |= {name: langid.identity(spec) for name, spec in specs.items()}
    wanted = tuple(families(recipe).values())
    stages = tuple(
        store.stage("signals", version=f.version, settings={"family": f.name, **settings[f.name]}, parents=[root]) for f in wanted
    )
    near = recipe.dedup.near or Near()
    signature = segmentation | {"ngram": near.ngram, "bands": near.bands, "rows": near.rows, "seed": SIGNATURE_SEED}
    signatures = store.stage("signatures", version=SIGNATURES_VERSION, settings=signature, parents=[root])
    return _Plan(wanted, stages, words, specs, near, signatures)


def _spec(entry: LanguageId, recipe: Recipe) -> langid.Spec:
    candidates = tuple(entry.candidates)
    if entry.backend == "py3langid" and not candidates:
        candidates = langid.candidates_for([s.language for s in recipe.sources.values() if s.language])
    model = model_path(entry.model, entry.revision, recipe.base) if entry.model else None
    return langid.Spec(entry.backend, model, candidates, entry.windows, entry.window_bytes)


def _warn_without_stop_words(recipe: Recipe, source: Source) -> None:
    if gopher.stop_words(source.language):
        return
    for rule in recipe.rules:
        if rule.signal == "n_stop_words" and (rule.sources is None or source.name in rule.sources):
            message = "rule %s: source %s (language %s) has no stop-word list, n_stop_words is 0"
            log.warning(message, rule.name, source.name, source.language)


def measure_shard(path: Path, plan: _Plan, key: str) -> None:
    """Measure one documents shard and publish every output that is missing."""
    todo = [(f, s) for f, s in zip(plan.families, plan.stages, strict=True) if not s.published(key)]
    sign = not plan.signatures.published(key)
    columns: dict[str, list[dict[str, np.ndarray]]] = {family.name: [] for family, _ in todo}
    signed: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    needs_words = sign or any(family.name not in plan.specs for family, _ in todo)
    file = pq.ParquetFile(path)
    for group in range(file.num_row_groups):
        for batch in text.batches(file.read_row_group(group, columns=["text"]).column("text")):
            data, offsets = text.buffers(batch)
            seg = text.segment(data, offsets) if needs_words else None
            for family, _ in todo:
                columns[family.name].append(_measure(family, plan, data, offsets, seg))
            if sign:
                assert seg is not None
                near = plan.near
                signed.append(text.signatures(seg, ngram=near.ngram, bands=near.bands, rows=near.rows, seed=SIGNATURE_SEED))
    ids = file.read(columns=["id"]).column("id")
    for family, stage in todo:
        _publish_signals(stage, key, family, ids, columns[family.name])
    if sign:
        _publish_signatures(plan.signatures, key, plan.near.bands, signed)


def _measure(
    family: Family, plan: _Plan, data: np.ndarray, offsets: np.ndarray, seg: text.Segments | None
) -> dict[str, np.ndarray]:
    if family.name in plan.specs:
        return language.measure(data, offsets, plan.specs[family.name], family.name)
    assert seg is not None
    by_words: dict[str, Callable[[], dict[str, np.ndarray]]] = {
        "length": lambda: length.measure(data, offsets, seg),
        "gopher_quality": lambda: gopher.measure(data, offsets, seg, plan.stop_words),
    }
    return by_words[family.name]()


def _publish_signals(stage: Stage, key: str, family: Family, ids: pa.ChunkedArray, parts: list[dict[str, np.ndarray]]) -> None:
    schema = family.schema()
    columns = [pa.chunked_array([pa.array(part[f.name], f.type) for part in parts], f.type) for f in list(schema)[1:]]
    table = pa.table([ids.cast(schema.field("id").type), *columns], schema=schema).combine_chunks()
    with stage.shard(key) as shard:
        pq.write_table(table, shard.path / f"{family.name}.parquet", compression="zstd")
        shard.done(table.num_rows, table_root(table))


def _publish_signatures(stage: Stage, key: str, bands: int, parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> None:
    none = np.empty((0, bands), np.uint64), np.empty(0, np.uint32), np.empty((0, 2), np.uint64)
    keys, n_shingles, normalised = (np.concatenate(column) for column in zip(none, *parts, strict=True))
    with stage.shard(key) as shard:
        np.save(shard.path / "bands.npy", keys)
        np.save(shard.path / "n_shingles.npy", n_shingles)
        np.save(shard.path / "normalised.npy", normalised)
        shard.done(len(keys), array_root(keys, n_shingles, normalised))
