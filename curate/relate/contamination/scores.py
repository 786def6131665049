"""Family contamination of one source: matches weighed by document frequency, without a text.

In: the matches of every source that is decontaminated. Out, per shard: contamination.parquet (signals.contamination.FAMILY),
contamination.hits.parquet (schema.CONTAMINATION) and contamination.spans.parquet: what is cut, none where nothing is. Imports engine, recipe,
schema, signals, store, index, matches, weights.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate import schema
from curate.engine import Task
from curate.recipe import Decontaminate
from curate.relate.contamination import index, weights
from curate.relate.contamination.index import Index
from curate.relate.contamination.matches import FLOOR, mode_of, scored, settings_of
from curate.signals.contamination import FAMILY, ITEM, PASSAGE
from curate.store import Stage, Store, digest, table_root

SHOWN = 0.5  # of a part's weight: what is found to less is no hit of its own
BESIDE_WORDS = 200  # a passage stands beside a question that far from it at most


def tasks(
    store: Store, given: Decontaminate, items: Stage, matched: Mapping[str, Stage], documents: Mapping[str, Stage]
) -> tuple[dict[str, Stage], list[Task]]:
    """source -> stage, and one task for each that is missing."""
    settings = {
        "family": FAMILY.name, **settings_of(given), "cut_above": given.overlap if given.action == "cut" else None,
        "weights": [weights.VERSION, weights.LEAST_DOCUMENTS, weights.LEAST_WEIGHT], "shown": [SHOWN, BESIDE_WORDS],
    }  # fmt: skip
    roots = [items.root, *(matched[source].root for source in matched)]
    stages, found = {}, []
    for source, stage in matched.items():
        parents = [documents[source].root, stage.root, *sorted(roots)]
        stages[source] = own = store.stage("signals", version=FAMILY.version, settings=settings, parents=parents)
        keys = [key for key in stage.keys]
        args = (own, stage, dict(matched), items, documents[source], given)
        found.append(Task(tuple((own, key) for key in keys), write, args, 1 + stage.info()["counts"].get("matches", 0)))
    return stages, found


def write(stage: Stage, own: Stage, matched: dict[str, Stage], items: Stage, documents: Stage, given: Decontaminate) -> None:
    ix = index.load(items.shard_path("all") / "items.parquet", given.ngram, mode_of(given))
    weight = _weights(ix, list(matched.values()))
    cut_above = given.overlap if given.action == "cut" else 1.0
    for key in own.keys:
        if not stage.published(key):
            _write_shard(stage, key, own.shard_path(key), documents.shard_path(key) / "documents.parquet", ix, weight, cut_above)


def _weights(ix: Index, matched: list[Stage]) -> np.ndarray:
    total, n_documents = np.zeros(ix.n_grams, np.int64), 0
    for stage in matched:
        n_documents += stage.info()["rows"]
        for key in stage.keys:
            total += np.load(stage.shard_path(key) / "documents.npy")
    return weights.word_weights(ix, total, n_documents)


def _write_shard(stage: Stage, key: str, folder: Path, texts: Path, ix: Index, weight: np.ndarray, cut_above: float) -> None:
    ids = pq.read_table(texts, columns=["id"]).column("id")
    # what can be cut: a rejected answer stands behind the text, and goes with the whole preference or stays
    sizes = pc.binary_length(pq.read_table(texts, columns=["text"])["text"]).to_numpy() if cut_above < 1 else None
    matches, parts = (pq.read_table(folder / f"{name}.parquet") for name in ("matches", "parts"))
    score, overlap = weighed(ix, matches, parts, weight)
    acts = _acts(ix)[matches["unit"].to_numpy()]
    row = matches["row"].to_numpy()
    columns = []
    for chosen in (acts, ~acts):
        best = np.zeros(len(ids))
        np.maximum.at(best, row[chosen], score[chosen])
        columns.append(pa.array(best, pa.float32()))
    counts = pa.array(np.bincount(row[score >= FLOOR], minlength=len(ids)), pa.int64())
    table = pa.table([ids, *columns, counts], schema=FAMILY.schema()).combine_chunks()
    hits, spans = _hits(ix, ids, matches, parts, score, overlap, cut_above, sizes)
    with stage.shard(key) as writer:
        for name, rows in (("", table), (".spans", spans), (".hits", hits)):
            pq.write_table(rows, writer.path / f"{FAMILY.name}{name}.parquet", compression="zstd")
        root = digest(table_root(table), table_root(spans), table_root(hits))
        writer.done(len(ids), root, {"hits": hits.num_rows})


def _acts(ix: Index) -> np.ndarray:
    return np.array([any(item.acts for item in items) for items in ix.units], bool)


def weighed(ix: Index, matches: pa.Table, parts: pa.Table, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(score of every match, rounded to 1e-4; overlap of its parts one after another)."""
    unit = matches["unit"].to_numpy().astype(np.int64)
    n_parts = np.diff(ix.unit_ptr)[unit]
    part = np.repeat(ix.unit_ptr[unit] - np.cumsum(n_parts) + n_parts, n_parts) + np.arange(int(n_parts.sum()))
    sizes = np.diff(ix.part_ptr)
    starts = np.concatenate([[0], np.cumsum(sizes[part])]).astype(np.int64)
    found_ptr = starts[np.concatenate([[0], np.cumsum(n_parts)]).astype(np.int64)]
    words = parts["words"].combine_chunks()
    lengths = np.asarray(words.value_lengths(), np.int64)
    is_found = np.zeros(int(starts[-1]), bool)
    is_found[np.repeat(starts[:-1], lengths) + words.flatten().to_numpy()] = True
    nothing = np.zeros(len(unit), bool)
    score, overlap = scored(ix, unit, found_ptr, is_found, weight, nothing)
    beside, inside = _beside(ix, matches, parts, n_parts, score)
    if beside.any():
        score, overlap = scored(ix, unit, found_ptr, is_found, weight, beside)
    score[inside] = 0.0
    return np.round(score, 4), np.round(overlap, 4)


