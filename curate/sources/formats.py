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
    """What a reader is told: bytes one record may have, the columns wanted (None: all), the source if there is one, and the name of the
    file within it."""

    limit: int
    columns: set[str] | None = None
    source: Source | None = None
    name: str = ""
    groups: range | None = None  # row groups of a Parquet file; None: all (pieces.py)


Reader = Callable[[Path, Asked], Iterator[RawRow | Bad]]


class Format(NamedTuple):
    """`suffixes`: of file names, without that of a compression. `is_one`: a file is one document, so that `id: path` is possible."""

    module: str
    function: str
    suffixes: tuple[str, ...] = ()
    is_one: bool = False


ARCHIVE = "archive"  # told by the name, never asked for: `format:` says what its members are
FORMATS: dict[str, Format] = {
    "jsonl": Format("jsonl", "read_jsonl", (".jsonl", ".jsonlines", ".ndjson", ".json")),
    "parquet": Format("parquet", "read_parquet", (".parquet", ".pq")),
    "text": Format("plain", "read_plain", (".txt", ".text"), is_one=True),
    "csv": Format("readers.csv", "read_csv", (".csv", ".tsv", ".tab")),
    "arrow": Format("readers.arrow", "read_arrow", (".arrow", ".feather", ".ipc", ".arrows")),
    "markdown": Format("readers.markdown", "read_markdown", (".md", ".markdown"), is_one=True),
    "xml": Format("readers.xml", "read_xml", (".xml",)),
    "vertical": Format("readers.vertical", "read_vertical", (".vert", ".vertical")),
    "prevert": Format("readers.vertical", "read_prevert", (".prevert", ".prevertical")),
    "mediawiki": Format("readers.mediawiki", "read_mediawiki"),
    "moses": Format("readers.moses", "read_moses"),
    "tmx": Format("readers.tmx", "read_tmx", (".tmx",)),
    ARCHIVE: Format("readers.archives", "read_archive", (".tar", ".zip")),
    "html": Format("web.html", "read_html", (".html", ".htm", ".xhtml"), is_one=True),
    "warc": Format("web.warc", "read_warc", (".warc", ".arc")),
    "pdf": Format("paged.reader", "read_pdf", (".pdf",), is_one=True),
    "epub": Format("paged.reader", "read_epub", (".epub",), is_one=True),
    "docx": Format("paged.reader", "read_docx", (".docx",), is_one=True),
    "wet": Format("web.warc", "read_wet", (".wet",)),
}

BY_SUFFIX = {suffix: name for name, one in FORMATS.items() for suffix in one.suffixes}


def reader(name: str) -> Reader:
    """The reader of a format of FORMATS."""
    one = FORMATS[name]
    found: Reader = getattr(importlib.import_module(f"curate.sources.{one.module}"), one.function)
    return found
