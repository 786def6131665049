"""Family c4: a batch of text and its words in, what C4's line filter would do with every line out. Pure.

C4 (Raffel et al. 2020, arXiv 1910.10683, section 2.2) as datatrove 0.10.1's C4QualityFilter with its defaults. A line (one of
str.splitlines(), stripped) meets the checks in this order, and the first one it fails decides what it counts as: too long a word,
[citation marks are taken out], no terminal punctuation, too few words, lorem ipsum, javascript, a curly bracket, a policy phrase;
else it is kept. So the counts of lines add up to n_c4_lines. datatrove stops at the first line that fails for lorem ipsum or a
curly bracket and refuses the document; we count on. Imports text and the kernels.
"""

from __future__ import annotations

import functools

import numpy as np

from curate import text
from curate.signals.c4 import kernels
from curate.signals.family import Batch, Column, Columns, Family, Measurer, read_only
from curate.signals.punctuation import marks
from curate.text.tokenizers import RULES
from curate.text.unicode import tables

FAMILY = Family("c4", 1, (
    Column("n_c4_lines", "lines", "lines of str.splitlines(), blank ones too"),
    Column("n_c4_kept_lines", "lines", "lines that fail no check: what C4 leaves of the document"),
    Column("n_too_long_word_lines", "lines", "lines with a word of more than 1,000 code points between white space"),
    Column("n_no_terminal_punct_lines", "lines", "other lines that end, citation marks aside, with none of . ? ! \" ' or with ...; "
           "white space between the end and a mark counts as an end without punctuation; blank lines are here"),
    Column("n_few_word_lines", "lines", "other lines of fewer than 3 words between white space, citation marks included"),
    Column("n_lorem_ipsum_lines", "lines", "other lines with lorem ipsum, in any case; C4 refuses such documents"),
    Column("n_javascript_lines", "lines", "other lines with javascript, in any case"),
    Column("n_curly_bracket_lines", "lines", "other lines with {; C4 refuses such documents"),
    Column("n_policy_lines", "lines", "other lines with terms of use, privacy policy, cookie policy, uses cookies, use of cookies or "
           "use cookies, in any case"),
    Column("n_c4_sentences", "sentences", "sentences of the kept lines, without citation marks, over our words by the rule of spaCy's "
           "sentencizer: after a sentence end, the first word that is neither one nor punctuation begins a sentence; C4: at least 5"),
    Column("n_citations", "occurrences", "[], [1], [edit] and [citation needed], in all lines"),
))  # fmt: skip


def measurer(words: str = RULES) -> Measurer:
    """`words`: how the source's words are cut; lines without their citation marks are cut anew."""
    return Measurer(FAMILY, functools.partial(measure, words=words))


def measure(batch: Batch, words: str = RULES) -> Columns:
    assert batch.segments is not None
    data, offsets = read_only(batch.data, batch.offsets)
    seg, classes = batch.segments, tables()[0]
    counts = np.empty((len(offsets) - 1, len(FAMILY.columns)), np.int64)
    cited = kernels.c4_lines(data, offsets, classes, marks(), seg.doc_ptr, seg.start, seg.end, seg.chars, counts)
    if len(cited):
        cleaned, ptr = np.empty(int((cited[:, 1] - cited[:, 0]).sum()), np.uint8), np.empty(len(cited) + 1, np.int64)
        kernels.clean_lines(data, cited, classes, cleaned, ptr)
        cleaned, ptr = read_only(cleaned, ptr)
        own = text.segment(cleaned, ptr, words)
        kernels.c4_cited_lines(
            data, cited, cleaned, ptr, classes, marks(), own.doc_ptr, own.start, own.end, own.chars, counts
        )  # fmt: skip
    return {column.name: counts[:, i] for i, column in enumerate(FAMILY.columns)}
