"""Family ocr: a batch of text in, counts of what optical character recognition leaves behind out. Pure; no dictionary, no language.

Rules of garbage strings by Taghva, Nartker, Condit and Borsack 2001 (Automatic removal of "garbage strings" in OCR text), as counts
instead of a verdict. Measured where a rule asks for it. Imports family.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

import numpy as np

from curate.signals.family import Batch, Column, Columns, Family, Measurer, Ratio
from curate.text.unicode import UNICODE_VERSION

FAMILY = Family("ocr", 1, (
    Column("n_ocr_chars", "code points", "code points other than white space"),
    Column("n_odd_chars", "code points", "of those: U+FFFD, control, private use and unassigned characters, and marks that text seldom "
           "has and recognition often makes (¬ ¦ ¤ | ~ ^ \\ { } < > _ ■ □ ▪ •)"),
    Column("n_ocr_words", "words", "runs without white space that hold a letter, without punctuation at their ends"),
    Column("n_single_letter_words", "words", "of those, one letter: spaced-out print becomes many"),
    Column("n_garbage_words", "words", "of those: more than 40 characters; fewer letters and digits than other characters; the same "
           "character five times in a row (jäääär has four); vowels under a tenth or over ten times the consonants among 5 letters or more "
           "(Latin and Cyrillic); two different punctuation marks inside; a digit between letters; a capital in a word that begins and ends "
           "with a small letter. Addresses "
           "(with :// or @ or www.) are none"),
    Column("n_ocr_lines", "lines", "pieces between \\n with something other than white space"),
    Column("n_line_end_hyphens", "lines", "of those, that end with a letter and a hyphen where the next begins with a small letter"),
    Column("n_lower_line_starts", "lines", "of those, that begin with a small letter: lines of print that nobody joined"),
), (
    Ratio("odd_char_ratio", "n_odd_chars", "n_ocr_chars"),
    Ratio("single_letter_word_ratio", "n_single_letter_words", "n_ocr_words"),
    Ratio("garbage_word_ratio", "n_garbage_words", "n_ocr_words"),
    Ratio("line_end_hyphen_ratio", "n_line_end_hyphens", "n_ocr_lines"),
    Ratio("lower_line_start_ratio", "n_lower_line_starts", "n_ocr_lines"),
))  # fmt: skip

MAX_CHARS = 40
_MARKS = "¬¦¤|~^\\{}<>_■□▪•\ufffd"
_ODD = re.compile("[" + re.escape(_MARKS) + "\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ue000-\uf8ff\ufffe\uffff]")
_ASTRAL = re.compile("[\U000e0080-\U0010ffff]")
_WORD = re.compile(r"[^\s.,;:!?()\[\]\"'„“”‟«»‘’‚…–—-](?:\S*[^\s.,;:!?()\[\]\"'„“”‟«»‘’‚…–—-])?")
_ADDRESS = re.compile(r"://|@|www\.|\.(?:ee|com|org|net|html?|pdf)\b", re.I)
_REPEATED = re.compile(r"(\S)\1{4}")
_DIGIT_INSIDE = re.compile(r"[^\W\d_]\d[^\W\d_]")
_JOINING = frozenset("-'’/.,:")
_VOWELS = frozenset("aeiouyõäöüàáâãåæèéêëìíîïòóôøùúûýœāēīōūąęėįųаеёиоуыэюяіїє")
_CONSONANTS = frozenset("bcdfghjklmnpqrstvwxzšžçñðþßčďģķļņňřťŕľśźżćńłбвгджзйклмнпрстфхцчшщ")
_HYPHENATED = re.compile(r"[^\W\d_][-\u2010\u00ad\u00ac]$")


def measurer() -> Measurer:
    return Measurer(FAMILY, measure, {"unicode": UNICODE_VERSION}, needs_words=False)


def measure(batch: Batch) -> Columns:
    counts = np.array([_counts(text or "") for text in batch.texts.to_pylist()], np.int64).reshape(-1, len(FAMILY.columns))
    return {column.name: counts[:, i] for i, column in enumerate(FAMILY.columns)}


def _counts(text: str) -> tuple[int, ...]:
    n_chars = sum(map(len, text.split()))
    n_odd = len(_ODD.findall(text)) + sum(unicodedata.category(c) in ("Co", "Cn") for c in _ASTRAL.findall(text))
    words = [word for word in _WORD.findall(text) if not word.isdecimal() and any(c.isalpha() for c in word)]
    n_single = sum(len(word) == 1 for word in words)
    lines = [line for raw in text.split("\n") if (line := raw.strip())]
    starts = [line[0].islower() for line in lines]
    n_hyphens = sum(is_lower and _HYPHENATED.search(line) is not None for line, is_lower in zip(lines, starts[1:], strict=False))
    return n_chars, n_odd, len(words), n_single, sum(map(_is_garbage, words)), len(lines), n_hyphens, sum(starts)


@lru_cache(maxsize=1 << 16)
def _short(word: str) -> bool:
    return is_garbage(word)


def _is_garbage(word: str) -> bool:
    return _short(word) if len(word) <= MAX_CHARS else is_garbage(word)


def is_garbage(word: str) -> bool:
    """The rules of `n_garbage_words` for one word."""
    if len(word) < 3 or (word.isascii() and word.isalpha() and word.islower() and len(word) < 5):
        return False
    if _ADDRESS.search(word):
        return False
    marks = {c for c in word if not c.isalnum() and unicodedata.category(c)[0] != "M"}  # vowel signs of many scripts are no marks
    n_alnum = len(word) - sum(c in marks for c in word)
    if len(word) > MAX_CHARS or 2 * n_alnum < len(word) or _REPEATED.search(word) or _DIGIT_INSIDE.search(word):
        return True
    if word[0].islower() and word[-1].islower() and any(c.isupper() for c in word):
        return True
    inner = marks.intersection(word[1:-1])
    if len(inner) >= 2 and inner - _JOINING:
        return True
    lower = word.lower()
    vowels, consonants = sum(c in _VOWELS for c in lower), sum(c in _CONSONANTS for c in lower)
    if vowels + consonants < 5 or word.isupper():  # abbreviations
        return False
    return vowels * 10 < consonants or consonants * 10 < vowels
