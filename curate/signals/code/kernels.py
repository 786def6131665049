"""The compiled part of family code: UTF-8 bytes in, code points of lines out."""

from __future__ import annotations

import numpy as np

from curate.jit import kernel


@kernel
def line_chars(data: np.ndarray, offsets: np.ndarray, counts: np.ndarray) -> None:
    """counts int64 (n, 3): code points of the longest line, of all lines, and the number of lines of every document."""
    for doc in range(offsets.size - 1):
        longest = 0
        total = 0
        here = 0
        n_lines = 0
        for i in range(offsets[doc], offsets[doc + 1]):
            c = data[i]
            if c == 0x0A:
                n_lines += 1
                total += here
                longest = max(longest, here)
                here = 0
            else:
                here += 1 if c & 0xC0 != 0x80 else 0
        if offsets[doc + 1] > offsets[doc] and data[offsets[doc + 1] - 1] != 0x0A:
            n_lines += 1
        counts[doc, 0] = max(longest, here)
        counts[doc, 1] = total + here
        counts[doc, 2] = n_lines
