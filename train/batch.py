"""Rows of the stream in, one rank's part of a global batch out, as tensors; what fills a phase's last batch is empty, never a repeat.

Which rows a step trains is said by mixture.batches: it depends neither on the number of processes nor on the micro batch.
May import mixture.batches and mixture.stream (types), train.loss; torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from train.loss import IGNORED

if TYPE_CHECKING:
    from mixture.batches import Share
    from mixture.stream import Row, Stream

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

    def __len__(self) -> int:
        return len(self.index)

    @property
    def n_loss_tokens(self) -> int:
        return int((self.labels != IGNORED).sum())

    def part(self, first: int, size: int) -> Rows:
        """Rows [first, first + size): one micro batch."""
        rows = slice(first, first + size)
        tensors = (self.input_ids, self.position_ids, self.labels, self.document)
        return Rows(self.index[rows], self.component[rows], *(tensor[rows] for tensor in tensors))

    def to(self, device: torch.device) -> Rows:
        tensors = (self.input_ids, self.position_ids, self.labels, self.document)
        return Rows(self.index, self.component, *(tensor.to(device, non_blocking=True) for tensor in tensors))


def read(stream: Stream, share: Share) -> Rows:
    """A rank's rows of a step as tensors, empty rows after them."""
    batch = stream.read(share.rows, share.n_empty, share.phase)
    index = [*share.rows] + [EMPTY] * share.n_empty
    return _rows(index, batch.component, (batch.input_ids, batch.position_ids, batch.labels, batch.document))


def collate(rows: Sequence[Row], index: Sequence[int]) -> Rows:
    """Rows of one length as tensors."""
    arrays = [(row.input_ids, row.position_ids, row.labels, row.document) for row in rows]
    return _rows(index, [row.component for row in rows], [np.stack(column) for column in zip(*arrays, strict=True)])


def _rows(index: Sequence[int], component: Sequence[int] | np.ndarray, arrays: Iterable[np.ndarray]) -> Rows:
    tensors = (torch.from_numpy(array.astype(np.int64, copy=False)) for array in arrays)
    return Rows(np.asarray(index, np.int64), np.asarray(component, np.int64), *tensors)
