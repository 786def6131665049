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
    same_text: np.ndarray  # (m,) int32: group of equal texts as dedup.exact means it, -1 none; (0,) where it does not ask
    same_url: np.ndarray  # the same of equal addresses, or of equal prompts
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


def prints_of(ptr: np.ndarray, hashes: np.ndarray, scratch: Path, in_memory: int) -> np.ndarray:
    """The sets' prints (kernels.make_prints), a quarter of their bytes; mapped from the file `scratch` where `gather` maps the sets."""
    n = len(hashes) // 4 + 1
    large = len(hashes) * 8 > in_memory
    prints = np.asarray(np.memmap(scratch, np.uint64, "w+", shape=(n,))) if large else np.zeros(n, np.uint64)
    kernels.make_prints(ptr, hashes, prints)
    return prints


def opened(path: Path) -> np.ndarray:
    """A read-only memory map, as a plain array: numba compiles once."""
    return np.asarray(np.load(path, mmap_mode="r"))


def load(shards: Sequence[Shard], buckets: Stage, shingles: Stage | None, by: Sequence[str]) -> Members:
    """`shards`: those of references too, in the order of ordinals. `by`: dedup.exact.by of the recipe."""
    folder = buckets.shard_path("all")
    ordinal = opened(folder / "member.npy")
    sets: tuple[tuple[np.ndarray, np.ndarray], ...] = ()
    if shingles is not None:
        folders = [shingles.shard_path(shard.name) for shard in shards]
        sets = tuple((opened(f / "ptr.npy"), opened(f / "hashes.npy")) for f in folders)
    bucket, component = opened(folder / "bucket.npy"), opened(folder / "component.npy")
    has_url = {"url", "prompt"} & set(by) and (folder / "url.npy").exists()  # by prompt where no source is of conversations: none
    text, url = (opened(folder / f"{name}.npy") if name else _NONE for name in (text_group(by), "url" if has_url else ""))
    return Members(ordinal, bucket, component, text, url, bounds(shards, ordinal), sets)


def text_group(by: Sequence[str]) -> str:
    """The group that says which texts are equal: equal texts are equal when normalised, so the wider one holds both."""
    return "normalised" if "normalised" in by else "text" if "text" in by else ""


_NONE = np.empty(0, np.int32)
_NONE.flags.writeable = False
