"""Numba kernel of the family parallel: UTF-8 bytes and a kind per code point in, sizes of each side out.

Imports curate.jit and the decoding of curate.text.kernels.
"""

from __future__ import annotations

import numpy as np

from curate.jit import kernel
from curate.text.kernels import decode

# columns of the counts
CHARS, WORDS, LONGEST_WORD, WORD_CHARS, LETTERS, SCRIPT_LETTERS, MARKS = range(7)
N_COUNTS = 7
KIND, SPACE = 31, 64  # bits of a kind: text.unicode
FIRST_LETTER, LAST_LETTER = 1, 13  # kinds that are letters: those of a script, and the others


@kernel
def side_counts(data: np.ndarray, offsets: np.ndarray, kinds: np.ndarray, scripts: np.ndarray, counts: np.ndarray) -> None:
    """counts[side, :] int64. `kinds`: uint8 (2**21,); `scripts`: int64 (n_sides,), a bit for each kind that is of the side's script.

    Words are what white space parts; marks are . ? ! and U+2026.
    """
    for side in range(offsets.size - 1):
        i = offsets[side]
        stop = offsets[side + 1]
        for column in range(N_COUNTS):
            counts[side, column] = 0
        word = 0
        script = scripts[side]
        while i < stop:
            code, width = decode(data, i)
            i += width
            counts[side, CHARS] += 1
            flags = np.int64(kinds[code])
            if flags & SPACE:
                word = 0
                continue
            if word == 0:
                counts[side, WORDS] += 1
            word += 1
            counts[side, WORD_CHARS] += 1
            counts[side, LONGEST_WORD] = max(counts[side, LONGEST_WORD], word)
            kind = flags & KIND
            if FIRST_LETTER <= kind <= LAST_LETTER:
                counts[side, LETTERS] += 1
                counts[side, SCRIPT_LETTERS] += (script >> kind) & 1
            elif code == 0x2E or code == 0x3F or code == 0x21 or code == 0x2026:
                counts[side, MARKS] += 1
