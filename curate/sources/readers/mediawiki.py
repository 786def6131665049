"""A MediaWiki dump (export XML) in, `RawRow | Bad` out: one row per page, its wikitext cleaned. Imports elements, wikitext.

Fields: text, id (of the page), title, url, date (of the revision), language; extra holds categories, namespace and revision.
"""

from __future__ import annotations

import re
import urllib.parse
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from curate.recipe.lanes.xml import MediaWiki
from curate.sources.formats import Asked
from curate.sources.readers.elements import elements
from curate.sources.readers.wikitext import Names, clean
from curate.sources.records import EXTRA, Bad, RawRow

NAMESPACE = re.compile(r'<namespace key="(-?\d+)"[^>]*>([^<]*)(?=<)')
LOCAL_NAMES = {"files": ("-2", "6"), "categories": ("14",)}
MODELS = ("wikitext", None)  # pages of others are JavaScript, style sheets, Lua


class _Wiki(NamedTuple):
    base: str  # of addresses, ends with /
    language: str | None
    names: Names


def read_mediawiki(path: Path, asked: Asked) -> Iterator[RawRow | Bad]:
    """The latest revision of every page of the namespaces asked for. Redirects and pages of other namespaces are no records."""
    options = (asked.source.mediawiki if asked.source else None) or MediaWiki()
    head, wiki = bytearray(), None
    for found in elements(path, "page", asked.limit, head=head):
        if isinstance(found, Bad):
            yield found
            continue
        wiki = wiki or _wiki(head)
        if (values := _page(found.element, wiki, options)) is not None:
            yield RawRow(values, found.byte_offset, found.n_bytes)


def _wiki(head: bytearray) -> _Wiki:
    """What the first bytes of a dump say of its wiki."""
    text = head.decode(errors="replace").partition("<page>")[0]
    base = re.search(r"<base>([^<]*/)[^<]*</base>", text)
    language = re.search(r'xml:lang="([^"]+)"', text)
    local = {key: name.strip().lower() for key, name in NAMESPACE.findall(text)}
    files, categories = ({*default, *(local[key] for key in keys if local.get(key))}
                         for default, keys in zip(Names()[:2], LOCAL_NAMES.values(), strict=True))  # fmt: skip
    return _Wiki(base[1] if base else "", language[1] if language else None, Names(files, categories))


def _page(page: ET.Element, wiki: _Wiki, options: MediaWiki) -> dict[str, Any] | None:
    number = page.findtext("ns") or "0"
    namespace = int(number) if re.fullmatch(r"-?\d{1,9}", number) else None
    revisions = page.findall("revision")
    if namespace not in options.namespaces or (page.find("redirect") is not None and not options.redirects) or not revisions:
        return None
    revision = max(revisions, key=lambda one: one.findtext("timestamp") or "")
    if revision.findtext("model") not in MODELS:
        return None
    title = page.findtext("title") or ""
    cleaned = clean(revision.findtext("text") or "", title, wiki.names)
    extra = {"categories": cleaned.categories, "namespace": namespace, "revision": revision.findtext("id")}
    values = {
        "id": page.findtext("id"), "title": title, "text": cleaned.text, "date": revision.findtext("timestamp"),
        "url": wiki.base + urllib.parse.quote(title.replace(" ", "_"), safe="/:()_,") if wiki.base else None,
        "language": wiki.language, "categories": cleaned.categories, EXTRA: extra,
    }  # fmt: skip
    return {name: value for name, value in values.items() if value is not None}
