"""The run file: YAML in, a checked `RunFile` out; then, beside a manifest, a `Plan` in whole rows and steps.

Every mistake is one CurateError naming file, line and key, before torch is loaded. Paths start where the command runs.
May import curate.errors, curate.recipe, curate.units, mixture.batches, train.schedule.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, model_validator

from curate.errors import CurateError
from curate.recipe import Strict, Where, validate
from curate.recipe.files import apply_set, load_extended
from curate.recipe.strict import read_quantity
from curate.units import Quantity
from mixture.batches import Phase, Steps, in_tokens
from train.schedule import Kind, Schedule

LOGITS_BYTES = 2**28  # micro_batch auto: at most this many bytes of fp32 logits in one forward pass (guess)


def _units(*units: str) -> BeforeValidator:
    return BeforeValidator(lambda value: read_quantity(value, units))


Tokens = Annotated[Quantity, _units("tokens"), PlainSerializer(str)]
Length = Annotated[Quantity, _units("steps", "tokens", "share", "share_of_steps"), PlainSerializer(str)]  # a part of the run
Interval = Annotated[Quantity, _units("steps", "tokens"), PlainSerializer(str)]


def _after(value: object) -> object:
    return value if value == "end_of_manifest" else read_quantity(value, ("steps",))


class ModelSpec(Strict):
    init: str | dict[str, Any]  # folder, hub id, config.json of a fresh model, or that config in place
    revision: str | None = None
    tokenizer: str | None = None  # folder or tokenizer.json, where neither build nor model brings the manifest's
    dtype: Literal["fp32", "bf16"] = "fp32"  # of the calculation; weights and optimizer are always fp32
    attention: Literal["auto", "sdpa", "eager"] = "auto"
    seed: int = Field(default=0, ge=0, lt=2**63)  # first weights of a fresh model


class Optimizer(Strict):
    name: Literal["adamw"] = "adamw"
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = Field(default=1e-8, gt=0)
    weight_decay: float = Field(default=0.1, ge=0)
    clip: float | None = Field(default=1.0, gt=0)


class ScheduleSpec(Strict):
    kind: Kind = "cosine"
    peak_lr: float = Field(gt=0)
    warmup: Length = Quantity(Fraction(0), "steps")
    decay: Length | None = None
    floor: float = Field(default=0.0, ge=0)  # a learning rate, like peak_lr

    @model_validator(mode="after")
    def _fits_kind(self) -> ScheduleSpec:
        if (self.kind == "wsd") != (self.decay is not None):
            raise ValueError("decay: belongs to kind wsd, which needs it ('10 %', '500 steps')")
        if self.floor > self.peak_lr:
            raise ValueError(f"floor {self.floor:g} is above peak_lr {self.peak_lr:g}")
        return self


class Stop(Strict):
    after: Annotated[Literal["end_of_manifest"] | Quantity, BeforeValidator(_after), PlainSerializer(str)] = "end_of_manifest"
    max_hours: float | None = Field(default=None, gt=0)


class Save(Strict):
    every: Interval | None = None
    keep: int = Field(default=3, ge=1)
    to: str


class Evaluate(Strict):
    held_out_every: Interval | None = None


class Track(Strict):
    to: tuple[Literal["jsonl"], ...] = ("jsonl",)


class RunFile(Strict):
    method: Literal["cpt"]
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    manifest: str
    model: ModelSpec
    global_batch: Tokens
    micro_batch: Literal["auto"] | Annotated[int, Field(ge=1)] = (
        "auto"  # sequences (of the first phase) in one forward pass on a device
    )
    optimizer: Optimizer = Optimizer()
    schedule: ScheduleSpec
    stop: Stop = Stop()
    save: Save
    evaluate: Evaluate = Evaluate()
    track: Track = Track()
    seed: int = Field(default=0, ge=0, lt=2**63)

    def canonical(self) -> dict:
        return self.model_dump(mode="json", exclude_none=True)


def load_run(path: Path, sets: Sequence[str] = ()) -> RunFile:
    """Read a run file (`extends:` works as in recipes), with `key=value` settings on top of it."""
    path = Path(path)
    data, where = load_extended(path)
    for assignment in sets:
        apply_set(data, assignment)
        key = assignment.partition("=")[0]
        where[tuple(key.split("."))] = f"--set {key}"
    run = validate(RunFile, data, where, path)
    _check_files(run, where, path)
    return run


def _check_files(run: RunFile, where: Where, path: Path) -> None:
    if not Path(run.manifest).is_file():
        raise CurateError(
            "there is no manifest here", where=where.get(("manifest",), str(path)), found=run.manifest,
            next=f"curate build-mixture RECIPE --out {Path(run.manifest).parent}",
        )  # fmt: skip
    init = run.model.init
    if isinstance(init, str) and not Path(init).exists():
        place = where.get(("model", "init"), where.get(("model",), str(path)))
        if init.count("/") != 1 or init.startswith((".", "/")) or init.endswith(".json"):
            raise CurateError(
                "there is no model here", where=place, found=init,
                allowed="a folder with config.json and weights, a hub id such as org/name, a config.json, or the config in place",
            )  # fmt: skip
        if run.model.revision is None:
            raise CurateError("a model from the hub is pinned: model.revision is missing", where=place, found=init)


@dataclass(frozen=True)
class Plan:
    """The run beside its manifest: everything in whole rows and steps. One schedule over the steps of all phases."""

    steps: Steps  # of the whole stream; rows of a batch x sequence_length = global batch, in every phase
    n_steps: int
    save_every: int | None  # steps
    held_out_every: int | None  # steps
    schedule: Schedule


def plan_run(run: RunFile, phases: Sequence[Phase]) -> Plan:
    """Raises CurateError where the batch is not whole rows, or the manifest has fewer steps than asked."""
    tokens = run.global_batch.count
    stream = in_tokens(phases, tokens)
    available = stream.n_steps
    n_steps = available if run.stop.after == "end_of_manifest" else run.stop.after.count
    if not 1 <= n_steps <= available:
        raise CurateError(
            "no row is trained twice: the manifest ends before", where="stop.after", found=f"{n_steps} steps",
            allowed=f"1 to {available} steps, or end_of_manifest", next="ask the recipe for a larger total or more max_epochs",
        )  # fmt: skip

    def steps(q: Quantity | None) -> int:
        if q is None:
            return 0
        if q.unit == "steps":
            return q.count
        return math.ceil(q.value / tokens) if q.unit == "tokens" else math.ceil(q.value * n_steps)

    spec = run.schedule
    schedule = Schedule(spec.kind, spec.peak_lr, spec.floor, n_steps, steps(spec.warmup), steps(spec.decay))
    if schedule.n_warmup + schedule.n_decay > n_steps:
        raise CurateError(
            "warmup and decay are longer than the run", where="schedule",
            found=f"{schedule.n_warmup} + {schedule.n_decay} steps", allowed=f"{n_steps} steps together",
        )  # fmt: skip
    save, held_out = steps(run.save.every), steps(run.evaluate.held_out_every)
    return Plan(stream, n_steps, save or None, held_out or None, schedule)


def micro_rows(settings: RunFile, plan: Plan, vocabulary: int, length: int, world: int) -> int:
    """Rows of `length` tokens in one forward pass: as many tokens as asked for rows of the first phase, so that longer rows need no
    more memory; or as many rows as keep the logits under LOGITS_BYTES."""
    each = max(1, settings.global_batch.count // length // world)
    if settings.micro_batch != "auto":
        return max(1, min(each, settings.micro_batch * plan.steps.phases[0].sequence_length // length))
    return max(1, min(each, LOGITS_BYTES // (4 * length * vocabulary)))
