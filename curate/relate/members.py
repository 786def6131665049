"""What the stages know about documents that share anything, opened for `resolve`; and their shingle sets, gathered.

In: the stages buckets and shingles. Out: `Members`, memory maps only. Imports store, layout, kernels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from curate.relate import kernels
from curate.relate.layout import Shard, bounds
from curate.store import Stage


@dataclass(frozen=True)
class Members:
    """Arrays by member, sorted by ordinal. `sets`: per shard (ptr, hashes); its members are ends[i]:ends[i + 1]."""

    ordinal: np.ndarray  # (m,) int64
    bucket: np.ndarray  # (m, bands) int32, -1 alone
    component: np.ndarray  # (m,) int32
    group: np.ndarray  # (m,) int32: the hash group dedup.exact asks for, -1 none
    ends: np.ndarray  # (n_shards + 1,) int64
    sets: tuple[tuple[np.ndarray, np.ndarray], ...]  # empty where near duplicates are not looked for

    def __len__(self) -> int:
        return len(self.ordinal)

    def sizes(self) -> np.ndarray:
        """uint32 (m,): distinct shingles."""
        parts = [np.diff(ptr).astype(np.uint32) for ptr, _ in self.sets]
        return np.concatenate(parts) if parts else np.zeros(len(self), np.uint32)

    def gather(self, member: np.ndarray, scratch: Path, in_memory: int) -> tuple[np.ndarray, np.ndarray]:
        """(ptr, hashes) of the sorted `member`; more than `in_memory` bytes are mapped from the file `scratch`."""
        ptr = np.zeros(len(member) + 1, np.int64)
        places = np.searchsorted(member, self.ends)
        spans = [
            (own_ptr, own, member[a:b] - first, int(a))
            for (own_ptr, own), first, a, b in zip(self.sets, self.ends[:-1], places[:-1], places[1:], strict=bool(self.sets))
            if b > a
        ]
        for own_ptr, _, rows, at in spans:
            ptr[at + 1 : at + 1 + len(rows)] = own_ptr[rows + 1] - own_ptr[rows]
        np.cumsum(ptr, out=ptr)
        total = int(ptr[-1])
        large = total * 8 > in_memory
        hashes = np.asarray(np.memmap(scratch, np.uint64, "w+", shape=(total,))) if large else np.empty(total, np.uint64)
        for own_ptr, own, rows, at in spans:
            kernels.copy_sets(own_ptr, own, rows, ptr, hashes, at)
        return ptr, hashes


def opened(path: Path) -> np.ndarray:
    """A read-only memory map, as a plain array: numba compiles once."""
    return np.asarray(np.load(path, mmap_mode="r"))


def load(shards: Sequence[Shard], buckets: Stage, shingles: Stage | None, by: Sequence[str]) -> Members:
    """`by`: dedup.exact.by of the recipe."""
    folder = buckets.shard_path("all")
    ordinal = opened(folder / "member.npy")
    group = opened(folder / f"{by[0]}.npy") if by else np.full(len(ordinal), -1, np.int32)
    group.flags.writeable = False
    sets: tuple[tuple[np.ndarray, np.ndarray], ...] = ()
    if shingles is not None:
        folders = [shingles.shard_path(shard.name) for shard in shards]
        sets = tuple((opened(f / "ptr.npy"), opened(f / "hashes.npy")) for f in folders)
    bucket, component = opened(folder / "bucket.npy"), opened(folder / "component.npy")
    return Members(ordinal, bucket, component, group, bounds(shards, ordinal), sets)
