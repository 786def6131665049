"""The one definition of word, line, paragraph and shingle, for every signal and for the relations between documents.

In: Arrow string arrays (`buffers` checks their UTF-8 once, at the edge). Out: numpy arrays with one row per document or
word. The definitions are written out in reference.py; the work is done in kernels.py. Imports jit only. Functions are pure,
release the GIL, and hold about 6 bytes per byte of text while they work: give them `batches` of about a MB.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from curate.text import kernels, symbols, tokenizers
from curate.text.segments import SEGMENTATION_VERSION, Segments, frozen, segment, segmentation
from curate.text.shingling import (
    folded,
    folding,
    shingle_identity,
    shingle_sets,
    shingle_sets_of,
    shingled,
    signatures,
    signatures_of,
)
from curate.text.unicode import UNICODE_VERSION, tables

__all__ = [
    "SEGMENTATION_VERSION", "UNICODE_VERSION", "Segments", "batches", "buffers", "folded", "folding", "gopher_quality_counts",
    "length_counts", "normalised_hashes", "segment", "segmentation", "shingle_identity", "shingle_sets", "shingle_sets_of",
    "shingled", "signatures", "signatures_of", "word_hash", "words",
]  # fmt: skip


def buffers(array: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """(data uint8, offsets int64 (n + 1)) of a string array without nulls; views, which keep the Arrow buffers alive.

    Slices keep their offsets into the whole buffer. Raises pa.ArrowInvalid on invalid UTF-8, ValueError on nulls.
    """
    if array.null_count:
        raise ValueError(f"{array.null_count} of {len(array)} texts are null")
    if array.type != pa.large_string():
        array = array.cast(pa.large_string())
    array.validate(full=True)
    _, offset_buffer, data_buffer = array.buffers()
    if offset_buffer is None or offset_buffer.size == 0:
        return np.zeros(1, np.uint8), np.zeros(len(array) + 1, np.int64)
    offsets = np.frombuffer(offset_buffer, np.int64)[array.offset : array.offset + len(array) + 1]
    data = np.frombuffer(data_buffer, np.uint8) if data_buffer is not None and data_buffer.size else np.zeros(1, np.uint8)
    return data, offsets


def batches(array: pa.Array | pa.ChunkedArray, max_bytes: int = 1_000_000) -> Iterator[pa.Array]:
    """Consecutive slices (no copy) of at most `max_bytes` of text each; a longer text comes alone."""
    for chunk in array.chunks if isinstance(array, pa.ChunkedArray) else [array]:
        lengths = np.asarray(pa.compute.binary_length(chunk).fill_null(0), np.int64)
        ends = np.cumsum(lengths)
        first = 0
        while first < len(chunk):
            limit = ends[first] - lengths[first] + max_bytes
            last = max(first + 1, int(np.searchsorted(ends, limit, side="right")))
            yield chunk.slice(first, last - first)
            first = last


def length_counts(data: np.ndarray, offsets: np.ndarray, seg: Segments) -> dict[str, np.ndarray]:
    """n_bytes, n_chars, n_words, n_lines, n_paragraphs (int64) of every document; all 0 for an empty one."""
    data, offsets = frozen(data, offsets)
    n = len(offsets) - 1
    chars, lines, paragraphs = (np.empty(n, np.int64) for _ in range(3))
    kernels.length_counts(data, offsets, tables()[0], chars, lines, paragraphs)
    return {
        "n_bytes": np.diff(offsets),
        "n_chars": chars,
        "n_words": np.diff(seg.doc_ptr),
        "n_lines": lines,
        "n_paragraphs": paragraphs,
    }


def gopher_quality_counts(data: np.ndarray, offsets: np.ndarray, seg: Segments, stop_hashes: np.ndarray) -> dict[str, np.ndarray]:
    """Counts (int64) of datatrove's GopherQualityFilter over our words. `stop_hashes`: word_hash of the stop words.

    n_unicode_lines are the lines of str.splitlines(), as datatrove cuts them; n_lines of length_counts are cut at \\n only.
    Source: Rae et al. 2021, arXiv 2112.11446, A1.1; datatrove 0.10.1 pipeline/filters/gopher_quality_filter.py.
    """
    data, offsets = frozen(data, offsets)
    names = ("n_hash_chars", "n_ellipsis_units", "n_bullet_lines", "n_ellipsis_lines", "n_unicode_lines")
    of_lines = {name: np.empty(len(offsets) - 1, np.int64) for name in names}
    kernels.gopher_line_counts(data, offsets, tables()[0], *of_lines.values())
    word_names = ("n_non_symbol_words", "n_non_symbol_word_chars", "n_alpha_words", "n_stop_words")
    of_words = {name: np.empty(len(offsets) - 1, np.int64) for name in word_names}
    kernels.gopher_word_counts(seg.doc_ptr, seg.flags, seg.chars, seg.hash, _stop_table(stop_hashes), *of_words.values())
    return of_words | of_lines


def normalised_hashes(data: np.ndarray, offsets: np.ndarray, words: str = tokenizers.RULES) -> np.ndarray:
    """uint64 (n, 2): a 128-bit hash of every normalised text: its UTF-8 in simple lower case, white space left out.

    It knows nothing of words, so texts of sources whose words are cut in different ways compare as well; but for `words: math` the
    letter case of formulas counts, and for `words: code` that of identifiers, and where they end.
    """
    data, offsets = frozen(data, offsets)
    normalised = np.empty((len(offsets) - 1, 2), np.uint64)
    kernels.normalised_hashes(data, offsets, *tables(), np.empty(kernels.BLOCK + 8, np.uint8), normalised)
    if words == tokenizers.MATH:
        normalised[:, 0] ^= symbols.formula_hashes(data, offsets)
    elif words == tokenizers.CODE:
        seg = segment(data, offsets, words)
        normalised[:, 0] ^= symbols.identifier_hashes(seg.doc_ptr, seg.hash)
    return normalised


def words(text: str) -> list[str]:
    """The words of one text."""
    raw = text.encode()
    seg = segment(np.frombuffer(raw or b"\0", np.uint8), np.array([0, len(raw)], np.int64))
    return [raw[a:b].decode() for a, b in zip(seg.start.tolist(), seg.end.tolist(), strict=True)]


def word_hash(word: str) -> int:
    """Hash of one word as written, as it stands in Segments.hash; the word is not segmented."""
    raw = np.frombuffer(word.encode(), np.uint8)
    chars, flags = np.empty(1, np.int32), np.empty(1, np.uint8)
    exact, lower = np.empty(1, np.uint64), np.empty(1, np.uint64)
    span = np.zeros(1, np.int64), np.full(1, len(raw), np.int64)
    kernels.word_attributes(*frozen(raw), *span, *tables(), chars, flags, exact, lower)
    return int(exact[0])


def _stop_table(hashes: np.ndarray) -> np.ndarray:
    """Open-addressing table (power of two, at least four times as many slots, 0 empty) the kernel looks words up in."""
    size = 1 << (4 * len(hashes)).bit_length()
    table = np.zeros(size, np.uint64)
    for value in sorted({int(h) for h in hashes}):
        slot = value & (size - 1)
        while table[slot]:
            slot = (slot + 1) & (size - 1)
        table[slot] = value
    return table
