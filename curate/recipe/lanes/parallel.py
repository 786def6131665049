"""`parallel:` of a source of type parallel: which two languages, and what is made of a pair of sentences. Imports recipe's own modules."""

from __future__ import annotations

from fractions import Fraction
from typing import Literal

from pydantic import model_validator

from curate.recipe.strict import Share, Strict
from curate.recipe.templates import Template, Templates
from curate.units import Quantity

NONE, ALL = Quantity(Fraction(0), "share"), Quantity(Fraction(1), "share")
SEPARATE_INPUT = Quantity(Fraction(85, 100), "share")  # LLAMMAS (arXiv 2404.04042), bitext_to_instructions.py --p-has-input 0.85
FORMS = {"text": ("text",), "translation": ("separate", "inline")}  # form -> kinds of pools, named <language>/<kind>
# kind of pool -> the places its templates must have, and may have
PLACES = {
    "text": ({"source", "target"}, {"from", "to"}), "separate": ({"to"}, {"from"}), "inline": ({"text", "to"}, {"from"}),
}  # fmt: skip


class Parallel(Strict):
    languages: tuple[str, str]  # from the first to the second; also the names of the two targets under fields:
    form: Literal["text", "translation"] = "text"  # both sides as one text | messages: translate this, here it is
    reverse: Share = NONE  # of pairs that go from the second language to the first
    separate_input: Share = SEPARATE_INPUT  # of translations whose text stands behind the instruction, not inside it
    instruction_languages: dict[str, Share] = {"en": ALL}  # languages of the templates
    scripts: dict[str, str] = {}  # language -> script its letters should be of; None: the language's usual one
    seed: int = 0  # another one draws the choices again
    templates: Templates

    @model_validator(mode="after")
    def _whole(self) -> Parallel:
        first, second = self.languages
        if first == second:
            raise ValueError(f"both languages are {first!r}")
        if sum(share.value for share in self.instruction_languages.values()) != 1:
            raise ValueError("instruction_languages are shares that sum to 100 %, such as {en: 95 %, et: 5 %}")
        if unknown := sorted(set(self.scripts) - set(self.languages)):
            raise ValueError(f"scripts names {unknown[0]!r}, which is not among languages: {first}, {second}")
        for language in self.instruction_languages:
            for kind in self.kinds():
                self.pool(language, kind)
            for named in self.languages:
                self.templates.said(language, named)
        return self

    def kinds(self) -> tuple[str, ...]:
        """Of the pools its form draws from."""
        return FORMS[self.form]

    def pool(self, language: str, kind: str) -> list[Template]:
        return self.templates.pool(f"{language}/{kind}", *PLACES[kind])

    def targets(self) -> dict[str, tuple[str, ...]]:
        """What fields: may map besides the columns of every source, with the fields tried for it where it does not."""
        both = {language: (language, f"translation.{language}") for language in self.languages}
        return {**both, "score": ()}

    def needed(self) -> tuple[str, ...]:
        """Of these, what the first file must have."""
        return self.languages
