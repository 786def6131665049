"""The bytes of a PDF in, its text and metadata out. Runs in the worker. Holds pypdfium2 (PDFium, Apache-2.0 or BSD).

Of a scan without a text layer there is no text; making one is not our trade. Imports lines.
"""

from __future__ import annotations

import re
from typing import Any

from curate.sources.paged.lines import joined
from curate.sources.records import Refused
from curate.sources.web.meta import iso_date


def text(job: dict[str, Any]) -> dict[str, Any]:
    """{data, limit, join_lines} -> {text, title, date, extra}. Raises Refused for what is no PDF, or has a password."""
    import pypdfium2

    try:
        document = pypdfium2.PdfDocument(job["data"])
    except pypdfium2.PdfiumError as error:
        raise Refused("unreadable", f"no PDF that opens: {error}") from None
    pages, n_bytes, n_bad = [], 0, 0
    for i in range(len(document)):
        try:
            page = document[i].get_textpage()
            said = page.get_text_range().replace("\r\n", "\n").replace("\r", "\n")
            page.close()
        except pypdfium2.PdfiumError:
            n_bad += 1
            continue
        n_bytes += len(said.encode("utf-8", "replace"))
        if n_bytes > job["limit"]:
            raise Refused("too_large", f"more than {job['limit']} bytes of text in {i + 1} pages")
        pages.append(_clean(said).split("\n"))
    if n_bad and not pages:
        raise Refused("unreadable", f"none of {n_bad} pages can be read")
    found, n_running = joined(pages) if job["join_lines"] else ("\n\n".join("\n".join(page) for page in pages), 0)
    about = document.get_metadata_dict()
    extra = {"n_pages": len(document), "n_unreadable_pages": n_bad, "n_running_lines": n_running}
    return {
        "text": found, "title": about.get("Title") or None, "date": _date(about.get("CreationDate", "")) or None,
        "\0extra": {"paged": {key: value for key, value in extra.items() if value}},
    }  # fmt: skip


def _clean(said: str) -> str:
    """PDFium writes U+FFFE (once U+0002) for a hyphen and the end of its line; NULs are glyphs without a character."""
    said = re.sub("[\ufffe\x02]\n?", "-\n", said).replace("\0", "\ufffd")
    return said.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _date(said: str) -> str:
    """D:20240131120000+02'00' -> 2024-01-31."""
    digits = said.removeprefix("D:")[:8]
    return iso_date(f"{digits[:4]}-{digits[4:6]}-{digits[6:8]}") if digits.isdecimal() and len(digits) == 8 else ""
