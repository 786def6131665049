"""Family gopher_quality: a batch of text, its words and a stop-word list in, counts out. Pure.

Imports text and langid's codes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from curate import text
from curate.langid.codes import language_code

_LISTS = Path(__file__).with_name("stop_words")


def measure(data: np.ndarray, offsets: np.ndarray, seg: text.Segments, stop_words: Sequence[str]) -> dict[str, np.ndarray]:
    """Columns of signals.FAMILIES["gopher_quality"], int64, one row per document."""
    hashes = np.array([text.word_hash(word) for word in stop_words], np.uint64)
    return text.gopher_quality_counts(data, offsets, seg, hashes)


def stop_words(language: str | None) -> tuple[str, ...]:
    """The shipped list of a language, sorted; () where there is none (n_stop_words is then 0 everywhere)."""
    path = _LISTS / f"{language_code(language)}.txt" if language else None
    if path is None or not path.exists():
        return ()
    lines = path.read_text(encoding="utf-8").split("\n")
    return tuple(sorted({line.strip() for line in lines if line.strip() and not line.startswith("#")}))
