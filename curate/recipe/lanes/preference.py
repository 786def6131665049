"""`preference:` of a source of type preference: what a row holds, and which pair becomes of it. Imports recipe's own modules."""

from __future__ import annotations

from typing import Literal

from pydantic import model_validator

from curate.recipe.strict import Strict
from curate.recipe.templates import Template, Templates

TARGETS: dict[str, dict[str, tuple[str, ...]]] = {  # of a row -> target -> the fields tried for it
    "pairs": {
        "prompt": ("prompt", "instruction", "question"), "chosen": ("chosen",), "rejected": ("rejected",),
        "chosen_score": ("chosen_score", "score_chosen"), "rejected_score": ("rejected_score", "score_rejected"),
        "margin": ("margin",),
    },
    "compared": {
        "prompt": ("prompt", "context"), "first": ("response1", "response_a"), "second": ("response2", "response_b"),
        "preference": ("overall_preference", "preference"),
    },
    "corrections": {"original": ("original",), "correction": ("correction", "corrections", "corrected")},
    "answers": {
        "prompt": ("prompt", "instruction", "question"), "answers": ("answers", "responses", "completions"),
        "scores": ("scores",),
    },
}  # fmt: skip
NEEDED = {
    "pairs": ("chosen", "rejected"), "compared": ("prompt", "first", "second", "preference"),
    "corrections": ("original", "correction"), "answers": ("prompt", "answers"),
}  # fmt: skip


class Preference(Strict):
    of: Literal["pairs", "compared", "corrections", "answers"] = "pairs"  # what a row is
    order: list[str] = []  # answers by name: the names from worst to best, a place being a point
    pair: Literal["best_worst", "best_second", "drawn"] = "best_worst"  # of scored answers: which two
    min_margin: float = 0.0  # points by which chosen must be better; equals are no pair in any case
    language: str | None = None  # of the prompts made for corrections; None: the source's
    seed: int = 0  # another one draws the choices again
    templates: Templates | None = None  # of: corrections has templates/correction where none is named

    @model_validator(mode="after")
    def _fits(self) -> Preference:
        if self.min_margin < 0:
            raise ValueError("min_margin is 0 or more")
        if self.of != "answers" and (self.order or self.pair != "best_worst"):
            raise ValueError("order and pair are for of: answers, where a row has several")
        if len(set(self.order)) < len(self.order):
            raise ValueError("order names an answer twice")
        if self.of == "corrections" and self.templates is None:
            raise ValueError("corrections need templates")
        return self

    def pool(self, language: str) -> list[Template]:
        assert self.templates is not None
        return self.templates.pool(language, {"text"}, ())

    def targets(self) -> dict[str, tuple[str, ...]]:
        """What fields: may map besides the columns of every source, with the fields tried for it where it does not."""
        return TARGETS[self.of] | {"system": ("system",)}

    def needed(self) -> tuple[str, ...]:
        """Of these, what the first file must have."""
        return NEEDED[self.of]
