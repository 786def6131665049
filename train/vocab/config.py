"""The run file of `method: vocab`: YAML in, a checked `VocabRun` out. No torch.

Every mistake is one CurateError naming file, line and key, before any text is read. Paths start where the command runs.
May import curate.errors, curate.recipe, curate.units, train.config, train.vocab.init.config.
"""

from __future__ import annotations

import glob
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, model_validator

from curate.errors import CurateError
from curate.recipe import Strict, Where, validate
from curate.recipe.files import load_settings
from curate.recipe.strict import read_quantity
from curate.units import Quantity, n_bytes
from train.config import ModelSpec, Names
from train.vocab.init.config import Rows

Share = Annotated[Quantity, BeforeValidator(lambda value: read_quantity(value, ("share",))), PlainSerializer(str)]
Bytes = Annotated[int, BeforeValidator(lambda value: value if isinstance(value, int) else n_bytes(value))]
ACTIONS = ("train", "extend", "replace", "trim")


class Text(Strict):
    """Documents of one language: of files, or of a build, as it trains on them."""

    files: Names = ()  # JSON lines, Parquet or plain text, packed or not; patterns
    field: str = "text"  # of JSON lines: dots go down into nested records
    build: str | None = None  # a build folder
    sources: Names = ()  # of the build; all where none is named
    language: str = ""  # of a build's documents: what the build says, unless it is said here
    limit: Bytes | None = None  # of text, taken from the beginning: '200 MB'

    @model_validator(mode="after")
    def _one(self) -> Text:
        if bool(self.files) == (self.build is not None):
            raise ValueError("one of files, build")
        if self.sources and self.build is None:
            raise ValueError("sources: belongs to a build")
        if self.files and not self.language:
            raise ValueError("files need their language: 'et'")
        return self


class Learned(Strict):
    """How new tokens are learned."""

    languages: Names = ()  # learned from these of the text; all where none is named
    min_frequency: int = Field(default=2, ge=1)  # of a pair that is merged
    max_chars: int = Field(default=16, ge=1)  # of a new token: SentencePiece's max_sentencepiece_length
    character_coverage: float = Field(
        default=0.9995, gt=0, le=1
    )  # SentencePiece's; only where not every byte is a letter of the vocabulary


class Train(Learned):
    size: int = Field(ge=1)  # of the whole vocabulary


class Extend(Learned):
    add: int = Field(ge=1)  # new tokens


class Replace(Strict):
    by: str  # folder, tokenizer.json, tokenizer.model or hub id
    revision: str | None = None


class Trim(Strict):
    languages: Names = ()  # counted in these of the text; all where none is named
    min_frequency: int = Field(default=2, ge=1)  # lm-vocab-trimmer's default (arXiv 2305.15020)
    size: int | None = Field(default=None, ge=1)  # of the whole vocabulary at most: the most frequent tokens that fit
    keep: Names = ()  # tokens, as the vocabulary writes them or as text
    keep_file: str | None = None  # the same, one a line


class VocabRun(Strict):
    method: Literal["vocab"]
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    model: ModelSpec | None = None  # gets new rows; without it only the tokenizer is made
    tokenizer: str | None = None  # folder, file or hub id; default: the model's
    revision: str | None = None  # of a tokenizer from the hub
    text: tuple[Text, ...] = ()
    held_out: Share = Quantity(Fraction(2, 100), "share")  # of the documents: measured, never learned from
    expensive_words: int = Field(default=20, ge=0)  # named in the report
    train: Train | None = None
    extend: Extend | None = None
    replace: Replace | None = None
    trim: Trim | None = None
    rows: Rows | None = None  # how the model's new rows are made
    save: dict[Literal["to"], str]
    seed: int = Field(default=0, ge=0, lt=2**63)

    @model_validator(mode="after")
    def _fits(self) -> VocabRun:
        asked = [name for name in ACTIONS if getattr(self, name) is not None]
        if len(asked) > 1:
            raise ValueError(f"one of {', '.join(ACTIONS)}; found {' and '.join(asked)}")
        if self.tokenizer is None and self.model is None:
            raise ValueError("which tokenizer: the key 'tokenizer' or 'model' is missing")
        if self.rows is not None and self.model is None:
            raise ValueError("rows are a model's: the key 'model' is missing")
        if not self.text and asked != ["replace"]:
            raise ValueError("the key 'text' is missing: which texts are measured and learned from")
        return self

    @property
    def action(self) -> str:
        """One of ACTIONS, or "" for the report alone."""
        return next((name for name in ACTIONS if getattr(self, name) is not None), "")

    @property
    def place(self) -> tuple[str, str | None]:
        """Of the tokenizer that is worked on: folder, file or hub id, and a revision."""
        if self.tokenizer is not None:
            return self.tokenizer, self.revision
        assert self.model is not None and isinstance(self.model.init, str)
        return self.model.tokenizer or self.model.init, self.model.revision

    def canonical(self) -> dict:
        return self.model_dump(mode="json", exclude_none=True)


def load_vocab(path: Path, sets: Sequence[str] = ()) -> tuple[VocabRun, Where]:
    """Read a run file (`extends:` works as in recipes), with `key=value` settings on top; and where each key stands."""
    path = Path(path)
    data, where = load_settings(path, sets)
    run = validate(VocabRun, data, where, path)
    _check_model(run, where, path)
    _check_texts(run, where, path)
    return run, where


def _check_model(run: VocabRun, where: Where, path: Path) -> None:
    if run.model is not None and not isinstance(run.model.init, str):
        raise CurateError(
            "new rows are made for a model that has weights", where=where.get(("model", "init"), str(path)), found="a config in place",
            allowed="a folder with config.json and weights",
        )  # fmt: skip
    if run.model is not None and not (Path(str(run.model.init)) / "config.json").is_file():
        raise CurateError(
            "there is no model here", where=where.get(("model", "init"), str(path)), found=str(run.model.init),
            allowed="a folder with config.json and weights", next=f"hf download {run.model.init} --local-dir FOLDER, where it is a hub id",
        )  # fmt: skip


def _check_texts(run: VocabRun, where: Where, path: Path) -> None:
    for number, text in enumerate(run.text):
        at = ("text", str(number))
        for pattern in text.files:
            if not glob.glob(pattern, recursive=True):
                raise CurateError("there is no text here", where=where.get((*at, "files"), str(path)), found=pattern)
        if text.build is not None and not (Path(text.build) / "manifest.json").is_file():
            raise CurateError(
                "there is no build here", where=where.get((*at, "build"), str(path)), found=text.build,
                next=f"curate build-mixture RECIPE --out {text.build}",
            )  # fmt: skip
    if run.trim is not None and run.trim.keep_file is not None and not Path(run.trim.keep_file).is_file():
        raise CurateError("there is no such file", where=where.get(("trim", "keep_file"), str(path)), found=run.trim.keep_file)


def at(where: Where, path: Path) -> Any:
    """Key path -> "file:line", the nearest that is known."""

    def place(key: tuple[str, ...]) -> str:
        known = next((where[key[:n]] for n in range(len(key), 0, -1) if key[:n] in where), None)
        return known or str(path)

    return place
