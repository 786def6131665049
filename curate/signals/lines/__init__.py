"""Family lines: a batch of text and its words in; the lines (and parts of lines) that published line rules take out, as spans and counts.

C4 cuts lines where str.splitlines() does and strips them; RefinedWeb, as DCLM carries it out, at \\n (here white space at both ends
of a line does not count, so that CRLF changes nothing). Every rule looks at the text as it stands, not at what another rule left.
A span covers its line with the line's end; citation marks and short edits cover their own bytes. All phrases are English, as
published. Sources: Raffel et al. 2020 (C4) as datatrove 0.10.1's C4QualityFilter; Penedo et al. 2023 (RefinedWeb, arXiv
2306.01116), appendix G.2, as DCLM's baselines/mappers/modifiers.py and dclm_baseline_refinedweb.yaml. Imports text.
"""

from __future__ import annotations

import numpy as np

from curate.signals.family import Batch, Column, Columns, Family, Measurer, Ratio, Spans, read_only
from curate.signals.lines import kernels
from curate.text.unicode import tables

KINDS = (  # in the order of the kernels' kinds
    "c4_too_long_word", "c4_no_terminal_punct", "c4_few_words", "c4_javascript", "c4_policy", "c4_citation",
    "refinedweb_uppercase", "refinedweb_numeric", "refinedweb_counter", "refinedweb_one_word", "refinedweb_short_edit",
)  # fmt: skip

FAMILY = Family("lines", 1, (
    Column("n_c4_too_long_word_lines", "lines", "lines with a word (between white space) of more than 1,000 code points"),
    Column("n_c4_no_terminal_punct_lines", "lines", "lines that end without . ! ? \" ', or with ...; after C4 took out citation "
           "marks (a blank it left behind counts). Blank lines are such lines"),
    Column("n_c4_few_words_lines", "lines", "lines of fewer than 3 words between white space; blank lines are such lines"),
    Column("n_c4_javascript_lines", "lines", "lines with javascript, in any case, citation marks taken out"),
    Column("n_c4_policy_lines", "lines", "lines with terms of use, privacy policy, cookie policy, uses cookies, use of cookies or "
           "use cookies, in any case, citation marks taken out"),
    Column("n_c4_citations", "marks", "citation marks: [1], [], [edit], [citation needed]"),
    Column("n_refinedweb_uppercase_lines", "lines", "lines more than half of whose code points are upper case; white space "
           "inside counts as a code point"),
    Column("n_refinedweb_numeric_lines", "lines", "lines of digits (category Nd) and nothing else"),
    Column("n_refinedweb_counter_lines", "lines", "lines like 3 likes or 1.2k views: a number, a counted thing, marks around them"),
    Column("n_refinedweb_one_word_lines", "lines", "lines of exactly one word between white space"),
    Column("n_refinedweb_short_edit_lines", "lines", "lines of at most 10 words that begin with sign-in, end with read more... "
           "(or …) or hold items in cart, in any case; the phrase is the span, the line where nothing else is in it"),
    Column("n_refinedweb_words", "words", "words that begin inside a refinedweb span; n_words counts all words alike"),
), (
    Ratio("refinedweb_cut_word_ratio", "n_refinedweb_words", "n_words",
          "what the refinedweb spans take; DCLM drops a page above 0.05 (word_removal_ratio_filter)"),
), KINDS)  # fmt: skip


def measurer() -> Measurer:
    return Measurer(FAMILY, measure)


def measure(batch: Batch) -> Columns:
    assert batch.segments is not None
    found, counts = _spans(batch)
    words = batch.segments.start
    starts, ends, rows = _without_overlaps(found, found.kind >= kernels.UPPERCASE)
    inside = np.searchsorted(words, ends) - np.searchsorted(words, starts)
    names = [column.name for column in FAMILY.columns]
    columns: Columns = dict(zip(names, counts.T, strict=False))
    columns["n_refinedweb_words"] = np.bincount(rows, inside, len(counts)).astype(np.int64)
    order = np.argsort(found.start, kind="stable")  # positions in the batch: the order of rows is that of bytes
    row, start, end, kind = (column[order] for column in found)
    first = batch.offsets[row]
    columns["spans"] = Spans(row, start - first, end - first, kind)
    return columns


def _spans(batch: Batch) -> tuple[Spans, np.ndarray]:
    """(what the kernel finds, in bytes of the batch; counts int64 (n_docs, n_kinds))."""
    data, offsets = read_only(batch.data, batch.offsets)
    capacity = int(offsets[-1] - offsets[0]) // 16 + 64  # code has 47,000 spans a MB; more come again
    while True:
        row, start, end = (np.empty(capacity, np.int64) for _ in range(3))
        kind, counts = np.empty(capacity, np.int16), np.zeros((len(offsets) - 1, kernels.N_KINDS), np.int64)
        n = kernels.line_spans(data, offsets, tables()[0], (row, start, end, kind, counts))
        if n <= capacity:
            return Spans(row[:n], start[:n], end[:n], kind[:n]), counts
        capacity = n


def _without_overlaps(spans: Spans, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(starts, ends, rows): the bytes of the wanted spans, each once. Spans of two documents never overlap."""
    order = np.flatnonzero(wanted)[np.argsort(spans.start[wanted], kind="stable")]
    end = np.maximum.accumulate(spans.end[order])
    start = np.minimum(np.maximum(spans.start[order], np.concatenate([end[:1] * 0, end[:-1]])), end)
    return start, end, spans.row[order]
