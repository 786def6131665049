"""The run file: YAML in, a checked `RunFile` out.

Every mistake is one CurateError naming file, line and key, before torch is loaded. Paths start where the command runs.
May import curate.errors, curate.recipe, curate.units, train.schedule (the names of curves), train.evaluation.rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, model_validator

from curate.errors import CurateError
from curate.recipe import Strict, Where, validate
from curate.recipe.files import load_settings
from curate.recipe.strict import read_quantity
from curate.units import Quantity
from train.evaluation.rules import checked
from train.schedule import Kind, Shape

Tracker = Literal["jsonl", "tensorboard", "wandb", "trackio", "mlflow"]


def _units(*units: str) -> BeforeValidator:
    return BeforeValidator(lambda value: read_quantity(value, units))


Tokens = Annotated[Quantity, _units("tokens"), PlainSerializer(str)]
Length = Annotated[Quantity, _units("steps", "tokens", "share", "share_of_steps"), PlainSerializer(str)]  # a part of the run
Interval = Annotated[Quantity, _units("steps", "tokens"), PlainSerializer(str)]


def _after(value: object) -> object:
    return value if value == "end_of_manifest" else read_quantity(value, ("steps",))


def _one_or_many(value: object) -> object:
    return (value,) if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_one_or_many)]
Rules = Annotated[dict[str, str], AfterValidator(checked)]  # of a gate


class ModelSpec(Strict):
    init: str | dict[str, Any]  # folder, hub id, config.json of a fresh model, or that config in place
    revision: str | None = None
    tokenizer: str | None = None  # folder or tokenizer.json, where neither build nor model brings the manifest's
    dtype: Literal["fp32", "bf16"] = "fp32"  # of the calculation
    weights: Literal["fp32", "bf16"] = "fp32"  # of what is trained, its gradients and the optimizer's state
    attention: str = "auto"  # auto | sdpa | eager | flex_attention | flash_attention_2 | flash_attention_3 | a kernel of the hub
    checkpointing: bool = False  # gradient checkpointing: activations are computed again in the backward pass
    compile: bool = False  # torch.compile, layer by layer
    seed: int = Field(default=0, ge=0, lt=2**63)  # first weights of a fresh model and of adapters


class Full(Strict):
    """Patterns are of parameter names, as in fnmatch: 'model.layers.0.*'."""

    freeze: Names = ()
    train_only: Names = ()
    train_rows: Literal["all", "new"] = "all"  # of the embedding and the head; new: tokens that curate train vocab added


class Lora(Strict):
    """peft's LoraConfig, by its own words where it has them."""

    r: int = Field(default=16, ge=1)
    alpha: float = Field(default=32, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    targets: Names = ("all-linear",)  # module names, or all-linear: all but the head
    exclude: Names = ()
    train_also: Names = ()  # modules trained whole: embed_tokens, lm_head
    train_rows: Literal["all", "new"] = "all"  # of those two; new: tokens that curate train vocab added
    rslora: bool = False  # alpha / sqrt(r) in place of alpha / r
    dora: bool = False
    quantize: Literal["none", "nf4"] = "none"  # QLoRA: the frozen weights in four bits (bitsandbytes)


class Adapt(Strict):
    full: Full | None = None
    lora: Lora | None = None

    @model_validator(mode="after")
    def _one(self) -> Adapt:
        if (self.full is None) == (self.lora is None):
            raise ValueError("one of full, lora")
        return self


def _adapt(value: object) -> object:
    return {value: {}} if value in ("full", "lora") else value


class Optimizer(Strict):
    name: Literal["adamw", "adamw_8bit", "adafactor", "muon"] = "adamw"
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = Field(default=1e-8, gt=0)
    weight_decay: float = Field(default=0.1, ge=0)
    clip: float | None = Field(default=1.0, gt=0)
    rounding: Literal["nearest", "stochastic"] = "nearest"  # of weights in bf16 (torchao)


class PhaseSchedule(Strict):
    """A phase's own curve. Its peak is where the curve before it has come to, unless it says another."""

    kind: Kind = "linear"
    peak_lr: float | None = Field(default=None, gt=0)
    warmup: Length | None = None
    decay: Length | None = None
    floor: float = Field(default=0.0, ge=0)
    shape: Shape = "linear"
    power: float = Field(default=1.0, gt=0)
    at: tuple[Length, ...] = ()
    factor: float = Field(default=0.1, gt=0, lt=1)

    @model_validator(mode="after")
    def _fits_kind(self) -> PhaseSchedule:
        if (self.kind == "wsd") != (self.decay is not None):
            raise ValueError("decay: belongs to kind wsd, which needs it ('10 %', '500 steps')")
        if (self.kind == "step") != bool(self.at):
            raise ValueError("at: belongs to kind step, which needs it (['80 %', '90 %'])")
        if self.peak_lr is not None and self.floor > self.peak_lr:
            raise ValueError(f"floor {self.floor:g} is above peak_lr {self.peak_lr:g}")
        return self


class ScheduleSpec(PhaseSchedule):
    kind: Kind = "cosine"
    peak_lr: float = Field(gt=0)
    phases: dict[str, PhaseSchedule] = Field(default_factory=dict)


class Stop(Strict):
    after: Annotated[Literal["end_of_manifest"] | Quantity, BeforeValidator(_after), PlainSerializer(str)] = "end_of_manifest"
    max_hours: float | None = Field(default=None, gt=0)


class Save(Strict):
    every: Interval | None = None
    keep: int = Field(default=3, ge=1)
    to: str


class Evaluate(Strict):
    held_out_every: Interval | None = None
    suite: str | None = None  # a suite file, asked before the first step, after the last, and
    suite_every: Interval | None = None
    roots: dict[str, str] = Field(default_factory=dict)  # of the suite
    limit: Annotated[int, Field(ge=1)] | None = None  # items of every task
    batch: int = Field(default=8, ge=1)
    gate: Rules = Field(default_factory=dict)  # what may change by how much from step 0 on; a failed rule ends the run

    @model_validator(mode="after")
    def _of_suite(self) -> Evaluate:
        if self.suite is None and (self.gate or self.suite_every):
            raise ValueError("gate and suite_every belong to a suite: the key 'suite' is missing")
        return self


class Track(Strict):
    to: tuple[Tracker, ...] = ("jsonl",)  # jsonl is always written
    project: str = "veski"
    energy: bool = False


class RunFile(Strict):
    method: Literal["cpt", "sft"]
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    manifest: Names  # one, or several that are trained one after the other
    model: ModelSpec
    adapt: Annotated[Adapt, BeforeValidator(_adapt)] = Adapt(full=Full())
    global_batch: Tokens
    micro_batch: Literal["auto"] | Annotated[int, Field(ge=1)] = (
        "auto"  # sequences (of the first phase) in one forward pass on a device
    )
    optimizer: Optimizer = Optimizer()
    schedule: ScheduleSpec
    start_from: str | None = None  # a checkpoint of another run of the same stream: its step, weights, optimizer and receipt
    skip: tuple[
        Annotated[str, BeforeValidator(str), Field(pattern=r"^\d+(-\d+)?$")], ...
    ] = ()  # rows of the stream that are not trained
    allow: Names = ()  # what may differ from the checkpoint that is gone on from, by the name its refusal gives
    stop: Stop = Stop()
    save: Save
    evaluate: Evaluate = Evaluate()
    track: Track = Track()
    seed: int = Field(default=0, ge=0, lt=2**63)

    def canonical(self) -> dict:
        return self.model_dump(mode="json", exclude_none=True)

    def own_identity(self) -> dict[str, Any]:
        """What a checkpoint must have been made with besides, of methods that have more keys."""
        return {}

    @property
    def manifests(self) -> list[Path]:
        return [Path(manifest) for manifest in self.manifest]

    @property
    def skipped(self) -> list[range]:
        """Stream indices that are left out, ends included in the file."""
        pairs = [text.partition("-") for text in self.skip]
        return [range(int(first), int(last or first) + 1) for first, _, last in pairs]


AnyRun = TypeVar("AnyRun", bound=RunFile)


def load_run(path: Path, sets: Sequence[str] = (), methods: Sequence[str] = ()) -> RunFile:
    """Read a run file (`extends:` works as in recipes), with `key=value` settings on top of it. `methods`: those that may be asked."""
    return read_run(path, sets, RunFile, methods)


def read_run(path: Path, sets: Sequence[str], kind: type[AnyRun], methods: Sequence[str] = ()) -> AnyRun:
    """The same for a method whose file has more keys."""
    path = Path(path)
    data, where = load_settings(path, sets)
    run = validate(kind, data, where, path)
    if methods and run.method not in methods:
        raise CurateError(
            "this run file is of another method", where=where.get(("method",), str(path)), found=f"method: {run.method}",
            allowed=" or ".join(methods), next=f"curate train {run.method} {path}",
        )  # fmt: skip
    _check_files(run, where, path)
    return run


def _check_files(run: RunFile, where: Where, path: Path) -> None:
    for manifest in run.manifests:
        if not manifest.is_file():
            raise CurateError(
                "there is no manifest here", where=where.get(("manifest",), str(path)), found=str(manifest),
                next=f"curate build-mixture RECIPE --out {manifest.parent}",
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
    if run.evaluate.suite is not None and not Path(run.evaluate.suite).is_file():
        raise CurateError("there is no such suite", where=where.get(("evaluate", "suite"), str(path)), found=run.evaluate.suite)
    if run.adapt.lora and run.model.weights == "bf16":
        raise CurateError(
            "adapters are trained in fp32; the frozen weights take model.dtype", where=where.get(("model", "weights"), str(path)),
            found="weights: bf16 with lora", allowed="weights: fp32 (the default)",
        )  # fmt: skip
    if run.optimizer.rounding == "stochastic" and (run.model.weights != "bf16" or run.optimizer.name == "muon"):
        raise CurateError(
            "stochastic rounding is of weights in bf16", where=where.get(("optimizer", "rounding"), str(path)),
            found=f"model.weights {run.model.weights}, optimizer {run.optimizer.name}", allowed="model.weights: bf16 with adamw",
        )  # fmt: skip
