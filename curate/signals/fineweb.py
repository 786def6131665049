"""Family fineweb_quality: a batch of text in, counts of its lines out. Pure.

FineWeb's line heuristics (Penedo et al. 2024, arXiv 2406.17557, section 3.6) as datatrove 0.10.1's FineWebQualityFilter counts
them: lines are pieces between \\n, not stripped, and those of white space alone are left out. Imports text and the kernels.
"""

from __future__ import annotations

import numpy as np

from curate.signals import kernels
from curate.signals.family import Batch, Column, Columns, Family, Measurer, Ratio, read_only
from curate.signals.punctuation import marks
from curate.text.unicode import UNICODE_VERSION, tables

FAMILY = Family("fineweb_quality", 1, (
    Column("n_nonblank_lines", "lines", "pieces between \\n with something other than white space"),
    Column("n_punctuated_lines", "lines", "of those, whose last character is in datatrove's TERMINAL_PUNCTUATION (. ! ? and those of "
           "other scripts); white space after it hides it; FineWeb: at least 12 %"),
    Column("n_short_lines", "lines", "of those, of at most 30 code points; FineWeb: at most 67 %"),
    Column("n_duplicate_nonblank_line_chars", "code points", "code points of those that equal one before; FineWeb: at most 1 %"),
    Column("n_newlines", "code points", "number of \\n; FineWeb: at most 0.3 per word"),
    Column("n_non_newline_chars", "code points", "code points other than \\n"),
), (
    Ratio("punctuated_line_ratio", "n_punctuated_lines", "n_nonblank_lines"),
    Ratio("short_line_ratio", "n_short_lines", "n_nonblank_lines"),
    Ratio("duplicate_nonblank_line_char_ratio", "n_duplicate_nonblank_line_chars", "n_non_newline_chars"),
    Ratio("newline_word_ratio", "n_newlines", "n_words", "above 1 is possible"),
))  # fmt: skip


def measurer() -> Measurer:
    return Measurer(FAMILY, measure, {"unicode": UNICODE_VERSION}, needs_words=False)


def measure(batch: Batch) -> Columns:
    data, offsets = read_only(batch.data, batch.offsets)
    counts = np.empty((len(offsets) - 1, len(FAMILY.columns)), np.int64)
    kernels.fineweb_lines(data, offsets, tables()[0], marks(), counts)
    return {column.name: counts[:, i] for i, column in enumerate(FAMILY.columns)}
