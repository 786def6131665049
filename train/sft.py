"""Supervised fine-tuning from a manifest: TRL's SFTTrainer on the rows of the stream. A run file in; checkpoints, receipt and log out.

As train/cpt.py in all but the forward pass: step g is global batch g of the stream, its loss the sum over the loss tokens of the global
batch divided by their number, over all processes; resume is the step number. The loss is TRL's own (its fused head), and so is the loop,
by way of train/trl_loop.py. What is asked of a conversation is in the stream's labels: nothing is masked here.
May import curate.errors, mixture.dataset, train.*; torch, accelerate, transformers, trl. curate/cli.py calls `run`.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase
from trl import SFTConfig, SFTTrainer

from mixture.dataset import read_when_asked
from train import adapt, answers, optimizer, processes, selfcheck, session, trl_loop
from train.batch import Rows, read
from train.between import Between, Clock
from train.config import load_run
from train.dropout import by_row
from train.model import Scorer, build, compile_layers
from train.session import Run
from train.streams import Streams, open_streams


def run(run_file: str | Path, sets: Sequence[str] = ()) -> int:
    """Train, or go on training. Returns 0; 1 when what entered the model differs from the plan. Raises CurateError."""
    started = time.monotonic()
    settings = load_run(Path(run_file), sets, ("sft",))
    streams = open_streams(settings.manifests)
    said = answers.check(streams, settings.manifests)
    with session.opened(settings, streams, started) as now:
        trl_loop.check(now.accelerator, "sft")
        if now.last and now.is_complete:
            return session.finish(now, now.last.path)
        for line in (*said, now.tokenizer.no_template):
            if line:
                now.watching.say(line)
        model = build(settings.model, settings.adapt, now.config, session.weights_to_read(now))
        now.watching.say(answers.stop_at_their_end(model, streams, now.tokenizer.tokenizer))
        adapted = adapt.adapt(model, settings.adapt, now.last.path if now.last else None, settings.model)
        path = _train(now, processes.place(Fused(adapted, settings.model.dtype), now.accelerator))
        return 0 if path is None else session.finish(now, path)


def _train(run: Run, scorer: Fused) -> Path | None:
    """All steps that are left; the last checkpoint, or None where the run was stopped before the end."""
    drops = by_row(scorer.model, run.draws)
    run.watching.say(session.summary(run, scorer, drops))
    n, n_trained = adapt.trained(scorer)
    run.watching.event("start", n_parameters=n, n_trainable=n_trained)
    steps = Stepping(run, scorer)
    trainer = trainer_of(run, scorer, steps)
    trainer.train()
    return steps.between.path if trainer.state.global_step == run.plan.n_steps - run.start else None


def trainer_of(run: Run, scorer: Fused, steps: Stepping) -> Trainer:
    settings, device = run.settings, run.accelerator.device
    asked = trl_loop.arguments(settings, run.plan.n_steps - run.start, device)
    config = SFTConfig(**asked, max_length=None, packing=False, dataset_kwargs={"skip_prepare_dataset": True})
    return Trainer(
        scorer.model, config, data_collator=_never, train_dataset=read_when_asked(range(run.streams.n_sequences), _Columns(run.streams)),
        processing_class=PreTrainedTokenizerBase(), steps=steps, torch_optimizer=optimizer.build(scorer, settings, device),
    )  # fmt: skip


def _never(rows: Any) -> None:
    """The collator: TRL insists on one, and the loader's batches are tensors already."""
    raise AssertionError("the loader of train/trl_loop.py collates")


