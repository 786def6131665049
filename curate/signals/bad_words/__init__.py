"""Family bad_words: a batch of text, its words and the list of the source's language in, occurrences of listed words out. Pure.

Lists are files with one word or phrase a line, as LDNOOBW's (CC BY 4.0), which C4 used (Raffel et al. 2020, 2.2: a page with any
such word goes). None is shipped: they are offensive, and choosing one is the recipe's business. Imports text and langid's codes.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from curate import text
from curate.errors import CurateError
from curate.langid.codes import language_code
from curate.signals.bad_words import kernels
from curate.signals.family import Batch, Column, Columns, Family, Measurer, Ratio
from curate.store import digest
from curate.text.unicode import tables

FAMILY = Family("bad_words", 1, (
    Column("n_bad_words", "occurrences", "words and phrases of the list of the source's language, in simple lower case: whole words of "
           "the segmentation, phrases as consecutive words over any white space; the longest at each place, none overlapping. Where "
           "a language writes no spaces (ja, th, zh as in C4; lo, km, my, bo, dz): anywhere in the text, code point by code point"),
), (
    Ratio("bad_word_ratio", "n_bad_words", "n_words", "a phrase counts once"),
))  # fmt: skip

WITHOUT_SPACES = frozenset({"ja", "th", "zh", "lo", "km", "my", "bo", "dz"})


class Table(NamedTuple):
    first: np.ndarray  # uint64, open addressing: hash of a first unit
    lengths: np.ndarray  # int64, beside it: bit n where a phrase of n units begins so
    keys: np.ndarray  # uint64, open addressing: hashes of whole phrases
    longest: int  # units


def measurer(lists: Mapping[str, Path], language: str | None, words: str) -> Measurer | None:
    """For a source of `language`, with `words` cut as it says; None where it has no list. Two lists of one language, a missing or
    empty file and a phrase of more than 63 words are the user's mistakes."""
    files: dict[str, Path] = {}
    for name, path in lists.items():
        if files.setdefault(language_code(name), path) != path:
            raise CurateError("two lists for one language", where=f"bad_words.{name}", found=f"{language_code(name)} twice")
    code = language_code(language) if language else None
    if code is None or code not in files:
        return None
    phrases = _phrases(files[code])
    in_words = None if code in WITHOUT_SPACES else words
    table = _table(phrases, in_words)
    if table.longest > kernels.LONGEST:
        what = f"a phrase of {table.longest} {'characters' if in_words is None else 'words'}"
        raise CurateError(what, where=str(files[code]), allowed=f"at most {kernels.LONGEST}")
    settings = {"list": digest(*phrases), "in": "text" if in_words is None else "words"}
    return Measurer(FAMILY, functools.partial(measure, phrases, in_words), settings, needs_words=in_words is not None)


def measure(phrases: tuple[str, ...], words: str | None, batch: Batch) -> Columns:
    """`words`: how the source's words are cut; None: the text is searched code point by code point."""
    table = _table(phrases, words)
    if words is None:
        ptr, units = _code_points(batch.data, batch.offsets)
    else:
        assert batch.segments is not None
        ptr, units = batch.segments.doc_ptr, batch.segments.lower
    out = np.empty(len(ptr) - 1, np.int64)
    kernels.count(ptr, units, *table, out)
    return {"n_bad_words": out}


def _phrases(path: Path) -> tuple[str, ...]:
    """The lines of a list, sorted, each once."""
    if not path.is_file():
        raise CurateError("there is no such list of bad words", where=str(path), allowed="a file, one word or phrase a line")
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except UnicodeDecodeError as error:
        raise CurateError("a list of words is UTF-8", where=str(path), found=str(error)) from error
    found = tuple(sorted({line.strip() for line in lines if line.strip()}))
    if not found:
        raise CurateError("the list of bad words is empty", where=str(path), allowed="one word or phrase a line")
    return found


@functools.lru_cache(maxsize=64)
def _table(phrases: tuple[str, ...], words: str | None) -> Table:
    data, offsets = text.buffers(pa.array(phrases, pa.large_string()))
    if words is None:
        ptr, units = _code_points(data, offsets)
    else:
        segments = text.segment(data, offsets, words)
        ptr, units = segments.doc_ptr, segments.lower
    longest = int(np.diff(ptr).max())
    size = 1 << (4 * len(phrases)).bit_length()
    first, lengths, keys = np.zeros(size, np.uint64), np.zeros(size, np.int64), np.zeros(size, np.uint64)
    if longest <= kernels.LONGEST:
        kernels.fill(ptr, units, first, lengths, keys)
    return Table(first, lengths, keys, longest)


def _code_points(data: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(ptr, units) of every document: its code points in simple lower case."""
    views = data.view(), offsets.view()
    for view in views:
        view.flags.writeable = False  # Arrow's are, and numba compiles once more for arrays that are not
    ptr, units = np.empty(len(offsets), np.int64), np.empty(int(offsets[-1] - offsets[0]), np.uint64)
    kernels.code_points(*views, tables()[1], ptr, units)
    return ptr, units
