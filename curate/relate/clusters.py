"""Stage "clusters": the rule-blind resolve over all documents of all sources, as one table row per document.

In: Members, the signals of dedup.priority, ids. Out, per shard of the recipe's documents: duplicates.parquet (schema.DUPLICATES);
and by member of that shard, for decide: witness.npy int32 (member, -1 none), jaccard.npy float64 (NaN without), kind.npy int8
(resolve.kinds), rank.npy int32 (smaller is better). A reference heads the cluster of the documents that are like it, and counts in
its size, but has no row. Imports schema, store, members, priority, resolve.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate import schema
from curate.engine import Task
from curate.recipe import Dedup
from curate.relate import priority
from curate.relate.layout import Shard, layout, n_documents
from curate.relate.members import load, opened, text_group
from curate.relate.resolve import BLIND, EVERYBODY, REFERENCE, kinds, resolve, similarity
from curate.store import Stage, Store, array_root, digest, table_root

VERSION = 2  # witness_source, kind.npy, priority


def tasks(
    store: Store, sources: Sequence[str], documents: Mapping[str, Stage], signals: Mapping[tuple[str, str], Stage],
    buckets: Stage, shingles: Stage | None, dedup: Dedup, references: Sequence[str] = (),
) -> tuple[Stage, list[Task]]:  # fmt: skip
    """`signals`: (source, family) -> stage; only those that dedup.priority names are read, and are parents. `references`: the
    first of `sources`, which are compared with but not judged."""
    near = {"jaccard": dedup.near.jaccard, "bucket_cap": dedup.near.bucket_cap} if dedup.near else None
    columns = priority.columns_of(dedup.priority, sources, signals)
    used = {(source, family): stage for (source, _), (stage, family) in columns.items()}
    parents = [documents[source].root for source in sources] + [used[key].root for key in sorted(used)] + [buckets.root]
    parents += [shingles.root] if shingles else []
    settings = {
        "sources": list(sources), "near": near,
        "exact": [text_group(dedup.exact.by), "url" in dedup.exact.by, *(["prompt"] if "prompt" in dedup.exact.by else [])],
        "priority": list(dedup.priority), "families": [list(key) for key in sorted(used)],
        **({"references": list(references)} if references else {}),
    }  # fmt: skip
    stage = store.stage("clusters", version=VERSION, settings=settings, parents=parents)
    shards = layout(sources, documents)
    outputs = tuple((stage, shard.name) for shard in shards if shard.source not in references)
    args = (stage, shards, tuple(references), columns, buckets, shingles, dedup)
    return stage, [Task(outputs, _write, args, max(1, n_documents(shards)))]


def _write(
    stage: Stage, shards: list[Shard], references: Sequence[str], columns: priority.Columns, buckets: Stage, shingles: Stage | None,
    dedup: Dedup,
) -> None:  # fmt: skip
    members = load(shards, buckets, shingles, dedup.exact.by)
    ids = opened(buckets.shard_path("all") / "id.npy")
    scratch = stage.store / ".tmp"
    scratch.mkdir(parents=True, exist_ok=True)
    near, ends = dedup.near, members.ends
    n_fixed = int(ends[sum(shard.source in references for shard in shards)])
    with tempfile.TemporaryDirectory(prefix="rank-", dir=scratch) as folder:
        order = priority.rank(dedup.priority, shards, references, columns, members.ordinal, ends, ids)
        rank = on_disk([order], Path(folder) / "rank")
        del order
        scope = np.full(len(members), EVERYBODY, np.int16)
        scope[:n_fixed] = REFERENCE
        resolution = resolve(
            members,
            scope,
            rank,
            jaccard=near.jaccard if near else 1.0,
            cap=near.bucket_cap if near else 1,
            scratch=scratch,
            scopes=BLIND,
        )
    jaccard, containment = similarity(members, resolution)
    kind = kinds(resolution)
    head = np.where(resolution.witness >= 0, resolution.witness, np.arange(len(members), dtype=np.int32))
    size = np.bincount(head, minlength=len(members)).astype(np.int32)[head]
    is_first = True
    for i, shard in enumerate(shards):
        if shard.source in references:
            continue
        own = slice(int(ends[i]), int(ends[i + 1]))
        table = _table(shard, members.ordinal[own] - shard.first, resolution.witness[own], head[own], size[own],
                       jaccard[own], containment[own], ids, sources_of(shards, ends, resolution.witness[own]))  # fmt: skip
        with stage.shard(shard.name) as writer:
            pq.write_table(table, writer.path / "duplicates.parquet", compression="zstd")
            arrays = {"witness": resolution.witness[own], "jaccard": jaccard[own], "kind": kind[own], "rank": rank[own]}
            for name, array in arrays.items():
                np.save(writer.path / f"{name}.npy", array)
            counts = resolution.counts if is_first else {}  # of the whole corpus: said once
            is_first = False
            root = digest(table_root(table), array_root(*arrays.values()))
            writer.done(shard.rows, root, {"in_clusters": int((size[own] > 1).sum()), **counts})


def on_disk(parts: Sequence[np.ndarray | Path], path: Path) -> np.ndarray:
    """Arrays, or .npy files, one after another as a read-only memory map of the file `path`, which then needs its name no longer."""
    dtype, n = np.dtype(np.int32), 0
    with open(path, "wb") as file:
        for part in parts:
            array = np.load(part) if isinstance(part, Path) else part
            array.tofile(file)
            dtype, n = array.dtype, n + len(array)
    return np.asarray(np.memmap(path, dtype, "r", shape=(n,))) if n else np.empty(0, dtype)


def sources_of(shards: Sequence[Shard], ends: np.ndarray, member: np.ndarray) -> pa.Array:
    """The source of each member, null for those below 0."""
    number = np.searchsorted(ends, member, side="right") - 1
    return pa.array([shard.source for shard in shards], pa.string()).take(pa.array(number, mask=member < 0))


def _table(
    shard: Shard, row: np.ndarray, witness: np.ndarray, head: np.ndarray, size: np.ndarray, jaccard: np.ndarray,
    containment: np.ndarray, ids: np.ndarray, witness_source: pa.Array,
) -> pa.Table:  # fmt: skip
    n = shard.rows
    in_cluster, dropped = size > 1, witness >= 0
    cluster_size = np.ones(n, np.int32)
    cluster_size[row] = size
    columns = [
        pq.read_table(shard.documents, columns=["id"]).column(0),
        pa.repeat(shard.source, n),
        strings_at(n, row[in_cluster], ids[head[in_cluster]]),
        pa.array(cluster_size),
        placed(n, row, witness_source),
        strings_at(n, row[dropped], ids[witness[dropped]]),
        floats_at(n, row[dropped], jaccard[dropped]),
        floats_at(n, row[dropped], containment[dropped]),
    ]
    return pa.table(dict(zip(schema.DUPLICATES.names, columns, strict=True))).cast(schema.DUPLICATES)


def placed(n: int, row: np.ndarray, values: pa.Array) -> pa.Array:
    """n rows: `values` at the given rows, null elsewhere."""
    place = np.zeros(n, np.int32)
    place[row] = np.arange(len(row), dtype=np.int32)
    return values.take(pa.array(place, mask=_absent(n, row)))


def strings_at(n: int, row: np.ndarray, values: np.ndarray) -> pa.Array:
    """A string column of n rows: `values` (S32, all of 32 bytes) at the given rows, null elsewhere."""
    data = np.ascontiguousarray(values)
    offsets = np.arange(len(values) + 1, dtype=np.int32) * 32
    return placed(n, row, pa.StringArray.from_buffers(len(values), pa.py_buffer(offsets), pa.py_buffer(data.view(np.uint8))))


def floats_at(n: int, row: np.ndarray, values: np.ndarray) -> pa.Array:
    """A float64 column of n rows: `values` at the given rows, null elsewhere and for NaN."""
    return placed(n, row, pa.array(values, pa.float64(), from_pandas=True))


def _absent(n: int, row: np.ndarray) -> np.ndarray:
    absent = np.ones(n, bool)
    absent[row] = False
    return absent
