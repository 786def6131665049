"""The extractors a recipe may choose for a page's main text: HTML in, text out, behind one signature. Holds their libraries.

Each is `extract(html, tree, favour, language) -> text`, "" where it finds none. They run in the worker only. What each is worth on our
pages is in docs/evidence/extraction.txt.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Extractor = Callable[[str, Any, str, str | None], str]


def _trafilatura(html: str, tree: Any, favour: str, language: str | None) -> str:
    """Barbaresi 2021 (ACL demo), doi 10.18653/v1/2021.acl-demo.15: rules over the tree, with readability and justext behind it."""
    import trafilatura

    text = trafilatura.extract(
        html, include_comments=False, include_tables=True, include_formatting=False, favor_precision=favour == "precision",
        favor_recall=favour == "recall", deduplicate=False,
    ) or ""  # fmt: skip
    return _tidy(text, has_code="<pre" in html or "<PRE" in html)


def _tidy(text: str, has_code: bool) -> str:
    """Without the source's own indentation, which trafilatura leaves inside lists; a dash stands before its item."""
    lines = text.split("\n")
    if not has_code:
        lines = [said for line in lines if (said := " ".join(line.split()))]  # its blocks follow each other without blank lines
    out: list[str] = []
    for line in lines:
        if out and out[-1].rstrip() == "-" and line.strip():
            out[-1] = "- " + line.lstrip()
        elif not (out and out[-1].rstrip() == "-"):
            out.append(line)
    return "\n".join(out)


def _resiliparse(html: str, tree: Any, favour: str, language: str | None) -> str:
    """Bevendorff et al. 2018 (ECIR): rules in C++, three times faster. What DCLM (arXiv 2406.11794, section 4.2) chose."""
    from resiliparse.extract.html2text import extract_plain_text

    return str(
        extract_plain_text(html, main_content=favour != "recall", alt_texts=False, preserve_formatting=True, list_bullets=True)
    )


def _justext(html: str, tree: Any, favour: str, language: str | None) -> str:
    """Pomikálek 2011: paragraphs by length, links and stop words; the language's list, else English."""
    import justext

    name = _JUSTEXT.get((language or "en").lower().replace("_", "-").split("-")[0], "English")
    found = justext.justext(html.encode(), justext.get_stoplist(name), encoding="utf-8")
    return "\n".join(p.text for p in found if not p.is_boilerplate)


def _datatrove(html: str, tree: Any, favour: str, language: str | None) -> str:
    """datatrove's own step with its own settings (favour_precision and deduplicate), as FineWeb ran it (arXiv 2406.17557, section 3.2)."""
    import trafilatura.meta
    from datatrove.pipeline.extractors import Trafilatura

    trafilatura.meta.reset_caches()  # deduplicate would remember earlier pages, and the order of pages would matter
    return Trafilatura().extract(html) or ""


def _whole(html: str, tree: Any, favour: str, language: str | None) -> str:
    """All text, boilerplate too: for pages that have none."""
    from curate.sources.web.blocks import text_of

    return text_of(tree)


_JUSTEXT = {
    "et": "Estonian", "en": "English", "fi": "Finnish", "sv": "Swedish", "de": "German", "ru": "Russian", "lv": "Latvian", "lt": "Lithuanian",
    "fr": "French", "es": "Spanish", "pl": "Polish", "uk": "Ukrainian", "no": "Norwegian_Bokmal", "da": "Danish", "nl": "Dutch", "it": "Italian",
    "pt": "Portuguese", "cs": "Czech", "hu": "Hungarian", "el": "Greek", "tr": "Turkish",
}  # fmt: skip
EXTRACTORS: dict[str, Extractor] = {
    "trafilatura": _trafilatura, "resiliparse": _resiliparse, "justext": _justext, "datatrove": _datatrove, "whole": _whole,
}  # fmt: skip


def extract(name: str, html: str, tree: Any, favour: str, language: str | None) -> str:
    return EXTRACTORS[name](html, tree, favour, language)
