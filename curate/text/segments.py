"""Words of a batch of texts as arrays.

In: `data` uint8 (validated UTF-8) and `offsets` int64 (n_docs + 1), as text.buffers gives them. Out: `Segments`, a row per word. The
definition of a word is written out in reference.py, or is datatrove's of a language (tokenizers.py). Imports the kernels and tables.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from curate.text import exceptions, kernels, symbols, tokenizers
from curate.text.unicode import UNICODE_VERSION, tables

# Words, lines, paragraphs, word hashes and shingles; raise it when any of them changes. 3: words are hashed eight bytes at a time.
SEGMENTATION_VERSION = 3


class Segments(NamedTuple):
    """Words of a batch. Words of document d are the rows doc_ptr[d]:doc_ptr[d + 1]; byte offsets are those of `data`."""

    doc_ptr: np.ndarray  # (n_docs + 1,) int64
    start: np.ndarray  # (n_words,) int64
    end: np.ndarray  # (n_words,) int64
    flags: np.ndarray  # (n_words,) uint8: kernels.HAS_LETTER | HAS_ALNUM | HAS_NON_SYMBOL
    hash: np.ndarray  # (n_words,) uint64 of the word as written
    lower: np.ndarray  # (n_words,) uint64 of the word in simple lower case
    chars: np.ndarray  # (n_words,) int32 code points


def segment(data: np.ndarray, offsets: np.ndarray, words: str = tokenizers.RULES) -> Segments:
    """Words of every document: by our rules (reference.words_reference), identifiers, or by datatrove's tokenizer of a language code."""
    data, offsets = frozen(data, offsets)
    if words == tokenizers.CODE:
        doc_ptr, start, end = symbols.identifiers(data, offsets)
    else:
        doc_ptr, start, end = _spans(data, offsets) if words in tokenizers.OURS else tokenizers.spans(data, offsets, words)
    n = len(start)
    chars, flags = np.empty(n, np.int32), np.empty(n, np.uint8)
    exact, lower = np.empty(n, np.uint64), np.empty(n, np.uint64)
    kernels.word_attributes(data, start, end, *tables(), chars, flags, exact, lower)
    return Segments(doc_ptr, start, end, flags, exact, lower, chars)


def segmentation(words: str = tokenizers.RULES) -> dict[str, Any]:
    """What words depend on, for the fingerprint of whatever is counted in them."""
    found: dict[str, Any] = {"segmentation": SEGMENTATION_VERSION, "unicode": UNICODE_VERSION}
    if words == tokenizers.CODE:
        return {**found, "words": {"tokenizer": words, "version": symbols.VERSION}}
    return found if words in tokenizers.OURS else {**found, "words": tokenizers.identity(words)}


def frozen(*arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    """Read-only views: Arrow's are, and numba compiles once more for arrays that are not."""
    views = tuple(array.view() for array in arrays)
    for view in views:
        view.flags.writeable = False
    return views


def _spans(data: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """doc_ptr, start and end of Segments, by our rules."""
    classes = tables()[0]
    n_docs = len(offsets) - 1
    doc_ptr = np.zeros(n_docs + 1, np.int64)
    capacity = int(offsets[-1] - offsets[0]) // 4 + 64  # Estonian 6.5 bytes a word, English 4.9, code 4.4 (kernels.md 1.1)
    start, end = np.empty(capacity, np.int64), np.empty(capacity, np.int64)
    done = 0
    while done < n_docs:
        done, needed = kernels.segment_spans(data, offsets, classes, exceptions.table(), done, doc_ptr, start, end)
        if done < n_docs:
            capacity = max(int(needed), 2 * capacity)
            start, end = _grown(start, capacity), _grown(end, capacity)
    n = int(doc_ptr[-1])
    return doc_ptr, start[:n], end[:n]


def _grown(array: np.ndarray, capacity: int) -> np.ndarray:
    larger = np.empty(capacity, array.dtype)
    larger[: len(array)] = array
    return larger
