"""How often equal keys stand in a corpus: a record per key, check and web domain of a shard in, its counts over all shards out.

Stages on the way, which may be deleted: "repeat_keys" (per documents shard: the records, sorted, 24 bytes each) and "repeat_counts"
(per range of keys: what of each shard's records stands more than once, 17 bytes each). A range of keys holds about PART_BYTES of
records, so memory does not grow with the corpus. Imports engine, store, layout, domains and kernels.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate import engine, text
from curate.engine import Task
from curate.relate.domains import numbers_of
from curate.relate.layout import Shard
from curate.relate.repeats import kernels
from curate.store import Stage, Store, array_root

VERSION = 1
PART_BYTES = 64 << 20  # of records that are sorted together
_RECORD = {"key": np.uint64, "check": np.uint32, "domain": np.int32, "documents": np.int32, "places": np.int32}
_RECORD_BYTES = 24
_COUNTS = {"index": np.int32, "corpus": np.int32, "source": np.int32, "domain": np.int32, "first": np.uint8}


@dataclass(frozen=True)
class Part:
    """One documents shard of the corpus that is compared; `shard` is numbered within its source, `number` over all parts."""

    number: int
    shard: Shard
    words: str  # how the source cuts its words
    numbers: Stage | None  # domain_numbers of the source, None where no document has a domain

    @property
    def source(self) -> str:
        return self.shard.source

    @property
    def key(self) -> str:
        return self.shard.key

    @property
    def weight(self) -> int:
        return max(1, self.shard.documents.stat().st_size)

    def domains(self) -> np.ndarray:
        """int32 (rows,): number of each document's domain within the source, -1 none."""
        return np.full(self.shard.rows, -1, np.int32) if self.numbers is None else numbers_of(self.numbers, self.shard)

    def texts(self) -> Iterator[tuple[int, pa.Array]]:
        """(the first row, texts of about a MB)."""
        file, first = pq.ParquetFile(self.shard.documents), 0
        for group in range(file.num_row_groups):
            for batch in text.batches(file.read_row_group(group, columns=["text"]).column(0)):
                yield first, batch
                first += len(batch)


class Places(NamedTuple):
    """Where keys stand, in the order of the text: all arrays (n,). What `start` and `end` count is the finder's business."""

    row: np.ndarray  # int32
    start: np.ndarray  # int64
    end: np.ndarray  # int64
    key: np.ndarray  # uint64
    check: np.ndarray  # uint32


def write_keys(stage: Stage, part: Part, found: Iterable[Places]) -> None:
    """The records of one shard's places."""
    none = Places(*(np.empty(0, t) for t in (np.int32, np.int64, np.int64, np.uint64, np.uint32)))
    chosen = [(places.key, places.check, places.row) for places in (none, *found)]
    key, check, row = (np.concatenate(column) for column in zip(*chosen, strict=True))
    out = [np.empty(len(key), dtype) for dtype in _RECORD.values()]
    n = kernels.distinct(np.argsort(key), key, check, row, part.domains(), *out)
    with stage.shard(part.key) as writer:
        for name, array in zip(_RECORD, out, strict=True):
            np.save(writer.path / f"{name}.npy", array[:n])
        writer.done(n, array_root(*(array[:n] for array in out)), {"places": len(key)})


