"""`sources:` of a recipe as strict models: where raw files lie, what they are, how they are read. Imports recipe's own modules."""

from __future__ import annotations

from typing import Literal, TypeAlias

from pydantic import model_validator

from curate.recipe.lanes.instruction_text import Render
from curate.recipe.lanes.parallel import Parallel
from curate.recipe.lanes.preference import Preference
from curate.recipe.licenses import License
from curate.recipe.strict import Names, Strict

Type: TypeAlias = Literal["text", "code", "math", "conversation", "parallel", "preference", "instruction_text"]
FormatName: TypeAlias = Literal["auto", "jsonl", "parquet", "text", "tree"]

# Types that need an option of their own, and how it looks.
OPTION_OF = {"parallel": "parallel", "preference": "preference", "instruction_text": "render"}
EXAMPLES = {"parallel": "{languages: [en, et]}", "preference": "{of: pairs}", "render": "qa_after_text"}


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
    parallel: Parallel | None = None
    preference: Preference | None = None
    render: Render | None = None  # of type instruction_text

    @model_validator(mode="after")
    def _own_options(self) -> Source:
        """Options of a lane stand with its type alone; some types need theirs."""
        for type_, option in OPTION_OF.items():
            if getattr(self, option) is None and self.type == type_:
                raise ValueError(f"type: {type_} needs {option}:, such as {EXAMPLES[option]}")
            if getattr(self, option) is not None and self.type != type_:
                raise ValueError(f"{option}: is for type: {type_}, found type: {self.type}")
        return self

    @property
    def is_conversation(self) -> bool:
        """Do its documents have messages, rendered by a chat template when they are tokenized?"""
        return self.type == "conversation" or (self.parallel is not None and self.parallel.form == "translation")

    @property
    def own(self) -> Parallel | Preference | Render | None:
        """Options of its type that say which fields a row has: targets() and needed()."""
        return self.parallel or self.preference or self.render


# Keys of a source that decide its documents; `files` and where they lie do not. Options of readers and lanes are added here.
DECIDE_ROWS = ("name", "type", "language", "license", "fields", "id", "parallel", "preference", "render")
