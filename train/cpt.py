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
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from transformers import PretrainedConfig
from transformers.utils.logging import disable_progress_bar

from curate.errors import CurateError
from train import adapt, checkpoint, fit, flops, optimizer, processes, selfcheck, tokenizer
from train.batch import Rows, read
from train.config import RunFile, load_run
from train.dropout import Draws, by_row
from train.evaluate import HeldOut, means
from train.finite import check_finite
from train.head import IGNORED
from train.model import Scorer, build, compile_layers, config_of, identity_of
from train.receipt import Receipt, Watch, account, evidence, verdict
from train.steps import Plan, micro_rows, plan_run
from train.stop import Stop
from train.streams import Streams, open_streams
from train.sums import Tally
from train.watch import StepRecord, Watching


@dataclass
class Run:
    """A run with everything that its loop needs; `start` steps are done."""

    settings: RunFile
    streams: Streams
    plan: Plan
    accelerator: Accelerator
    sizes: dict[int, int]  # row length -> rows in one forward pass
    tokenizer: tokenizer.Found
    identity: dict
    receipt: Receipt
    start: int
    last: checkpoint.Checkpoint | None
    draws: Draws = field(default_factory=Draws)

    @property
    def folder(self) -> Path:
        return Path(self.settings.save.to)


def run(run_file: str | Path, sets: Sequence[str] = ()) -> int:
    """Train, or go on training. Returns 0; 1 when what entered the model differs from the plan. Raises CurateError."""
    started = time.monotonic()
    disable_progress_bar()  # of transformers: one bar on the screen, ours
    settings = load_run(Path(run_file), sets)
    streams = open_streams(settings.manifests)
    plan = plan_run(settings, streams.phases)
    manifest, length = streams.manifests[0], max(phase.sequence_length for phase in streams.phases)
    config = config_of(settings.model, manifest["tokenizer"], length)
    found = tokenizer.find(manifest, settings.manifests[0], settings.model)
    accelerator = processes.start(settings, plan)
    lengths = {phase.sequence_length for phase in streams.phases} | {streams.held_out_length}
    device = accelerator.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    counted = flops.count(config, length, settings.adapt, name)
    with (
        Watching(settings, plan, list(streams.components), list(streams.languages), accelerator, counted) as watching,
        Stop(settings.stop.max_hours, started) as stop,
    ):
        identity = {
            "stream_roots": [m["roots"]["stream"] for m in streams.manifests],
            "tokenizer_sha256": manifest["tokenizer"]["sha256"],
            "global_batch": settings.global_batch.count,
            "model_config": identity_of(config),
            "adapt": settings.adapt.model_dump(mode="json"),
            "base": _base(settings),
            "optimizer": settings.optimizer.name,
        }
        last = _last(settings, identity, accelerator, watching)
        start = _start(last, plan, settings)
        now = Run(
            settings, streams, plan, accelerator, {n: _rows_at_once(settings, plan, config, n, accelerator) for n in lengths}, found,
            identity, Receipt(streams, last.receipt if last else None), start, last,
        )  # fmt: skip
        if last and settings.evaluate.gate:
            from train.evaluation import within

            within.judge(settings, start, watching.say)
        if start >= plan.n_steps and last:
            watching.say(
                f"{settings.name} is complete: all {plan.n_steps} steps were done before. To train anew: --set save.to=FOLDER"
            )
            return _finish(now, last.path, watching)
        if last:
            watching.say(f"going on from {last.path}: step {start} of {plan.n_steps}" + _changed(last.run, settings.canonical()))
            watching.event("resumed", step=start, path=str(last.path))
        model = build(settings.model, settings.adapt, config, None if settings.adapt.lora or not last else last.path)
        scorer = Scorer(adapt.adapt(model, settings.adapt, last.path if last else None), settings.model.dtype)
        try:
            path = _train(now, processes.place(scorer, accelerator), watching, stop)
        except torch.OutOfMemoryError as error:
            raise _out_of_memory(now, error) from error
        return 0 if path is None else _finish(now, path, watching)


