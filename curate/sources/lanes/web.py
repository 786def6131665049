"""Type web: a row with a page's HTML in, the columns of a document out: its main text, title, date, address, and what it says of reuse.

Rows come from the formats warc and html or have a field `html` (bytes or text); a row that has only `text`, such as a conversion record,
is taken as it is unless it begins like a page. What the page says about itself is under `web` in `extra`, where signals.urls looks for
opt-outs. A worker process does the work (sources.web.worker). Imports fields and sources.web.
"""

from __future__ import annotations

from typing import Any

from curate.recipe import Source
from curate.sources.fields import Mapper, add_extra, as_string, checked, clean, field_names, pick, scalars, string
from curate.sources.records import Refused
from curate.sources.web.worker import worker

PAGE = "curate.sources.web.page:page"


def lane(source: Source, limit: int) -> Mapper:
    options, others = source.pages, scalars(source)
    names = field_names(source)
    asked = {"extractor": options.extractor, "favour": options.favour, "maths": options.maths, "language": source.language}
    extract = worker(PAGE, options.memory)

    def fields(row: dict[str, Any]) -> dict[str, Any]:
        html, mapped = pick(row, names["html"]), others(row)
        if isinstance(html, str) and row.get("text") == html and "html" not in source.fields and not _is_page(html):
            return mapped | {"text": checked(string(html, "text"), limit)}
        if not isinstance(html, str | bytes):
            raise Refused(
                "missing_text" if html is None else "text_not_string",
                "no html" if html is None else f"html is a {type(html).__name__}",
            )
        n = len(html)
        if n > min(options.page_bytes, limit):
            raise Refused("too_large", f"a page of {n} {'bytes' if isinstance(html, bytes) else 'characters'}")
        http = pick(row, names["http"])
        job = {
            "html": html,
            "content_type": as_string(pick(row, names["content_type"])),
            "http": http if isinstance(http, dict) else {},
        }
        found = extract(job | asked, options.time_limit)
        said = {key: value for key in ("truncated",) if (value := row.get(key))} | found["extra"]
        if "published" in found:
            said["published"] = found["published"]
        mapped["text"] = checked(found["text"], limit)
        mapped["title"] = mapped["title"] or clean(found.get("title")) or None
        mapped["url"] = mapped["url"] or clean(found.get("url")) or None
        mapped["date"] = mapped["date"] or clean(found.get("published")) or None
        if said:
            mapped["extra"] = add_extra(mapped["extra"], "web", said)
        return mapped

    return fields


def _is_page(text: str) -> bool:
    head = text[:2000].lstrip().lower()
    return head.startswith("<") and ("<!doctype html" in head or "<html" in head)
