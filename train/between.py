"""What happens between two steps, whoever made them: the account of the step, held-out rows, the suite and its gate, checkpoints.

A `Run`, its model and optimizer in; the log, the screen, the receipt and the checkpoints out. May import train.*; torch, accelerate.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator

from train import checkpoint
from train.batch import Rows
from train.evaluate import HeldOut, means
from train.finite import check_finite
from train.model import Scorer
from train.receipt import Watch, evidence
from train.session import Run
from train.sums import Tally
from train.watch import StepRecord


class Between:
    """`wrapped`: the scorer as it is trained; `optimizer`: torch's own."""

    def __init__(self, run: Run, scorer: Scorer, wrapped: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self.run, self.scorer, self.wrapped, self.optimizer = run, scorer, wrapped, optimizer
        self.skipped = run.skipped
        self.suite = None
        self.path: Path | None = None  # the last checkpoint
        self._open()
        if run.settings.evaluate.suite:
            from train.evaluation import within

            self.suite = within.open_suite(run.settings, run.tokenizer)

    def _open(self) -> None:
        """What watches the steps and measures between them; train/dpo has its own for pairs."""
        run, streams, found = self.run, self.run.streams, self.run.tokenizer
        self.watch = Watch(self.scorer.decoder)
        self.held_out = HeldOut(streams, run.accelerator, run.sizes[streams.held_out_length], found.tokenizer)
        self.n_bytes = found.tokenizer.byte_lengths if found.tokenizer else None
        if found.problem:
            run.watching.say(found.problem)

    def before_the_first(self) -> None:
        if not self.run.start:
            self._measure_held_out(0)
            self._ask_suite(0)

    def phase(self, step: int) -> None:
        """Before a step: of several phases it is said which begins."""
        run, number = self.run, self.run.plan.steps.phase_of(step)
        if len(run.streams.phases) > 1 and step in (run.start, run.plan.steps.first_step(number)):
            phase = run.streams.phases[number]
            run.watching.phase(step, phase.name, run.plan.steps.rows[number], phase.sequence_length)

    def account(self, step: int, rows: Rows, losses: torch.Tensor, rate: float, norm: float, clock: Clock) -> None:
        """What a step trained, counted from the forward pass. `rows`: this process's; `losses` (B, T): -ln p of their labels.

        Raises CurateError where a loss or the gradient is not finite."""
        run, accelerator, streams = self.run, self.run.accelerator, self.run.streams
        phase = streams.phases[run.plan.steps.phase_of(step)]
        lines = gather(accelerator, evidence(self.watch.take(phase.sequence_length), rows, len(streams.languages)))
        tally = Tally.of(rows, losses, streams, self.n_bytes).summed(accelerator)
        left_out = sorted(self.skipped.intersection(run.plan.steps.share(step).rows))
        run.receipt.add(lines, left_out)
        if left_out:
            run.watching.event("skipped", step=step + 1, rows=left_out)
        check_finite(tally, norm, step, rows, losses, accelerator, streams, run.folder)
        clock.lap("account")
        size = run.plan.steps.rows[run.plan.steps.phase_of(step)] * phase.sequence_length
        run.watching.step(StepRecord(
            step + 1, phase.name, rate, norm, tally.components(streams), tally.languages(streams), int(lines[:, 2].sum()), size,
            clock.laps, memory_of(accelerator.device),
        ))  # fmt: skip

    def goes_on(self, done: int) -> bool:
        """After `done` steps: measure, ask, save, judge where it is time to. False where the run ends here, done or not."""
        run, plan = self.run, self.run.plan
        is_last = done == plan.n_steps
        why = "" if is_last else run.stop.why(run.accelerator, done)
        if is_last or (plan.held_out_every and done % plan.held_out_every == 0):
            self._measure_held_out(done)
        asked = self.suite and (is_last or (plan.suite_every and done % plan.suite_every == 0))
        if asked:
            self._ask_suite(done)
        is_due = plan.save_every and done % plan.save_every == 0
        if why or is_last or is_due or (asked and run.settings.evaluate.gate):
            self.save(done)
        if asked:
            from train.evaluation import within

            within.judge(run.settings, done, run.watching.say)
        if why:
            run.watching.event("stopped", step=done, why=why)
            run.watching.say(f"stopped after step {done} of {plan.n_steps} ({why}), saved {self.path}")
            run.watching.say("the same command goes on from there")
        return not (why or is_last)

    def save(self, done: int) -> None:
        run = self.run
        self.path = checkpoint.save(
            run.folder, done, run.plan.steps.cursor(done), self.scorer, self.optimizer, run.accelerator, keep=run.settings.save.keep,
            receipt=run.account(done), identity=run.identity, run=run.settings.canonical(), tokenizer=run.tokenizer.files,
        )  # fmt: skip
        run.watching.event("saved", step=done, path=str(self.path))

    def _measure_held_out(self, done: int) -> None:
        if self.held_out.n_rows:
            tally, streams = self.held_out.tally(self.wrapped, self.run.accelerator), self.run.streams
            self.run.watching.held_out(done, means(tally.components(streams)), means(tally.languages(streams)))

    def _ask_suite(self, done: int) -> None:
        if not self.suite:
            return
        from train.evaluation import within

        run = self.run
        within.measure(
            self.suite, run.settings, self.scorer, run.accelerator, run.streams, run.tokenizer, run.account(done), done, run.watching.say
        )  # fmt: skip
        run.watching.event("suite", step=done, path=str(within.folder_of(run.settings, done)))


class Clock:
    """Seconds of the parts of a step. On an accelerator a part ends when its work is done, so that time is put where it was spent."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self.since = time.monotonic()

    def lap(self, name: str, device: torch.device | None = None) -> None:
        if device is not None and device.type == "cuda":
            torch.cuda.synchronize(device)
        now = time.monotonic()
        self.laps[name], self.since = self.laps.get(name, 0.0) + now - self.since, now


def gather(accelerator: Accelerator, values: np.ndarray) -> np.ndarray:
    """Every process's lines, in the order of the processes: the order of the stream."""
    return accelerator.gather(torch.from_numpy(values).to(accelerator.device)).cpu().numpy()


def memory_of(device: torch.device) -> int:
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0
