"""One page in, its text and what it says about itself out. Runs in the worker process (worker.py): it may be killed at any moment.

Order: decode, parse, read the metadata, put tokens for formulas, extract, put the formulas back. Holds lxml with maths and meta.
"""

from __future__ import annotations

import contextlib
import re
from typing import Any

from curate.sources.records import Refused
from curate.sources.web import encoding, extractors, maths, meta

MAX_DEPTH = 512  # levels of elements; where Chromium stops (kMaximumHTMLParserDOMTreeDepth)
_DECLARATION = re.compile(r"^\s*<\?xml[^>]*\?>")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def page(job: dict[str, Any]) -> dict[str, Any]:
    """{html: bytes | str, content_type, http, extractor, favour, maths, language} -> {text, title, url, published, extra}.

    Raises Refused for what is no text, no markup, or nested deeper than MAX_DEPTH.
    """
    html = job["html"]
    extra: dict[str, Any] = {}
    if isinstance(html, bytes):
        html, name, n_replaced = encoding.decode(html, job.get("content_type"))
        if name != "utf-8":
            extra["encoding"] = name
        if n_replaced:
            extra["n_replaced"] = n_replaced
    tree = parse(html)
    found = meta.facts(tree, job.get("http") or {})
    extra |= {key: found.pop(key) for key in ("lang", "robots", "x_robots_tag", "tdm_reservation", "tdm_policy") if key in found}
    formulas = maths.protect(tree, html) if job.get("maths", True) else maths.Found([], "")
    if formulas.formulas:
        html = as_html(tree)
    language = job.get("language") or extra.get("lang")  # the recipe knows better than the page
    text = extractors.extract(job["extractor"], html, tree, job.get("favour", "balance"), language)
    text, n = maths.restore(text, formulas)
    if n:
        extra["n_formulas"] = n
    return {"text": _CONTROL.sub("", text).strip("\n"), "extra": extra, **found}


def prepare(job: dict[str, Any]) -> None:
    """Load the extractor."""
    with contextlib.suppress(Exception):  # whatever is wrong with it, the first page will say so
        page({"html": "<html><body><p>a</p></body></html>", "extractor": job["extractor"]})


def parse(html: str) -> Any:
    """The tree of a page. Raises Refused where nothing is left of it, or it is too deep."""
    from lxml import etree
    from lxml import html as parser

    source = _CONTROL.sub("", _DECLARATION.sub("", html, count=1))
    if not source.strip():
        raise Refused("empty_text", "an empty page")
    try:
        tree = parser.document_fromstring(
            source, parser=parser.HTMLParser(huge_tree=True, encoding="utf-8"), ensure_head_body=False
        )
    except UnicodeEncodeError as error:
        raise Refused("lone_surrogate", f"U+{ord(error.object[error.start]):04X} at character {error.start}") from None
    except (etree.ParserError, etree.XMLSyntaxError, ValueError) as error:
        raise Refused("empty_text", f"no markup: {str(error)[:100]}") from None
    if tree.xpath("boolean(" + "/*" * MAX_DEPTH + ")"):
        raise Refused("too_deep", f"elements nested more than {MAX_DEPTH} levels deep")
    return tree


def as_html(tree: Any) -> str:
    from lxml import html as parser

    return str(parser.tostring(tree, encoding="unicode"))
