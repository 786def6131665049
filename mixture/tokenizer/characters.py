"""What the splitting patterns ask of a character: the class of every code point out, from Python's Unicode tables.

The libraries split by younger tables, so a text with a character that Python does not know is left to them; for all others they
agree (tests/mixture/test_tokenizer.py compares each). A text without characters marked NOT_NFC is in NFC by any version's tables.
Imports kernels.
"""

from __future__ import annotations

import functools
import unicodedata

import numpy as np

from mixture.tokenizer import kernels

PLANES = (range(0x40000), range(0xE0000, 0xE1000), range(0xF0000, 0x110000))  # nothing is assigned elsewhere
HANGUL = range(0x1161, 0x11C3)  # vowels and finals, which join what stands before them


@functools.cache
def classes() -> np.ndarray:
    """(2**21,) uint8, so that no four bytes can index past it: kernels.LETTER, NUMBER, SPACE or OTHER, with UNKNOWN and NOT_NFC."""
    found = np.full(1 << 21, kernels.UNKNOWN, np.uint8)
    seconds = list(HANGUL)
    for plane in PLANES[:2]:
        for code in plane:
            char = chr(code)
            category = unicodedata.category(char)
            if category == "Cn":
                continue
            found[code] = _KINDS.get(category[0], kernels.OTHER)
            if code < 0xC0 or (category == "Lo" and 0x3400 <= code < 0xF900):
                continue  # ideographs and syllables of Hangul, and what lies before the first mark: all in NFC
            parts = unicodedata.decomposition(char)
            if parts and parts[0] != "<":
                seconds += [int(part, 16) for part in parts.split(" ")[1:]]
            if unicodedata.combining(char) or (parts and not unicodedata.is_normalized("NFC", char)):
                found[code] |= kernels.NOT_NFC
    found[[*range(9, 14), 0x85]] = kernels.SPACE  # controls that are White_Space; the others are Zs, Zl and Zp
    found[seconds] |= kernels.NOT_NFC
    found[PLANES[2].start :] = kernels.OTHER
    found[[0xFFFFE, 0xFFFFF, 0x10FFFE, 0x10FFFF]] = kernels.UNKNOWN
    found[PLANES[2].stop :] = kernels.UNKNOWN
    return found


_KINDS = {"L": kernels.LETTER, "N": kernels.NUMBER, "Z": kernels.SPACE}
