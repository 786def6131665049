"""Family length: a batch of text and its words in, sizes out. Pure; imports text."""

from __future__ import annotations

import numpy as np

from curate import text


def measure(data: np.ndarray, offsets: np.ndarray, seg: text.Segments) -> dict[str, np.ndarray]:
    """Columns of signals.FAMILIES["length"], int64, one row per document."""
    return text.length_counts(data, offsets, seg)
