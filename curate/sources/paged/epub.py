"""The bytes of an EPUB in, the text of its chapters in reading order and its metadata out. Runs in the worker. Holds lxml.

An EPUB is a zip of XHTML pages; a library for it (ebooklib) is AGPL, so the two files that say what to read are read here. Nothing is
unpacked to disk. Imports web.
"""

from __future__ import annotations

import posixpath
from typing import Any
from urllib.parse import unquote

from curate.sources.paged.zipped import Zip
from curate.sources.records import Refused
from curate.sources.web import blocks, encoding, maths
from curate.sources.web.page import parse

PAGES = ("application/xhtml+xml", "text/html", "application/x-dtbook+xml")


def text(job: dict[str, Any]) -> dict[str, Any]:
    """{data, limit, unpacked} -> {text, title, date, language, extra}. Raises Refused for what is no EPUB, or locked."""
    with Zip(job["data"], job["unpacked"]) as book:
        package = _xml(book.read(_package_path(book)))
        folder = posixpath.dirname(_package_path(book))
        _check_open(book)
        items = {item.get("id"): item for item in _all(package, "item")}
        chapters, n_lost, n_bytes = [], 0, 0
        for ref in _all(package, "itemref"):
            item = items.get(ref.get("idref"))
            if item is None or item.get("media-type") not in PAGES or "nav" in (item.get("properties") or "").split():
                continue
            try:
                said = _chapter(book.read(posixpath.normpath(posixpath.join(folder, unquote(item.get("href") or "")))))
            except Refused as refused:
                if refused.cause == "too_large":
                    raise
                n_lost += refused.cause != "empty_text"
                continue
            n_bytes += len(said.encode())
            if n_bytes > job["limit"]:
                raise Refused("too_large", f"more than {job['limit']} bytes of text")
            chapters.append(said)
    if n_lost and not chapters:
        raise Refused("unreadable", f"none of {n_lost} chapters can be read")
    extra = {"n_chapters": len(chapters), "n_unreadable_chapters": n_lost, "identifier": _said(package, "identifier")}
    return {
        "text": "\n\n".join(chapter for chapter in chapters if chapter), "title": _said(package, "title") or None,
        "date": _said(package, "date") or None, "language": _said(package, "language") or None,
        "\0extra": {"paged": {key: value for key, value in extra.items() if value}},
    }  # fmt: skip


def _package_path(book: Zip) -> str:
    container = _xml(book.read("META-INF/container.xml"))
    for root in _all(container, "rootfile"):
        if path := root.get("full-path"):
            return str(path)
    raise Refused("unreadable", "no EPUB: META-INF/container.xml names no package")


def _check_open(book: Zip) -> None:
    """Fonts may be obfuscated; a book whose chapters are encrypted cannot be read."""
    if "META-INF/encryption.xml" in book.names:
        uris = [e.get("URI") or "" for e in _all(_xml(book.read("META-INF/encryption.xml")), "CipherReference")]
        if any(uri.lower().endswith((".xhtml", ".html", ".htm", ".xml")) for uri in uris):
            raise Refused("unreadable", "its chapters are encrypted")


def _chapter(data: bytes) -> str:
    html = encoding.decode(data).text
    tree = parse(html)
    found = maths.protect(tree, html)
    return maths.restore(blocks.text_of(tree), found)[0]


def _xml(data: bytes) -> Any:
    from lxml import etree

    try:
        return etree.fromstring(data, etree.XMLParser(resolve_entities=False, no_network=True, recover=True))
    except etree.XMLSyntaxError as error:
        raise Refused("unreadable", f"no EPUB: {error}"[:150]) from None


def _all(tree: Any, name: str) -> list[Any]:
    return [] if tree is None else [e for e in tree.iter() if isinstance(e.tag, str) and e.tag.rpartition("}")[2] == name]


def _said(package: Any, name: str) -> str:
    return next((" ".join("".join(e.itertext()).split()) for e in _all(package, name)), "")
