"""Dropout as a function of (seed, step, row of the stream, place in the model): the same however a batch is divided or often one stopped.

torch's own draws depend on what was drawn before, so on the number of processes and of rows in a forward pass. In: a model. Out: the
model with its Dropout modules replaced. What a model draws by functions (attention_dropout) it still draws from torch's state, which
the loop seeds for every forward pass. torch only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch

OPTIMIZER = -2  # in the place of a row; -1 is a row that only fills a batch


def draw(seed: int, step: int, row: int, place: int = 0) -> int:
    """63 bits of blake2b of (run seed, step, stream index, number of the module)."""
    data = b"".join(value.to_bytes(8, "little", signed=True) for value in (seed, step, row, place))
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little") >> 1


@dataclass
class Draws:
    """What the forward pass that comes next is of; the loop says so."""

    seed: int = 0
    step: int = 0
    rows: Sequence[int] = ()

    def begin(self, seed: int, step: int, rows: Sequence[int]) -> None:
        self.seed, self.step, self.rows = seed, step, rows
        torch.manual_seed(draw(seed, step, int(rows[0])))

    def begin_update(self, seed: int, step: int) -> None:
        """What the optimizer draws (rounding by lot): the same in every process, or their weights would drift apart."""
        torch.manual_seed(draw(seed, step, OPTIMIZER))


class RowDropout(torch.nn.Module):
    """`x` holds the rows that `draws` names, in that order, along its first dimension or (all rows in one) its second."""

    def __init__(self, p: float, place: int, draws: Draws) -> None:
        super().__init__()
        self.p, self.place, self.draws = p, place, draws

    @torch.compiler.disable  # step and rows are numbers of Python: every step would be compiled anew
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training or not self.p:
            return x
        draws, n = self.draws, len(self.draws.rows)
        parts = x.reshape(n, -1) if x.shape[0] == n or x.shape[0] == 1 else None
        if parts is None:
            raise RuntimeError(f"dropout of {tuple(x.shape)} for {n} rows")
        kept = torch.empty_like(parts, dtype=torch.float32)
        for k, row in enumerate(draws.rows):
            generator = torch.Generator(x.device).manual_seed(draw(draws.seed, draws.step, int(row), self.place))
            kept[k].uniform_(generator=generator)
        return x * ((kept >= self.p) / (1 - self.p)).to(x.dtype).view(x.shape)


def by_row(model: torch.nn.Module, draws: Draws) -> int:
    """Replace every Dropout that drops anything; says how many. Places are numbered in the order of the model's modules."""
    found = [
        (parent, name, child)
        for parent in model.modules()
        for name, child in parent.named_children()
        if isinstance(child, torch.nn.Dropout) and child.p > 0
    ]
    for place, (parent, name, child) in enumerate(found, start=1):
        parent._modules[name] = RowDropout(child.p, place, draws)
    return len(found)
