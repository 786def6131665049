"""The run file of `method: dpo`: YAML in, a checked `DpoFile` out. Its keys are those of cpt but for the batch, and the loss and the reference.

Every mistake is one CurateError naming file, line and key, before torch is loaded.
May import curate.errors, curate.recipe, curate.units, train.config.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, model_validator

from curate.errors import CurateError
from curate.recipe import Strict
from curate.recipe.strict import read_quantity
from curate.units import Quantity
from train.config import RunFile, read_run

PAIRED = (
    "sigmoid", "hinge", "ipo", "robust", "exo_pair", "nca_pair", "bco_pair", "sppo_hard", "apo_zero", "apo_down", "discopop", "simpo",
)  # fmt: skip
UNPAIRED = ("kto", "apo_zero_unpaired")  # each answer is judged alone
Kind = Literal[
    "sigmoid", "hinge", "ipo", "robust", "exo_pair", "nca_pair", "bco_pair", "sppo_hard", "apo_zero", "apo_down", "discopop", "simpo",
    "kto", "apo_zero_unpaired",
]  # fmt: skip
# what TRL 1.16 has besides, and why it is not among them
LEFT_OUT = {
    "orpo": "trl 1.16 has it only under trl.experimental",
    "cpo": "trl 1.16 has it only under trl.experimental",
    "aot": "it sorts the answers of a whole batch, so it is no mean over pairs",
    "aot_unpaired": "it sorts the answers of a whole batch, so it is no mean over pairs",
    "sft": "train it before, with method: sft",
    "sigmoid_norm": "say {kind: sigmoid, length_normalised: true}",
}
SMOOTHED = ("robust", "exo_pair")
REFERENCE_FREE = ("sigmoid", "hinge", "robust", "ipo")  # simpo always is

Examples = Annotated[Quantity, BeforeValidator(lambda value: read_quantity(value, ("examples",))), PlainSerializer(str)]


class Loss(Strict):
    """`beta` and `label_smoothing` as in TRL; `margin` is SimPO's gamma (arXiv 2405.14734, equation 6)."""

    kind: Kind = "sigmoid"
    beta: float = Field(default=0.1, gt=0)
    length_normalised: bool = False  # log-probabilities by the tokens of their answer; ipo and simpo always are
    reference_free: bool = False  # the reference says 0 of everything
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)  # share of pairs that are labelled the wrong way round
    margin: float = Field(default=0.0, ge=0)
    desirable_weight: float = Field(default=1.0, gt=0)  # of chosen answers, where each is judged alone
    undesirable_weight: float = Field(default=1.0, gt=0)

    @model_validator(mode="after")
    def _fits_kind(self) -> Loss:
        if self.length_normalised and self.kind not in ("sigmoid", "ipo", "simpo"):
            raise ValueError("length_normalised: TRL has it for kind sigmoid; ipo and simpo always are")
        if self.label_smoothing and self.kind not in SMOOTHED:
            raise ValueError(f"label_smoothing belongs to kind {' or '.join(SMOOTHED)}")
        if self.kind == "exo_pair" and not self.label_smoothing:
            raise ValueError("kind exo_pair needs label_smoothing (its paper: 1e-3)")
        if self.margin and self.kind != "simpo":
            raise ValueError("margin belongs to kind simpo")
        if self.reference_free and self.kind not in (*REFERENCE_FREE, "simpo"):
            raise ValueError(f"reference_free: one of {', '.join(REFERENCE_FREE)}; simpo always is")
        if (self.desirable_weight, self.undesirable_weight) != (1.0, 1.0) and self.kind not in UNPAIRED:
            raise ValueError(f"desirable_weight and undesirable_weight belong to kind {' or '.join(UNPAIRED)}")
        return self

    @property
    def is_paired(self) -> bool:
        return self.kind not in UNPAIRED

    @property
    def needs_reference(self) -> bool:
        return not (self.reference_free or self.kind == "simpo")

    @property
    def is_by_length(self) -> bool:
        """Whether a reward is per token of its answer."""
        return self.length_normalised or self.kind in ("ipo", "simpo")


def _loss(value: object) -> object:
    kind = value.get("kind") if isinstance(value, dict) else value
    if isinstance(kind, str) and kind in LEFT_OUT:
        raise ValueError(f"kind {kind} is not offered: {LEFT_OUT[kind]}")
    return {"kind": value} if isinstance(value, str) else value


class Reference(Strict):
    """Another model than the one that is trained, as it was before the first step."""

    init: str
    revision: str | None = None


class DpoFile(RunFile):
    method: Literal["dpo"]  # type: ignore[assignment]
    loss: Annotated[Loss, BeforeValidator(_loss)] = Loss()
    reference: Reference | None = None  # default: model.init
    reference_store: str = "store/reference"  # log-probabilities of answers, by content; shared by runs
    global_batch: Examples  # pairs of one step
    micro_tokens: int = Field(default=8192, ge=2)  # of one forward pass on a device, padding included
    dropout: bool = False  # what the model's config says; TRL and the papers leave it out, as the reference has none

    @model_validator(mode="after")
    def _own_batch(self) -> DpoFile:
        if self.micro_batch != "auto":
            raise ValueError("micro_batch belongs to sequences of one length; pairs are put together by micro_tokens")
        if self.reference is not None and not self.loss.needs_reference:
            raise ValueError(f"reference: kind {self.loss.kind} has none")
        counted = [self.save.every, self.evaluate.held_out_every, self.evaluate.suite_every]
        for own in (self.schedule, *self.schedule.phases.values()):
            counted += [own.warmup, own.decay, *own.at]
        if any(length is not None and length.unit == "tokens" for length in counted):
            raise ValueError("a step is so many pairs, of any number of tokens: say lengths and intervals in steps, or '10 %'")
        if self.loss.kind == "kto" and self.global_batch.count < 2:
            raise ValueError("kind kto measures its KL term on the prompts of other pairs: global_batch is at least 2 examples")
        return self

    def own_identity(self) -> dict[str, Any]:
        return {
            "loss": self.loss.model_dump(mode="json"), "reference": self.reference.model_dump() if self.reference else None,
            "dropout": self.dropout,
        }  # fmt: skip


def load_dpo(path: Path, sets: Sequence[str] = ()) -> DpoFile:
    run = read_run(path, sets, DpoFile)
    if run.reference is not None and not Path(run.reference.init).is_dir() and run.reference.revision is None:
        raise CurateError(
            "there is no reference model here", where="reference.init", found=run.reference.init,
            allowed="a folder of a model, or a hub id with its revision",
        )  # fmt: skip
    return run
