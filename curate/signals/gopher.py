"""Family gopher_quality: a batch of text, its words and a stop-word list in, counts out. Pure.

Gopher's quality heuristics (Rae et al. 2021, arXiv 2112.11446, A1.1) as datatrove 0.10.1's GopherQualityFilter counts them.
Imports text and langid's codes.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from curate import text
from curate.errors import CurateError
from curate.langid.codes import language_code
from curate.signals.family import Batch, Column, Columns, Family, Measurer, Ratio
from curate.store import digest

_LISTS = Path(__file__).with_name("stop_words")

FAMILY = Family("gopher_quality", 1, (
    Column("n_non_symbol_words", "words", "words with a character outside datatrove's PUNCTUATION_SET; Gopher: 50 to 100,000"),
    Column("n_non_symbol_word_chars", "code points", "code points of those words; Gopher: mean word length 3 to 10"),
    Column("n_alpha_words", "words", "words with a letter; Gopher: at least 80 % of all words"),
    Column("n_stop_words", "words", "different stop words of the source's language present, as written in the list; Gopher: at "
           "least 2. Always 0 where no list exists (signals/stop_words): bound it only for sources with a list"),
    Column("n_hash_chars", "code points", "number of #; Gopher: at most 0.1 per word"),
    Column("n_ellipsis_units", "occurrences", "number of ... (not overlapping) and …; Gopher: at most 0.1 per word"),
    Column("n_bullet_lines", "lines", "Unicode lines that begin with • or - after white space; Gopher: at most 90 %"),
    Column("n_ellipsis_lines", "lines", "Unicode lines that end with ... or … before white space; Gopher: at most 30 %"),
    Column("n_unicode_lines", "lines", "lines of str.splitlines(), which also ends them at \\r, form feed, U+0085, U+2028, ..."),
), (
    Ratio("mean_word_chars", "n_non_symbol_word_chars", "n_non_symbol_words", "code points per word"),
    Ratio("hash_word_ratio", "n_hash_chars", "n_words"),
    Ratio("ellipsis_word_ratio", "n_ellipsis_units", "n_words"),
    Ratio("bullet_line_ratio", "n_bullet_lines", "n_unicode_lines"),
    Ratio("ellipsis_line_ratio", "n_ellipsis_lines", "n_unicode_lines"),
    Ratio("alpha_word_ratio", "n_alpha_words", "n_words"),
))  # fmt: skip


def measurer(words: Sequence[str]) -> Measurer:
    """`words`: the stop words of the source."""
    return Measurer(FAMILY, functools.partial(measure, tuple(words)), {"stop_words": digest(*words)})


def measure(words: tuple[str, ...], batch: Batch) -> Columns:
    assert batch.segments is not None
    return text.gopher_quality_counts(batch.data, batch.offsets, batch.segments, _hashes(words))


@functools.lru_cache(maxsize=64)
def _hashes(words: tuple[str, ...]) -> np.ndarray:
    return np.array([text.word_hash(word) for word in words], np.uint64)


def stop_words(language: str | None, file: Path | None = None) -> tuple[str, ...]:
    """The words of `file`, else of the language's shipped list, sorted; () where there is none (n_stop_words is then 0)."""
    if file is not None and not file.is_file():
        raise CurateError("there is no such list of stop words", where=str(file), allowed="a file, one word a line")
    path = file or (_LISTS / f"{language_code(language)}.txt" if language else None)
    if path is None or not path.exists():
        return ()
    lines = path.read_text(encoding="utf-8").split("\n")
    return tuple(sorted({line.strip() for line in lines if line.strip() and not line.startswith("#")}))
