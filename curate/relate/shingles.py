"""Stage "shingles": the exact shingle sets of the documents that share anything, once, so that nobody reads the text again.

In: text of the documents, member.npy of buckets, n_shingles.npy of the signatures (which says how much room is needed). Out,
per shard of documents: ptr.npy int64 (k + 1), hashes.npy uint64 (sorted distinct shingles of each), row.npy int64 (k,).
A set that an earlier stage of the store holds (same document, same words) is copied; only documents that collide for the first
time are read. On disk: 8 bytes a shingle, about one per byte of text that collides (0.97 over kernels.md 2.1's corpus), none for a
document that shares nothing. Imports reuse, text, store, layout.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate import reuse, text
from curate.engine import Task
from curate.relate.layout import Shard, bounds, layout
from curate.relate.members import opened
from curate.store import Stage, Store, array_root

VERSION = 1


@dataclass(frozen=True)
class _Older:
    """An earlier stage "shingles" that holds sets of a source, and the documents these were read from."""

    documents: reuse.Older
    folder: Path


def tasks(
    store: Store, sources: Sequence[str], documents: Mapping[str, Stage], signatures: Mapping[str, Stage],
    buckets: Stage, ngram: int, words: Mapping[str, str], fold: Sequence[str] = (),
) -> tuple[Stage, list[Task]]:  # fmt: skip
    """`words`: source -> how its words are cut (sources.*.words)."""
    cut = [{**text.segmentation(words[source]), **text.shingle_identity(words[source])} for source in sources]
    settings = {"ngram": ngram, "segmentation": cut, **text.folding(fold)}
    parents = [*(documents[source].root for source in sources), buckets.root]
    stage = store.stage("shingles", version=VERSION, settings=settings, parents=parents)
    shards = layout(sources, documents)
    ends = bounds(shards, np.load(buckets.shard_path("all") / "member.npy", mmap_mode="r"))
    weights = np.diff(ends)
    older = {source: _older(stage, documents[source], i) if not stage.complete else () for i, source in enumerate(sources)}
    n_keys = Counter(shard.source for shard in shards)
    return stage, [
        Task(
            ((stage, s.name),),
            _write,
            (
                stage,
                s,
                signatures[s.source],
                buckets,
                int(a),
                int(b),
                ngram,
                tuple(fold),
                words[s.source],
                older[s.source],
                n_keys[s.source],
            ),
            1 + int(weight),
        )
        for s, a, b, weight in zip(shards, ends[:-1], ends[1:], weights, strict=True)
    ]


def _older(stage: Stage, documents: Stage, number: int) -> tuple[_Older, ...]:
    """Complete stages whose sets of the source, the recipe's `number`th, are cut and hashed as ours, newest documents first.

    The same documents count too: with another source beside them, others of them collide."""
    infos = []
    for path in (stage.store / stage.name).glob("*/stage.json"):
        info = reuse.info_of(path)
        if path.parent != stage.path and info is not None and info["version"] == stage.version:
            infos.append((-path.stat().st_mtime_ns, path.parent, info))
    found = []
    for one in reuse.older_documents(documents, itself=True):
        for _, folder, info in sorted(infos, key=lambda i: i[:2]):
            at = info["parents"].index(one.root) if one.root in info["parents"][:-1] else -1
            if at >= 0 and _cut(info["settings"], at) == _cut(stage.settings, number):
                found.append(_Older(one, folder))
    return tuple(found[: reuse.N_OLDER])


def _cut(settings: dict[str, Any], number: int) -> dict[str, Any]:
    """What of the stage's settings the sets of one source depend on."""
    return {**settings, "segmentation": settings["segmentation"][number]}


