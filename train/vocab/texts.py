"""The user's text: blocks of a vocab run file in; documents by language out, those that are learned from and those that are held out.

A document is held out by the hash of its text, so that copies fall on one side; of every language with two documents one at least.
Nothing is kept in memory: every call reads again.
May import curate.errors, curate.recipe, curate.manifest, mixture.export.documents, train.vocab.config; pyarrow.
"""

from __future__ import annotations

import glob
import hashlib
import io
import json
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curate.errors import CurateError, nearest
from curate.manifest import read_manifest
from curate.recipe import load_recipe
from mixture.export.documents import Store, read, selected
from train.vocab.config import Text

COMPRESSED = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}
LINES, PLAIN = (".jsonl", ".ndjson"), (".txt", ".md", "")
UNKNOWN = "und"  # BCP 47's word for a language that nobody said
Document = tuple[str, str]  # language, text


@dataclass
class Corpus:
    """All blocks together. `documents` and `n_bytes` by language, of both sides, counted when it is opened."""

    blocks: tuple[Text, ...]
    share: float  # held out
    documents: Counter[str] = field(default_factory=Counter)
    n_bytes: Counter[str] = field(default_factory=Counter)
    held_out: Counter[str] = field(default_factory=Counter)  # documents

    sums: dict[str, int] = field(default_factory=dict)
    below: dict[str, int] = field(default_factory=dict)  # a document whose number is smaller is held out

    def __post_init__(self) -> None:
        numbers: dict[str, list[int]] = {}
        for language, text in self._all():
            self.documents[language] += 1
            self.n_bytes[language] += len(text.encode())
            numbers.setdefault(language, []).append(_number(text))
        for language, each in numbers.items():
            least = min(each) + 1 if self.share and min(each) < max(each) else 0
            self.below[language] = max(int(self.share * 2**64), least)
            self.sums[language] = sum(each) % 2**63
            self.held_out[language] = sum(number < self.below[language] for number in each)
        if self.blocks and not self.documents:
            raise CurateError("there is no text here", where="text", found="no document that has text")

    @property
    def languages(self) -> list[str]:
        return sorted(self.documents)

    def counted(self, language: str) -> dict[str, int]:
        """`sum`: of the documents' numbers; the same for the same documents in any order."""
        counts = {"documents": self.documents[language], "held_out": self.held_out[language], "bytes": self.n_bytes[language]}
        return counts | {"sum": self.sums[language]}

    def learned(self, languages: Collection[str] = ()) -> Iterator[str]:
        """Documents to learn from, of some languages or of all."""
        return (text for language, text in self._all(languages) if not self._is_held_out(language, text))

    def measured(self, *, held_out: bool) -> Iterator[Document]:
        """Held-out documents, or all."""
        return ((language, text) for language, text in self._all() if not held_out or self._is_held_out(language, text))

    def by_language(self) -> dict[str, Callable[[], Iterator[str]]]:
        return {language: partial(self.learned, [language]) for language in self.languages}

    def check(self, languages: Collection[str], where: str) -> None:
        for language in languages:
            if language not in self.documents:
                close = nearest(language, self.documents) or self.languages
                raise CurateError("the text has no such language", where=where, found=language, allowed=", ".join(close))

    def _is_held_out(self, language: str, text: str) -> bool:
        return _number(text) < self.below[language]

    def _all(self, languages: Collection[str] = ()) -> Iterator[Document]:
        for block in self.blocks:
            rest = block.limit
            for language, text in _of_build(block) if block.build else _of_files(block):
                if not text.strip():
                    continue
                if rest is not None and (rest := rest - len(text.encode())) < 0:
                    break
                if not languages or language in languages:
                    yield language, text


def _number(text: str) -> int:
    """From 0 to 2**64."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def _of_build(block: Text) -> Iterator[Document]:
    """Documents that the build trains on, with their cuts applied."""
    build = Path(str(block.build))
    log = json.loads((build / "log" / "build.json").read_text())
    recipe = load_recipe(build / "recipe.yaml", [], base=Path(log["recipe_base"]))
    of = selected(build / "selection.parquet")
    if odd := sorted(set(block.sources) - of.keys()):
        raise CurateError("the build trains on no such source", where="text.sources", found=odd[0], allowed=", ".join(sorted(of)))
    wanted = {source: own for source, own in of.items() if not block.sources or source in block.sources}
    chats = {source for source in wanted if recipe.sources[source].is_conversation}
    stages = Store(build / log["store"], read_manifest(build / "manifest.json"))
    last = None
    for part in read(wanted, stages, chats):
        for row in part.select(["source", "id", "text", "messages", "language"]).to_pylist():
            if last != (row["source"], row["id"]):  # a document of two components follows itself
                last = (row["source"], row["id"])
                yield block.language or row["language"] or UNKNOWN, _text(row)


def _text(row: dict[str, Any]) -> str:
    if row["text"] is not None:
        return str(row["text"])
    return "\n".join(message["content"] for message in row["messages"] if message["content"])


def _of_files(block: Text) -> Iterator[Document]:
    for pattern in block.files:
        for path in sorted(glob.glob(pattern, recursive=True)):
            yield from ((block.language, text) for text in _of_file(Path(path), block.field))


def _of_file(path: Path, name: str) -> Iterator[str]:
    packed = path.suffix in COMPRESSED
    suffix = Path(path.stem).suffix if packed else path.suffix
    if suffix == ".parquet" and not packed:
        yield from _parquet(path, name)
    elif suffix in LINES or suffix in PLAIN:
        try:
            with pa.input_stream(str(path), compression=COMPRESSED[path.suffix] if packed else None) as stream:
                lines = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="\n")
                yield from _json_lines(path, lines, name) if suffix in LINES else _paragraphs(lines)
        except (UnicodeDecodeError, OSError) as error:
            raise CurateError("this file cannot be read as text", where=str(path), found=str(error)) from None
    else:
        raise CurateError(
            "texts are not read from such files",
            where=str(path),
            allowed=".jsonl, .parquet, .txt, .md, and .gz, .zst or .bz2 of them",
        )


def _json_lines(path: Path, lines: Any, name: str) -> Iterator[str]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise CurateError("this line is not JSON", where=f"{path}:{number}", found=f"{error}: {line[:60]!r}") from None
        text = row
        for part in name.split("."):
            text = text.get(part) if isinstance(text, dict) else None
        if not isinstance(text, str):
            known = ", ".join(row) if isinstance(row, dict) else type(row).__name__
            raise CurateError(
                "this record has no such text", where=f"{path}:{number}", found=name, allowed=known, next="name it: field: ..."
            )
        yield text


def _paragraphs(lines: Any) -> Iterator[str]:
    """A plain text in documents that end at an empty line, so that a large file is no large document."""
    held: list[str] = []
    for line in lines:
        if line.strip():
            held.append(line)
        elif held:
            yield "".join(held)
            held = []
    if held:
        yield "".join(held)


def _parquet(path: Path, name: str) -> Iterator[str]:
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise CurateError("this is not a Parquet file", where=str(path), found=str(error)) from None
    if name not in file.schema_arrow.names:
        raise CurateError(
            "this table has no such column", where=str(path), found=name, allowed=", ".join(file.schema_arrow.names)
        )
    for batch in file.iter_batches(512, columns=[name]):
        yield from (text for text in batch[0].to_pylist() if text)
