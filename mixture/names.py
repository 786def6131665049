"""Ids and names of clusters as numbers: 32 hex digits in, two uint64 halves each (high, low), and back. A hundred million ids are 1.6 GB.

Their order is that of the texts. Imports numpy, pyarrow and mixture's kernels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from mixture import kernels

BLOCK = 1 << 20  # names made into text at once


@dataclass(frozen=True)
class Names:
    high: np.ndarray  # uint64 (n,)
    low: np.ndarray  # uint64 (n,)

    def __len__(self) -> int:
        return self.high.size

    def __getitem__(self, at: Any) -> Names:
        return Names(self.high[at], self.low[at])

    @classmethod
    def joined(cls, parts: Sequence[Names]) -> Names:
        none = [np.empty(0, np.uint64)]
        return cls(np.concatenate(none + [part.high for part in parts]), np.concatenate(none + [part.low for part in parts]))

    def text(self) -> pa.Array:
        """large_string (n,)."""
        ends = np.arange(0, 32 * len(self) + 1, 32, dtype=np.int64)
        return pa.Array.from_buffers(pa.large_string(), len(self), [None, pa.py_buffer(ends), pa.py_buffer(self._digits())])

    def update(self, state: Any) -> None:
        """Feed a hash what `curate.store.table_root` feeds it of a column of these texts, which need not be made at once."""
        state.update(np.packbits(np.ones(len(self), np.bool_)).tobytes())
        for first in range(0, len(self), BLOCK):
            state.update(np.full(min(BLOCK, len(self) - first), 32, np.int64).tobytes())
        for first in range(0, len(self), BLOCK):
            state.update(self[first : first + BLOCK]._digits())

    def _digits(self) -> np.ndarray:
        words = np.empty(4 * len(self), np.uint64)
        kernels.to_hex(self.high, self.low, words)
        return words.view(np.uint8)


def read(texts: pa.Array | pa.ChunkedArray) -> Names:
    """Names of texts, none of them null. Raises AssertionError for anything but 32 lower-case hex digits."""
    if isinstance(texts, pa.ChunkedArray):
        return Names.joined([read(chunk) for chunk in texts.chunks]) if texts.num_chunks != 1 else read(texts.chunk(0))
    found = Names(np.empty(len(texts), np.uint64), np.empty(len(texts), np.uint64))
    if not len(texts):
        return found
    offsets = np.int64 if pa.types.is_large_string(texts.type) else np.int32
    ends = np.frombuffer(texts.buffers()[1], offsets)[texts.offset : texts.offset + len(texts) + 1]
    sound = not texts.null_count and int(ends[-1]) - int(ends[0]) == 32 * len(texts) and bool((np.diff(ends) == 32).all())
    if sound:
        words = np.frombuffer(texts.buffers()[2], np.uint8)[ends[0] : ends[-1]].view(np.uint64)
        sound = kernels.from_hex(words, found.high, found.low)
    if not sound:
        raise AssertionError("a document or cluster without a name of 32 hex digits")
    return found
