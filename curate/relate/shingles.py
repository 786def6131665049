"""Stage "shingles": the exact shingle sets of the documents that share anything, once, so that nobody reads the text again.

In: text of the documents, member.npy of buckets, n_shingles.npy of the signatures (which says how much room is needed). Out,
per shard of documents: ptr.npy int64 (k + 1), hashes.npy uint64 (sorted distinct shingles of each), row.npy int64 (k,).
Imports text, store, layout.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate import text
from curate.engine import Task
from curate.relate.layout import Shard, bounds, layout
from curate.store import Stage, Store, array_root

VERSION = 1


def tasks(
    store: Store, sources: Sequence[str], documents: Mapping[str, Stage], signatures: Mapping[str, Stage],
    buckets: Stage, ngram: int, words: Mapping[str, str],
) -> tuple[Stage, list[Task]]:  # fmt: skip
    """`words`: source -> how its words are cut (sources.*.words)."""
    settings = {"ngram": ngram, "segmentation": [text.segmentation(words[source]) for source in sources]}
    parents = [*(documents[source].root for source in sources), buckets.root]
    stage = store.stage("shingles", version=VERSION, settings=settings, parents=parents)
    shards = layout(sources, documents)
    ends = bounds(shards, np.load(buckets.shard_path("all") / "member.npy", mmap_mode="r"))
    weights = np.diff(ends)
    return stage, [
        Task(
            ((stage, s.name),),
            _write,
            (stage, s, signatures[s.source], buckets, int(a), int(b), ngram, words[s.source]),
            1 + int(weight),
        )
        for s, a, b, weight in zip(shards, ends[:-1], ends[1:], weights, strict=True)
    ]


def _write(stage: Stage, shard: Shard, signatures: Stage, buckets: Stage, begin: int, end: int, ngram: int, words: str) -> None:
    member = np.load(buckets.shard_path("all") / "member.npy", mmap_mode="r")
    row = np.asarray(member[begin:end]) - shard.first
    n_shingles = np.load(signatures.shard_path(shard.key) / "n_shingles.npy")[row]
    ptr = np.concatenate([[0], np.cumsum(n_shingles, dtype=np.int64)])
    with stage.shard(shard.name) as writer:
        hashes = np.lib.format.open_memmap(writer.path / "hashes.npy", mode="w+", dtype=np.uint64, shape=(int(ptr[-1]),))
        done = 0
        for found, sets in _sets(shard, row, ngram, words):
            if not np.array_equal(np.diff(found), n_shingles[done : done + len(found) - 1]):
                raise RuntimeError(f"{shard.name}: shingles of rows {row[done]}.. differ in number from the signatures'")
            hashes[ptr[done] : ptr[done] + len(sets)] = sets
            done += len(found) - 1
        if done != len(row):
            raise RuntimeError(f"{shard.name}: {len(row)} documents wanted, {done} read")
        np.save(writer.path / "ptr.npy", ptr)
        np.save(writer.path / "row.npy", row)
        hashes.flush()
        writer.done(len(row), array_root(row, ptr, hashes), {"shingles": int(ptr[-1])})


def _sets(shard: Shard, row: np.ndarray, ngram: int, words: str) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(ptr, hashes) of the wanted rows in order, a few MB of text at a time."""
    if not len(row):
        return
    file = pq.ParquetFile(shard.documents)
    first = 0
    for group in range(file.num_row_groups):
        n = file.metadata.row_group(group).num_rows
        wanted = row[np.searchsorted(row, first) : np.searchsorted(row, first + n)] - first
        first += n
        if not len(wanted):
            continue
        texts = file.read_row_group(group, columns=["text"]).column(0).take(pa.array(wanted))
        for batch in text.batches(texts):
            seg = text.segment(*text.buffers(batch), words)
            yield text.shingle_sets(seg, np.arange(len(batch)), ngram)
