"""The learning rate as a pure function of the step: nothing to save, nothing that a resume can forget.

In: the run's schedule, its shares already whole steps. Out: the rate of step s in [0, n_steps). No imports of ours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Kind = Literal["cosine", "linear", "constant", "wsd"]


@dataclass(frozen=True)
class Schedule:
    """`n_warmup` steps up to `peak`, then by `kind` down to `floor` (a rate, not a share), reached one step after the last.

    wsd (warmup, stable, decay) stays at the peak until `n_decay` steps are left, then goes down in a line.
    """

    kind: Kind
    peak: float
    floor: float
    n_steps: int
    n_warmup: int
    n_decay: int

    def rate(self, step: int) -> float:
        if step < self.n_warmup:
            return self.peak * (step + 1) / self.n_warmup
        if self.kind == "constant":
            return self.peak
        start = self.n_steps - self.n_decay if self.kind == "wsd" else self.n_warmup
        done = max(0, step - start) / max(1, self.n_steps - start)
        left = (1 + math.cos(math.pi * done)) / 2 if self.kind == "cosine" else 1 - done
        return self.floor + (self.peak - self.floor) * left