def _write(
    stage: Stage, shard: Shard, signatures: Stage, buckets: Stage, begin: int, end: int, ngram: int, fold: tuple[str, ...],
    words: str, older: Sequence[_Older], n_keys: int,
) -> None:  # fmt: skip
    member = np.load(buckets.shard_path("all") / "member.npy", mmap_mode="r")
    row = np.asarray(member[begin:end]) - shard.first
    n_shingles = np.load(signatures.shard_path(shard.key) / "n_shingles.npy")[row]
    ptr = np.concatenate([[0], np.cumsum(n_shingles, dtype=np.int64)])
    with stage.shard(shard.name) as writer:
        hashes = np.lib.format.open_memmap(writer.path / "hashes.npy", mode="w+", dtype=np.uint64, shape=(int(ptr[-1]),))
        plain = np.asarray(hashes)  # a slice of a memmap is an object of ten times the cost
        is_fresh = np.ones(len(row), bool)
        for own_ptr, own, sets, slots in _known(shard, row, older, n_keys):
            if not np.array_equal(own_ptr[sets + 1] - own_ptr[sets], n_shingles[slots]):
                raise RuntimeError(f"{shard.name}: stored shingles differ in number from the signatures'")
            _move(own_ptr, own, sets, ptr, plain, slots)
            is_fresh[slots] = False
        slots = np.flatnonzero(is_fresh)
        done = 0
        for found, fresh in _sets(shard, row[slots], ngram, words, fold):
            own_slots = slots[done : done + len(found) - 1]
            if not np.array_equal(np.diff(found), n_shingles[own_slots]):
                raise RuntimeError(f"{shard.name}: shingles of rows {row[own_slots[0]]}.. differ in number from the signatures'")
            _move(found, fresh, np.arange(len(own_slots)), ptr, plain, own_slots)
            done += len(own_slots)
        if done != len(slots):
            raise RuntimeError(f"{shard.name}: {len(slots)} documents wanted, {done} read")
        np.save(writer.path / "ptr.npy", ptr)
        np.save(writer.path / "row.npy", row)
        hashes.flush()
        counts = {"shingles": int(ptr[-1]), "read": done, "reused": len(row) - done}
        writer.done(len(row), array_root(row, ptr, hashes), counts)


def _move(ptr: np.ndarray, hashes: np.ndarray, sets: np.ndarray, to: np.ndarray, out: np.ndarray, slots: np.ndarray) -> None:
    """Copies the sets number `sets` of (ptr, hashes) to the places `slots` of (to, out); a shard has thousands, not millions."""
    spans = (a.tolist() for a in (ptr[sets], ptr[sets + 1], to[slots], to[slots + 1]))
    for begin, end, first, last in zip(*spans, strict=True):
        out[first:last] = hashes[begin:end]


def _known(
    shard: Shard, row: np.ndarray, older: Sequence[_Older], n_keys: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """(ptr, hashes, sets, slots): the sets number `sets` of an earlier shard are those of the documents row[slots]."""
    lookup = reuse.Lookup(shard.documents, shard.key, n_keys)
    missing = np.ones(len(row), bool)
    for one in older:
        placed = lookup.places(one.documents) if missing.any() else None
        if placed is None:
            continue
        keys, place = placed
        first = 0
        for key in keys:
            n = reuse.n_rows(one.documents.path / key)
            folder = one.folder / f"{shard.source}.{key}"
            wanted = np.flatnonzero(missing & (place[row] >= first) & (place[row] < first + n))
            if len(wanted) and reuse.is_usable(folder):
                stored = np.load(folder / "row.npy")
                at = np.minimum(np.searchsorted(stored, place[row[wanted]] - first), max(len(stored) - 1, 0))
                held = stored[at] == place[row[wanted]] - first if len(stored) else np.zeros(len(wanted), bool)
                missing[wanted[held]] = False
                yield np.load(folder / "ptr.npy"), opened(folder / "hashes.npy"), at[held], wanted[held]
            first += n


def _sets(
    shard: Shard, row: np.ndarray, ngram: int, words: str, fold: tuple[str, ...]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
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
            yield text.shingle_sets_of(*text.buffers(batch), words, ngram, fold)
