"""Preference tuning from a manifest: one flat loop over the pairs. A run file in; checkpoints, receipt and log out.

Step g trains global batch g of the pairs, whatever the number of processes or the micro batches, which are planned by tokens. The loss is the
mean over the pairs of the global batch, over all processes; TRL works out each micro batch's, and what the reference says is computed before
the first step and kept. Resume is the step number.
May import curate.errors, train.*; torch, accelerate. curate/cli.py calls `run`.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from curate.errors import CurateError
from train import adapt, lineage, optimizer, processes, session, trl_loop
from train.between import Clock
from train.config import Adapt, Full
from train.dpo import reference, selfcheck
from train.dpo.batch import Micro, micro_batches, to
from train.dpo.between import BetweenPairs
from train.dpo.config import DpoFile, load_dpo
from train.dpo.inputs import inputs_of, kl_of, mismatched
from train.dpo.losses import Losses, PairScorer
from train.dpo.pairs import Pairs, checked, open_pairs
from train.dpo.reference import Store
from train.dropout import by_row
from train.model import build, compile_layers, config_of
from train.session import Run


@dataclass
class Tuning:
    """What the loop needs besides a Run."""

    run: Run
    settings: DpoFile
    pairs: Pairs
    scorer: PairScorer
    wrapped: torch.nn.Module
    losses: Losses
    store: Store | None

    def of_step(self, step: int) -> tuple[list[int], list]:
        """Places and pairs of a global batch, without those that the run file skips."""
        index = [i for i in self.run.plan.steps.share(step).rows if i not in self.run.skipped]
        return index, [self.pairs.pair(i) for i in index]

    def micros(self, index: Sequence[int], pairs: Sequence) -> list[Micro]:
        rank, world = self.run.accelerator.process_index, self.run.accelerator.num_processes
        return list(micro_batches(index, pairs, self.settings.micro_tokens, rank, world))


def run(run_file: str | Path, sets: Sequence[str] = ()) -> int:
    """Train, or go on training. Returns 0; 1 when what entered the model differs from the plan. Raises CurateError."""
    started = time.monotonic()
    settings = load_dpo(Path(run_file), sets)
    pairs = open_pairs(settings.manifests)
    sizes = {n: 1 for n in {*(phase.sequence_length for phase in pairs.phases), pairs.held_out_length}}
    with session.opened(settings, pairs, started, sizes) as now:
        trl_loop.check(now.accelerator, "dpo")
        if now.is_complete:
            return session.finish(now, now.last.path)  # type: ignore[union-attr]
        if settings.reference and not now.last and now.accelerator.is_main_process:
            now.parents.append(lineage.of("reference", settings.reference.init, settings.reference.revision))
        model = build(settings.model, settings.adapt, now.config, session.weights_to_read(now))
        adapted = adapt.adapt(model, settings.adapt, now.last.path if now.last else None, settings.model)
        scorer = PairScorer(adapted, settings.model.dtype)
        try:
            path = _train(now, settings, pairs, processes.place(scorer, now.accelerator))
        except torch.OutOfMemoryError as error:
            raise _out_of_memory(settings, error) from error
        return 0 if path is None else session.finish(now, path)


def _train(run: Run, settings: DpoFile, pairs: Pairs, scorer: PairScorer) -> Path | None:
    """All steps that are left; the last checkpoint, or None where the run was stopped before the end."""
    plan, accelerator, watching = run.plan, run.accelerator, run.watching
    drops = by_row(scorer.model, run.draws) if settings.dropout else without_dropout(scorer.model)
    watching.say(_summary(run, settings, scorer, drops))
    n, n_trained = adapt.trained(scorer)
    watching.event("start", n_parameters=n, n_trainable=n_trained)
    losses = Losses(settings, scorer)
    steps = optimizer.build(scorer, settings, accelerator.device)
    wrapped, prepared = accelerator.prepare(scorer, steps)
    scorer, steps = accelerator.unwrap_model(wrapped), prepared.optimizer
    store = reference.open_store(settings, accelerator) if settings.loss.needs_reference else None
    tuning = Tuning(run, settings, pairs, scorer, wrapped, losses, store)
    _ask_reference(tuning)
    is_reference = settings.reference is None and run.last is None
    looked = next((batch for step in range(run.start, plan.n_steps) if (batch := tuning.of_step(step)[1])), [])
    for said in selfcheck.check(
        looked, wrapped, scorer, store if is_reference else None, run.tokenizer.tokenizer, accelerator.device
    ):
        watching.say(said)
    if settings.model.compile:
        compile_layers(scorer)
    if run.last:
        run.last.load_optimizer(scorer, steps)
    between = BetweenPairs(run, settings, pairs, scorer, wrapped, steps, losses, store)
    between.before_the_first()
    wrapped.train()
    for step in range(run.start, plan.n_steps):
        between.phase(step)
        if not _step(tuning, between, prepared, step):
            break
    return between.path if step + 1 == plan.n_steps else None


def _step(tuning: Tuning, between: BetweenPairs, prepared: torch.optim.Optimizer, step: int) -> bool:
    """One global batch. False where the run ends after it."""
    run, settings, loss = tuning.run, tuning.settings, tuning.settings.loss
    clock, accelerator = Clock(), run.accelerator
    index, pairs = tuning.of_step(step)
    micros = tuning.micros(index, pairs)
    said = [tuning.store.of(micro) if tuning.store else None for micro in micros]
    rate = run.plan.schedule.rate(step)
    optimizer.set_rate(between.optimizer, rate)
    clock.lap("data")
    kl = _kl(tuning, pairs, tuning.pairs.window(index[0])) if loss.kind == "kto" and pairs else 0.0
    inputs = [to(inputs_of(*both, kl), accelerator.device) for both in zip(micros, [loss] * len(micros), said, strict=True)]
    for number, (micro, given) in enumerate(zip(micros, inputs, strict=True)):
        run.draws.begin(settings.seed, step, micro.rows)
        is_last = number + 1 == len(micros)
        with contextlib.nullcontext() if is_last else processes.summing_later(tuning.wrapped, accelerator):
            # a mean over k pairs of n; accelerate averages gradients over processes: times their number, so that the sum remains
            share = len(micro) * accelerator.num_processes / len(pairs)
            accelerator.backward(tuning.losses.mean(tuning.wrapped, given) * share)
    clock.lap("forward_backward", accelerator.device)
    norm = float(accelerator.clip_grad_norm_(tuning.wrapped.parameters(), settings.optimizer.clip or math.inf))
    run.draws.begin_update(settings.seed, step)
    if pairs:  # all pairs of a step may be skipped: then not even weight decay
        prepared.step()
    prepared.zero_grad()
    clock.lap("optimizer", accelerator.device)
    between.account_pairs(step, micros, said, inputs, rate, norm, clock)
    return between.goes_on(step + 1)


def _ask_reference(tuning: Tuning) -> None:
    """Look at every pair that is going to be trained or measured; compute what the reference says where it is not known."""
    run, settings, store = tuning.run, tuning.settings, tuning.store
    wanted = reference.missing(store, _all_pairs(tuning), run.accelerator)
    if store is None or not wanted:
        if store is not None:
            run.watching.say(f"reference: all log-probabilities are known, in {store.folder}")
        return
    own = settings.adapt.lora is not None or run.last is None
    losses, model = tuning.losses, tuning.wrapped
    if settings.reference is not None or not own:
        losses, model = _other(tuning)
    reference.compute(store, wanted, losses, model, run.accelerator, settings.micro_tokens, run.watching.say)


def _other(tuning: Tuning) -> tuple[Losses, torch.nn.Module]:
    """A reference that is not, or no longer, the model that is trained: read beside it, and gone when its numbers are there."""
    run, settings = tuning.run, tuning.settings
    if processes.is_sharded(run.accelerator):
        raise CurateError(
            "the reference is another model than the one that is divided among processes", where="reference",
            found="FSDP2", next=f"one step on one process fills {settings.reference_store}: --set 'stop.after=1 steps' --set save.to=FOLDER",
        )  # fmt: skip
    spec, how, config = settings.model, settings.adapt, run.config
    if settings.reference is not None:
        spec = spec.model_copy(
            update={"init": settings.reference.init, "revision": settings.reference.revision, "weights": spec.dtype}
        )
        config = config_of(
            spec, tuning.pairs.manifests[0]["tokenizer"], max(phase.sequence_length for phase in tuning.pairs.phases)
        )
        how = Adapt(full=Full())
    scorer = PairScorer(build(spec, how, config), spec.dtype).to(run.accelerator.device).eval()
    return Losses(settings, scorer), scorer


def _all_pairs(tuning: Tuning) -> Iterator:
    """Those of the steps that are left and the held-out ones; for KTO also those that its KL term is measured on."""
    run, pairs, loss = tuning.run, tuning.pairs, tuning.settings.loss
    vocabulary = tuning.scorer.causal.config.get_text_config().vocab_size
    for step in range(run.start, run.plan.n_steps):
        index, _ = tuning.of_step(step)
        batch = list(checked(pairs, index, vocabulary))
        yield from batch
        if loss.kind == "kto" and batch:
            yield from mismatched(batch, pairs.window(index[0]))
    held = [pairs.held_out_pair(j) for j in range(pairs.n_held_out)]
    yield from held
    if loss.kind == "kto":
        yield from mismatched(held, pairs.held_out_length)


def _kl(tuning: Tuning, pairs: Sequence, window: int) -> float:
    mixed = mismatched(pairs, window)
    return kl_of(tuning.micros(range(len(mixed)), mixed), tuning.wrapped, tuning.store, tuning.run.accelerator)


def without_dropout(model: torch.nn.Module) -> int:
    """The reference has none, so that policy and reference part by what was learned alone. 0: places that drop."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = 0.0
    return 0


def _out_of_memory(settings: DpoFile, error: torch.OutOfMemoryError) -> CurateError:
    half = settings.micro_tokens // 2
    return CurateError(
        "the device's memory is too small for this", found=str(error).split(". ")[0], exit_code=1,
        next=f"--set micro_tokens={half}  (smaller passes, more of them, the same steps); --set model.checkpointing=true; adapt: lora",
    )  # fmt: skip


def _summary(run: Run, settings: DpoFile, scorer: PairScorer, drops: int) -> str:
    n, n_trained = adapt.trained(scorer)
    world, of = run.accelerator.num_processes, "" if n == n_trained else f", {n_trained:,} of them trained"
    by_lot = f"\ndropout in {drops} places, drawn by step and answer" if drops else ""
    return (
        f"{settings.name}: {n:,} parameters{of}, on {run.accelerator.device}; {run.streams.n_sequences:,} pairs\n"
        f"{run.plan.n_steps} steps of {settings.global_batch.count} pairs ({world} process{'es' * (world > 1)}, up to "
        f"{settings.micro_tokens:,} tokens in one forward pass)\nloss {settings.loss.kind}, a mean over pairs; beta {settings.loss.beta:g}{by_lot}"
    )
