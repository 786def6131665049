"""What every method that trains from a stream has around its steps: a checked run file in, a `Run` that goes on where it stopped out.

Before the steps: streams, plan, model config, tokenizer, log, the newest checkpoint that fits. After them: the receipt beside the plan.
May import curate.errors, train.*; torch, accelerate. train/between.py is what happens between two steps.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from transformers import PretrainedConfig

from curate.errors import CurateError
from train import adapt, checkpoint, fit, flops, lineage, processes, tokenizer
from train.config import RunFile
from train.dropout import Draws
from train.model import Scorer, config_of, identity_of
from train.quiet import quieten
from train.receipt import Receipt, account, verdict
from train.steps import Plan, micro_rows, plan_run
from train.stop import Stop
from train.streams import Streams
from train.watch import Watching


@dataclass
class Run:
    """A run with everything that its steps need; `start` steps are done."""

    settings: RunFile
    streams: Streams
    plan: Plan
    accelerator: Accelerator
    config: PretrainedConfig
    sizes: dict[int, int]  # row length -> rows in one forward pass
    tokenizer: tokenizer.Found
    identity: dict
    parents: list[dict[str, Any]]  # where the weights came from
    receipt: Receipt
    start: int
    last: checkpoint.Checkpoint | None
    watching: Watching
    stop: Stop
    draws: Draws = field(default_factory=Draws)

    @property
    def folder(self) -> Path:
        return Path(self.settings.save.to)

    @property
    def is_complete(self) -> bool:
        return self.last is not None and self.start >= self.plan.n_steps

    @property
    def skipped(self) -> set[int]:
        """Rows of the stream that the run file leaves out."""
        return {row for rows in self.settings.skipped for row in rows}

    def account(self, done: int) -> dict:
        """receipt.json after so many steps."""
        found = account(self.receipt, self.streams, self.plan.steps.cursor(done))
        return {"method": self.settings.method, "name": self.settings.name, "parents": self.parents, **found}


@contextlib.contextmanager
def opened(settings: RunFile, streams: Streams, started: float, sizes: dict[int, int] | None = None) -> Iterator[Run]:
    """`started`: time.monotonic() when the run began; `sizes`: of forward passes, where the method plans them itself.

    Raises CurateError for whatever can be known before the model is read."""
    quieten()  # one bar on the screen, ours
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
        identity = identity_of_run(settings, streams, config)
        last = newest(settings, identity, accelerator, watching)
        start = _start(last, plan, settings)
        parents = last.receipt.get("parents", []) if last else parents_of(settings) if accelerator.is_main_process else []
        found = tokenizer.put_template(found, Path(settings.save.to), accelerator.is_main_process)
        sizes = sizes or {n: _rows_at_once(settings, plan, config, n, accelerator) for n in lengths}
        now = Run(
            settings, streams, plan, accelerator, config, sizes, found, identity, parents,
            Receipt(streams, last.receipt if last else None), start, last, watching, stop,
        )  # fmt: skip
        if last and settings.evaluate.gate:
            from train.evaluation import within

            within.judge(settings, start, watching.say)
        if now.is_complete:
            watching.say(
                f"{settings.name} is complete: all {plan.n_steps} steps were done before. To train anew: --set save.to=FOLDER"
            )
        elif last:
            watching.say(f"going on from {last.path}: step {start} of {plan.n_steps}" + _changed(last.run, settings.canonical()))
            watching.event("resumed", step=start, path=str(last.path))
        try:
            yield now
        except torch.OutOfMemoryError as error:
            raise _out_of_memory(now, error) from error


def identity_of_run(settings: RunFile, streams: Streams, config: PretrainedConfig) -> dict[str, Any]:
    """What a checkpoint must have been made from to be gone on from."""
    found = {
        "stream_roots": [m["roots"]["stream"] for m in streams.manifests],
        "tokenizer_sha256": streams.manifests[0]["tokenizer"]["sha256"],
        "global_batch": settings.global_batch.count,
        "model_config": identity_of(config),
        "adapt": settings.adapt.model_dump(mode="json"),
        "base": _base(settings),
        "optimizer": settings.optimizer.name,
    }
    return found if settings.method == "cpt" else {**found, "method": settings.method, **settings.own_identity()}


def parents_of(settings: RunFile) -> list[dict[str, Any]]:
    """None of a model with fresh weights."""
    init = settings.model.init
    if not isinstance(init, str) or init.endswith(".json"):
        return []
    return [lineage.of("init", init, settings.model.revision)]


def weights_to_read(run: Run) -> Path | None:
    """The checkpoint that has the whole model; None where the model is read as the run file says."""
    return None if run.settings.adapt.lora or not run.last else run.last.path


def newest(settings: RunFile, identity: dict, accelerator: Accelerator, watching: Watching) -> checkpoint.Checkpoint | None:
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


def finish(run: Run, path: Path) -> int:
    """What is said at the end. 0; 1 when what entered the model differs from the plan."""
    entered = run.account(run.plan.n_steps)
    if run.accelerator.is_main_process:
        if said := run.watching.from_first_to_last():
            print(said)
        if said := run.watching.in_all():
            run.watching.say(said)
        print(verdict(entered, run.streams))
        print(f"checkpoint {path} (model, tokenizer, optimizer, receipt.json)\nnext: curate report {run.folder}")
    return 1 if entered["differences"] else 0


def _changed(old: dict, new: dict) -> str:
    keys = [key for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
    return f" (changed since: {', '.join(keys)})" if keys else ""


def _each(numbers: Sequence[int]) -> str:
    """One number, or that of every phase where they differ."""
    return " and ".join(map(str, numbers if len(set(numbers)) > 1 else numbers[:1]))


def summary(run: Run, scorer: Scorer, drops: int) -> str:
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
