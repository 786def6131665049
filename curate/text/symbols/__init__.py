"""What texts hold besides prose: formulas with their marks, and the identifiers of code.

In: `data` uint8 (validated UTF-8) and `offsets` int64, as text.buffers gives them. Out: arrays, a row per formula or identifier.
A formula stands between $ $, $$ $$, \\( \\), \\[ \\], or in an environment of ENVIRONMENTS; dollars around a price do not count: an inline
formula is tight in its dollars and followed by no digit (pandoc's rule), or holds one of \\ ^ _ = { < >. Imports the kernels.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

from curate.text.symbols import kernels
from curate.text.unicode import tables

VERSION = 1  # raise it when another thing counts as a formula or an identifier
ENVIRONMENTS = (
    "equation", "align", "gather", "multline", "eqnarray", "displaymath", "math", "flalign", "alignat", "dmath", "IEEEeqnarray",
    "subequations", "xalignat", "xxalignat", "empheq", "mathpar",
)  # fmt: skip
_PRIME = np.uint64(0x9E3779B97F4A7C15)


class Formulas(NamedTuple):
    """Formulas of a batch by document and place. Bytes are those of `data`, absolute."""

    row: np.ndarray  # (n,) int64
    outer: np.ndarray  # (n, 2) int64, with the marks
    inside: np.ndarray  # (n, 2) int64, without them
    is_display: np.ndarray  # (n,) bool
    hash: np.ndarray  # (n,) uint64 of the content without white space; letter case counts
    n_commands: np.ndarray  # (n_docs,) int64: \\name, in formulas and outside
    n_open: np.ndarray  # (n_docs,) int64: marks that begin a formula and do not find their end


def formulas(data: np.ndarray, offsets: np.ndarray) -> Formulas:
    data, offsets = _frozen(data), _frozen(offsets)
    n_docs = len(offsets) - 1
    most = int(offsets[-1] - offsets[0]) // 3 + 1  # $x$; pages that stay empty cost no memory
    row, kind, hashes = np.empty(most, np.int64), np.empty(most, np.int64), np.empty(most, np.uint64)
    outer, inside = np.empty((most, 2), np.int64), np.empty((most, 2), np.int64)
    counts = np.empty((n_docs, 2), np.int64)
    n = kernels.formulas(data, offsets, *_words(), row, outer, inside, kind, hashes, counts)
    shown = kind[:n] == kernels.DISPLAY
    return Formulas(row[:n].copy(), outer[:n].copy(), inside[:n].copy(), shown, hashes[:n].copy(), counts[:, 0], counts[:, 1])


def identifiers(data: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(doc_ptr (n + 1,), start, end) int64: runs of letters, digits and _ of every document, the words of `words: code`."""
    doc_ptr = np.empty(len(offsets), np.int64)
    room = int(offsets[-1] - offsets[0]) // 4 + 64
    while True:
        start, end = np.empty(room, np.int64), np.empty(room, np.int64)
        n = kernels.identifiers(_frozen(data), _frozen(offsets), tables()[0], doc_ptr, start, end)
        if n <= room:
            return doc_ptr, start[:n], end[:n]
        room = n


def salted(data: np.ndarray, offsets: np.ndarray, doc_ptr: np.ndarray, start: np.ndarray, lower: np.ndarray) -> np.ndarray:
    """`lower` (n_words,) uint64 with every word told apart by the formulas around it: those before and after a word of the prose, its
    own for a word of a formula. Texts without formulas keep theirs.

    So shingles agree only where formulas do: texts that differ in one formula of n differ in about 2 of n + 1 stretches of prose, and
    texts of other formulas share no shingle, whatever stands around them.
    """
    found = formulas(data, offsets)
    n = len(found.row)
    if not n or not len(start):
        return lower
    doc = np.repeat(np.arange(len(doc_ptr) - 1), np.diff(doc_ptr))
    before = np.searchsorted(found.outer[:, 0], start, side="right") - 1
    after = before + 1
    has_before = (before >= 0) & (found.row[np.maximum(before, 0)] == doc)
    is_inside = has_before & (start < found.outer[np.maximum(before, 0), 1])
    has_after = ~is_inside & (after < n) & (found.row[np.minimum(after, n - 1)] == doc)
    salt = np.where(has_before, found.hash[np.maximum(before, 0)] * _PRIME, np.uint64(0))
    salt ^= np.where(has_after, found.hash[np.minimum(after, n - 1)], np.uint64(0))
    return np.where(salt == 0, lower, _mixed(lower ^ _mixed(salt)))


def formula_hashes(data: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """uint64 (n_docs,): of all formulas of a document in their order, letter case and all; 0 for a text without formulas."""
    found = formulas(data, offsets)
    place = np.arange(len(found.row)) - np.searchsorted(found.row, found.row)
    return _sums(len(offsets) - 1, found.row, found.hash, place)


def identifier_hashes(doc_ptr: np.ndarray, exact: np.ndarray) -> np.ndarray:
    """uint64 (n_docs,): of all identifiers of a document as written (`exact`: Segments.hash), in their order."""
    doc = np.repeat(np.arange(len(doc_ptr) - 1), np.diff(doc_ptr))
    return _sums(len(doc_ptr) - 1, doc, exact, np.arange(len(exact)) - doc_ptr[doc])


def _sums(n_docs: int, doc: np.ndarray, hashes: np.ndarray, place: np.ndarray) -> np.ndarray:
    total = np.zeros(n_docs, np.uint64)
    np.add.at(total, doc, _mixed(hashes ^ _mixed(place.astype(np.uint64) + np.uint64(1))))
    return total


def _mixed(x: np.ndarray) -> np.ndarray:
    """splitmix64's finish."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@cache
def _words() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    names = np.array([_name_hash(name) for name in ENVIRONMENTS], np.int64)
    begin, end = (np.frombuffer(word, np.uint8) for word in (b"begin{", b"end{"))
    return _frozen(names), _frozen(begin), _frozen(end)


def _name_hash(name: str) -> int:
    h = 7
    for c in name.encode():
        h = (h * 31 + c) & 0x7FFFFFFFFFFF
    return h


def _frozen(array: np.ndarray) -> np.ndarray:
    view = array.view()
    view.flags.writeable = False
    return view
