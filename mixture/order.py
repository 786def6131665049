"""The order of the stream, specified to the bit: a keyed permutation inside, an earliest-deadline interleave between.

Counts and keys in; arrays of integers out. No library's random generator, no floating point. Imports curate.store's digest.

**Key.** `key(seed, *labels)` = the first 8 bytes, little-endian, of blake2b-128 over the length-prefixed UTF-8 strings
"veski-order-1", decimal seed, labels (length: 8 bytes little-endian before each string).

**Permutation of [0, n), n <= 2^62.** b = the smallest integer >= 1 with 4^b >= n. Round keys k_1..k_8 are splitmix64's first
eight outputs for the state `key`: k_i = mix64(key + i * 0x9E3779B97F4A7C15 mod 2^64). x is split into left (high b bits) and
right (low b bits); each round does (left, right) <- (right, left xor (mix64(right + k_i) mod 2^b)); if the result is not below
n, the eight rounds are applied to it again (cycle walking).
Test vectors, images of 0, 1, 2, ...:
  n = 10,   key = 0:            2 0 8 1 9 7 4 5 6 3
  n = 1000, key = 2^64 - 1:     532 496 668 654 563
  key(42, "sequences", "main", "et", "0") = 9774141841088677335

**Interleave.** Component i has N_i of N sequences, n components are not empty, a = 2n - 2. Its unit m (from 0) may take a slot
t (from 1) with a (N_i t - N m) >= N, and must take one no later than floor(N (a - 1 + a m) / (a N_i)) + 1. Every slot goes to
the released unit with the earliest deadline, ties to the first component. After every slot each component is within
1 - 1/a < 1 sequence of its ideal (R. Tijdeman, The chairman assignment problem, 1980).

**Stream.** Sequences are numbered by phase, component (recipe order), pass; phases[].packing.passes of the manifest has their counts in
this order, and phases follow each other in the stream. In a phase, the interleave gives each component its slots; they are filled with
its passes in their order, and pass p of n sequences, the first of them number s, with s + the images of 0, 1, 2, ... under the
permutation of [0, n) for key(seed, "sequences", phase, component, decimal p).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from curate.store import digest
from mixture import kernels

ALGORITHM = "feistel8-splitmix64, earliest-deadline"
VERSION = 1


def key(seed: int, *labels: str) -> int:
    """A 64-bit key for one purpose, e.g. key(seed, "sequences", phase, component, pass)."""
    return int.from_bytes(bytes.fromhex(digest(f"veski-order-{VERSION}", str(seed), *labels))[:8], "little")


def permutation(n: int, key: int, first: int = 0, count: int | None = None) -> np.ndarray:
    """Images of first, first + 1, ... (all of [0, n) unless told otherwise). int64 (count,)."""
    out = np.empty(n - first if count is None else count, np.int64)
    if not 0 <= first <= first + out.size <= n <= 2**62:
        raise ValueError(f"[{first}, {first + out.size}) is not inside [0, {n}), n <= 2^62")
    kernels.permute(np.int64(first), out, np.int64(n), np.uint64(key))
    return out


def keyed_hash(high: np.ndarray, low: np.ndarray, key: int) -> np.ndarray:
    """Hash of 128-bit names given as two uint64 (n,) arrays: mix64(mix64(high xor key) + low). uint64 (n,)."""
    return kernels.keyed_hash(np.ascontiguousarray(high, np.uint64), np.ascontiguousarray(low, np.uint64), np.uint64(key))


def interleave(counts: Sequence[int]) -> np.ndarray:
    """Component of every slot, uint16 (sum of counts,): each prefix is within one sequence of every component's share."""
    present = np.flatnonzero(np.asarray(counts, np.int64))
    out = np.empty(int(sum(counts)), np.uint16)
    if present.size:
        idle = kernels.interleave(np.asarray(counts, np.int64)[present], out)
        if idle >= 0:
            raise AssertionError(f"no unit is released at slot {idle}: Tijdeman's theorem excludes this")
    return present.astype(np.uint16)[out] if present.size else out


def stream_order(rows: Sequence[Sequence[int]], keys: Sequence[Sequence[int]]) -> np.ndarray:
    """Sequence of every stream index of one phase, uint64 (n,), numbered from 0 by component, then pass.

    rows[c][p] = sequences of pass p of component c, keys[c][p] = the key of their permutation. All rows of pass p of a
    component come before its rows of pass p + 1.
    """
    slots = interleave([sum(passes) for passes in rows])
    order = np.empty(slots.size, np.uint64)
    base = 0
    for component, (passes, pass_keys) in enumerate(zip(rows, keys, strict=True)):
        inside = [np.empty(0, np.int64)]
        for n, pass_key in zip(passes, pass_keys, strict=True):
            inside.append(base + permutation(n, pass_key))
            base += n
        order[slots == component] = np.concatenate(inside).astype(np.uint64)
    return order
