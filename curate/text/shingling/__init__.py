"""Shingles of documents, exact as sorted sets and sketched as MinHash band keys; and words folded before they are shingled.

In: Segments of a batch, or its buffers. Out: band keys and numbers of distinct shingles, or (ptr, hashes) of sorted sets. A document
of more than LONG_BYTES is read in pieces cut at white space, so that it costs 8 bytes a distinct shingle and the words of one
piece, with the same result. The definition of a shingle is written out in text/reference.py. Imports segments, kernels, tables.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator
from typing import Any

import numpy as np

from curate.text import symbols, tokenizers
from curate.text.kernels import HAS_ALNUM
from curate.text.segments import Segments, frozen, segment
from curate.text.shingling import kernels
from curate.text.unicode import folds, tables

FOLDS = ("digits", "diacritics")
FOLD_VERSION = 1  # raise it when a folded word changes
LONG_BYTES = 2_000_000  # twice a batch: only a document that comes alone is longer
PIECE_BYTES = 1_000_000  # as text.batches cuts
_WHITE = np.zeros(256, bool)
_WHITE[[0x09, 0x0A, 0x0D, 0x20]] = True  # white space of one byte: no word reaches across, no code point is cut


def folding(fold: Collection[str]) -> dict[str, Any]:
    """What folded words depend on, for fingerprints; nothing where nothing is folded."""
    return {"fold": sorted(set(fold)), "fold_version": FOLD_VERSION} if fold else {}


def folded(data: np.ndarray, seg: Segments, fold: Collection[str]) -> Segments:
    """The same words with other `lower`: hashes of what shingles are to tell apart. `fold`: of FOLDS; empty changes nothing.

    digits: a run of decimal digits (category Nd) inside a word is one 0. diacritics: letters stand without combining marks
    (category Mn), by the canonical decompositions of Unicode; letters that have none (ø, ł, đ, ß) stay.

    datatrove's simplify_text (0.10.1) does both before its shingles and goes further: it takes digits with one separator as one
    number (`3,5` -> 0, here 0,0), deletes punctuation (`e-kiri` -> `ekiri`; here words with a letter or digit, punctuation apart),
    folds after Python's full lower case, and decomposes Hangul, whose syllables stay whole here. Its words of weekdays and months
    are off by default, and not here at all.
    """
    if not fold:
        return seg
    lower = np.empty(len(seg.lower), np.uint64)
    (data,) = frozen(data)
    kernels.folded_hashes(data, seg.start, seg.end, *tables(), folds(), "digits" in fold, "diacritics" in fold, lower)
    return seg._replace(lower=lower)


def shingled(data: np.ndarray, offsets: np.ndarray, seg: Segments, words: str, fold: Collection[str]) -> Segments:
    """The same words with other `lower`, as shingles are made of them: folded, and for `words: math` told apart by formulas."""
    seg = folded(data, seg, fold)
    if words != tokenizers.MATH:
        return seg
    return seg._replace(lower=symbols.salted(data, offsets, seg.doc_ptr, seg.start, seg.lower))


def shingle_identity(words: str) -> dict[str, Any]:
    """What shingles depend on beside the segmentation, for fingerprints; nothing where they are runs of its words."""
    return {"shingles": words, "symbols_version": symbols.VERSION} if words == tokenizers.MATH else {}


def signatures(seg: Segments, *, ngram: int, bands: int, rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(band keys uint64 (n, bands), distinct shingles uint32 (n,)) of every document.

    Two documents of Jaccard similarity J share a given band key with probability J**rows. A document without shingles (no
    word with a letter or digit) has keys 0 and belongs to no bucket.
    """
    n = len(seg.doc_ptr) - 1
    keys, n_shingles = np.empty((n, bands), np.uint64), np.empty(n, np.uint32)
    kernels.signatures(seg.doc_ptr, seg.flags, seg.lower, ngram, *_permutations(seed, bands * rows), rows, keys, n_shingles)
    return keys, n_shingles


