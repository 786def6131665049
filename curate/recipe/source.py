"""`sources:` of a recipe as strict models: where raw files lie, what they are, how they are read. Imports recipe's own modules."""

from __future__ import annotations

from typing import Literal, TypeAlias

from pydantic import model_validator

from curate.recipe.strict import Names, Strict

Type: TypeAlias = Literal["text", "code", "math", "conversation"]
FormatName: TypeAlias = Literal["auto", "jsonl", "parquet", "text", "tree"]


class License(Strict):
    declared: str | None = None
    from_field: str | None = None

    @model_validator(mode="after")
    def _one(self) -> License:
        if (self.declared is None) == (self.from_field is None):
            raise ValueError("a licence is either declared (an SPDX id) or taken from_field")
        return self


class Source(Strict):
    name: str = ""  # filled in from the key
    read: Names
    format: FormatName = "auto"
    type: Type = "text"
    language: str | None = None
    license: License
    fields: dict[str, str] = {}
    id: Literal["auto", "path", "content"] = "auto"
    suffixes: list[str] = []
    stop_words: str | None = None  # a file, one word a line (preset:x is one that ships with a preset); None: the language's
    words: str = (
        "rules"  # how words are cut: our rules, or datatrove's word tokenizer of a language code (scripts without spaces)
    )
    loss: Literal["all", "assistant"] = "all"


# Keys of a source that decide its documents; `files` and where they lie do not. Options of readers and lanes are added here.
DECIDE_ROWS = ("name", "type", "language", "license", "fields", "id")
