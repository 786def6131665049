"""A PDF, EPUB or DOCX file in, one `RawRow` {text, title, date, language, extra} (or one `Bad`) out. Imports web.html, web.worker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from curate.recipe.lanes.paged import Paged
from curate.sources.formats import Asked
from curate.sources.records import Bad, RawRow, Refused
from curate.sources.web.html import whole
from curate.sources.web.worker import worker


def read_pdf(path: Path, asked: Asked) -> Iterator[RawRow | Bad]:
    yield _read(path, asked, "curate.sources.paged.pdf:text")


def read_epub(path: Path, asked: Asked) -> Iterator[RawRow | Bad]:
    yield _read(path, asked, "curate.sources.paged.epub:text")


def read_docx(path: Path, asked: Asked) -> Iterator[RawRow | Bad]:
    yield _read(path, asked, "curate.sources.paged.docx:text")


def _read(path: Path, asked: Asked, function: str) -> RawRow | Bad:
    options = (asked.source.paged if asked.source is not None else None) or Paged()
    data = whole(path, asked.limit)
    if isinstance(data, Bad):
        return data
    job: dict[str, Any] = {
        "data": data,
        "limit": asked.limit,
        "unpacked": options.unpacked_bytes,
        "join_lines": options.join_lines,
    }
    try:
        values = worker(function, options.memory)(job, options.time_limit)
    except Refused as refused:
        return Bad(path.name, 0, refused.cause, refused.detail, len(data))
    return RawRow(values, 0, len(data))
