"""Continued pretraining from a manifest: one flat loop over the stream. A run file in; checkpoints, receipt and log out.

Step g trains global batch g of the stream (mixture.batches), whatever the number of processes or the micro batch; phases follow each
other, each with rows of its own length. The gradient is of (sum of the losses of all loss tokens of the global batch) / (their number),
over all processes. Resume is the step number.
May import curate.errors, curate.manifest, mixture.stream, train.*; torch, accelerate. curate/cli.py calls `run`.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from transformers.utils.logging import disable_progress_bar

from curate.errors import CurateError
from curate.manifest import read_manifest
from mixture.stream import Stream
from train import checkpoint, isolation, tokenizer
from train.batch import EMPTY, read
from train.config import Plan, RunFile, load_run, micro_rows, plan_run
from train.evaluate import HeldOut
from train.model import build, config_of, identity_of, losses
from train.receipt import Receipt, Watch, account, evidence, marks_of, verdict
from train.stop import Stop
from train.watch import Watching


def run(run_file: str | Path, sets: Sequence[str] = ()) -> int:
    """Train, or go on training. Returns 0; 1 when what entered the model differs from the plan. Raises CurateError."""
    started = time.monotonic()
    disable_progress_bar()  # of transformers: one bar on the screen, ours
    settings = load_run(Path(run_file), sets)
    manifest = read_manifest(Path(settings.manifest))
    stream = Stream(Path(settings.manifest))
    plan = plan_run(settings, stream.phases)
    config = config_of(settings.model, manifest)
    found = tokenizer.find(manifest, Path(settings.manifest), settings.model)
    accelerator = _accelerator(plan)
    folder, speaks = Path(settings.save.to), accelerator.is_main_process
    lengths = [phase.sequence_length for phase in stream.phases]
    sizes = {
        length: micro_rows(settings, plan, config.vocab_size, length, accelerator.num_processes)
        for length in (*lengths, stream.held_out_length)
    }
    identity = {
        "stream_root": manifest["roots"]["stream"],
        "tokenizer_sha256": manifest["tokenizer"]["sha256"],
        "sequence_length": lengths[0] if len(lengths) == 1 else lengths,
        "global_batch": settings.global_batch.count,
        "model_config": identity_of(config),
    }

    watching = Watching(folder, settings.name, plan.n_steps, list(stream.components), speaks)
    with watching, Stop(settings.stop.max_hours, started) as stop:
        last = checkpoint.newest(folder, identity, watching.say)
        if speaks:
            checkpoint.clean(folder)
        start = last.step if last else 0
        marks = marks_of(manifest)
        receipt = Receipt.from_json(last.receipt, marks) if last else Receipt(list(stream.components), marks)
        if start >= plan.n_steps:
            watching.say(
                f"{settings.name} is complete: all {plan.n_steps} steps were done before. To train anew: --set save.to=FOLDER"
            )
            return _finish(folder / checkpoint.name_of(start), receipt, manifest, watching)
        if last:
            watching.say(f"going on from {last.path}: step {start} of {plan.n_steps}" + _changed(last.run, settings.canonical()))
            watching.event("resumed", step=start, path=str(last.path))

        model = build(settings.model, config, last.path if last else None).to(accelerator.device)
        optimizer = _optimizer(model, settings)
        if last:
            last.load_optimizer(optimizer)
        watching.say(_summary(settings, plan, model, sizes, accelerator))
        for number, length in enumerate(lengths):
            if length not in lengths[:number]:
                said = isolation.check(model, stream, settings.model.dtype, sizes[length], accelerator.device, number)
                watching.say(said + (f" (phase {stream.phases[number].name})" if len(lengths) > 1 else ""))
        watch = Watch(model)
        wrapped, optimizer = accelerator.prepare(model, optimizer)
        wrapped.train()
        if found.problem:
            watching.say(found.problem)
        held_out = HeldOut(stream, accelerator, sizes[stream.held_out_length], found.tokenizer)

        def measure_held_out(done: int) -> None:
            if held_out.n_rows:
                watching.held_out(done, held_out.measure(wrapped, accelerator, settings.model.dtype))

        def save(done: int) -> Path:
            path = folder / checkpoint.name_of(done)
            if speaks:
                checkpoint.save(
                    folder, done, plan.steps.cursor(done), model, optimizer, keep=settings.save.keep,
                    receipt=account(receipt, manifest), identity=identity, run=settings.canonical(), tokenizer=found.files,
                )  # fmt: skip
            accelerator.wait_for_everyone()
            watching.event("saved", step=done, path=str(path))
            return path

        if not start:
            measure_held_out(0)
        for step in range(start, plan.n_steps):
            clock = time.monotonic()
            mine = plan.steps.share(step, accelerator.process_index, accelerator.num_processes)
            size = sizes[lengths[mine.phase]]
            if len(lengths) > 1 and step in (start, plan.steps.first_step(mine.phase)):
                watching.phase(step, stream.phases[mine.phase].name, plan.steps.rows[mine.phase], lengths[mine.phase])
            rows = read(stream, mine)
            n_asked = int(accelerator.reduce(torch.tensor(rows.n_loss_tokens, device=accelerator.device), "sum"))
            rate = plan.schedule.rate(step)
            for group in optimizer.param_groups:
                group["lr"] = rate

            sums = []
            for first in range(0, mine.size, size):
                part = rows.part(first, size).to(accelerator.device)
                torch.manual_seed(
                    draw(settings.seed, step, mine.rows.start + first)
                )  # dropout: the same however often one stopped
                is_last = first + size >= mine.size
                with contextlib.nullcontext() if is_last else accelerator.no_sync(wrapped):
                    loss = losses(wrapped, part, settings.model.dtype)
                    # accelerate averages gradients over processes: times their number, so that the sum remains
                    accelerator.backward(loss.sum() * (accelerator.num_processes / max(1, n_asked)))
                sums.append(loss.detach().sum(1))
            norm = accelerator.clip_grad_norm_(wrapped.parameters(), settings.optimizer.clip or math.inf)
            optimizer.step()
            optimizer.zero_grad()

            lines = _gather(accelerator, evidence(watch.take(), rows))
            nats = _gather(accelerator, torch.cat(sums).double().cpu().numpy())
            receipt.add(lines)
            per_component = _by_component(list(stream.components), lines, nats)
            _check_finite(per_component, float(norm), step, plan, folder)
            done = step + 1
            watching.step(done, per_component, rate, float(norm), int(lines[:, 2].sum()), time.monotonic() - clock)

            why = stop.why(accelerator, done) if done < plan.n_steps else ""
            if done == plan.n_steps or (plan.held_out_every and done % plan.held_out_every == 0):
                measure_held_out(done)
            if why or done == plan.n_steps or (plan.save_every and done % plan.save_every == 0):
                path = save(done)
            if why:
                watching.event("stopped", step=done, why=why)
                watching.say(f"stopped after step {done} of {plan.n_steps} ({why}), saved {path}")
                watching.say("the same command goes on from there")
                return 0
    return _finish(path, receipt, manifest, watching)


def draw(seed: int, step: int, row: int) -> int:
    """The seed of one micro batch: blake2b-64 of (run seed, step, stream index of its first row), 63 bits."""
    data = b"".join(value.to_bytes(8, "little") for value in (seed, step, row))
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little") >> 1


def _accelerator(plan: Plan) -> Accelerator:
    accelerator = Accelerator()
    if accelerator.distributed_type in (DistributedType.FSDP, DistributedType.DEEPSPEED):
        raise CurateError(
            "sharded training is not built yet", found=str(accelerator.distributed_type),
            allowed="one process, or plain data parallel",
        )  # fmt: skip
    for rows in plan.steps.rows:
        if rows % (world := accelerator.num_processes):
            raise CurateError(
                "the global batch does not divide among the processes", where="global_batch",
                found=f"{rows} sequences, {world} processes", allowed="a multiple of the number of processes",
            )  # fmt: skip
    return accelerator


def _optimizer(model: torch.nn.Module, settings: RunFile) -> torch.optim.Optimizer:
    """AdamW; weight decay on matrices only (norms and biases have one dimension)."""
    spec = settings.optimizer
    weights = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in weights if p.ndim >= 2], "weight_decay": spec.weight_decay},
        {"params": [p for p in weights if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.schedule.peak_lr, betas=spec.betas, eps=spec.eps)


def _gather(accelerator: Accelerator, values: np.ndarray) -> np.ndarray:
    """Every process's lines, in the order of the processes: the order of the stream."""
    return accelerator.gather(torch.from_numpy(values).to(accelerator.device)).cpu().numpy()


