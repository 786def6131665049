"""Rows of the stream in, one rank's part of a global batch out, as tensors; rows past the end are empty, never repeats.

Global batch g of G rows is stream rows [gG, (g+1)G); rank r of W takes the r-th of W equal runs of it. So which rows a
step trains does not depend on W nor on the micro batch. May import mixture.stream (types), train.loss; torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from train.loss import IGNORED

if TYPE_CHECKING:
    from mixture.stream import Row, Stream

EMPTY = -1  # stream index and component of a row that only fills the last batch


@dataclass(frozen=True)
class Rows:
    """B rows of T tokens. `document` numbers the documents inside a row and is -1 on padding."""

    index: np.ndarray  # (B,) int64 stream index, EMPTY where the stream had ended
    component: np.ndarray  # (B,) int64 number of the component, EMPTY where the stream had ended
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


def rank_rows(step: int, batch_rows: int, rank: int, world: int) -> range:
    """Stream indices of one rank at one step; they may pass the end of the stream."""
    each = batch_rows // world
    start = step * batch_rows + rank * each
    return range(start, start + each)


def read(stream: Stream, indices: Sequence[int]) -> Rows:
    """Stream rows as tensors; an index past the end gives a fully masked row."""
    inside = [i < stream.n_sequences for i in indices]
    rows = [stream.row(i) if there else stream.masked_row() for i, there in zip(indices, inside, strict=True)]
    return collate(rows, [i if there else EMPTY for i, there in zip(indices, inside, strict=True)])


def collate(rows: Sequence[Row], index: Sequence[int]) -> Rows:
    columns = (np.stack(column).astype(np.int64) for column in list(zip(*rows, strict=True))[:4])
    ids, labels, positions, document = (torch.from_numpy(column) for column in columns)
    component = np.array([row.component for row in rows], np.int64)
    return Rows(np.asarray(index, np.int64), component, ids, positions, labels, document)
