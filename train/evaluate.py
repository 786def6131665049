"""Held-out sequences of the manifest in; loss and bits per byte per component out. No gradient, no randomness.

Bytes are those of the decoded tokens that have a label, special tokens left out (they are text to nobody, yet their bits count).
May import mixture.stream (types), mixture.tokenizer, train.*; torch.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from accelerate import Accelerator

from mixture.tokenizer import Tokenizer
from train.batch import Rows, collate
from train.loss import IGNORED
from train.model import losses

if TYPE_CHECKING:
    from mixture.stream import Stream


def text_bytes(rows: Rows, tokenizer: Tokenizer) -> np.ndarray:
    """(B,) UTF-8 bytes of each row's labelled tokens, decoded document by document."""
    special = [control["id"] for control in tokenizer.controls.values()]
    total = np.zeros(len(rows), np.int64)
    for i, (labels, document) in enumerate(zip(rows.labels.numpy(), rows.document.numpy(), strict=True)):
        for k in range(int(document.max(initial=-1)) + 1):
            target = labels[(document == k) & (labels != IGNORED)]
            target = target[~np.isin(target, special)]
            total[i] += len(tokenizer.decode(target).encode())
    return total


class HeldOut:
    """The held-out rows of this rank, read and decoded once."""

    def __init__(self, stream: Stream, accelerator: Accelerator, size: int, tokenizer: Tokenizer | None) -> None:
        mine = range(accelerator.process_index, stream.n_held_out, accelerator.num_processes)
        rows = [stream.held_out(j) for j in mine]
        starts = range(0, len(rows), size)
        self.parts = [collate(rows[s : s + size], mine[s : s + size]) for s in starts]
        self.bytes = [text_bytes(part, tokenizer) if tokenizer else np.zeros(len(part), np.int64) for part in self.parts]
        self.components, self.n_rows = list(stream.components), stream.n_held_out

    def measure(self, model: torch.nn.Module, accelerator: Accelerator, dtype: str) -> dict[str, dict[str, float]]:
        """Per component {loss (nats per token), bits_per_byte, tokens}; components without held-out rows are left out."""
        sums = np.zeros((len(self.components), 3))  # nats, labelled tokens, bytes
        inner = accelerator.unwrap_model(model)
        inner.eval()
        with torch.no_grad():
            for part, n_bytes in zip(self.parts, self.bytes, strict=True):
                nats = losses(inner, part.to(accelerator.device), dtype).sum(1).double().cpu().numpy()
                asked = (part.labels != IGNORED).sum(1).numpy()
                np.add.at(sums, part.component, np.stack([nats, asked, n_bytes], axis=1))
        inner.train()
        total = accelerator.reduce(torch.from_numpy(sums).to(accelerator.device), "sum").cpu().numpy()
        result: dict[str, dict[str, float]] = {}
        for name, (nats, tokens, n_bytes) in zip(self.components, total, strict=True):
            if tokens:
                result[name] = {"loss": nats / tokens, "tokens": int(tokens)}
                if n_bytes:
                    result[name]["bits_per_byte"] = nats / math.log(2) / n_bytes
        return result
