"""Texts to train a language model on: files and build folders in, texts out one by one. Imports errors, recipe, sources, inspect.

Unlike texts.py nothing is held: the corpus of a language model need not fit in memory. Texts are repaired as ingest repairs prose.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from curate.errors import CurateError
from curate.recipe import License, Limits, Source
from curate.sources import Bad, read
from curate.sources.listing import format_of
from curate.sources.repair import repair
from curate.store import file_sha256

LIMITS = Limits.model_validate({"document_bytes": "1 GB"})  # a text file may be a whole corpus

log = logging.getLogger(__name__)


def texts_of_files(files: Sequence[Path], field: str = "text") -> Iterator[str]:
    """Every text in order. A text file's documents are its paragraphs (a blank line between), without any its lines.

    A build folder gives the texts it keeps, in the order of their ids. Unreadable records are counted in a warning. Raises
    CurateError for a file that is not there, or one without a single text.
    """
    for file in files:
        if file.is_dir():
            yield from _of_build(file)
        elif file.is_file():
            yield from _of_file(file, field)
        else:
            raise CurateError("there is no such file", where=str(file), allowed="JSONL, Parquet, text, or a build folder")


def input_sha256(file: Path) -> str:
    """Of a file; of a build folder, its manifest's, or where it has none its recipe's."""
    if file.is_dir():
        file = next((f for f in (file / "manifest.json", file / "recipe.yaml") if f.is_file()), file / "manifest.json")
    return file_sha256(file)


def _of_file(file: Path, field: str) -> Iterator[str]:
    source = Source(name=file.name, read=[str(file)], license=License(declared="LicenseRef-unknown"), fields={"text": field})
    is_text = format_of(file, source) == "text"
    if is_text:
        source = source.model_copy(update={"fields": {}})
    n_bad, n_good, cause = 0, 0, ""
    for row in read(file, source, LIMITS):
        if isinstance(row, Bad):
            n_bad, cause = n_bad + 1, cause or f"{row.cause}: {row.detail}"
            continue
        n_good += 1
        whole = repair(row.fields["text"])
        yield from _parts(whole) if is_text else [whole]
    if not n_good:
        raise CurateError(
            "no record of this file has a text", where=str(file), found=cause or "no records",
            next="" if is_text else f"--field: the texts are looked for in {field!r}",
        )  # fmt: skip
    if n_bad:
        log.warning("%s: %d of %d records cannot be used; the first: %s", file.name, n_bad, n_bad + n_good, cause)


def _parts(whole: str) -> list[str]:
    parts = [part for part in re.split(r"\n(?:[^\S\n]*\n)+", whole.replace("\r\n", "\n")) if part.strip()]
    return parts if len(parts) > 1 else [line for line in whole.split("\n") if line.strip()]


def _of_build(folder: Path) -> Iterator[str]:
    from curate.inspect.corpus import open_corpus

    with open_corpus(folder) as corpus:
        kept = corpus.execute("SELECT text FROM texts JOIN decisions USING (id) WHERE keep ORDER BY id")
        while rows := kept.fetchmany(1000):
            yield from (text for (text,) in rows)
