"""`moses:` of a source: two text files whose lines pair up, told by the end of their names. Imports recipe.strict."""

from __future__ import annotations

from pydantic import field_validator

from curate.recipe.strict import Strict


class Moses(Strict):
    """`languages`: [et, en] reads `x.et` and the `x.en` beside it; `read:` names the files of the first."""

    languages: list[str]

    @field_validator("languages")
    @classmethod
    def _two(cls, value: list[str]) -> list[str]:
        if len(value) != 2 or value[0] == value[1]:
            raise ValueError("two languages, such as [et, en]")
        return value
