"""What decontamination takes for a word, and which words are equal to it: tables by code point.

A word is a run of letters, digits and the marks that follow them; in scripts that put no space between words (Han, kana, Thai) every
letter is one. These runs stand inside curate.text's words, whatever `sources.*.words` says: what is left of a word without its
punctuation, so that `List[float],` and `List [ float ]` are equal, as are texts whose punctuation was lost. Words are equal as

  raw   code points in simple lower case
  nfc   the same after canonical decomposition (a letter and its marks, in any order): NFC and NFD of one text are equal
  fold  the same without the marks: õ is o, š is s

and each contains the one before: items are indexed by the last that the recipe asks for, and a hit says the first that still holds.
Decompositions are those of Unicode 3.2, which every Python carries. Imports curate.text only.
"""

from __future__ import annotations

import unicodedata
from functools import cache

import numpy as np

from curate.relate.contamination import kernels
from curate.text import kernels as text_kernels
from curate.text.unicode import KIND, KINDS, tables
from curate.text.unicode import kinds as unicode_kinds

VERSION = 1  # raise it when another run of characters is a word, or other words are equal
NAMES = ("raw", "nfc", "fold")  # by mode of the kernels: PLAIN, MARKED, FOLDED
_ALONE = ("han_letter", "kana_letter", "thai_letter")
_END = 0x3000  # beyond it only Hangul and compatibility ideographs decompose


@cache
def arrays() -> tuple[np.ndarray, ...]:
    """(kinds uint8, lower_delta int32, base_delta int32, mark_index uint16, each (2**21,); mark_values uint64): for kernels.words."""
    classes, lower_delta = tables()
    kinds = np.zeros(len(classes), np.uint8)
    kinds[classes & text_kernels.ALNUM != 0] = kernels.INSIDE
    kinds[classes & text_kernels.MARK != 0] = kernels.MARK
    letters = np.array([KINDS.index(name) for name in _ALONE], np.uint8)
    kinds[np.isin(unicode_kinds() & KIND, letters)] = kernels.ALONE
    base_delta, mark_index = np.zeros(len(classes), np.int32), np.zeros(len(classes), np.uint16)
    values = [0]
    for code in range(0xA0, _END):
        base, *marks = map(ord, unicodedata.ucd_3_2_0.normalize("NFD", chr(code)))
        if kinds[code] == kernels.MARK:
            base, marks = code, [base, *marks]
        elif not marks and base == code:
            continue
        base_delta[code] = base - code
        mark_index[code] = len(values)
        values.append(sum(int(text_kernels.mix(np.uint64(mark))) for mark in marks) % 2**64)
    found = (kinds, lower_delta, base_delta, mark_index, np.array(values, np.uint64))
    for array in found:
        array.flags.writeable = False
    return found


def words(data: np.ndarray, offsets: np.ndarray, mode: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(ptr int64 (n_docs + 1), start int64, end int64, key uint64) of every word; starts and ends are places in `data`."""
    data, offsets = data.view(), offsets.view()
    data.flags.writeable = offsets.flags.writeable = False
    ptr = np.zeros(len(offsets), np.int64)
    room = int(offsets[-1] - offsets[0]) // 4 + 64
    while True:
        start, end, key = np.empty(room, np.int64), np.empty(room, np.int64), np.empty(room, np.uint64)
        n = int(kernels.words(data, offsets, *arrays(), mode, ptr, start, end, key))
        if n <= room:
            return ptr, start[:n], end[:n], key[:n]
        room = n