def _train(run: Run, scorer: Scorer, watching: Watching, stop: Stop) -> Path | None:
    """All steps that are left; the last checkpoint, or None where the run was stopped before the end."""
    settings, plan, accelerator, streams = run.settings, run.plan, run.accelerator, run.streams
    drops = by_row(scorer.model, run.draws)
    watching.say(_summary(run, scorer, drops))
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
    watch = Watch(scorer.decoder)
    held_out = HeldOut(streams, accelerator, run.sizes[streams.held_out_length], run.tokenizer.tokenizer)
    n_bytes = run.tokenizer.tokenizer.byte_lengths if run.tokenizer.tokenizer else None
    if run.tokenizer.problem:
        watching.say(run.tokenizer.problem)
    skipped = {row for rows in settings.skipped for row in rows}
    suite = None
    if settings.evaluate.suite:
        from train.evaluation import within

        suite = within.open_suite(settings, run.tokenizer)

    def ask_suite(done: int) -> None:
        if suite:
            receipt = account(run.receipt, streams, plan.steps.cursor(done))
            within.measure(suite, settings, scorer, accelerator, streams, run.tokenizer, receipt, done, watching.say)
            watching.event("suite", step=done, path=str(within.folder_of(settings, done)))

    def measure_held_out(done: int) -> None:
        if held_out.n_rows:
            tally = held_out.tally(wrapped, accelerator)
            watching.held_out(done, means(tally.components(streams)), means(tally.languages(streams)))

    def save(done: int) -> Path:
        path = checkpoint.save(
            run.folder, done, plan.steps.cursor(done), scorer, steps, accelerator, keep=settings.save.keep,
            receipt=account(run.receipt, streams, plan.steps.cursor(done)), identity=run.identity, run=settings.canonical(),
            tokenizer=run.tokenizer.files,
        )  # fmt: skip
        watching.event("saved", step=done, path=str(path))
        return path

    if not run.start:
        measure_held_out(0)
        ask_suite(0)
    wrapped.train()
    for step in range(run.start, plan.n_steps):
        clock = Clock()
        mine = plan.steps.share(step, accelerator.process_index, accelerator.num_processes)
        phase = streams.phases[mine.phase]
        if len(streams.phases) > 1 and step in (run.start, plan.steps.first_step(mine.phase)):
            watching.phase(step, phase.name, plan.steps.rows[mine.phase], phase.sequence_length)
        rows = read(streams, mine, skipped)
        n_asked = int(accelerator.reduce(torch.tensor(rows.n_loss_tokens, device=accelerator.device), "sum"))
        rate = plan.schedule.rate(step)
        optimizer.set_rate(steps, rate)
        clock.lap("data")

        nats = []
        for first, part in _micro_batches(rows, run.sizes[phase.sequence_length], accelerator):
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

        lines = _gather(accelerator, evidence(watch.take(phase.sequence_length), rows, len(streams.languages)))
        tally = Tally.of(rows, torch.cat(nats), streams, n_bytes).summed(accelerator)
        step_rows = plan.steps.share(step).rows
        left_out = sorted(skipped.intersection(step_rows))
        run.receipt.add(lines, left_out)
        if left_out:
            watching.event("skipped", step=step + 1, rows=left_out)
        check_finite(tally, norm, step, rows, torch.cat(nats), accelerator, streams, run.folder)
        clock.lap("account")
        done = step + 1
        watching.step(StepRecord(
            done, phase.name, rate, norm, tally.components(streams), tally.languages(streams), int(lines[:, 2].sum()),
            plan.steps.rows[mine.phase] * phase.sequence_length, clock.laps, _memory(accelerator.device),
        ))  # fmt: skip

        why = stop.why(accelerator, done) if done < plan.n_steps else ""
        if done == plan.n_steps or (plan.held_out_every and done % plan.held_out_every == 0):
            measure_held_out(done)
        asked = suite and (done == plan.n_steps or (plan.suite_every and done % plan.suite_every == 0))
        if asked:
            ask_suite(done)
        if why or done == plan.n_steps or (plan.save_every and done % plan.save_every == 0) or (asked and settings.evaluate.gate):
            path = save(done)
        if asked:
            within.judge(settings, done, watching.say)
        if why:
            watching.event("stopped", step=done, why=why)
            watching.say(f"stopped after step {done} of {plan.n_steps} ({why}), saved {path}")
            watching.say("the same command goes on from there")
            return None
    return path


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


def _micro_batches(rows: Rows, size: int, accelerator: Accelerator) -> Iterator[tuple[int, Rows]]:
    """(place of its first row, rows on the device) of each forward pass."""
    for first in range(0, len(rows), size):
        yield first, rows.part(first, size).to(accelerator.device)


def _last(settings: RunFile, identity: dict, accelerator: Accelerator, watching: Watching) -> checkpoint.Checkpoint | None:
    """Where the run goes on from. One process looks through the files, the others hear of it."""
    found: list[checkpoint.Checkpoint | CurateError | None] = [None]
    if accelerator.is_main_process:
        try:
            checkpoint.clean(Path(settings.save.to))
            found = [checkpoint.newest(Path(settings.save.to), identity, watching.say, settings.allow)]
            if found[0] is None and settings.start_from:
                found = [checkpoint.read(Path(settings.start_from), identity, watching.say, settings.allow)]
        except CurateError as error:
            found = [error]
    last = broadcast_object_list(found)[0]
    if isinstance(last, CurateError):
        raise last
    return last