def ranges(n_bytes: int) -> list[tuple[int, int]]:
    """Ranges of uint64 keys, [low, high), that hold PART_BYTES each where keys are hashes."""
    n = 1 + n_bytes // PART_BYTES
    ends = [-(-(i << 64) // n) for i in range(n + 1)]
    return list(itertools.pairwise(ends))


def slice_of(folder: Path, low: int, high: int) -> slice:
    """Rows of a sorted key.npy with low <= key < high."""
    key = np.load(folder / "key.npy", mmap_mode="r")
    return slice(int(np.searchsorted(key, np.uint64(low))), int(np.searchsorted(key, np.uint64(high - 1), side="right")))


def rows_of(folder: Path, name: str, own: slice | np.ndarray) -> np.ndarray:
    return np.array(np.load(folder / f"{name}.npy", mmap_mode="r")[own])


def count(store: Store, keys: dict[str, Stage], parts: Sequence[Part], min_documents: int, workers: int) -> Stage:
    """The finished stage "repeat_counts" over the stages "repeat_keys" by source, in the order of parts."""
    settings = {"min_documents": min_documents}
    stage = store.stage("repeat_counts", version=VERSION, settings=settings, parents=[s.root for s in keys.values()])
    total = sum(of.info()["rows"] for of in keys.values())
    wanted = {f"{i:05d}": limits for i, limits in enumerate(ranges(total * _RECORD_BYTES))}
    folders = [keys[part.source].shard_path(part.key) for part in parts]
    names = list(keys)
    source = np.array([names.index(part.source) for part in parts], np.int32)
    tasks = [
        Task(((stage, key),), _count_range, (stage, key, folders, source, limits, min_documents), 1 + total * _RECORD_BYTES // len(wanted))
        for key, limits in wanted.items()
    ]  # fmt: skip
    engine.run(tasks, workers=workers, label="repeats")
    stage.finish(list(wanted))
    return stage


def _count_range(
    stage: Stage, key: str, folders: list[Path], source: np.ndarray, limits: tuple[int, int], min_documents: int
) -> None:
    slices = [slice_of(folder, *limits) for folder in folders]
    sizes = [own.stop - own.start for own in slices]
    record = []
    for name, dtype in _RECORD.items():
        here = [rows_of(folder, name, own) for folder, own in zip(folders, slices, strict=True)]
        record.append(np.concatenate([np.empty(0, dtype), *here]))
    shard = np.repeat(np.arange(len(folders), dtype=np.int32), sizes)
    counted = [np.zeros(len(shard), dtype) for dtype in list(_COUNTS.values())[1:]]
    order = np.argsort(record[0])
    kernels.count_equal(order, record[0], record[1], shard, source, *record[2:], min_documents, *counted)
    again = np.flatnonzero(counted[0])
    begins = np.cumsum([0, *sizes[:-1]]) - np.array([own.start for own in slices])
    index = (again - begins[shard[again]]).astype(np.int32)
    ptr = np.searchsorted(shard[again], np.arange(len(folders) + 1))
    arrays = {"ptr": ptr, **dict(zip(_COUNTS, (index, *(array[again] for array in counted)), strict=True))}
    with stage.shard(key) as writer:
        for name, array in arrays.items():
            np.save(writer.path / f"{name}.npy", array)
        writer.done(len(again), array_root(*arrays.values()))


class Repeated:
    """What of one shard's keys stands more than once, in memory: about 50 bytes for each. Its places are asked for in the order of the text."""

    def __init__(self, counts: Stage, keys: Stage, part: Part) -> None:
        own: list[list[np.ndarray]] = [[np.empty(0, dtype)] for dtype in _COUNTS.values()]
        for folder in (counts.shard_path(key) for key in counts.keys):
            first, last = rows_of(folder, "ptr", slice(part.number, part.number + 2)).tolist()
            for array, name in zip(own, _COUNTS, strict=True):
                array.append(rows_of(folder, name, slice(first, last)))
        index, self.corpus, self.source, self.domain, self._first = (np.concatenate(arrays) for arrays in own)
        folder = keys.shard_path(part.key)
        key, check, self._record_domain = (rows_of(folder, name, index) for name in ("key", "check", "domain"))
        is_new = np.ones(len(key), bool)
        is_new[1:] = (key[1:] != key[:-1]) | (check[1:] != check[:-1])
        begins = np.flatnonzero(is_new)
        self._key, self._check, self._ptr = key[begins], check[begins], np.append(begins, len(key))
        self._group = begins[np.cumsum(is_new) - 1] if len(key) else begins
        self._table = kernels.hash_table(self._key)
        self._seen = np.zeros(len(key), np.uint8)
        self._of_row = part.domains()

    def __len__(self) -> int:
        return len(self.corpus)

    def records(self, places: Places) -> np.ndarray:
        """int64 (n,): the record of every place, -1 where the key stands nowhere else."""
        found = np.empty(len(places.key), np.int64)
        of = (self._of_row[places.row], self._table, self._key, self._check, self._ptr, self._record_domain)
        kernels.of_records(places.key, places.check, *of, found)
        return found

    def first_bits(self, record: np.ndarray) -> np.ndarray:
        """uint8 (n,): kernels.FIRST_IN_... of places with a record; call it once for each, in the order of the text."""
        bits = np.empty(len(record), np.uint8)
        kernels.first_places(record, self._group, self._first, self._seen, bits)
        return bits
