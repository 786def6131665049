"""The shipped Unicode tables in memory: class bits (kernels.py) and simple lower-case offsets of every code point; scripts and kinds.

One version for everybody: Python's own tables change with Python, and roots must not. Made by make_unicode_table.py. The table of
kinds is of a newer version than the one words are made of: it says what is assigned, and changes no word.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

UNICODE_VERSION = "14.0.0"
KINDS_VERSION = "18.0.0"  # of the table of kinds: what the regex module 2026.11 knows
SCRIPTS = (
    "latin", "cyrillic", "greek", "arabic", "hebrew", "devanagari", "han", "kana", "hangul", "thai", "georgian", "armenian",
)  # fmt: skip
# What a code point is, once and for all: a byte of `kinds()` is an index of this in its lower five bits, and three flags.
KINDS = (
    "other", *(f"{script}_letter" for script in SCRIPTS), "other_letter", "digit", "punctuation", "symbol", "replacement",
    "control", "directional_mark", "unassigned",
)  # fmt: skip
KIND, UPPER_KIND, SPACE_KIND, EMOJI_KIND = 31, 32, 64, 128
_SIZE = 1 << 21  # beyond the last code point: whatever four bytes decode to is inside


@cache
def tables() -> tuple[np.ndarray, np.ndarray]:
    """(classes uint32 (2**21,), lower_delta int32 (2**21,)): lower case of x is x + lower_delta[x]. Read-only."""
    classes = np.zeros(_SIZE, np.uint32)
    lower_delta = np.zeros(_SIZE, np.int32)
    with np.load(Path(__file__).with_name(f"unicode-{UNICODE_VERSION}.npz")) as table:
        bounds = [*table["starts"].tolist(), 0x110000]
        for start, end, bits in zip(bounds, bounds[1:], table["classes"].tolist(), strict=False):
            if bits:  # untouched zero pages stay unmapped: most of the table costs no memory
                classes[start:end] = bits
        lower_delta[table["changed"]] = table["deltas"]
    classes.flags.writeable = False
    lower_delta.flags.writeable = False
    return classes, lower_delta


@cache
def folds() -> np.ndarray:
    """int32 (2**21,), read-only: a lower-case letter without its marks is x + folds()[x]; of a combining mark that sum is 0."""
    found = np.zeros(_SIZE, np.int32)
    with np.load(Path(__file__).with_name(f"folds-{UNICODE_VERSION}.npz")) as table:
        found[table["changed"]] = table["bases"] - table["changed"]
    found.flags.writeable = False
    return found


@cache
def kinds() -> np.ndarray:
    """uint8 (2**21,), read-only: index into KINDS, and whether the code point is upper case, white space, an emoji."""
    found = np.zeros(_SIZE, np.uint8)
    with np.load(Path(__file__).with_name(f"kinds-{KINDS_VERSION}.npz")) as table:
        bounds = [*table["starts"].tolist(), 0x110000]
        for start, end, kind in zip(bounds, bounds[1:], table["kinds"].tolist(), strict=False):
            found[start:end] = kind
    found.flags.writeable = False
    return found
