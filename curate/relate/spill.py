"""Equal keys of a corpus that does not fit into memory: keys in partitions on disk, grouped one partition at a time.

In: (keys, rows) of a column, block by block, rows ascending. Out: `Column.labels`, int32 (n,), the first row with the same key, -1
where a row is alone. And `RowFile`, a .npy file written block by block. A partition is a range of the keys' hashes, so equal keys
lie in one; only a key that many documents share makes a large one. Imports kernels and store.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import numpy.typing

from curate.relate import kernels
from curate.store import Digest

PART_ROWS = 1 << 22  # rows of a partition: 20 bytes each while it is grouped, 84 MB


class Column:
    """Keys of one band or hash, in 2**bits partitions below `folder`: 12 bytes on disk a row for a key of 8 bytes."""

    def __init__(self, folder: Path, name: str, width: int, bits: int) -> None:
        self.folder, self.name, self.width, self.bits = folder, name, width, bits

    def add(self, keys: np.ndarray, rows: np.ndarray) -> None:
        """keys: uint64 (k, width); rows: int32 (k,), larger than those of earlier calls."""
        ends = [len(rows)]
        if self.bits:
            keys, rows, ends = _by_part(np.ascontiguousarray(keys), rows, self.bits)
        begin = 0
        for part, end in enumerate(ends):
            if end > begin:
                for kind, values in (("keys", keys), ("rows", rows)):
                    with open(self._path(part, kind), "ab") as file:
                        file.write(np.ascontiguousarray(values[begin:end]).data)
            begin = end

    def labels(self, n: int) -> np.ndarray:
        """int32 (n,) of all rows 0..n - 1; the partitions are removed on the way."""
        first = np.full(n, -1, np.int32)
        for part in range(1 << self.bits):
            if self._path(part, "keys").exists():
                rows = np.fromfile(self._path(part, "rows"), np.int32)
                label(np.fromfile(self._path(part, "keys"), np.uint64).reshape(-1, self.width), rows, first)
                for kind in ("keys", "rows"):
                    self._path(part, kind).unlink()
        return first

    def _path(self, part: int, kind: str) -> Path:
        return self.folder / f"{self.name}.{part:04d}.{kind}"


def bits_for(n: int) -> int:
    """So that a partition of n rows has about PART_ROWS."""
    return max(0, -(-n // PART_ROWS) - 1).bit_length()


def label(keys: np.ndarray, rows: np.ndarray, first: np.ndarray) -> None:
    """first[rows[i]] = the first of `rows` with the key of i, where it is not alone. keys: uint64 (k, w); rows ascend.

    A sort of the packed (hash prefix, place) brings equal keys together: 58 M rows/s per core where numpy.unique did 0.7
    (reference/kernels.md 2.3, 2.4); whole keys are then compared.
    """
    if len(rows) < 2:
        return
    index_bits = int(len(rows) - 1).bit_length()
    packed = np.empty(len(rows), np.uint64)
    kernels.pack(keys, index_bits, packed)
    packed.sort()
    kernels.label_equal(packed, keys, rows, index_bits, first)


def equal(keys: np.ndarray) -> np.ndarray:
    """`Column.labels` of keys that lie in memory: int32 (n,) of uint64 (n, w)."""
    first = np.full(len(keys), -1, np.int32)
    label(np.ascontiguousarray(keys), np.arange(len(keys), dtype=np.int32), first)
    return first


def _by_part(keys: np.ndarray, rows: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Keys and rows by partition, in their order inside one; and where each partition ends."""
    ends = np.zeros(1 << bits, np.int64)
    out_keys, out_rows = np.empty_like(keys), np.empty(len(rows), np.int32)
    kernels.partition(keys, rows, bits, ends, out_keys, out_rows)
    return out_keys, out_rows, ends.tolist()


class RowFile:
    """A .npy file of known shape, written from its first row to its last."""

    def __init__(self, path: Path, dtype: np.typing.DTypeLike, shape: tuple[int, ...]) -> None:
        self.dtype, self.shape, self._left = np.dtype(dtype), shape, shape[0]
        self._file = open(path, "w+b")
        header = {"descr": np.lib.format.dtype_to_descr(self.dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._file, header)
        self._begin = self._file.tell()

    def append(self, rows: np.ndarray) -> None:
        self._file.write(np.ascontiguousarray(rows, self.dtype).data)
        self._left -= len(rows)

    def add_to(self, root: Digest, dtype: np.dtype | None = None) -> None:
        """What store.array_root adds for the whole array, seen as flat `dtype` if one is given. The file is closed."""
        if self._left:
            raise RuntimeError(f"{self._file.name}: {self._left} of {self.shape[0]} rows were not written")
        n_bytes = math.prod(self.shape) * self.dtype.itemsize
        root.add((self.dtype if dtype is None else dtype).newbyteorder("<").str)
        root.add(repr(self.shape if dtype is None else (n_bytes // dtype.itemsize,)))
        self._file.seek(self._begin)
        root.add_blocks(n_bytes, iter(lambda: self._file.read(1 << 20), b""))
        self._file.close()
