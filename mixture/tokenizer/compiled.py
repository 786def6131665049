"""BPE in compiled code: the tables of one tokenizer (tables.py) and texts in, ids out. It remembers words, so one object
per thread.

A text is left to the library (None) where it holds a character younger than Python's Unicode tables, or an added token is looked
for before NFC changes the text. Imports kernels, characters and tables.
"""

from __future__ import annotations

import unicodedata

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mixture.tokenizer import kernels
from mixture.tokenizer.characters import classes
from mixture.tokenizer.tables import Tables

# The memory of words, 20 MB when it is full: 250,000 words of two slots and a record of 24 to 40 bytes each.
N_SLOTS = 1 << 19


class CompiledBpe:
    """Ids of texts by the tables of a tokenizer."""

    def __init__(self, tables: Tables) -> None:
        from tokenizers.normalizers import NFC

        self.tables = tables
        n_slots = max(N_SLOTS, 1 << (4 * len(tables.whole)).bit_length())
        self._memory = np.zeros(n_slots, np.uint64), np.empty(4 * n_slots, np.uint64), np.array([0, 1], np.int64)
        self._normalize = NFC().normalize_str  # the library's own: its tables are older, and leave newer marks where they stand
        self._scratch = np.empty(kernels.FEW + kernels.LONGEST_KEPT, np.int64)
        words, ids = pa.array(list(tables.whole), pa.large_binary()), np.array(list(tables.whole.values()), np.int64)
        kernels.remember(*buffers(words), ids, *self._memory)
        self._at_first = self._memory[0].copy() if tables.whole else np.zeros(0, np.uint64), self._memory[2].copy()

    def encode(self, texts: pa.Array) -> list[np.ndarray | None]:
        """Ids of each text, (n,) uint32; None where a text is the library's to encode. `texts`: valid UTF-8 without nulls."""
        tables = self.tables
        if tables.puts_blank:
            is_empty = pc.equal(pc.binary_length(texts), 0)
            blank, nothing = pa.scalar(" ", texts.type), pa.scalar("", texts.type)
            texts = pc.if_else(is_empty, texts, pc.binary_join_element_wise(blank, texts, nothing))
        refused = 0 if tables.of_char.size else kernels.UNKNOWN | (kernels.NOT_NFC if tables.nfc else 0)
        found, refusals = self._encode(texts, refused)
        again = np.flatnonzero(refusals == kernels.NOT_NFC)
        if again.size:
            old = texts.take(pa.array(again)).to_pylist()
            new = [text if unicodedata.is_normalized("NFC", text) else self._normalize(text) for text in old]
            ours = [k for k in range(len(old)) if tables.nfc_first or new[k] == old[k]]
            ids, _ = self._encode(pa.array([new[k] for k in ours], pa.large_string()), kernels.UNKNOWN)
            for k, one in zip(ours, ids, strict=True):
                found[again[k]] = one
        return found

    def _encode(self, texts: pa.Array, refused: int) -> tuple[list[np.ndarray | None], np.ndarray]:
        """`refused`: classes of characters that stop a text, which then gets None and these classes in the second array."""
        data, offsets = buffers(texts)
        t, n = self.tables, len(texts)
        out, ends, refusals = np.empty(int(offsets[-1] - offsets[0]), np.uint32), np.zeros(n + 1, np.int64), np.zeros(n, np.uint8)
        kernels.encode(
            data, offsets, t.pattern, t.digits, refused, classes(), t.trie, t.names, t.of_byte, t.of_char, t.pairs,
            *self._memory, *self._at_first, self._scratch, out, ends[1:], refusals,
        )  # fmt: skip
        ids = np.split(out, ends[1:])[:n]
        return [one if is_ours else None for one, is_ours in zip(ids, (refusals == 0).tolist(), strict=True)], refusals


def buffers(array: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """(data uint8, offsets int64 (n + 1)) of a large_string or large_binary array without nulls; read-only views of its buffers."""
    if array.null_count:
        raise ValueError(f"{array.null_count} of {len(array)} texts are null")
    _, offset_buffer, data_buffer = array.buffers()
    if len(array) == 0 or data_buffer is None or data_buffer.size == 0:
        data, offsets = np.zeros(1, np.uint8), np.zeros(len(array) + 1, np.int64)
    else:
        data = np.frombuffer(data_buffer, np.uint8)
        offsets = np.frombuffer(offset_buffer, np.int64)[array.offset : array.offset + len(array) + 1]
    for view in (data, offsets):  # numba compiles once more for arrays that are not read-only
        view.flags.writeable = False
    return data, offsets
