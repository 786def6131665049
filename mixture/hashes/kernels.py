"""blake2b-128 of 64 messages side by side, and the gathering of rows of tokens. Integers only; specified by RFC 7693.

Arrays in, arrays out; called by mixture.hashes only. Self-contained on purpose: numba's cache does not see changes in other modules.
Imports curate.jit only.
"""

from __future__ import annotations

import numpy as np

from curate.jit import inner, kernel

LANES = 64  # messages side by side. Measured: 8 of them 0.42 GB/s, 16 0.63, 32 0.83, 64 1.01, 128 0.94; hashlib 0.45
BLOCK_WORDS = 16

_IV = np.array(
    [0x6A09E667F3BCC908, 0xBB67AE8584CAA73B, 0x3C6EF372FE94F82B, 0xA54FF53A5F1D36F1,
     0x510E527FADE682D1, 0x9B05688C2B3E6C1F, 0x1F83D9ABFB41BD6B, 0x5BE0CD19137E2179], np.uint64,
)  # fmt: skip
_FIRST = np.uint64(0x01010010)  # parameter block: 16 bytes of digest, no key, fanout and depth 1
_SIGMA = np.array(
    [
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15], [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
        [11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4], [7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8],
        [9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13], [2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9],
        [12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11], [13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10],
        [6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5], [10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0],
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15], [14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3],
    ], np.int64,
)  # fmt: skip
_U1, _U16, _U24, _U32, _U40, _U48, _U63 = (np.uint64(n) for n in (1, 16, 24, 32, 40, 48, 63))


@inner(inline="always")
def _mix(v: np.ndarray, a: int, b: int, c: int, d: int, m: np.ndarray, x: int, y: int) -> None:
    """RFC 7693's G in every lane: one loop over lanes becomes vector instructions."""
    for lane in range(v.shape[1]):
        va = v[a, lane] + v[b, lane] + m[x, lane]
        vd = v[d, lane] ^ va
        vd = (vd >> _U32) | (vd << _U32)
        vc = v[c, lane] + vd
        vb = v[b, lane] ^ vc
        vb = (vb >> _U24) | (vb << _U40)
        va = va + vb + m[y, lane]
        vd = vd ^ va
        vd = (vd >> _U16) | (vd << _U48)
        vc = vc + vd
        vb = vb ^ vc
        v[a, lane], v[b, lane], v[c, lane], v[d, lane] = va, (vb >> _U63) | (vb << _U1), vc, vd


@inner
def _compress(h: np.ndarray, m: np.ndarray, v: np.ndarray, counted: np.ndarray, final: np.ndarray) -> None:
    for i in range(8):
        for lane in range(v.shape[1]):
            v[i, lane] = h[i, lane]
            v[i + 8, lane] = _IV[i]
    for lane in range(v.shape[1]):
        v[12, lane] ^= counted[lane]
        v[14, lane] ^= final[lane]
    for r in range(12):
        for g in range(8):  # the columns, then the diagonals; one call in a loop, since each call is compiled anew
            i, turn = g & 3, g >> 2
            b, c, d = 4 + ((i + turn) & 3), 8 + ((i + 2 * turn) & 3), 12 + ((i + 3 * turn) & 3)
            _mix(v, i, b, c, d, m, _SIGMA[r, 2 * g], _SIGMA[r, 2 * g + 1])
    for i in range(8):
        for lane in range(v.shape[1]):
            h[i, lane] ^= v[i, lane] ^ v[i + 8, lane]


@kernel(allocates=True)
def blake2b(words: np.ndarray, first: np.ndarray, n_bytes: np.ndarray, out: np.ndarray) -> None:
    """out (n, 2) uint64: digest of every message. Message i begins at word first[i] of `words` (uint64) and is padded with zeros to
    whole blocks of 16 words, at least one. Messages of like length should stand together: 64 of them take as long as the longest."""
    h, m, v = np.empty((8, LANES), np.uint64), np.zeros((16, LANES), np.uint64), np.empty((16, LANES), np.uint64)
    counted, final = np.zeros(LANES, np.uint64), np.zeros(LANES, np.uint64)
    for begin in range(0, first.size, LANES):
        n = min(LANES, first.size - begin)
        blocks = np.int64(1)
        for lane in range(n):
            blocks = max(blocks, (n_bytes[begin + lane] + 127) // 128)
        for lane in range(LANES):
            final[lane] = 0
            for i in range(8):
                h[i, lane] = _IV[i]
            h[0, lane] ^= _FIRST
        for block in range(blocks):
            for lane in range(n):
                left = n_bytes[begin + lane] - 128 * block
                if left > 0 or block == 0:
                    at = first[begin + lane] + BLOCK_WORDS * block
                    for w in range(BLOCK_WORDS):
                        m[w, lane] = words[at + w]
                    counted[lane] = min(n_bytes[begin + lane], 128 * (block + 1))
                    final[lane] = ~np.uint64(0) if left <= 128 else np.uint64(0)
            _compress(h, m, v, counted, final)
            for lane in range(n):  # a message that has ended is written; its lane runs on and is not looked at again
                left = n_bytes[begin + lane] - 128 * block
                if left <= 128 and (left > 0 or block == 0):
                    out[begin + lane, 0], out[begin + lane, 1] = h[0, lane], h[1, lane]


@kernel
def copy_chunks(
    tokens: np.ndarray, shard: int, of_shard: np.ndarray, start: np.ndarray, length: np.ndarray, out: np.ndarray, at: np.ndarray
) -> None:
    """out[at[i] : at[i] + length[i]] (uint32) = the tokens of chunk i, for chunks of this shard."""
    for i in range(start.size):
        if of_shard[i] == shard:
            for j in range(length[i]):
                out[at[i] + j] = tokens[start[i] + j]


@kernel
def count_ones(mask: np.ndarray, start: np.ndarray, length: np.ndarray, out: np.ndarray) -> None:
    """out[i] = marks other than 0 in mask[start[i] : start[i] + length[i]]."""
    for i in range(start.size):
        n = np.int64(0)
        for j in range(length[i]):
            n += mask[start[i] + j] != 0
        out[i] = n
