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
    ["address", "article", "aside", "blockquote", "body", "caption", "center", "dd", "details", "div", "dl", "dt", "fieldset", "figcaption"]
    + ["figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "html", "li", "main", "nav", "ol", "p", "pre", "section"]
    + ["summary", "table", "tbody", "tfoot", "thead", "tr", "ul"]
)
PARAGRAPHS = frozenset(["p", "h1", "h2", "h3", "h4", "h5", "h6", "pre", "table", "blockquote", "ul", "ol", "dl", "figure"])
NEW, GAP = "\n", "\n\n"  # between pieces: a new line, an empty line


def text_of(tree: Any) -> str:
    """The text of a tree that may be as deep as page.MAX_DEPTH."""
    lines = re.sub(r"\n (?=\S)", "\n", "".join(_pieces(tree, False))).split("\n")
    return re.sub(r"\n{3,}", "\n\n", "\n".join(line.rstrip() for line in lines)).strip("\n")


def _pieces(element: Any, is_pre: bool) -> Iterator[str]:
    name = name_of(element)
    if name in SILENT:
        return
    if name == "br":
        yield NEW
        return
    if name == "tr":
        cells = [" ".join(text_of(cell).split()) for cell in element if name_of(cell) in ("td", "th")]
        yield NEW + (" | ".join(cells) if any(cells) else "") + NEW
        return
    edge = GAP if name in PARAGRAPHS else NEW if name in BLOCKS else ""
    yield edge
    if name == "li":
        yield "- "
    is_pre = is_pre or name == "pre"
    yield _spaced(element.text, is_pre)
    for child in element:
        if isinstance(child.tag, str):
            yield from _pieces(child, is_pre)
        yield _spaced(child.tail, is_pre)
    yield edge


def _spaced(text: str | None, is_pre: bool) -> str:
    return "" if not text else text if is_pre else re.sub(r"\s+", " ", text)