class Fused(Scorer):
    """The scorer by TRL's forward pass, the one that is trained: so it is what is checked and what measures held-out rows."""

    def forward(
        self, input_ids: torch.Tensor, position_ids: torch.Tensor, labels: torch.Tensor, each: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        with torch.autocast(input_ids.device.type, torch.bfloat16, enabled=self.dtype == torch.bfloat16):
            found = self.model(**self.given(input_ids, position_ids, labels), fused_lm_head=True)
        losses = -found.log_probs.float().view(labels.shape)
        return (each * losses).sum(), losses.detach()

    def given(self, input_ids: torch.Tensor, position_ids: torch.Tensor, labels: torch.Tensor) -> dict[str, Any]:
        """Keywords of the model. `labels` are shifted already, so that those of a token in another row count too."""
        found = self._given(input_ids, position_ids)
        return {**found, "shift_labels": labels.view(found["input_ids"].shape)}


class Stepping:
    """`Steps` of train/trl_loop.py over the stream."""

    def __init__(self, run: Run, scorer: Fused) -> None:
        self.run, self.scorer, self.settings = run, scorer, run.settings
        self.start, self.n_steps, self.clock = run.start, run.plan.n_steps, Clock()
        self.nats: list[torch.Tensor] = []  # -ln p of the labels of each forward pass of the step
        self.n_asked = 0

    def ready(self, trainer: Trainer) -> None:
        run, scorer = self.run, self.scorer
        run.accelerator = trainer.accelerator
        steps = trainer.optimizer.optimizer
        for said in selfcheck.check(run.streams, run.sizes, run.tokenizer.tokenizer, scorer, scorer, run.accelerator.device):
            run.watching.say(said)
        if run.settings.model.compile:
            compile_layers(scorer)
        if run.last:
            run.last.load_optimizer(scorer, steps)
        self.between = Between(run, scorer, scorer, steps)
        self.between.before_the_first()
        scorer.model.register_forward_hook(self._saw)

    def _saw(self, model: torch.nn.Module, given: Any, found: Any) -> None:
        if model.training and getattr(found, "log_probs", None) is not None:
            self.nats.append(-found.log_probs.detach().float())

    def step(self, step: int) -> tuple[list[dict[str, Any]], int]:
        self.clock = Clock()
        run, accelerator = self.run, self.run.accelerator
        mine = run.plan.steps.share(step, accelerator.process_index, accelerator.num_processes)
        self.between.phase(step)
        self.rows = read(run.streams, mine, self.between.skipped)
        self.n_asked = int(accelerator.reduce(torch.tensor(self.rows.n_loss_tokens, device=accelerator.device), "sum"))
        size = run.sizes[run.streams.phases[mine.phase].sequence_length]
        parts = [self.rows.part(first, size) for first in range(0, len(self.rows), size)]
        return [{"rows": part, "step": step} for part in parts], self.n_asked

    def rate(self, step: int) -> float:
        return self.run.plan.schedule.rate(step)

    def before_update(self, step: int) -> bool:
        self.run.draws.begin_update(self.settings.seed, step)
        return self.n_asked > 0  # all rows of a step may be skipped

    def after(self, step: int, norm: float) -> bool:
        losses = torch.cat([nats.view(-1, self.rows.labels.shape[1]) for nats in self.nats])
        self.nats = []
        self.between.account(step, self.rows, losses, self.rate(step), norm, self.clock)
        return self.between.goes_on(step + 1)


class Trainer(trl_loop.OurSteps, SFTTrainer):
    """TRL's loss of one micro batch, as its own compute_loss works it out."""

    steps: Stepping

    def compute_loss(
        self, model: torch.nn.Module, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        part: Rows = inputs["rows"].to(self.args.device)
        self.steps.run.draws.begin(self.steps.settings.seed, inputs["step"], part.index.tolist())
        given = self.steps.scorer.given(part.input_ids, part.position_ids, part.labels)
        return super().compute_loss(model, given, return_outputs=return_outputs, num_items_in_batch=num_items_in_batch)


class _Columns:
    """Rows of the stream as TRL names them; a class, because `datasets` hashes it by pickling."""

    def __init__(self, streams: Streams) -> None:
        self.streams = streams

    def __call__(self, rows: Sequence[int]) -> dict[str, list[Any]]:
        found = [self.streams.row(i) for i in rows]
        return {"input_ids": [row.input_ids.astype("int64") for row in found], "labels": [row.labels for row in found]}