def signatures_of(
    data: np.ndarray, offsets: np.ndarray, seg: Segments | None, words: str, *, ngram: int, bands: int, rows: int, seed: int,
    fold: Collection[str] = (),
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """`signatures` of a batch. seg: its words, not yet folded, where somebody has cut them already; words: how to cut them."""
    if _is_long(offsets, words):
        found = _distinct_of(data, int(offsets[0]), int(offsets[1]), ngram, fold, words)
        keys = np.empty((1, bands), np.uint64)
        kernels.keys_of(found, *_permutations(seed, bands * rows), rows, keys)
        return keys, np.array([len(found)], np.uint32)
    seg = shingled(data, offsets, segment(data, offsets, words) if seg is None else seg, words, fold)
    return signatures(seg, ngram=ngram, bands=bands, rows=rows, seed=seed)


def shingle_sets(seg: Segments, wanted: np.ndarray, ngram: int) -> tuple[np.ndarray, np.ndarray]:
    """(ptr int64 (n_wanted + 1), hashes uint64): the sorted distinct shingles of the wanted documents of the batch."""
    wanted = np.ascontiguousarray(wanted, np.int64)
    most = int((seg.doc_ptr[wanted + 1] - seg.doc_ptr[wanted]).sum())
    ptr, hashes = np.empty(len(wanted) + 1, np.int64), np.empty(most, np.uint64)
    kernels.all_shingles(seg.doc_ptr, seg.flags, seg.lower, wanted, ngram, ptr, hashes)
    bounds = ptr.tolist()
    for first, last in itertools.pairwise(bounds):
        hashes[first:last].sort()  # numpy's vectorised sort is several times faster than one inside a numba kernel
    kernels.squeeze(ptr, hashes)
    return ptr, hashes[: ptr[-1]]


def shingle_sets_of(
    data: np.ndarray, offsets: np.ndarray, words: str, ngram: int, fold: Collection[str] = ()
) -> tuple[np.ndarray, np.ndarray]:
    """`shingle_sets` of all documents of a batch."""
    if _is_long(offsets, words):
        found = _distinct_of(data, int(offsets[0]), int(offsets[1]), ngram, fold, words)
        return np.array([0, len(found)], np.int64), found
    seg = shingled(data, offsets, segment(data, offsets, words), words, fold)
    return shingle_sets(seg, np.arange(len(offsets) - 1), ngram)


def _is_long(offsets: np.ndarray, words: str) -> bool:
    """Tokenizers of languages without spaces may look at a whole text, and so do formulas: theirs are never cut."""
    return len(offsets) == 2 and int(offsets[1] - offsets[0]) > LONG_BYTES and words in (tokenizers.RULES, tokenizers.CODE)


def _distinct_of(
    data: np.ndarray, begin: int, end: int, ngram: int, fold: Collection[str], words_by: str = tokenizers.RULES
) -> np.ndarray:
    """uint64 (n,), sorted: the distinct shingles of the text data[begin:end], read piece by piece."""
    found, n = np.empty(1 << 16, np.uint64), 0
    carry = np.empty(0, np.uint64)  # the last ngram - 1 words, which the next piece's first shingles begin with
    for a, b in _pieces(data, begin, end):
        seg = folded(data, segment(data, np.array([a, b], np.int64), words_by), fold)
        words = np.concatenate([carry, seg.lower[seg.flags & HAS_ALNUM != 0]])
        del seg
        more = len(words) - ngram + 1
        if more > 0:
            if n + more > len(found):
                found, n = _room(found, n, more)
            kernels.windows(words, ngram, found[n : n + more])
            n += more
        carry = words[max(0, more) :].copy()
    if n == 0 and len(carry):  # fewer words than a shingle has: one shorter shingle
        kernels.windows(carry, len(carry), found[:1])
        n = 1
    n = _distinct(found, n)
    found.resize(n, refcheck=False)
    return found


def _pieces(data: np.ndarray, begin: int, end: int) -> Iterator[tuple[int, int]]:
    """Spans of about PIECE_BYTES that end before white space, or where the text does."""
    while begin < end:
        stop = min(begin + PIECE_BYTES, end)
        while stop < end:
            white = np.flatnonzero(_WHITE[data[stop : min(stop + 4096, end)]])
            if len(white):
                stop += int(white[0])
                break
            stop = min(stop + 4096, end)
        yield begin, stop
        begin = stop


def _room(found: np.ndarray, n: int, more: int) -> tuple[np.ndarray, int]:
    """`found` with place for `more` behind its n; only what is distinct stays, and it grows in place by a quarter."""
    n = _distinct(found, n)
    if n + more > len(found) * 3 // 4:
        found.resize(max(n + 2 * more, len(found) * 5 // 4), refcheck=False)
    return found, n


def _distinct(found: np.ndarray, n: int) -> int:
    """Sorts the first n in place and moves the distinct ones to the front; returns how many they are."""
    found[:n].sort()
    ptr = np.array([0, n], np.int64)
    kernels.squeeze(ptr, found)
    return int(ptr[1])


def _permutations(seed: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """(multiply, add) uint32 (n,) each: h -> h * multiply + add modulo 2**32, multiply odd; from the upper halves of splitmix64."""
    drawn = (_splitmix64(seed, 2 * n) >> np.uint64(32)).astype(np.uint32)
    return drawn[:n] | np.uint32(1), drawn[n:]


def _splitmix64(seed: int, n: int) -> np.ndarray:
    """The first n outputs of splitmix64 (Steele, Lea, Flood 2014) from a 64-bit seed."""
    mask = (1 << 64) - 1
    out = np.empty(n, np.uint64)
    for i in range(n):
        x = (seed + (i + 1) * 0x9E3779B97F4A7C15) & mask
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
        out[i] = x ^ (x >> 31)
    return out
