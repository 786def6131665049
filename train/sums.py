"""Losses of a step's tokens in; their sums by component and by language out: nats, loss tokens, tokens and bytes of text.

No forward pass of its own. May import mixture.stream (types), train.*; torch, accelerate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from accelerate import Accelerator

from train.batch import Rows
from train.head import IGNORED
from train.watch.record import Sums

if TYPE_CHECKING:
    from train.streams import Streams

FIELDS = 4  # nats, loss tokens, tokens, bytes


@dataclass(frozen=True)
class Tally:
    """(n_components + n_languages, FIELDS) float64: counts are exact below 2^53."""

    values: np.ndarray

    @staticmethod
    def of(rows: Rows, losses: torch.Tensor, streams: Streams, byte_lengths: np.ndarray | None) -> Tally:
        """`losses` (B, T) float32, 0 where nothing is asked; `byte_lengths` of every id, None where the tokenizer is not known."""
        nats, labels = losses.double().cpu().numpy(), rows.labels.cpu().numpy()
        real, asked = (rows.document >= 0).cpu().numpy(), labels != IGNORED
        n_bytes = np.zeros(labels.shape) if byte_lengths is None else byte_lengths[np.maximum(labels, 0)] * asked
        component = np.broadcast_to(rows.component[:, None], labels.shape)
        parts = []
        for number, names in ((component, streams.components), (rows.language, streams.languages)):
            place = number[real].astype(np.int64)
            columns = (nats[real], asked[real], None, n_bytes[real])
            parts.append(np.stack([np.bincount(place, weights, len(names)) for weights in columns], axis=1))
        return Tally(np.concatenate(parts))

    def summed(self, accelerator: Accelerator) -> Tally:
        """Over all processes."""
        return Tally(accelerator.reduce(torch.from_numpy(self.values).to(accelerator.device), "sum").cpu().numpy())

    def components(self, streams: Streams) -> dict[str, Sums]:
        return _named(streams.components, self.values)

    def languages(self, streams: Streams) -> dict[str, Sums]:
        return _named(streams.languages, self.values[len(streams.components) :])

    @property
    def is_finite(self) -> bool:
        return bool(math.isfinite(self.values[:, 0].sum()))


def _named(names: list[str], values: np.ndarray) -> dict[str, Sums]:
    """Those that had a token."""
    rows = zip(names, values.tolist(), strict=False)
    return {name: Sums(nats, int(asked), int(tokens), int(n_bytes)) for name, (nats, asked, tokens, n_bytes) in rows if tokens}
