"""Stage "clusters": the rule-blind resolve over all documents of all sources, as one table row per document.

In: Members, n_words of family length, ids. Out, per shard of documents: duplicates.parquet (schema.DUPLICATES); and by member of
that shard, for decide: witness.npy int32 (member, -1 none), jaccard.npy float64 (NaN without witness), rank.npy int32 (smaller is
better: source in recipe order, more words, id). Imports schema, store, members, resolve.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate import schema
from curate.engine import Task
from curate.recipe import Dedup
from curate.relate.layout import Shard, bounds, layout, n_documents
from curate.relate.members import load, opened
from curate.relate.resolve import resolve, similarity
from curate.store import Stage, Store, array_root, digest, table_root

VERSION = 1


def tasks(
    store: Store, sources: Sequence[str], documents: Mapping[str, Stage], lengths: Mapping[str, Stage],
    buckets: Stage, shingles: Stage | None, dedup: Dedup,
) -> tuple[Stage, list[Task]]:  # fmt: skip
    """`lengths`: per source the signals stage of family length."""
    near = {"jaccard": dedup.near.jaccard, "bucket_cap": dedup.near.bucket_cap} if dedup.near else None
    parents = [stage.root for source in sources for stage in (documents[source], lengths[source])] + [buckets.root]
    parents += [shingles.root] if shingles else []
    settings = {"sources": list(sources), "exact": dedup.exact.by, "near": near}
    stage = store.stage("clusters", version=VERSION, settings=settings, parents=parents)
    shards = layout(sources, documents)
    outputs = tuple((stage, shard.name) for shard in shards)
    return stage, [Task(outputs, _write, (stage, shards, dict(lengths), buckets, shingles, dedup), max(1, n_documents(shards)))]


def _write(
    stage: Stage, shards: list[Shard], lengths: dict[str, Stage], buckets: Stage, shingles: Stage | None, dedup: Dedup
) -> None:
    members = load(shards, buckets, shingles, dedup.exact.by)
    rank = _rank(shards, lengths, members.ordinal)
    near = dedup.near
    resolution = resolve(
        members, np.zeros(len(members), np.int16), rank, jaccard=near.jaccard if near else 1.0,
        cap=near.bucket_cap if near else 1, scratch=stage.store / ".tmp",
    )  # fmt: skip
    jaccard, containment = similarity(members, resolution)
    head = np.where(resolution.witness >= 0, resolution.witness, np.arange(len(members), dtype=np.int32))
    size = np.bincount(head, minlength=len(members)).astype(np.int32)[head]
    ids = opened(buckets.shard_path("all") / "id.npy")
    ends = members.ends
    for i, shard in enumerate(shards):
        own = slice(int(ends[i]), int(ends[i + 1]))
        table = _table(shard, members.ordinal[own] - shard.first, resolution.witness[own], head[own], size[own],
                       jaccard[own], containment[own], ids)  # fmt: skip
        with stage.shard(shard.name) as writer:
            pq.write_table(table, writer.path / "duplicates.parquet", compression="zstd")
            arrays = {"witness": resolution.witness[own], "jaccard": jaccard[own], "rank": rank[own]}
            for name, array in arrays.items():
                np.save(writer.path / f"{name}.npy", array)
            counts = resolution.counts if i == 0 else {}  # of the whole corpus: said once
            root = digest(table_root(table), array_root(*arrays.values()))
            writer.done(shard.rows, root, {"in_clusters": int((size[own] > 1).sum()), **counts})


def _rank(shards: Sequence[Shard], lengths: Mapping[str, Stage], ordinal: np.ndarray) -> np.ndarray:
    """int32 (m,). The ordinal is the order of (source, id) already."""
    names = list(dict.fromkeys(shard.source for shard in shards))
    source, words = np.empty(len(ordinal), np.int32), np.empty(len(ordinal), np.int64)
    ends = bounds(shards, ordinal)
    for shard, a, b in zip(shards, ends[:-1], ends[1:], strict=True):
        if b > a:
            column = pq.read_table(lengths[shard.source].shard_path(shard.key) / "length.parquet", columns=["n_words"]).column(0)
            source[a:b], words[a:b] = names.index(shard.source), column.to_numpy()[ordinal[a:b] - shard.first]
    rank = np.empty(len(ordinal), np.int32)
    rank[np.lexsort((-words, source))] = np.arange(len(ordinal), dtype=np.int32)  # stable: equals stay in the order of ordinals
    return rank


def _table(
    shard: Shard, row: np.ndarray, witness: np.ndarray, head: np.ndarray, size: np.ndarray, jaccard: np.ndarray,
    containment: np.ndarray, ids: np.ndarray,
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
        strings_at(n, row[dropped], ids[witness[dropped]]),
        floats_at(n, row[dropped], jaccard[dropped]),
        floats_at(n, row[dropped], containment[dropped]),
    ]
    return pa.table(dict(zip(schema.DUPLICATES.names, columns, strict=True))).cast(schema.DUPLICATES)


def strings_at(n: int, row: np.ndarray, values: np.ndarray) -> pa.Array:
    """A string column of n rows: `values` (S32, all of 32 bytes) at the given rows, null elsewhere."""
    data = np.ascontiguousarray(values)
    offsets = np.arange(len(values) + 1, dtype=np.int32) * 32
    strings = pa.StringArray.from_buffers(len(values), pa.py_buffer(offsets), pa.py_buffer(data.view(np.uint8)))
    place = np.zeros(n, np.int32)
    place[row] = np.arange(len(row), dtype=np.int32)
    return strings.take(pa.array(place, mask=_absent(n, row)))


def floats_at(n: int, row: np.ndarray, values: np.ndarray) -> pa.Array:
    """A float64 column of n rows: `values` at the given rows, null elsewhere."""
    place = np.zeros(n)
    place[row] = values
    return pa.array(place, mask=_absent(n, row))


def _absent(n: int, row: np.ndarray) -> np.ndarray:
    absent = np.ones(n, bool)
    absent[row] = False
    return absent