def _base(settings: RunFile) -> str | None:
    """The frozen model under adapters, which no checkpoint of theirs holds."""
    model, adapters = settings.model, settings.adapt.lora
    if adapters is None:
        return None
    return f"{model.init} {model.revision or ''}".strip() if isinstance(model.init, str) else f"fresh, seed {model.seed}"


def _start(last: checkpoint.Checkpoint | None, plan: Plan, settings: RunFile) -> int:
    """Steps of this plan that are done: where its cursor is the checkpoint's (another batch may be allowed by name)."""
    if last is None:
        return 0
    steps = plan.steps
    low, high = 0, steps.n_steps
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if steps.cursor(middle) < last.cursor else (low, middle)
    if steps.cursor(low) != last.cursor:
        raise CurateError(
            "no step of this global batch begins where the checkpoint ends", where="global_batch",
            found=f"row {last.cursor} is inside step {low}", allowed="a batch whose rows divide that number",
        )  # fmt: skip
    if low != last.step and last.path.parent == Path(settings.save.to):
        raise CurateError(  # the newest of a folder is the one with the most steps
            "steps of another size are counted anew", where="save.to", found=f"step {last.step} would be step {low}",
            allowed="a folder of its own", next=f"--set start_from={last.path} --set save.to=FOLDER",
        )  # fmt: skip
    return low


def _rows_at_once(settings: RunFile, plan: Plan, config: PretrainedConfig, length: int, accelerator: Accelerator) -> int:
    """Rows of a length in one forward pass: as told; else, on a GPU, as many as its free memory holds, by train/fit.py."""
    device, world = accelerator.device, accelerator.num_processes
    if settings.micro_batch == "auto" and device.type == "cuda":
        mine = torch.tensor([torch.cuda.mem_get_info(device)[0]], device=device)
        free = int(accelerator.gather(mine).min())  # one answer for all: sharded weights meet in every pass
        return fit.choose(settings, config, free, world, length, sharded=processes.is_sharded(accelerator))
    return micro_rows(settings, plan, length, world, device.type)


def _out_of_memory(run: Run, error: torch.OutOfMemoryError) -> CurateError:
    from train.oom import next_setting

    first = run.streams.phases[0].sequence_length
    return CurateError(
        "the device's memory is too small for this", found=str(error).split(". ")[0], exit_code=1,
        next=next_setting(run.settings, run.sizes[first], run.accelerator.num_processes),
    )  # fmt: skip


def _gather(accelerator: Accelerator, values: np.ndarray) -> np.ndarray:
    """Every process's lines, in the order of the processes: the order of the stream."""
    return accelerator.gather(torch.from_numpy(values).to(accelerator.device)).cpu().numpy()


def _memory(device: torch.device) -> int:
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0


def _finish(run: Run, path: Path, watching: Watching) -> int:
    entered = account(run.receipt, run.streams, run.plan.steps.cursor(run.plan.n_steps))
    if run.accelerator.is_main_process:
        if said := watching.from_first_to_last():
            print(said)
        if said := watching.in_all():
            watching.say(said)
        print(verdict(entered, run.streams))
        print(f"checkpoint {path} (model, tokenizer, optimizer, receipt.json)\nnext: curate report {run.folder}")
    return 1 if entered["differences"] else 0


def _changed(old: dict, new: dict) -> str:
    keys = [key for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
    return f" (changed since: {', '.join(keys)})" if keys else ""


def _each(numbers: Sequence[int]) -> str:
    """One number, or that of every phase where they differ."""
    return " and ".join(map(str, numbers if len(set(numbers)) > 1 else numbers[:1]))


def _summary(run: Run, scorer: Scorer, drops: int) -> str:
    n, n_trained = adapt.trained(scorer)
    world, steps = run.accelerator.num_processes, run.plan.steps
    sequences = " and ".join(f"{phase.n_rows:,} sequences of {phase.sequence_length} tokens" for phase in steps.phases)
    rows, size = (_each(numbers) for numbers in (steps.rows, [run.sizes[phase.sequence_length] for phase in steps.phases]))
    vocabulary = scorer.causal.config.get_text_config().vocab_size
    of = "" if n == n_trained else f", {n_trained:,} of them trained"
    by_lot = f"\ndropout in {drops} places, drawn by step and row" if drops else ""
    return (
        f"{run.settings.name}: {n:,} parameters{of}, on {run.accelerator.device}; {sequences}\n"
        f"{run.plan.n_steps} steps of {rows} sequences ({world} process{'es' * (world > 1)}, {size} in one forward pass)\n"
        f"loss in nats per token; a blind guess among {vocabulary:,} tokens costs {math.log(vocabulary):.2f}{by_lot}"
    )
