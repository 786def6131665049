"""The learning rate as a pure function of the step: nothing to save, nothing that a resume can forget.

In: curves with their lengths in whole steps. Out: the rate of step s in [0, n_steps). No imports of ours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["cosine", "linear", "polynomial", "step", "constant", "wsd"]
Shape = Literal["linear", "cosine", "sqrt"]  # of the decay of wsd; sqrt: 1 - sqrt(t) (Hägele et al. 2024, arXiv 2405.18392)


@dataclass(frozen=True)
class Curve:
    """`n_warmup` steps up to `peak`, then by `kind` down to `floor` (a rate, not a share), reached one step after the last.

    wsd (warmup, stable, decay) stays at the peak until `n_decay` steps are left, so its rates do not depend on `n_steps` before that.
    polynomial falls as (1 - t) ** power; step multiplies by `factor` at each step of `at`, not below the floor.
    """

    kind: Kind
    peak: float
    floor: float
    n_steps: int
    n_warmup: int = 0
    n_decay: int = 0
    shape: Shape = "linear"
    power: float = 1.0
    at: tuple[int, ...] = ()
    factor: float = 0.1
    start: float = 0.0  # the rate that warmup comes from

    def rate(self, step: int) -> float:
        if step < self.n_warmup:
            return self.start + (self.peak - self.start) * (step + 1) / self.n_warmup
        if self.kind == "constant":
            return self.peak
        if self.kind == "step":
            return max(self.floor, self.peak * self.factor ** sum(step >= at for at in self.at))
        first = self.n_steps - self.n_decay if self.kind == "wsd" else self.n_warmup
        done = min(1.0, max(0, step - first) / max(1, self.n_steps - first))
        return self.floor + (self.peak - self.floor) * self._left(done)

    def _left(self, done: float) -> float:
        """The share of the way from floor to peak that is left."""
        shape = {"cosine": "cosine", "wsd": self.shape}.get(self.kind, "linear")
        if shape == "cosine":
            return (1 + math.cos(math.pi * done)) / 2
        return 1 - math.sqrt(done) if shape == "sqrt" else (1 - done) ** self.power


@dataclass(frozen=True)
class Schedule:
    """Curves one after the other; without phases of their own, one over the whole run."""

    curves: Sequence[Curve]
    ends: list[int] = field(init=False)

    def __post_init__(self) -> None:
        ends, at = [], 0
        for curve in self.curves:
            at += curve.n_steps
            ends.append(at)
        object.__setattr__(self, "ends", ends)

    def rate(self, step: int) -> float:
        number = next((k for k, end in enumerate(self.ends) if step < end), len(self.ends) - 1)
        return self.curves[number].rate(step - (self.ends[number - 1] if number else 0))
