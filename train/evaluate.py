"""Held-out sequences of the manifest in; loss and bits per byte per component out. No gradient, no randomness.

Bytes are those of the tokens that have a label, special tokens left out (they are text to nobody, yet their bits count).
May import mixture.tokenizer (types), train.*; torch.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from accelerate import Accelerator

from train.batch import collate
from train.sums import Sums, Tally

if TYPE_CHECKING:
    from mixture.tokenizer import Tokenizer
    from train.streams import Streams


class HeldOut:
    """The held-out rows of this rank, read once. Every rank has as many forward passes as the others: sharded weights need all of them."""

    def __init__(self, streams: Streams, accelerator: Accelerator, size: int, tokenizer: Tokenizer | None) -> None:
        self.streams, self.n_rows = streams, streams.n_held_out
        self.byte_lengths = tokenizer.byte_lengths if tokenizer else None
        world, rank = accelerator.num_processes, accelerator.process_index
        mine = list(range(rank, self.n_rows, world))
        rows = [streams.held_out(j) for j in mine]
        self.parts = [collate(rows[s : s + size], mine[s : s + size]) for s in range(0, len(rows), size)]
        most = -(-self.n_rows // world)  # rows of a rank
        self.n_passes = -(-most // size)

    def measure(self, model: torch.nn.Module, accelerator: Accelerator) -> dict[str, dict[str, float]]:
        """Per component {loss (nats per token), bits_per_byte, tokens}; components without held-out rows are left out."""
        return means(self.tally(model, accelerator).components(self.streams))

    def tally(self, model: torch.nn.Module, accelerator: Accelerator) -> Tally:
        """Sums of all held-out rows, over all processes."""
        total = np.zeros((len(self.streams.components) + len(self.streams.languages), 4))
        was_training = model.training
        model.eval()
        with torch.no_grad():
            for k in range(self.n_passes):
                part = self.parts[min(k, len(self.parts) - 1)] if self.parts else None
                rows = (part or collate([self.streams.held_out(0)], [0])).to(accelerator.device)
                _, losses = model(
                    rows.input_ids, rows.position_ids, rows.labels, torch.zeros_like(rows.labels, dtype=torch.float32)
                )
                if k < len(self.parts):
                    total += Tally.of(rows, losses, self.streams, self.byte_lengths).values
        model.train(was_training)
        return Tally(total).summed(accelerator)


def means(sums: dict[str, Sums]) -> dict[str, dict[str, float]]:
    """Per name {loss (nats per token), bits_per_byte where bytes are known, tokens}; names without loss tokens are left out."""
    return {
        name: {"loss": s.loss_sum / s.loss_tokens, "tokens": s.loss_tokens}
        | ({"bits_per_byte": s.loss_sum / math.log(2) / s.n_bytes} if s.n_bytes else {})
        for name, s in sums.items()
        if s.loss_tokens
    }
