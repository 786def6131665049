"""Every format a raw file may have: its names, and the reader behind it, imported when it is first used.

A reader is `read_x(path, asked) -> Iterator[RawRow | Bad]`: records before their fields are mapped, one `Bad` for whatever cannot be
read; it never raises for what a file contains, holds about `asked.limit` bytes of one record, and loses no neighbour. Imports recipe.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from curate.recipe import Source
from curate.sources.records import Bad, RawRow


class Asked(NamedTuple):
    """What a reader is told: bytes one record may have, the columns wanted (None: all), and the source, if there is one."""

    limit: int
    columns: set[str] | None = None
    source: Source | None = None


Reader = Callable[[Path, Asked], Iterator[RawRow | Bad]]


class Format(NamedTuple):
    """`suffixes`: of file names, without that of a compression. `is_one`: a file is one document, so that `id: path` is possible."""

    module: str
    function: str
    suffixes: tuple[str, ...] = ()
    is_one: bool = False


FORMATS: dict[str, Format] = {
    "jsonl": Format("jsonl", "read_jsonl", (".jsonl", ".jsonlines", ".ndjson", ".json")),
    "parquet": Format("parquet", "read_parquet", (".parquet", ".pq")),
    "text": Format("plain", "read_plain", (".txt", ".text", ".md"), is_one=True),
}

BY_SUFFIX = {suffix: name for name, one in FORMATS.items() for suffix in one.suffixes}


def reader(name: str) -> Reader:
    """The reader of a format of FORMATS."""
    one = FORMATS[name]
    found: Reader = getattr(importlib.import_module(f"curate.sources.{one.module}"), one.function)
    return found
