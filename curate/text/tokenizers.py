"""Words of scripts without spaces: datatrove's word tokenizers behind the interface of `text.segment`.

In: UTF-8 buffers and a language code of datatrove's table (`words:` of a source). Out: the byte spans of the words. The only module
that imports datatrove's tokenizers. They are slow (0.1 to 1 MB/s), hold the GIL, and differ with the library that makes them, so
its version is part of the fingerprint. Imports errors.
"""

from __future__ import annotations

import csv
import threading
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from curate.errors import CurateError, nearest

RULES = "rules"  # our own word definition, the default of every source
CODE = "code"  # identifiers and numbers: runs of letters, digits and _
MATH = "math"  # words of our rules, but texts of other formulas share no shingle; the default of sources of mathematics
OURS = (RULES, CODE, MATH)
VERSION = 1
# Distributions whose version decides the words, by datatrove's class and, for spaCy, its language.
_DISTRIBUTIONS = {
    "SpaCyTokenizer": ("spacy",), "WhitespaceTokenizer": ("spacy",), "StanzaTokenizer": ("stanza",), "ThaiTokenizer": ("pythainlp",),
    "IndicNLPTokenizer": ("indic-nlp-library",), "KiwiTokenizer": ("kiwipiepy", "kiwipiepy-model"), "KhmerTokenizer": ("khmer-nltk",),
    "LaoTokenizer": ("laonlp",), "TibetanTokenizer": ("botok",), "BurmeseTokenizer": ("pyidaungsu-numpy2",),
    "zh": ("jieba",), "ja": ("sudachipy", "sudachidict-core"), "vi": ("pyvi",),
}  # fmt: skip
_lock = threading.Lock()  # batches are measured by threads, and spaCy's memory zones are not made for several at once


def check(language: str, where: str) -> None:
    """Raises CurateError where datatrove has no tokenizer for `language`, or its library is not installed."""
    try:
        with _lock:
            _tokenizer(language).word_tokenize("1")  # some import their library only here
    except ImportError as error:
        raise CurateError(
            f"the word tokenizer of {language!r} needs a library that is not installed", where=where, found=str(error),
            allowed=_allowed(), next='pip install "veski[multilingual]", or words: rules for a script with spaces',
        ) from error  # fmt: skip
    except _Unknown:
        close = nearest(language, _codes())
        raise CurateError(
            f"datatrove has no word tokenizer for {language!r}", where=where, allowed=_allowed(),
            next=f"did you mean {close[0]!r}?" if close else "",
        ) from None  # fmt: skip


def identity(language: str) -> dict[str, Any]:
    """What a fingerprint needs to know: the tokenizer and the versions of the libraries behind it."""
    tokenizer = _tokenizer(language)
    kind, code = type(tokenizer).__name__, tokenizer.language or ""
    names = ("datatrove", *_DISTRIBUTIONS.get(kind, ()), *(_DISTRIBUTIONS.get(code, ()) if kind == "SpaCyTokenizer" else ()))
    return {"tokenizer": kind, "language": code, "libraries": {name: _version(name) for name in names}, "version": VERSION}


def spans(data: np.ndarray, offsets: np.ndarray, language: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(doc_ptr (n + 1,), start, end) int64: the words of every document as bytes of `data`, in order, none overlapping."""
    doc_ptr = np.zeros(len(offsets) - 1 + 1, np.int64)
    starts: list[np.ndarray] = []
    ends: list[np.ndarray] = []
    for doc, (first, last) in enumerate(zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True)):
        written = data[first:last].tobytes().decode()
        with _lock:
            words = _tokenizer(language).word_tokenize(written) if written.strip() else []
        at = np.array(places(written, words), np.int64).reshape(-1, 2)
        byte = first + np.concatenate([[0], np.cumsum(_widths(written))])
        starts.append(byte[at[:, 0]])
        ends.append(byte[at[:, 1]])
        doc_ptr[doc + 1] = doc_ptr[doc] + len(at)
    none = np.empty(0, np.int64)
    return doc_ptr, np.concatenate([none, *starts]), np.concatenate([none, *ends])


def places(written: str, words: list[str]) -> list[tuple[int, int]]:
    """Where the words stand in the text (code points), one after another.

    Tokenizers do not say where their words stand. A word that shares characters with the one before it (Korean morphemes may) and
    one that is not in the text (changed by the tokenizer) are left out; characters that the tokenizer dropped are stepped over.
    """
    found: list[tuple[int, int]] = []
    begin = end = 0  # of the word before
    for word in words:
        at = written.find(word, end)
        gap = at < 0 or not (at == end or written[end:at].isspace())
        if gap and begin <= written.find(word, begin, end + len(word)) < end:
            continue
        if at >= 0:
            begin, end = at, at + len(word)
            found.append((begin, end))
    return found


def _widths(written: str) -> np.ndarray:
    """UTF-8 bytes of every code point."""
    code = np.frombuffer(written.encode("utf-32-le"), np.uint32)
    return 1 + (code >= 0x80).astype(np.int64) + (code >= 0x800) + (code >= 0x10000)


class _Unknown(Exception):
    """No tokenizer is assigned to the language."""


def _tokenizer(language: str) -> Any:
    from datatrove.utils.word_tokenizers import load_word_tokenizer

    if language not in _codes():
        raise _Unknown(language)
    return load_word_tokenizer(_codes()[language])  # datatrove keeps one of each


@cache
def _codes() -> dict[str, str]:
    """Every language code of datatrove's table -> the code with its script: zho_Hani for zh and zho.

    datatrove 0.10.1 reads the table's columns of defaults as text, where FALSE is true as well, so that its own zh, zho, ar and hi
    are the tokenizers of those languages in Latin letters or of another of their languages. Here the defaults are what they say.
    """
    from datatrove.utils._import_utils import ASSETS_PATH
    from datatrove.utils.word_tokenizers import load_tokenizer_assignments

    known = load_tokenizer_assignments()
    found: dict[str, str] = {}
    with open(Path(ASSETS_PATH) / "tokenizer_assignment.csv", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            full = f"{row['code_3']}_{row['script']}"
            if full in known and row["default_script"] == "TRUE":
                found.setdefault(row["code_3"], full)
                if row["default_code_1"] == "TRUE" and row["code_1"]:
                    found[row["code_1"]] = full
    return {**{code: code for code in known}, **found}


def _allowed() -> str:
    return f"rules, code, math, or one of {len(_codes()):,} language codes of datatrove, such as zh, yue, ja, th, ko, km, lo, my, bo, vi"


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""
