"""Numba kernel of the family characters: UTF-8 bytes and a kind per code point in, how many of each kind per document out.

Imports curate.jit and the decoding of curate.text.kernels.
"""

from __future__ import annotations

import numpy as np

from curate.jit import kernel
from curate.text.kernels import decode

KINDS = 64  # columns of the counts; a kind is below this


@kernel(allocates=True)
def kind_counts(data: np.ndarray, offsets: np.ndarray, kinds: np.ndarray, counts: np.ndarray) -> None:
    """counts[doc, kind]: code points of each kind. `kinds`: uint8 (2**21,), every value below KINDS."""
    lanes = np.zeros(4 * KINDS, np.int64)  # four counters of each kind: a letter need not wait for the letter before it
    for doc in range(offsets.size - 1):
        i = offsets[doc]
        stop = offsets[doc + 1]
        while i < stop:
            c = np.int64(data[i])
            if c < 0x80:
                lanes[((i & 3) << 6) | kinds[c]] += 1
                i += 1
            else:
                code, width = decode(data, i)
                lanes[((i & 3) << 6) | kinds[code]] += 1
                i += width
        for kind in range(KINDS):
            counts[doc, kind] = lanes[kind] + lanes[KINDS + kind] + lanes[2 * KINDS + kind] + lanes[3 * KINDS + kind]
        lanes[:] = 0