def _by_component(names: list[str], lines: np.ndarray, nats: np.ndarray) -> dict[str, list[float]]:
    """component -> [sum of nats, loss tokens] of one global batch."""
    sums: dict[str, list[float]] = {}
    for line, nat in zip(lines, nats, strict=True):
        if line[1] != EMPTY:
            pair = sums.setdefault(names[line[1]], [0.0, 0])
            pair[0], pair[1] = pair[0] + float(nat), pair[1] + int(line[3])
    return sums


def _check_finite(losses_now: dict[str, list[float]], norm: float, step: int, plan: Plan, folder: Path) -> None:
    bad = [name for name, (nats, _) in losses_now.items() if not math.isfinite(nats)]
    if bad or not math.isfinite(norm):
        rows = plan.steps.share(step).rows
        raise CurateError(
            f"step {step + 1} gave no finite number", where=f"stream rows {rows.start} to {rows.stop - 1}",
            found=f"loss of {', '.join(bad)}" if bad else f"gradient norm {norm}", exit_code=1,
            next=f"lower schedule.peak_lr or optimizer.clip; checkpoints from before are in {folder}",
        )  # fmt: skip


def _finish(path: Path, receipt: Receipt, manifest: dict, watching: Watching) -> int:
    entered = account(receipt, manifest)
    if watching.speaks:
        if said := watching.from_first_to_last():
            print(said)
        print(verdict(entered, manifest))
        print(f"checkpoint {path} (model, tokenizer, optimizer, receipt.json)")
    return 1 if entered["differences"] else 0


def _changed(old: dict, new: dict) -> str:
    keys = [key for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
    return f" (changed since: {', '.join(keys)})" if keys else ""


def _each(numbers: Sequence[int]) -> str:
    """One number, or that of every phase where they differ."""
    return " and ".join(map(str, numbers if len(set(numbers)) > 1 else numbers[:1]))


def _summary(settings: RunFile, plan: Plan, model: torch.nn.Module, sizes: dict[int, int], accelerator: Accelerator) -> str:
    n = sum(p.numel() for p in model.parameters())
    world, steps = accelerator.num_processes, plan.steps
    sequences = " and ".join(f"{phase.n_rows:,} sequences of {phase.sequence_length} tokens" for phase in steps.phases)
    rows, size = (_each(numbers) for numbers in (steps.rows, [sizes[phase.sequence_length] for phase in steps.phases]))
    return (
        f"{settings.name}: {n:,} parameters on {accelerator.device}; {sequences}\n"
        f"{plan.n_steps} steps of {rows} sequences ({world} process{'es' * (world > 1)}, {size} in one forward pass)\n"
        f"loss in nats per token; a blind guess among {model.config.vocab_size:,} tokens costs {math.log(model.config.vocab_size):.2f}"
    )
