"""Steps and global batches over the phases of a manifest: which rows of the stream a step takes. Plain arithmetic, no state.

A phase is a run of stream indices with its own row length. A global batch has so many tokens, whatever the phase, and so in each phase
a number of rows of its own; it never straddles two phases: the last one of every phase is filled with empty rows, none is repeated.
Steps count from 0 over all phases; step s of a phase with G rows a batch takes that phase's rows [sG, (s+1)G), s from the phase's
first step; rank r of W takes the r-th of W equal runs of them. Imports errors.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any, NamedTuple

from curate.errors import CurateError


class Phase(NamedTuple):
    """One phase of the stream: stream indices [first_index, end), each row `sequence_length` tokens (of pairs: at most, both of them)."""

    name: str
    first_index: int
    n_rows: int
    sequence_length: int

    @property
    def end(self) -> int:
        return self.first_index + self.n_rows


class Share(NamedTuple):
    """What one rank takes in one step: `rows` of the stream, then so many empty rows. All of one phase."""

    phase: int
    rows: range  # stream indices
    n_empty: int

    @property
    def size(self) -> int:
        return len(self.rows) + self.n_empty


def row_length(stated: Mapping[str, Any]) -> int:
    """Tokens a row of a phase has room for: its sequence_length, of pairs that of both conversations together."""
    return int(stated.get("row_length", stated["sequence_length"]))


def phases_of(manifest: dict) -> tuple[Phase, ...]:
    """The phases, in the order of the stream; a stated `first_index` must follow from the phases before it."""
    phases: list[Phase] = []
    at = 0
    for stated in manifest["phases"]:
        order = stated["order"]
        if order.get("first_index", at) != at:
            raise CurateError(
                "the phases of this manifest do not follow each other", where=f"phase {stated['name']}",
                found=f"first_index {order['first_index']}", allowed=str(at), next="curate verify", exit_code=1,
            )  # fmt: skip
        phases.append(Phase(stated["name"], at, order["n_sequences"], row_length(stated)))
        at += order["n_sequences"]
    return tuple(phases)


@dataclass(frozen=True)
class Steps:
    """A run over the whole stream: `rows[f]` rows a global batch in phase f."""

    phases: tuple[Phase, ...]
    rows: tuple[int, ...]

    @cached_property
    def ends(self) -> list[int]:
        """Steps up to the end of each phase."""
        return list(accumulate(-(-phase.n_rows // rows) for phase, rows in zip(self.phases, self.rows, strict=True)))

    @property
    def n_steps(self) -> int:
        return self.ends[-1] if self.ends else 0

    @property
    def n_rows(self) -> int:
        return self.phases[-1].end if self.phases else 0

    def first_step(self, phase: int) -> int:
        return self.ends[phase - 1] if phase else 0

    def phase_of(self, step: int) -> int:
        """Number of the phase that a step belongs to."""
        if not 0 <= step < self.n_steps:
            raise IndexError(f"step {step} is not in [0, {self.n_steps})")
        return bisect_right(self.ends, step)

    def share(self, step: int, rank: int = 0, world: int = 1) -> Share:
        """What rank `rank` of `world` takes in a step (from 0); `world` divides the rows of a global batch."""
        number = self.phase_of(step)
        phase, each = self.phases[number], self.rows[number] // world
        if each * world != self.rows[number] or not 0 <= rank < world:
            raise ValueError(f"rank {rank} of {world} has no equal part of {self.rows[number]} rows")
        start = phase.first_index + (step - self.first_step(number)) * self.rows[number] + rank * each
        rows = range(min(start, phase.end), min(start + each, phase.end))
        return Share(number, rows, each - len(rows))

    def cursor(self, done: int) -> int:
        """Stream index of the next row when so many steps are done."""
        return self.share(done).rows.start if done < self.n_steps else self.n_rows

    def place(self, stream_index: int) -> tuple[int, int]:
        """(step from 0, row inside its global batch from 0) of a row of the stream."""
        if not 0 <= stream_index < self.n_rows:
            raise IndexError(f"stream index {stream_index} is not in [0, {self.n_rows})")
        number = bisect_right([phase.end for phase in self.phases], stream_index)
        step, row = divmod(stream_index - self.phases[number].first_index, self.rows[number])
        return self.first_step(number) + step, row


def in_rows(phases: Sequence[Phase], rows: int) -> Steps:
    """Global batches of so many rows in every phase."""
    return Steps(tuple(phases), (rows,) * len(phases))


def in_tokens(phases: Sequence[Phase], tokens: int, where: str = "global_batch") -> Steps:
    """Global batches of so many tokens; CurateError where that is not whole rows of every phase."""
    lengths = sorted({phase.sequence_length for phase in phases})
    whole = math.lcm(*lengths)
    if tokens % whole or not tokens:
        low = max(1, tokens // whole) * whole
        raise CurateError(
            f"a global batch is whole sequences of {' and of '.join(map(str, lengths))} tokens", where=where,
            found=f"{tokens} tokens", allowed=f"{low} tokens or {low + whole} tokens",
        )  # fmt: skip
    return Steps(tuple(phases), tuple(tokens // phase.sequence_length for phase in phases))
