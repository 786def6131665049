"""Continued pretraining from a manifest: one flat loop over the stream. A run file in; checkpoints, receipt and log out.

Step g trains global batch g of the stream (mixture.batches), whatever the number of processes or the micro batch; phases follow each
other, each with rows of its own length. The gradient is of (sum of the losses of all loss tokens of the global batch) / (their number),
over all processes. Resume is the step number.
May import curate.errors, train.*; torch, accelerate. curate/cli.py calls `run`.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from accelerate import Accelerator

from train import adapt, optimizer, processes, selfcheck, session
from train.batch import Rows, read
from train.between import Between, Clock
from train.config import load_run
from train.dropout import by_row
from train.head import IGNORED
from train.model import Scorer, build, compile_layers
from train.session import Run
from train.streams import open_streams


def run(run_file: str | Path, sets: Sequence[str] = ()) -> int:
    """Train, or go on training. Returns 0; 1 when what entered the model differs from the plan. Raises CurateError."""
    started = time.monotonic()
    settings = load_run(Path(run_file), sets, ("cpt",))
    with session.opened(settings, open_streams(settings.manifests), started) as now:
        if now.last and now.is_complete:
            return session.finish(now, now.last.path)
        model = build(settings.model, settings.adapt, now.config, session.weights_to_read(now))
        adapted = adapt.adapt(model, settings.adapt, now.last.path if now.last else None, settings.model)
        scorer = Scorer(adapted, settings.model.dtype)
        path = _train(now, processes.place(scorer, now.accelerator))
        return 0 if path is None else session.finish(now, path)


def _train(run: Run, scorer: Scorer) -> Path | None:
    """All steps that are left; the last checkpoint, or None where the run was stopped before the end."""
    settings, plan, accelerator, streams, watching = run.settings, run.plan, run.accelerator, run.streams, run.watching
    drops = by_row(scorer.model, run.draws)
    watching.say(session.summary(run, scorer, drops))
    n, n_trained = adapt.trained(scorer)
    watching.event("start", n_parameters=n, n_trainable=n_trained)
    steps = optimizer.build(scorer, settings, accelerator.device)
    wrapped, prepared = accelerator.prepare(scorer, steps)
    scorer, steps = accelerator.unwrap_model(wrapped), prepared.optimizer
    for said in selfcheck.check(streams, run.sizes, run.tokenizer.tokenizer, scorer, wrapped, accelerator.device):
        watching.say(said)
    if settings.model.compile:
        compile_layers(scorer)
    if run.last:
        run.last.load_optimizer(scorer, steps)
    between = Between(run, scorer, wrapped, steps)
    between.before_the_first()
    wrapped.train()
    for step in range(run.start, plan.n_steps):
        clock = Clock()
        mine = plan.steps.share(step, accelerator.process_index, accelerator.num_processes)
        between.phase(step)
        rows = read(streams, mine, between.skipped)
        n_asked = int(accelerator.reduce(torch.tensor(rows.n_loss_tokens, device=accelerator.device), "sum"))
        rate = plan.schedule.rate(step)
        optimizer.set_rate(steps, rate)
        clock.lap("data")

        nats = []
        for first, part in _micro_batches(rows, run.sizes[streams.phases[mine.phase].sequence_length], accelerator):
            run.draws.begin(settings.seed, step, part.index.tolist())
            is_last = first + len(part) >= mine.size
            with contextlib.nullcontext() if is_last else processes.summing_later(wrapped, accelerator):
                # accelerate averages gradients over processes: times their number, so that the sum remains
                each = torch.where(part.labels != IGNORED, accelerator.num_processes / max(1, n_asked), 0.0)
                total, losses = wrapped(part.input_ids, part.position_ids, part.labels, each)
                accelerator.backward(total)
            nats.append(losses)
        clock.lap("forward_backward", accelerator.device)
        norm = float(accelerator.clip_grad_norm_(wrapped.parameters(), settings.optimizer.clip or math.inf))
        run.draws.begin_update(settings.seed, step)
        if n_asked:  # all rows may be skipped: then not even weight decay
            prepared.step()
        prepared.zero_grad()
        clock.lap("optimizer", accelerator.device)
        between.account(step, rows, torch.cat(nats), rate, norm, clock)
        if not between.goes_on(step + 1):
            break
    return between.path if step + 1 == plan.n_steps else None


def _micro_batches(rows: Rows, size: int, accelerator: Accelerator) -> Iterator[tuple[int, Rows]]:
    """(place of its first row, rows on the device) of each forward pass."""
    for first in range(0, len(rows), size):
        yield first, rows.part(first, size).to(accelerator.device)
