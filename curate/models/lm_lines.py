"""Texts as a language model reads them: a batch of text and its words in, normalised lines out. Pure; imports text.

A line of the text (between \\n) is a line of the model where it has a word: its words by our segmentation, punctuation included, in
simple lower case, one space between them. Training and scoring use this one function; NORMALISATION stands beside every model.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from curate import text
from curate.text.unicode import tables

NORMALISATION = 1  # raise it when a line reads differently; what a word is, is text.SEGMENTATION_VERSION

_WORDS_AT_ONCE = 1 << 18  # the copies below need about 30 bytes per byte of text: a huge document is rewritten in parts
# Words that KenLM keeps for itself: lmplz refuses them. Replacements are of the same length.
_RESERVED = re.compile(rb"(?<![^ \n])<(/?s|unk)>(?=[ \n])")


class Lines(NamedTuple):
    """The normalised lines of a batch, in order. A line ends with \\n, its words are separated by one space."""

    data: bytes
    doc: np.ndarray  # (n_lines,) int64, document of the batch
    end: np.ndarray  # (n_lines,) int64, byte behind the line's \n
    word_end: np.ndarray  # (n_words,) int64, byte of the space or \n behind the word
    word_line: np.ndarray  # (n_words,) int64
    word_hash: np.ndarray  # (n_words,) uint64: equal for equal words

    @property
    def n_bytes(self) -> np.ndarray:
        """(n_lines,) int64: bytes of every line, its \\n included."""
        return np.diff(self.end, prepend=0)

    def texts(self) -> list[bytes]:
        """The lines without their \\n."""
        return self.data.split(b"\n")[:-1]


def lines_of(data: np.ndarray, offsets: np.ndarray, seg: text.Segments) -> Lines:
    """The lines of every document of a batch; a document without words has none."""
    doc = np.repeat(np.arange(len(offsets) - 1), np.diff(seg.doc_ptr))
    breaks = np.flatnonzero(data[: offsets[-1]] == 0x0A)
    place = np.searchsorted(breaks, seg.start)
    is_last = np.ones(len(doc), bool)
    is_last[:-1] = (doc[1:] != doc[:-1]) | (place[1:] != place[:-1])
    parts = []
    for first in range(0, len(doc), _WORDS_AT_ONCE):
        some = slice(first, first + _WORDS_AT_ONCE)
        parts.append(_lower(_joined(data, seg.start[some], seg.end[some], is_last[some])))
    joined = _RESERVED.sub(rb"(\1)", b"".join(parts).replace(b"\0", b"?"))  # \0 would end the line for KenLM
    separator = np.frombuffer(joined, np.uint8)
    word_end = np.flatnonzero((separator == 0x20) | (separator == 0x0A))  # no word holds white space
    line = np.cumsum(is_last) - is_last
    return Lines(joined, doc[is_last], word_end[is_last] + 1, word_end, line.astype(np.int64), seg.lower)


def _joined(data: np.ndarray, start: np.ndarray, end: np.ndarray, is_last: np.ndarray) -> bytes:
    """The bytes of all words, each followed by a space, the last of a line by \\n."""
    n = end - start + 1
    behind = np.cumsum(n)
    taken = np.arange(behind[-1]) + np.repeat(start - (behind - n), n)
    out = data[np.minimum(taken, len(data) - 1)]  # the byte behind a word may lie behind the data: a separator is put there
    out[(out == 0x20) | (out >= 0x09) & (out <= 0x0D)] = 0x5F  # some tokenizers' words hold spaces (Vietnamese): _ for KenLM
    out[behind - 1] = np.where(is_last, 0x0A, 0x20)
    return out.tobytes()


def _lower(joined: bytes) -> bytes:
    """Simple lower case of every code point by the shipped table, as the words' hashes have it."""
    codes = np.frombuffer(joined.decode().encode("utf-32-le"), np.uint32)
    lower = codes + tables()[1][codes]
    return lower.astype(np.uint32).tobytes().decode("utf-32-le").encode()


def lines_again(documents: Sequence[Sequence[bytes]]) -> Lines:
    """Lines that were normalised before, by document, as they were."""
    lines = [line for document in documents for line in document]
    joined = b"".join(line + b"\n" for line in lines)
    separator = np.frombuffer(joined, np.uint8)
    word_end = np.flatnonzero((separator == 0x20) | (separator == 0x0A))
    end = np.cumsum([len(line) + 1 for line in lines], dtype=np.int64)
    numbers: dict[bytes, int] = {}
    words = [numbers.setdefault(word, len(numbers)) for line in lines for word in line.split(b" ")]
    doc = np.repeat(np.arange(len(documents)), [len(document) for document in documents])
    return Lines(joined, doc, end, word_end, np.searchsorted(end, word_end, side="right"), np.array(words, np.uint64))
