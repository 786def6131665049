"""blake2b-128 of many rows of tokens at once: 16 bytes each, the same as hashlib's.

hashlib takes one message at a time and one block after the other; messages that do not depend on each other are hashed side by
side, which vector registers make about three times as fast (tests/bench/verify.py). Texts are too unlike in length: hashlib is as fast.
Imports numpy and hashes.kernels.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from mixture.hashes import kernels

ROUND_BYTES = 2 << 20  # of messages held at once: they stay in a core's cache


def row_hashes(ptr: np.ndarray, chunks: np.ndarray, tokens: Sequence[np.ndarray]) -> np.ndarray:
    """`stream.hash_row` of every row, uint8 (n_rows, 16). Row r is chunks (stream.CHUNK) [ptr[r], ptr[r + 1]); `tokens` by shard.

    Every chunk must lie inside its shard."""
    lengths = chunks["length"].astype(np.int64)
    before = np.concatenate(([0], np.cumsum(lengths)))
    sizes = 4 * (1 + np.diff(ptr) + before[ptr[1:]] - before[ptr[:-1]])  # bytes: number of chunks, their lengths, their tokens
    out, room = np.empty((len(ptr) - 1, 2), np.uint64), _Room()
    for first, last in _rounds(sizes):
        own = np.asarray(chunks[ptr[first] : ptr[last]])
        n_chunks = np.diff(ptr[first : last + 1])
        words, begin = room.take(sizes[first:last])
        values, at = words.view(np.uint32), 2 * begin
        values[at] = n_chunks
        in_row = np.arange(len(own)) - np.repeat(ptr[first:last] - ptr[first], n_chunks)
        values[np.repeat(at + 1, n_chunks) + in_row] = own["length"]
        offset = before[ptr[first] : ptr[last]] - np.repeat(before[ptr[first:last]], n_chunks)
        place = np.repeat(at + 1 + n_chunks, n_chunks) + offset
        shard, start = np.ascontiguousarray(own["shard"], np.int64), np.ascontiguousarray(own["start"], np.int64)
        for number in np.unique(shard).tolist():
            kernels.copy_chunks(tokens[number], number, shard, start, lengths[ptr[first] : ptr[last]], values, place)
        kernels.blake2b(words, begin, sizes[first:last], room.lanes, out[first:last])
    return out.view(np.uint8)


def count_learned(mask: np.ndarray, start: np.ndarray, length: np.ndarray) -> np.ndarray:
    """Marks of a loss mask that are not 0 in each stretch, int64 (n,)."""
    out = np.empty(start.size, np.int64)
    kernels.count_ones(mask, start, length, out)
    return out


def _rounds(sizes: np.ndarray) -> list[tuple[int, int]]:
    """[first, last) of messages that together have about ROUND_BYTES."""
    if not sizes.size:
        return []
    number = np.cumsum(sizes) // ROUND_BYTES
    edges = [0, *(np.flatnonzero(np.diff(number)) + 1).tolist(), sizes.size]
    return list(pairwise(edges))


class _Room:
    """Words for the messages of one round after the other, in the same memory."""

    def __init__(self) -> None:
        self._words = np.empty(0, np.uint64)
        self.lanes = np.zeros(kernels.ROOM, np.uint64)

    def take(self, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(words, where each message begins): blocks of its own for every message, its last block zeroed."""
        n_words = kernels.BLOCK_WORDS * np.maximum(1, -(-sizes // 128))
        ends = np.cumsum(n_words)
        if ends[-1] > self._words.size:
            self._words = np.empty(int(ends[-1]), np.uint64)
        for word in range(1, kernels.BLOCK_WORDS + 1):
            self._words[ends - word] = 0
        return self._words, ends - n_words
