"""A suite inside a run: the model as it is after a step, asked by the main process while the others wait; the gate against step 0.

In: a run's settings, scorer and tokenizer files. Out: SAVE.TO/evaluations/step-000120/ (results as ever) and, where a rule of the gate fails,
a CurateError with exit code 1, after the step was saved. Answers of a step that are there already are not asked for again. torch, accelerate.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from accelerate import Accelerator

from curate.errors import CurateError
from train.checkpoint import name_of
from train.config import RunFile
from train.evaluation import run as room
from train.evaluation.gate import check
from train.evaluation.load import Loaded, open_tokenizer, receipt_of, weights_sha256
from train.evaluation.rules import parse_rules
from train.evaluation.suite import Suite, load_suite
from train.model import Scorer
from train.streams import Streams
from train.tokenizer import Found

FOLDER = "evaluations"
Say = Callable[[str], None]


def folder_of(settings: RunFile, step: int) -> Path:
    return Path(settings.save.to) / FOLDER / name_of(step)


def open_suite(settings: RunFile, found: Found) -> Suite | None:
    """Checked before step one. Raises CurateError."""
    if settings.evaluate.suite is None:
        return None
    suite = load_suite(Path(settings.evaluate.suite))
    room.check_suite(suite, suite.tasks)
    if not found.files:
        raise CurateError("a suite is asked through the model's tokenizer", where="evaluate.suite", found=found.problem)
    return suite


def measure(
    suite: Suite, settings: RunFile, scorer: Scorer, accelerator: Accelerator, streams: Streams, found: Found, receipt: dict, step: int, say: Say
) -> None:  # fmt: skip
    """Every process calls this; the main one asks. The model is left in the mode it was in."""
    was_training = scorer.training
    if accelerator.is_main_process:
        asking = _asking(suite, settings, scorer, streams, found, receipt, step)
        ended = room.evaluate(asking, say)
        say(room.table(ended, asking.folder))
    scorer.train(was_training)
    accelerator.wait_for_everyone()


def _asking(
    suite: Suite, settings: RunFile, scorer: Scorer, streams: Streams, found: Found, receipt: dict, step: int
) -> room.Asking:
    asked, dtype = settings.evaluate, settings.model.dtype
    tokenizer = open_tokenizer(found.files[0].parent)
    tokenizer.chat_template = found.template or tokenizer.chat_template
    name = f"{settings.name} after step {step}"
    loaded = Loaded(scorer.causal, tokenizer, name, weights_sha256(scorer.causal), dtype, receipt_of(receipt, step), scorer.model)
    return room.Asking(
        loaded, suite, suite.tasks, folder_of(settings, step), settings.model, asked.roots, asked.limit, settings.seed, asked.batch,
        opened=(streams, found),
    )  # fmt: skip


def judge(settings: RunFile, step: int, say: Say) -> None:
    """The gate, where there is one: results after this step beside those of step 0. Raises CurateError where a rule fails."""
    rules, before, after = settings.evaluate.gate, folder_of(settings, 0), folder_of(settings, step)
    if not rules or step == 0:
        return
    has_first = (before / "results.parquet").is_file()
    if not has_first and not all(rule.side for rule in parse_rules(rules)):
        raise CurateError(
            "the gate compares with step 0, of which there are no results", where="evaluate.gate", found=f"no {before}",
            next=f"curate train evaluate RUN.yaml of the first model, with --set to={before}; or rules that are bounds (>=, <=)",
        )  # fmt: skip
    if not (after / "results.parquet").is_file():
        return
    verdict = check(before if has_first else None, after, rules, seed=settings.seed)
    say(verdict.text())
    if verdict.failed:
        raise CurateError(
            f"the gate is shut after step {step}", where="evaluate.gate", found="; ".join(f"{line.name} {line.status}" for line in verdict.failed),
            next="look at the checkpoint; to go on all the same: --set evaluate.gate={}", exit_code=1,
        )  # fmt: skip
