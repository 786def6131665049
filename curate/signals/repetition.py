"""Family gopher_repetition: a batch of text and its words in, counts of repeated lines, paragraphs and n-grams out. Pure.

Gopher's repetition heuristics (Rae et al. 2021, arXiv 2112.11446, table A1) as datatrove 0.10.1's GopherRepetitionFilter counts
them, with one known difference: datatrove compares the joined letters of a 5- to 10-gram, in which ("ab", "c") equals ("a", "bc");
we compare 64-bit hashes of the sequence of words. Imports text, the kernels and the other families' records.
"""

from __future__ import annotations

import numpy as np

from curate.signals import kernels
from curate.signals.family import Batch, Column, Columns, Family, Measurer, Ratio, read_only
from curate.text.unicode import tables

_CHARS = "code points"

FAMILY = Family("gopher_repetition", 1, (
    Column("n_repetition_paragraphs", "paragraphs", "pieces of the stripped text between runs of two or more \\n; 0 for an empty "
           "text, 1 for white space only"),
    Column("n_duplicate_paragraphs", "paragraphs", "of those, equal to one before; Gopher: at most 30 %"),
    Column("n_duplicate_paragraph_chars", _CHARS, "code points of those; Gopher: at most 20 % of the text's"),
    Column("n_repetition_lines", "lines", "pieces of the text between runs of \\n; a \\n at the start or end leaves an empty piece, "
           "which counts; 0 for an empty text"),
    Column("n_duplicate_lines", "lines", "of those, equal to one before; Gopher: at most 30 %"),
    Column("n_duplicate_line_chars", _CHARS, "code points of those; Gopher: at most 20 %"),
    *(Column(f"n_top_{n}gram_chars", _CHARS, f"length of the most frequent {n} words in a row, a space between any two, times "
             f"its occurrences (overlapping ones too); of equally frequent ones the first, also where all occur once; 0 below {n} "
             f"words; Gopher: at most {limit} %") for n, limit in ((2, 20), (3, 18), (4, 16))),
    *(Column(f"n_duplicate_{n}gram_chars", _CHARS, f"from left to right, {n} words in a row that occurred before count with their "
             f"letters and are stepped over; Gopher: at most {limit} %")
      for n, limit in ((5, 15), (6, 14), (7, 13), (8, 12), (9, 11), (10, 10))),
), (
    Ratio("duplicate_paragraph_ratio", "n_duplicate_paragraphs", "n_repetition_paragraphs"),
    Ratio("duplicate_paragraph_char_ratio", "n_duplicate_paragraph_chars", "n_chars"),
    Ratio("duplicate_line_ratio", "n_duplicate_lines", "n_repetition_lines"),
    Ratio("duplicate_line_char_ratio", "n_duplicate_line_chars", "n_chars"),
    *(Ratio(f"top_{n}gram_char_ratio", f"n_top_{n}gram_chars", "n_chars",
            "above 1 is possible: occurrences overlap, and their joining spaces need not stand in the text") for n in (2, 3, 4)),
    *(Ratio(f"duplicate_{n}gram_char_ratio", f"n_duplicate_{n}gram_chars", "n_chars") for n in range(5, 11)),
))  # fmt: skip


def measurer() -> Measurer:
    return Measurer(FAMILY, measure)


def measure(batch: Batch) -> Columns:
    assert batch.segments is not None
    data, offsets = read_only(batch.data, batch.offsets)
    seg = batch.segments
    of_lines = np.empty((len(offsets) - 1, 6), np.int64)
    kernels.line_repetition(data, offsets, tables()[0], of_lines)
    of_words = np.empty((len(offsets) - 1, 9), np.int64)
    kernels.n_gram_repetition(seg.doc_ptr, seg.hash, seg.chars, of_words)
    counts = np.concatenate([of_lines, of_words], axis=1)
    return {column.name: counts[:, i] for i, column in enumerate(FAMILY.columns)}
