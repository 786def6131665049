"""`sources:` of a recipe as strict models: where raw files lie, what they are, how they are read. Imports recipe's own modules."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from pydantic import model_validator

from curate.recipe.lanes.code import Code
from curate.recipe.lanes.conversation import Conversation
from curate.recipe.lanes.csv import Csv
from curate.recipe.lanes.grouping import Group
from curate.recipe.lanes.instruction_text import QA, Render
from curate.recipe.lanes.math import Math
from curate.recipe.lanes.moses import Moses
from curate.recipe.lanes.paged import Paged
from curate.recipe.lanes.parallel import Parallel
from curate.recipe.lanes.preference import Preference
from curate.recipe.lanes.web import Web
from curate.recipe.lanes.xml import MediaWiki, Xml
from curate.recipe.licenses import License
from curate.recipe.places import Place
from curate.recipe.strict import Names, Strict

Type: TypeAlias = Literal["text", "code", "math", "conversation", "parallel", "preference", "instruction_text", "web"]
FormatName: TypeAlias = Literal[
    "auto", "jsonl", "parquet", "text", "tree",
    "csv", "arrow", "markdown", "xml", "vertical", "prevert", "mediawiki", "moses", "tmx", "html", "warc", "wet", "pdf", "epub", "docx",
]  # fmt: skip

# Types that need an option of their own, and how it looks.
OPTION_OF = {"parallel": "parallel", "preference": "preference", "instruction_text": "render"}
# What is kept of text that a model made (NileChat: by controlled generation from local context and personas, by translation) or that was
# retrieved for a list of concepts: extra.provenance.
PROVENANCE_KEYS = (
    "kind", "generator", "prompt", "persona", "genre", "seed", "context", "concept", "query", "pillar", "original", "date", "license", "verdict",
)  # fmt: skip
EXAMPLES = {"parallel": "{languages: [en, et]}", "preference": "{of: pairs}", "render": "qa_after_text"}


class Source(Strict):
    name: str = ""  # filled in from the key
    read: Names = []  # patterns of paths or URLs
    hub: str | None = None  # or a dataset of the hub, owner/name, at a commit
    config: str | None = None
    revision: str | None = None
    split: str | None = None  # None: train, or the only one
    format: FormatName = "auto"
    type: Type = "text"
    language: str | None = None
    license: License
    fields: dict[str, str] = {}
    id: Literal["auto", "path", "content"] = "auto"
    suffixes: list[str] = []
    stop_words: str | None = None  # a file, one word a line (preset:x is one that ships with a preset); None: the language's
    # How words are cut: our rules; code: identifiers; math (the default of that type): rules, and formulas tell texts apart; or datatrove's
    # word tokenizer of a language code (scripts without spaces).
    words: str = "rules"
    loss: Literal["all", "assistant"] = "all"
    conversation: Conversation | None = None  # of type conversation
    parallel: Parallel | None = None
    preference: Preference | None = None
    render: Render | None = None  # of type instruction_text
    provenance: dict[str, str] | None = (
        None  # of all rows of text that was made or retrieved; fields: provenance.<key> of single ones
    )
    code: Code | None = None
    csv: Csv | None = None  # options of readers: of a format, whatever the type
    xml: Xml | None = None
    mediawiki: MediaWiki | None = None
    moses: Moses | None = None
    group: Group | None = None  # rows that are parts of documents
    math: Math | None = None
    web: Web | None = None
    paged: Paged | None = None  # of formats pdf, epub, docx

    @model_validator(mode="after")
    def _one_place(self) -> Source:
        if (self.hub is None) == (not self.read):
            raise ValueError("a source is either read: (paths or URLs) or hub: (a dataset, owner/name)")
        if self.hub is None and (self.config or self.revision or self.split):
            raise ValueError("config:, revision: and split: are of a dataset of the hub, and there is no hub:")
        return self

    @model_validator(mode="after")
    def _reader_options(self) -> Source:
        """Options of a reader stand with its format, or where the format is told by names."""
        for option in ("csv", "xml", "mediawiki", "moses"):
            if getattr(self, option) is not None and self.format not in (option, "auto"):
                raise ValueError(f"{option}: is for format: {option}, found format: {self.format}")
        if self.paged is not None and self.format not in ("pdf", "epub", "docx", "auto", "tree"):
            raise ValueError(f"paged: is for formats pdf, epub and docx, found format: {self.format}")
        if (self.moses is None) != (self.format != "moses"):
            raise ValueError("format: moses and moses: {languages: [et, en]} go together")
        if self.group is not None and self.type not in ("text", "code", "math", "instruction_text"):
            raise ValueError(f"group: joins texts, and type: {self.type} has none of its own")
        return self

    @property
    def of_hub(self) -> list[Place]:
        """The dataset of the hub it reads, if it does."""
        return [Place(f"sources.{self.name}.hub", "", self.hub, self.config, self.revision, self.split)] if self.hub else []

    @model_validator(mode="before")
    @classmethod
    def _words_of_mathematics(cls, data: Any) -> Any:
        """Two texts that differ in their formulas are no duplicates, unless the recipe says words: rules."""
        if isinstance(data, dict) and data.get("type") == "math" and "words" not in data:
            return {**data, "words": "math"}
        return data

    @model_validator(mode="after")
    def _own_options(self) -> Source:
        """Options of a lane stand with its type alone; some types need theirs."""
        for type_, option in OPTION_OF.items():
            if getattr(self, option) is None and self.type == type_:
                raise ValueError(f"type: {type_} needs {option}:, such as {EXAMPLES[option]}")
            if getattr(self, option) is not None and self.type != type_:
                raise ValueError(f"{option}: is for type: {type_}, found type: {self.type}")
        if self.render is not None:
            for form in (*self.render.forms, QA):
                self.render.pool(self.render.language or self.language or "", form)
        if self.preference is not None and self.preference.of == "corrections":
            self.preference.pool(self.preference.language or self.language or "")
        for option in ("code", "math", "web"):
            if getattr(self, option) is not None and self.type != option:
                raise ValueError(f"{option}: is for type: {option}, found type: {self.type}")
        if unknown := sorted(set(self.provenance or ()) - set(PROVENANCE_KEYS)):
            raise ValueError(f"provenance has no key {unknown[0]!r}; it has {', '.join(PROVENANCE_KEYS)}")
        if self.provenance and self.type == "conversation":
            raise ValueError("the provenance of conversations stands under conversation:")
        if self.conversation is not None and self.type != "conversation":
            raise ValueError(f"conversation: is for type: conversation, found type: {self.type}")
        return self

    @property
    def is_conversation(self) -> bool:
        """Do its documents have messages, rendered by a chat template when they are tokenized?"""
        return self.type == "conversation" or (self.parallel is not None and self.parallel.form == "translation")

    @property
    def own(self) -> Parallel | Preference | Render | Web | None:
        """Options of its type that say which fields a row has: targets() and needed()."""
        return self.parallel or self.preference or self.render or (self.pages if self.type == "web" else None)

    @property
    def pages(self) -> Web:
        """How its pages become text, of type web."""
        return self.web or Web()


# Keys of a source that decide its documents; `files` and where they lie do not. Options of readers and lanes are added here.
DECIDE_ROWS = ("name", "type", "language", "license", "fields", "id", "conversation", "parallel", "preference", "render", "provenance", "code",
               "math", "csv", "xml", "mediawiki", "moses", "group", "web", "paged")  # fmt: skip
