"""An lxml tree of HTML in, all of its text out: blocks on lines, list items with a dash, table rows with bars. Nothing is judged.

For pages that are all text (EPUB chapters, `extractor: whole`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from curate.sources.web.mathml import name_of

SILENT = frozenset({"script", "style", "head", "noscript", "template", "svg", "iframe", "object", "select", "button"})
BLOCKS = frozenset(
    [
        "address",
        "article",
        "aside",
        "blockquote",
        "body",
        "caption",
        "center",
        "dd",
        "details",
        "div",
        "dl",
        "dt",
        "fieldset",
        "figcaption",
        "figure",
        "footer",
        "form",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "header",
        "hr",
        "html",
        "li",
        "main",
        "nav",
        "ol",
        "p",
        "pre",
        "section",
        "summary",
        "table",
        "tbody",
        "tfoot",
        "thead",
        "tr",
        "ul",
    ]
)
PARAGRAPHS = frozenset(["p", "h1", "h2", "h3", "h4", "h5", "h6", "pre", "table", "blockquote", "ul", "ol", "dl", "figure"])
NEW, GAP = "\x1e", "\x1d"  # between pieces: the next line, an empty line; neither can stand in markup
_EDGES = re.compile(rf"[ \n]*[{NEW}{GAP}](?:[ \n]*[{NEW}{GAP}])*\n*(?: (?=\S))?")


def text_of(tree: Any) -> str:
    """The text of a tree that may be as deep as page.MAX_DEPTH."""
    return _laid("".join(_pieces(tree, False)))


def _laid(text: str) -> str:
    text = _EDGES.sub(lambda edge: "\n\n" if GAP in edge[0] else "\n", text)
    return "\n".join(line.rstrip() for line in text.split("\n")).strip("\n")


def _pieces(element: Any, is_pre: bool) -> Iterator[str]:
    name = name_of(element)
    if name in SILENT:
        return
    if name == "br":
        yield "\n"
        return
    if name == "tr":
        cells = [" ".join(text_of(cell).split()) for cell in element if name_of(cell) in ("td", "th")]
        yield NEW + (" | ".join(cells) if any(cells) else "") + NEW
        return
    if name == "li":
        inner = _laid("".join(_inside(element, is_pre))).strip()
        yield NEW + "- " + re.sub(r"\n+", "\n  ", inner) + NEW
        return
    edge = GAP if name in PARAGRAPHS else NEW if name in BLOCKS else ""
    yield edge
    yield from _inside(element, is_pre or name == "pre")
    yield edge


def _inside(element: Any, is_pre: bool) -> Iterator[str]:
    yield _spaced(element.text, is_pre)
    for child in element:
        if isinstance(child.tag, str):
            yield from _pieces(child, is_pre)
        yield _spaced(child.tail, is_pre)


def _spaced(text: str | None, is_pre: bool) -> str:
    return "" if not text else text if is_pre else re.sub(r"\s+", " ", text)
