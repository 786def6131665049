"""Family length: a batch of text and its words in, sizes out. Pure; imports text."""

from __future__ import annotations

from curate import text
from curate.signals.family import Batch, Column, Columns, Family, Measurer

FAMILY = Family("length", 1, (
    Column("n_bytes", "bytes", "UTF-8 bytes of the text"),
    Column("n_chars", "code points", "Unicode code points of the text"),
    Column("n_words", "words", "words of the segmentation, punctuation included"),
    Column("n_lines", "lines", "pieces between \\n; a final \\n ends the last line"),
    Column("n_paragraphs", "paragraphs", "runs of lines that are not blank"),
))  # fmt: skip


def measurer() -> Measurer:
    return Measurer(FAMILY, measure)


def measure(batch: Batch) -> Columns:
    assert batch.segments is not None
    return text.length_counts(batch.data, batch.offsets, batch.segments)
