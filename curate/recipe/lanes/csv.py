"""`csv:` of a source: how a table in text is cut into fields. Imports recipe.strict."""

from __future__ import annotations

from pydantic import field_validator

from curate.recipe.strict import Strict


class Csv(Strict):
    """`delimiter`: None is a tab in .tsv and .tab, else the most frequent of , ; tab | in the first line. `quote`: "" where quotes are text."""

    delimiter: str | None = None
    quote: str = '"'
    header: bool = True  # the first line names the columns
    columns: list[str] = []  # names in place of the header's, or where there is none

    @field_validator("delimiter", "quote")
    @classmethod
    def _one_character(cls, value: str | None) -> str | None:
        if value and (len(value) != 1 or value in "\r\n\0"):
            raise ValueError("one character, such as ';' or '\\t'")
        return value

    @field_validator("delimiter")
    @classmethod
    def _not_empty(cls, value: str | None) -> str | None:
        if value == "":
            raise ValueError("a delimiter is one character")
        return value
