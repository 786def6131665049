"""Started by torchrun in test_ranks.py: as ranks.py, and every process compares its weights with those of the first, bit for bit."""

from __future__ import annotations

import sys

import torch

from tests.train import ranks
from train import cpt
from train.model import Scorer

made: list[Scorer] = []


class Kept(Scorer):
    def __init__(self, *settings: object) -> None:
        super().__init__(*settings)  # type: ignore[arg-type]
        made.append(self)


if __name__ == "__main__":
    cpt.Scorer = Kept  # type: ignore[misc]
    code = ranks.main()
    for p in made[0].parameters():
        first = p.detach().float().clone()
        torch.distributed.broadcast(first, 0)
        assert torch.equal(first, p.detach().float()), "the processes have different weights"
    sys.exit(code)