def _beside(
    ix: Index, matches: pa.Table, parts: pa.Table, n_parts: np.ndarray, score: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """bool by match: a question whose passage, found to SHOWN or more, stands within BESIDE_WORDS of it; and one inside its passage,
    which is the passage's own words and no question."""
    beside, inside = np.zeros(len(score), bool), np.zeros(len(score), bool)
    rows, units, first, end = (matches[name].to_pylist() for name in matches.column_names)
    lead = np.cumsum(n_parts) - n_parts  # its question, where a unit has one
    start, until = (parts[name].to_numpy()[lead].tolist() if len(score) else [] for name in ("start", "end"))
    passages: dict[tuple[int, int], list[int]] = defaultdict(list)
    wanted = {p for of in ix.passage_of.values() for p in of}
    for i, unit in enumerate(units):
        if unit in wanted and score[i] >= SHOWN:
            passages[rows[i], unit].append(i)
    for i, unit in enumerate(units):
        near = [p for of in ix.passage_of.get(unit, ()) for p in passages.get((rows[i], of), ())]
        inside[i] = any(start[p] <= start[i] and until[i] <= until[p] for p in near)
        beside[i] = any(first[p] - end[i] <= BESIDE_WORDS and first[i] - end[p] <= BESIDE_WORDS for p in near)
    return beside & ~inside, inside


def _hits(
    ix: Index,
    ids: pa.ChunkedArray,
    matches: pa.Table,
    parts: pa.Table,
    score: np.ndarray,
    overlap: np.ndarray,
    cut_above: float,
    sizes: np.ndarray | None,
) -> tuple[pa.Table, pa.Table]:
    """(schema.CONTAMINATION, schema.SPANS): for every item of a match a row for each of its parts; spans of matches above the bound."""
    hits: list[dict[str, Any]] = []
    spans: set[tuple[int, int, int, str]] = set()
    n = 0
    for i, (row, unit) in enumerate(zip(matches["row"].to_pylist(), matches["unit"].to_pylist(), strict=True)):
        first, last = int(ix.unit_ptr[unit]), int(ix.unit_ptr[unit + 1])
        own = parts.slice(n, last - first).to_pylist() if score[i] >= FLOOR else []
        for k, part in enumerate(own):
            if overlap[n + k] < SHOWN:
                continue
            kind = ITEM if any(item.acts for item in ix.units[unit]) else PASSAGE
            if score[i] > cut_above and (sizes is None or part["end"] <= sizes[row]):
                spans.add((row, part["start"], part["end"], kind))
            size = int(ix.part_ptr[first + k + 1] - ix.part_ptr[first + k])
            hits += [
                {"id": ids[row].as_py(), "eval_set": item.eval_set, "item": item.item, "part": item.parts[k], "acts": item.acts,
                 "score": score[i], "overlap": overlap[n + k], "n_item_words": size, "n_found_words": len(part["words"]),
                 **{name: part[name] for name in ("start", "end", "item_start", "item_end", "normalisation")}}
                for item in ix.units[unit]
            ]  # fmt: skip
        n += last - first
    columns = list(zip(*sorted(spans), strict=True)) or [(), (), (), ()]
    return (
        pa.Table.from_pylist(hits, schema.CONTAMINATION),
        pa.table([pa.array(c, f.type) for c, f in zip(columns, schema.SPANS, strict=True)], schema=schema.SPANS),
    )
