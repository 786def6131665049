"""Stage "buckets": which documents share a band key or a hash, and the components these form.

In: bands.npy, n_shingles.npy, normalised.npy of every signatures shard; id and text_hash of the documents. Out, key "all":
member.npy int64 (m,) ordinals of documents that share anything; bucket.npy int32 (m, bands), -1 alone, numbered per band;
normalised.npy and text.npy int32 (m,), hash group or -1; component.npy int32 (m,); id.npy S32 (m,). Imports store, layout.

Memory while it runs, per document of the corpus: 2 flags, and for the one band or hash at work its keys (8 or 16 bytes, once
more where rows are picked), 8 for the packed sort, 4 for the labels: 46 bytes at most. bucket.npy is written band by band.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate.engine import Task
from curate.errors import CurateError
from curate.relate import kernels
from curate.relate.layout import Shard, bounds, layout, n_documents
from curate.store import Stage, Store, array_root

VERSION = 1


def tasks(
    store: Store, sources: Sequence[str], documents: Mapping[str, Stage], signatures: Mapping[str, Stage], near: bool
) -> tuple[Stage, list[Task]]:
    """`near` False: only hash groups, and bucket.npy has no bands."""
    parents = [stage.root for source in sources for stage in (documents[source], signatures[source])]
    stage = store.stage("buckets", version=VERSION, settings={"sources": list(sources), "near": near}, parents=parents)
    shards = layout(sources, documents)
    return stage, [Task(((stage, "all"),), _write, (stage, shards, dict(signatures), near), max(1, n_documents(shards)))]


def _write(stage: Stage, shards: list[Shard], signatures: dict[str, Stage], near: bool) -> None:
    folders = [signatures[shard.source].shard_path(shard.key) for shard in shards]
    n = n_documents(shards)
    bands = [np.load(folder / "bands.npy", mmap_mode="r") for folder in folders] if near else []
    n_bands = bands[0].shape[1] if bands else 0
    has_shingles = _joined([np.load(folder / "n_shingles.npy") > 0 for folder in folders], np.empty(0, bool))
    normalised = equal(_joined([np.load(f / "normalised.npy") for f in folders], np.empty((0, 2), np.uint64)))
    if len(has_shingles) != n or len(normalised) != n or sum(len(band) for band in bands) not in (0, n):
        raise CurateError("signatures and documents do not have the same rows", where=str(folders[0].parent), exit_code=1)
    shares = normalised >= 0
    rows = np.flatnonzero(has_shingles)  # the keys of a document without shingles mean nothing
    for keys in _columns(bands, n_bands):
        shares[rows] |= equal(keys[rows, None]) >= 0
    member = np.flatnonzero(shares)
    text = equal(_joined([_text_hashes(shard) for shard in shards], np.empty((0, 2), np.uint64)))
    with stage.shard("all") as shard:
        bucket = np.lib.format.open_memmap(shard.path / "bucket.npy", mode="w+", dtype=np.int32, shape=(len(member), n_bands))
        component = np.arange(len(member), dtype=np.int32)
        places = np.flatnonzero(has_shingles[member])
        n_buckets = 0
        for b, keys in enumerate(_columns(bands, n_bands)):
            ids = np.full(len(member), -1, np.int32)
            ids[places] = numbered(equal(keys[member[places], None]))
            bucket[:, b] = ids
            n_buckets += join(component, ids)
        groups = {"normalised": _at(normalised, member), "text": _at(text, member)}
        join(component, groups["normalised"])
        join(component, groups["text"])
        n_components = int(kernels.number_components(component))
        ids = _ids(shards, member)
        files: dict[str, np.ndarray] = {"member": member, "component": component, "id": ids, **groups}
        for name, array in files.items():
            np.save(shard.path / f"{name}.npy", array)
        bucket.flush()
        root = array_root(member, bucket, component, groups["normalised"], groups["text"], ids.view(np.uint8))
        shard.done(len(member), root, {"members": len(member), "buckets": n_buckets, "components": n_components})


def equal(keys: np.ndarray) -> np.ndarray:
    """int32 (n,): the first row with the same key, -1 where the row is alone. keys: uint64 (n, w).

    A sort of the packed (hash prefix, row) brings equal keys together: 58 M rows/s per core where numpy.unique did 0.7
    (reference/kernels.md 2.3, 2.4); whole keys are then compared.
    """
    n = len(keys)
    first = np.full(n, -1, np.int32)
    if n < 2:
        return first
    index_bits = int(n - 1).bit_length()
    keys, packed = np.ascontiguousarray(keys), np.empty(n, np.uint64)
    kernels.pack(keys, index_bits, packed)
    packed.sort()
    kernels.label_equal(packed, keys, index_bits, first)
    return first


def numbered(first: np.ndarray) -> np.ndarray:
    """Labels of `equal` as numbers 0.. in the order of their first row; -1 stays."""
    number = np.cumsum(first == np.arange(len(first)), dtype=np.int32) - np.int32(1)
    return np.where(first >= 0, number[first], np.int32(-1)) if len(first) else first


def join(component: np.ndarray, ids: np.ndarray) -> int:
    """Unites the components of rows with one id; returns the number of ids."""
    n = int(ids.max(initial=-1)) + 1
    kernels.union(component, ids, np.full(n, -1, np.int32))
    return n


def _at(first: np.ndarray, member: np.ndarray) -> np.ndarray:
    """Hash groups of all documents as group numbers of the members (whoever is in a group is a member)."""
    return numbered(first)[member]


def _columns(bands: list[np.ndarray], n_bands: int) -> Iterator[np.ndarray]:
    for b in range(n_bands):
        yield np.concatenate([band[:, b] for band in bands])


def _joined(arrays: list[np.ndarray], empty: np.ndarray) -> np.ndarray:
    return np.concatenate(arrays) if arrays else empty


def _text_hashes(shard: Shard) -> np.ndarray:
    """uint64 (rows, 2) of the 32 hex digits of text_hash."""
    column = pq.read_table(shard.documents, columns=["text_hash"]).column(0)
    digits = _digits(column)
    value = np.where(digits >= ord("a"), digits - (ord("a") - 10), digits - ord("0"))
    packed = np.ascontiguousarray(value[:, ::2] << 4 | value[:, 1::2])
    return packed.view(np.uint64)


def _digits(column: pa.ChunkedArray) -> np.ndarray:
    """uint8 (rows, 32) of a column of strings of 32 characters."""
    array = column.cast(pa.binary(32)) if column.type != pa.binary(32) else column
    data = [np.frombuffer(c.buffers()[1], np.uint8)[c.offset * 32 : (c.offset + len(c)) * 32] for c in array.chunks if len(c)]
    return np.concatenate(data).reshape(-1, 32) if data else np.empty((0, 32), np.uint8)


def _ids(shards: Sequence[Shard], member: np.ndarray) -> np.ndarray:
    """S32 (m,): the ids of the members."""
    ids = np.empty((len(member), 32), np.uint8)
    ends = bounds(shards, member)
    for shard, a, b in zip(shards, ends[:-1], ends[1:], strict=True):
        if b > a:
            ids[a:b] = _digits(pq.read_table(shard.documents, columns=["id"]).column(0))[member[a:b] - shard.first]
    return ids.reshape(-1).view("S32")
