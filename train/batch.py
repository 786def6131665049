"""Rows of the stream in, one rank's part of a global batch out, as tensors; what fills a phase's last batch is empty, never a repeat.

Which rows a step trains is said by mixture.batches: it depends neither on the number of processes nor on the micro batch.
May import mixture.batches and mixture.stream (types), train.head; torch.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from train.head import IGNORED

if TYPE_CHECKING:
    from mixture.batches import Share
    from mixture.stream import Row
    from train.streams import Streams

EMPTY = -1  # stream index and component of a row that only fills the last batch of a phase


@dataclass(frozen=True)
class Rows:
    """B rows of T tokens. `document` numbers the documents inside a row and is -1 on padding."""

    index: np.ndarray  # (B,) int64 stream index, EMPTY where the phase had ended
    component: np.ndarray  # (B,) int64 number of the component, EMPTY where the phase had ended
    input_ids: torch.Tensor  # (B, T) int64
    position_ids: torch.Tensor  # (B, T) int64, 0 at each document's first token
    labels: torch.Tensor  # (B, T) int64, IGNORED where nothing is asked
    document: torch.Tensor  # (B, T) int64
    language: np.ndarray  # (B, T) int16 number of the language, -1 on padding

    def __len__(self) -> int:
        return len(self.index)

    @property
    def n_loss_tokens(self) -> int:
        return int((self.labels != IGNORED).sum())

    def part(self, first: int, size: int) -> Rows:
        """Rows [first, first + size): one micro batch."""
        rows = slice(first, first + size)
        tensors = (self.input_ids, self.position_ids, self.labels, self.document)
        ids, positions, labels, document = (tensor[rows] for tensor in tensors)
        return Rows(self.index[rows], self.component[rows], ids, positions, labels, document, self.language[rows])

    def to(self, device: torch.device) -> Rows:
        tensors = (self.input_ids, self.position_ids, self.labels, self.document)
        ids, positions, labels, document = (tensor.to(device, non_blocking=True) for tensor in tensors)
        return Rows(self.index, self.component, ids, positions, labels, document, self.language)


def read(streams: Streams, share: Share, skipped: Container[int] = ()) -> Rows:
    """A rank's rows of a step as tensors, empty rows after them and in the place of those that are skipped."""
    taken = [i for i in share.rows if i not in skipped]
    batch = streams.read(taken, share.size - len(taken), share.phase)
    index = taken + [EMPTY] * (share.size - len(taken))
    arrays = (batch.input_ids, batch.position_ids, batch.labels, batch.document)
    return _rows(index, batch.component, arrays, batch.language)


def collate(rows: Sequence[Row], index: Sequence[int]) -> Rows:
    """Rows of one length as tensors."""
    arrays = [(row.input_ids, row.position_ids, row.labels, row.document) for row in rows]
    stacked = [np.stack(column) for column in zip(*arrays, strict=True)]
    return _rows(index, [row.component for row in rows], stacked, np.stack([row.language for row in rows]))


def _rows(
    index: Sequence[int], component: Sequence[int] | np.ndarray, arrays: Iterable[np.ndarray], language: np.ndarray
) -> Rows:
    ids, positions, labels, document = (torch.from_numpy(array.astype(np.int64, copy=False)) for array in arrays)
    return Rows(np.asarray(index, np.int64), np.asarray(component, np.int64), ids, positions, labels, document, language)
