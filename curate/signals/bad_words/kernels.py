"""Numba kernels of listed words: sequences of units (words, or code points) counted where they stand in a document.

In: units as uint64, documents as ptr int64 (n_docs + 1). Out: counts int64 (n_docs,). Imports curate.jit and text's kernels.
"""

from __future__ import annotations

import numpy as np

from curate.jit import inner, kernel
from curate.text.kernels import decode, mix

_BASE = np.uint64(0xD6E8FEB86659FD93)  # odd
_START = np.uint64(0x082EFA98EC4E6C89)  # pi
LONGEST = 63  # units of a phrase: its lengths are bits of an int64


@kernel
def code_points(data: np.ndarray, offsets: np.ndarray, lower_delta: np.ndarray, ptr: np.ndarray, units: np.ndarray) -> None:
    """Code points of every document in simple lower case, one after another."""
    n = 0
    ptr[0] = 0
    for doc in range(offsets.size - 1):
        i = offsets[doc]
        while i < offsets[doc + 1]:
            code, width = decode(data, i)
            units[n] = np.uint64(code + lower_delta[code])
            n += 1
            i += width
        ptr[doc + 1] = n


@inner
def phrase_key(units: np.ndarray, i: int, n: int) -> np.uint64:
    """Hash of the n units from i on, never 0."""
    h = _START
    for k in range(i, i + n):
        h = mix((h ^ units[k]) * _BASE)
    return h | np.uint64(1)


@inner
def slot_of(keys: np.ndarray, key: np.uint64) -> np.int64:
    """Where `key` is in the open-addressing table, or the empty slot (0) where it would be."""
    mask = np.uint64(keys.size - 1)
    slot = (key >> np.uint64(8)) & mask
    while keys[slot] != 0 and keys[slot] != key:
        slot = (slot + np.uint64(1)) & mask
    return np.int64(slot)


@kernel
def fill(ptr: np.ndarray, units: np.ndarray, first: np.ndarray, lengths: np.ndarray, keys: np.ndarray) -> None:
    """Write the phrases into the tables: first unit -> bits of the lengths that begin so; whole phrases."""
    for phrase in range(ptr.size - 1):
        n = ptr[phrase + 1] - ptr[phrase]
        if n:
            key = phrase_key(units, ptr[phrase], 1)
            slot = slot_of(first, key)
            first[slot] = key
            lengths[slot] |= 1 << n
            key = phrase_key(units, ptr[phrase], n)
            keys[slot_of(keys, key)] = key


@kernel
def count(
    ptr: np.ndarray, units: np.ndarray, first: np.ndarray, lengths: np.ndarray, keys: np.ndarray, longest: int, out: np.ndarray
) -> None:
    """Occurrences of listed phrases: from left to right, the longest at each place, not overlapping."""
    for doc in range(ptr.size - 1):
        n = 0
        i = ptr[doc]
        while i < ptr[doc + 1]:
            bits = lengths[slot_of(first, phrase_key(units, i, 1))]
            size = min(longest, ptr[doc + 1] - i) if bits else 0
            while size > 0 and not (bits >> size & 1 and keys[slot_of(keys, phrase_key(units, i, size))]):
                size -= 1
            n += size > 0
            i += max(size, 1)
        out[doc] = n
