"""Compiled loops of verify: tokens against the bytes of their text. Integers only.

Arrays in, arrays out; called by verify.texts only. Self-contained on purpose: numba's cache does not see changes in other modules.
Imports curate.jit only.
"""

from __future__ import annotations

import numpy as np

from curate.jit import kernel


@kernel
def first_wrong(
    tokens: np.ndarray, begin: np.ndarray, end: np.ndarray, known: np.ndarray, known_ptr: np.ndarray, text: np.ndarray,
    text_ptr: np.ndarray, out: np.ndarray,
) -> None:  # fmt: skip
    """out[i] = -1 where the bytes of tokens [begin[i], end[i]) are text[text_ptr[i] : text_ptr[i + 1]], else the first token at which
    they part, end[i] where bytes are missing. Id t stands for known[known_ptr[t] : known_ptr[t + 1]]; for nothing, and so for no
    text, where that is empty."""
    for i in range(begin.size):
        at, stop = text_ptr[i], text_ptr[i + 1]
        out[i] = -1
        for place in range(begin[i], end[i]):
            t = np.int64(tokens[place])
            n = known_ptr[t + 1] - known_ptr[t] if t + 1 < known_ptr.size else 0
            same = 0 < n <= stop - at
            for j in range(n if same else 0):
                same = same and known[known_ptr[t] + j] == text[at + j]
            if not same:
                out[i] = place
                break
            at += n
        if out[i] < 0 and at < stop:
            out[i] = end[i]
