"""What happens between two steps of pairs: their account from the forward pass, margins into the log, held-out pairs.

The suite, its gate, checkpoints and the end are those of train/between.py. May import curate.errors, curate.store, train.*; numpy, torch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from curate.errors import CurateError
from curate.store import write_json
from train.batch import EMPTY
from train.between import Between, Clock, gather, memory_of
from train.dpo import measure
from train.dpo.batch import Micro, micro_batches, to
from train.dpo.config import DpoFile
from train.dpo.evidence import WatchPairs, evidence
from train.dpo.inputs import inputs_of, kl_of, log_probs_of, mismatched
from train.dpo.losses import Losses, PairScorer
from train.dpo.pairs import Pairs
from train.dpo.reference import Store
from train.session import Run
from train.watch import StepRecord, Sums
from train.watch.pairs import means


class BetweenPairs(Between):
    """`store`: what the reference says, None where there is none."""

    scorer: PairScorer

    def __init__(
        self, run: Run, settings: DpoFile, pairs: Pairs, scorer: PairScorer, wrapped: torch.nn.Module,
        optimizer: torch.optim.Optimizer, losses: Losses, store: Store | None,
    ) -> None:  # fmt: skip
        self.settings, self.pairs, self.losses, self.store = settings, pairs, losses, store
        super().__init__(run, scorer, wrapped, optimizer)

    def _open(self) -> None:
        self.entered = WatchPairs(self.scorer.decoder)

    def account_pairs(
        self, step: int, micros: Sequence[Micro], said: Sequence[Tensor | None], inputs: Sequence[dict[str, Tensor]], rate: float,
        norm: float, clock: Clock,
    ) -> None:  # fmt: skip
        """What a step trained. Raises CurateError where a loss or the gradient is not finite."""
        run, pairs, accelerator = self.run, self.pairs, self.run.accelerator
        passes = self.scorer.take()
        mine = evidence(self.entered.take(), [labels for labels, _ in passes], micros, len(pairs.languages))
        lines = _in_order(gather(accelerator, mine))
        measured = _in_order(gather(accelerator, self._measured(micros, said, inputs, [found for _, found in passes])))
        self.losses.forget()
        left_out = sorted(self.skipped.intersection(run.plan.steps.share(step).rows))
        run.receipt.add(lines, left_out)
        if left_out:
            run.watching.event("skipped", step=step + 1, rows=left_out)
        self._check_finite(measured, norm, step)
        sums = measure.sums(measured, pairs.components)
        wide = torch.tensor(sum(micro.inputs["input_ids"].numel() for micro in micros), device=accelerator.device)
        clock.lap("account")
        run.watching.step(StepRecord(
            step + 1, pairs.phases[run.plan.steps.phase_of(step)].name, rate, norm, *_tables(measured, lines, pairs),
            int(lines[:, 2].sum()), int(accelerator.reduce(wide, "sum")), clock.laps, memory_of(accelerator.device), sums,
        ))  # fmt: skip

    def _measured(
        self, micros: Sequence[Micro], said: Sequence[Tensor | None], inputs: Sequence[dict[str, Tensor]], found: Sequence[Tensor]
    ) -> np.ndarray:
        parts = [
            measure.lines_of(
                micro, self.settings.loss, self.losses.each(given, log_probs).cpu(), log_probs.sum(1).cpu(), reference
            )
            for micro, reference, given, log_probs in zip(micros, said, inputs, found, strict=True)
        ]
        return np.concatenate([np.zeros((0, measure.FIELDS)), *parts])

    def _check_finite(self, measured: np.ndarray, norm: float, step: int) -> None:
        if np.isfinite(measured).all() and math.isfinite(norm):
            return
        bad = measured[~np.isfinite(measured).all(1), 0].astype(int).tolist() or measured[:, 0].astype(int).tolist()
        path = self.run.folder / f"not-finite-step-{step + 1:06d}.json"
        documents = [{"pair": i, "id": self.pairs.pair(i).id} for i in bad]
        if self.run.accelerator.is_main_process:
            write_json(path, {"step": step + 1, "gradient_norm": str(norm), "documents": documents})
        raise CurateError(
            f"step {step + 1} gave no finite loss or gradient ({norm})", where=f"pairs {min(bad)} to {max(bad)} of the stream",
            found=f"{len(bad)} pairs, such as {documents[0]['id']} (all in {path})", exit_code=1,
            next=f"leave these pairs out: --set 'skip=[{min(bad)}-{max(bad)}]'; or a lower schedule.peak_lr",
        )  # fmt: skip

    def _measure_held_out(self, done: int) -> None:
        """Loss, margin and accuracy of the held-out pairs, by component."""
        pairs, accelerator = self.pairs, self.run.accelerator
        if not pairs.n_held_out:
            return
        held = [pairs.held_out_pair(j) for j in range(pairs.n_held_out)]
        was_training = self.wrapped.training
        self.wrapped.eval()
        rank, world = accelerator.process_index, accelerator.num_processes
        parts, kl, size = [np.zeros((0, measure.FIELDS))], 0.0, self.settings.micro_tokens
        if self.settings.loss.kind == "kto":
            mixed = mismatched(held, pairs.held_out_length)
            kl = kl_of(list(micro_batches(range(len(mixed)), mixed, size, rank, world)), self.wrapped, self.store, accelerator)
        for micro in micro_batches(range(len(held)), held, size, rank, world):
            parts.append(self._lines_without_gradient(micro, kl))
        self.losses.forget()
        self.wrapped.train(was_training)
        sums = measure.sums(gather(accelerator, np.concatenate(parts)), pairs.components)
        result = {name: {**means(of), "tokens": of["n"]} for name, of in sums.items() if name != "all"}
        self.run.watching.held_out(done, result)

    def _lines_without_gradient(self, micro: Micro, kl: float) -> np.ndarray:
        said = self.store.of(micro) if self.store else None
        inputs = to(inputs_of(micro, self.settings.loss, said, kl), self.run.accelerator.device)
        found = log_probs_of(self.wrapped, inputs)
        return measure.lines_of(micro, self.settings.loss, self.losses.each(inputs, found).cpu(), found.sum(1).cpu(), said)


def _in_order(lines: np.ndarray) -> np.ndarray:
    """Without fillers, in the order of the stream, whatever the micro batches and processes were."""
    lines = lines[lines[:, 0] != EMPTY]
    return lines[np.argsort(lines[:, 0], kind="stable")]


def _tables(measured: np.ndarray, lines: np.ndarray, pairs: Pairs) -> tuple[dict[str, Sums], dict[str, Sums]]:
    """By component and by language: the losses of pairs over their number, and the tokens that entered."""
    n = len(pairs.languages)
    language = lines[:, -2 * n : -n].argmax(1) if len(lines) else np.zeros(0, int)
    found = []
    for number, names in ((lines[:, 1], pairs.components), (language, pairs.languages)):
        of = {name: number == place for place, name in enumerate(names)}
        found.append({
            name: Sums(float(measured[rows, 2].sum()), int(rows.sum()), int(lines[rows, 2].sum()))
            for name, rows in of.items() if rows.any()
        })  # fmt: skip
    return found[0], found[1]
