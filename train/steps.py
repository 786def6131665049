"""The run beside its phases: everything in whole rows and steps. A RunFile and phases in, a `Plan` out.

May import curate.errors, curate.units, mixture.batches, train.config, train.schedule.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from curate.errors import CurateError
from curate.units import Quantity
from mixture.batches import Phase, Steps, in_rows, in_tokens
from train.config import PhaseSchedule, RunFile
from train.schedule import Curve, Schedule

AUTO_TOKENS = {"cpu": 4096}  # micro_batch auto: tokens of one forward pass (guess: long rows gain nothing from more)
AUTO_TOKENS_ELSEWHERE = 16384  # the same, on accelerators


@dataclass(frozen=True)
class Plan:
    """Steps count from 0 over all phases."""

    steps: Steps  # of the whole stream; rows of a batch x sequence_length = global batch, in every phase
    n_steps: int
    save_every: int | None  # steps
    held_out_every: int | None  # steps
    schedule: Schedule
    suite_every: int | None = None  # steps


def plan_run(run: RunFile, phases: Sequence[Phase]) -> Plan:
    """Raises CurateError where the batch is not whole rows, or the manifest has fewer steps than asked."""
    tokens = run.global_batch.count
    stream = in_rows(phases, tokens) if run.global_batch.unit == "examples" else in_tokens(phases, tokens)
    available = stream.n_steps
    n_steps = available if run.stop.after == "end_of_manifest" else run.stop.after.count
    if not 1 <= n_steps <= available:
        raise CurateError(
            "no row is trained twice: the manifest ends before", where="stop.after", found=f"{n_steps} steps",
            allowed=f"1 to {available} steps, or end_of_manifest", next="ask the recipe for a larger total or more max_epochs",
        )  # fmt: skip
    asked = (run.save.every, run.evaluate.held_out_every, run.evaluate.suite_every)
    save, held_out, suite = (in_steps(q, tokens, n_steps) or None for q in asked)
    return Plan(stream, n_steps, save, held_out, schedule_of(run, stream, n_steps), suite)


def in_steps(q: Quantity | None, tokens: int, of: int) -> int:
    """A length or interval in steps; shares are of `of` steps. Rounded up."""
    if q is None:
        return 0
    if q.unit == "steps":
        return q.count
    return math.ceil(q.value / tokens) if q.unit == "tokens" else math.ceil(q.value * of)


def schedule_of(run: RunFile, steps: Steps, n_steps: int) -> Schedule:
    """One curve over all phases, but for those with one of their own: it starts at the rate that the one before has come to."""
    spec, names = run.schedule, [phase.name for phase in steps.phases]
    if unknown := set(spec.phases) - set(names):
        raise CurateError(
            "there is no such phase", where="schedule.phases", found=", ".join(sorted(unknown)), allowed=", ".join(names)
        )
    curves: list[Curve] = []
    rate = 0.0
    # neighbours without a curve of their own share the common one
    for key, group in groupby(range(len(names)), key=lambda f: (names[f], f) if names[f] in spec.phases else ("", -1)):
        members = list(group)
        length = min(steps.ends[members[-1]], n_steps) - steps.first_step(members[0])
        if length <= 0:
            break
        own = spec.phases[key[0]] if key[1] >= 0 else spec
        curves.append(_curve(own, own.peak_lr or rate or spec.peak_lr, rate, length, run.global_batch.count))
        rate = curves[-1].rate(length)
    return Schedule(curves)


def _curve(spec: PhaseSchedule, peak: float, start: float, n_steps: int, tokens: int) -> Curve:
    warmup, decay = (in_steps(q, tokens, n_steps) for q in (spec.warmup, spec.decay))
    if warmup + decay > n_steps:
        raise CurateError(
            "warmup and decay are longer than the run", where="schedule", found=f"{warmup} + {decay} steps",
            allowed=f"{n_steps} steps together",
        )  # fmt: skip
    if spec.floor > peak:
        raise CurateError("the floor is above the peak", where="schedule", found=f"floor {spec.floor:g}, peak {peak:g}")
    at = tuple(in_steps(q, tokens, n_steps) for q in spec.at)
    return Curve(spec.kind, peak, spec.floor, n_steps, warmup, decay, spec.shape, spec.power, at, spec.factor, start)


def micro_rows(run: RunFile, plan: Plan, length: int, world: int, device: str) -> int:
    """Rows of `length` tokens in one forward pass: as many tokens as asked for rows of the first phase, so that longer rows need no
    more memory; or, with auto, rows of AUTO_TOKENS together."""
    each = max(1, run.global_batch.count // length // world)
    if run.micro_batch != "auto":
        return max(1, min(each, run.micro_batch * plan.steps.phases[0].sequence_length // length))
    return max(1, min(each, AUTO_TOKENS.get(device, AUTO_TOKENS_ELSEWHERE) // length))
