"""Packing of documents into rows of L tokens: best-fit decreasing, where nothing that fits is cut, or concat and chunk.

In: token counts of documents in their order. Out: for every chunk its row and its place in the row; nothing is dropped.

**Best fit.** A document longer than L is cut into ceil(l / L) chunks whose sizes differ by at most one (so two chunks of one document
never share a row). Documents are taken in windows of 100,000: inside a window chunks go longest first into the row with the least
space that still holds them; rows stay open for the following windows, else short documents and long rows would pay for the window's end.
Where this misses the goal (padding <= 0.05 % + one row, or the lower bound) a second packing fills row after row as exactly as a
bounded search can (minimum bin slack, Gupta and Ho 1999), and the better of the two is taken. Best-fit: Ding et al. 2024,
arXiv 2404.10830.
**Concat and chunk**, for recipes of record: documents end to end in their order, cut every L tokens; only the last row has padding.
**Single**, for pairs: each document is a row of its own and has no padding; whoever trains on them makes batches by their lengths.
Imports numpy and kernels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from mixture import kernels

WINDOW = 100_000
GOAL = Fraction(5, 10_000)
EFFORT = 1000  # steps per row; measured: 300,000 documents of median 150 in rows of 512: padding 0.12 % -> 0.02 %, 0.2 s
MOST_TOKENS = 2**20  # of a row, as in recipes
TRIED = 300_000  # documents of a pass on which longer rows are tried
MAX_K = 32  # dual feasible functions tried for the lower bound: sees lengths just above L / (k + 1)


@dataclass(frozen=True)
class Packed:
    """Chunks in the order (row, place in the row); all arrays (n_chunks,) except row_ptr (n_rows + 1,)."""

    row_ptr: np.ndarray  # int64: chunks of row r are [row_ptr[r], row_ptr[r + 1])
    item: np.ndarray  # int64: index of the document in the input
    chunk: np.ndarray  # int64: number of the chunk in its document's use
    n_chunks: np.ndarray  # int64
    start: np.ndarray  # int64: first token, counted in the document
    length: np.ndarray  # int64
    position: np.ndarray  # int64: first token, counted in the row
    lower_bound: int  # rows no packing can do without
    is_padded: bool = True

    @property
    def n_rows(self) -> int:
        return self.row_ptr.size - 1

    def padding(self, capacity: int) -> int:
        """Tokens of padding in all rows."""
        return self.n_rows * capacity - int(self.length.sum()) if self.is_padded else 0

    def unavoidable(self, capacity: int) -> int:
        """Tokens of padding that the lower bound proves necessary."""
        return self.lower_bound * capacity - int(self.length.sum()) if self.is_padded else 0


def pack(lengths: np.ndarray, capacity: int, window: int = WINDOW) -> Packed:
    """Pack documents of `lengths` tokens (int64, > 0) into rows of `capacity` tokens."""
    lengths = _checked(lengths, capacity)
    cuts = kernels.n_chunks_of(lengths, np.int64(capacity))
    item, chunk, start, size, row = (np.empty(int(cuts.sum()), np.int64) for _ in range(5))
    n_rows = kernels.best_fit(lengths, np.int64(capacity), np.int64(window), item, chunk, start, size, row)
    bound, total = lower_bound(size, capacity), int(size.sum())
    if n_rows > max(bound, (total * (1 + GOAL) + capacity) // capacity):
        longest_first, _ = kernels.group(capacity - size, capacity + 1)
        other = np.empty_like(row)
        n_other = kernels.least_slack(size[longest_first], np.int64(capacity), np.int64(EFFORT), other)
        if n_other < n_rows:
            item, chunk, start, size = item[longest_first], chunk[longest_first], start[longest_first], size[longest_first]
            row, n_rows = other, n_other
    order, row_ptr = kernels.group(row, n_rows)
    item, chunk, start, length = item[order], chunk[order], start[order], size[order]
    ends = np.cumsum(length)
    before_row = np.concatenate(([0], ends))[row_ptr[:-1]]
    position = ends - length - np.repeat(before_row, np.diff(row_ptr))
    return Packed(row_ptr, item, chunk, cuts[item], start, length, position, bound)


def concat(lengths: np.ndarray, capacity: int) -> Packed:
    """Documents of `lengths` tokens (int64, > 0) end to end, cut every `capacity` tokens."""
    lengths = _checked(lengths, capacity)
    ends = np.cumsum(lengths)
    begins = ends - lengths
    cuts = (ends - 1) // capacity - begins // capacity + 1
    item = np.repeat(np.arange(lengths.size), cuts)
    chunk = np.arange(item.size) - np.repeat(np.cumsum(cuts) - cuts, cuts)
    row = begins[item] // capacity + chunk
    first = np.maximum(begins[item], row * capacity)  # in tokens from the first document on
    length = np.minimum(ends[item], (row + 1) * capacity) - first
    n_rows = int(-(-lengths.sum() // capacity))
    row_ptr = np.searchsorted(row, np.arange(n_rows + 1)).astype(np.int64)
    return Packed(row_ptr, item, chunk, cuts[item], first - begins[item], length, first - row * capacity, n_rows)


def single(lengths: np.ndarray, capacity: int) -> Packed:
    """Documents of `lengths` tokens (int64, 1 to `capacity`), a row each, in their order."""
    lengths = _checked(lengths, capacity)
    if lengths.size and lengths.max() > capacity:
        raise ValueError(f"a document of {lengths.max()} tokens in rows of {capacity}")
    n, none = lengths.size, np.zeros(lengths.size, np.int64)
    return Packed(np.arange(n + 1), np.arange(n), none, none + 1, none, lengths, none, n, is_padded=False)


PACKING = {"best_fit": pack, "concat": concat, "single": single}


def _checked(lengths: np.ndarray, capacity: int) -> np.ndarray:
    lengths = np.ascontiguousarray(lengths, np.int64)
    if capacity < 1 or (lengths.size and lengths.min() < 1):
        raise ValueError("row capacity and document lengths must be at least one token")
    return lengths


def longer_rows(passes: Sequence[np.ndarray], capacity: int) -> tuple[int, int | None] | None:
    """Where lengths make more than GOAL of padding unavoidable: (tokens of it, the least multiple of `capacity` that packs them with no
    more than GOAL, None where there is none). What the last row of a pass lacks is no fault of the lengths and is left out.

    `passes`: token counts of each pass. Unavoidable is what the lower bound says; a multiple is tried on TRIED documents of each."""
    total = sum(int(lengths.sum()) for lengths in passes)
    excess = sum((_rows_needed(lengths, capacity) - -(-int(lengths.sum()) // capacity)) * capacity for lengths in passes)
    if excess <= GOAL * total:
        return None
    tried = [lengths[:TRIED] for lengths in passes]
    for times in (2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 24, 32, 48, 64, 96, 128):
        longer = times * capacity
        if longer > MOST_TOKENS:
            break
        rows = sum(pack(lengths, longer).n_rows - -(-int(lengths.sum()) // longer) for lengths in tried)
        if rows * longer <= GOAL * sum(int(lengths.sum()) for lengths in tried):
            return excess, longer
    return excess, None


def _rows_needed(lengths: np.ndarray, capacity: int) -> int:
    """The lower bound for documents that are cut as `pack` cuts them."""
    cuts = -(-lengths // capacity)
    longer = lengths % cuts  # so many chunks of a document have one token more
    per_size = np.zeros(capacity + 2, np.int64)
    kernels.add(lengths // cuts, cuts - longer, per_size)
    kernels.add(lengths // cuts + 1, longer, per_size)
    return int(kernels.rows_needed(per_size[: capacity + 1], np.int64(capacity), np.int64(MAX_K)))


def lower_bound(sizes: np.ndarray, capacity: int) -> int:
    """Rows that no packing of chunks of these sizes (1..capacity) can do without."""
    per_size = np.bincount(sizes, minlength=capacity + 1).astype(np.int64)
    return int(kernels.rows_needed(per_size, np.int64(capacity), np.int64(MAX_K)))
