"""`conversation:` of a source of type conversation: templates for rows of instruction and input, end markers, where synthetic rows come
from. Imports recipe.strict and recipe.templates.
"""

from __future__ import annotations

from pydantic import Field, model_validator

from curate.recipe.strict import Strict
from curate.recipe.templates import Template, Templates

WITH, WITHOUT = "with_input", "without_input"  # pools are named <language>/<form>
INSTRUCTION, INPUT = "instruction", "input"  # the places of a template


class Provenance(Strict):
    """Of rows that a model wrote: what holds for all rows of the source. A row's own fields (`provenance.generator` ...) come first."""

    generator: str | None = None
    date: str | None = None
    seed: str | int | None = None
    license: str | None = None  # under which the generator's terms let its answers be used


class Conversation(Strict):
    templates: Templates | None = None  # how an instruction and its input are put to the model; None: a blank line between them
    seed: int = Field(0, ge=0)  # of the choice among them
    end_markers: list[str] = ["<|endoftext|>"]  # taken from the end of what the assistant says
    provenance: Provenance | None = None

    @model_validator(mode="after")
    def _pools(self) -> Conversation:
        for language in self.languages():
            for form in (WITH, WITHOUT):
                self.pool(language, form)
        if not all(self.end_markers):
            raise ValueError("an end marker is a text, such as <|endoftext|>")
        return self

    def languages(self) -> list[str]:
        """Languages that have templates."""
        return sorted({name.partition("/")[0] for name in self.templates.pools}) if self.templates else []

    def pool(self, language: str, form: str) -> list[Template]:
        assert self.templates is not None
        return self.templates.pool(f"{language}/{form}", [INSTRUCTION, INPUT] if form == WITH else [INSTRUCTION], [])
