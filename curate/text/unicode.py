"""The shipped Unicode table in memory: class bits (kernels.py) and simple lower-case offsets of every code point.

One version for everybody: Python's own tables change with Python, and roots must not. Made by make_unicode_table.py.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

UNICODE_VERSION = "14.0.0"
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
