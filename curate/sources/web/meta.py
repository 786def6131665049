"""What a page says about itself, besides its text: title, date, language, address, and whether its owner reserves it.

In: an lxml tree and the headers of the answer. Out: plain strings. Nothing is judged here: signals.urls reads robots, x_robots_tag and
tdm_reservation of a document's `extra` and makes the signal `opt_out` of them.
"""

from __future__ import annotations

import json
import re
from typing import Any

MOST_CHARS = 1000  # of any one value
# metas that speak to everybody's robots, or to those of companies that train models
ROBOTS = ("robots", "googlebot", "bingbot", "gptbot", "ccbot", "google-extended", "anthropic-ai", "claudebot", "claude-web", "bytespider",
          "perplexitybot", "applebot-extended", "facebookbot", "meta-externalagent", "cohere-ai", "omgilibot", "ai2bot")  # fmt: skip
DATES = ("article:published_time", "datepublished", "date", "dc.date", "dcterms.date", "dcterms.created", "dc.date.issued", "dcterms.issued",
         "pubdate", "publishdate", "publication_date", "citation_publication_date", "og:published_time", "parsely-pub-date",
         "sailthru.date")  # fmt: skip
_DATE = re.compile(r"(\d{4})[-/](\d{1,2})[-/](\d{1,2})(?:[T ](\d{2}:\d{2}(?::\d{2})?)[\d.]*\s?(Z|[+-]\d{2}:?\d{2})?)?")


def facts(tree: Any, http: dict[str, str]) -> dict[str, Any]:
    """title, url, published, lang, robots, x_robots_tag, tdm_reservation, tdm_policy: those that are said."""
    metas = _metas(tree)
    found: dict[str, str | None] = {}
    found["title"] = _first(metas, "og:title") or _text(tree, ".//title") or _text(tree, ".//h1")
    found["url"] = _address(tree, metas)
    found["published"] = _published(tree, metas)
    found["lang"] = _lang(tree, metas) or http.get("content-language")
    found["robots"] = _robots(metas)
    found["x_robots_tag"] = http.get("x-robots-tag")
    found["tdm_reservation"] = http.get("tdm-reservation") or _first(metas, "tdm-reservation")
    found["tdm_policy"] = http.get("tdm-policy") or _first(metas, "tdm-policy")
    return {key: value[:MOST_CHARS] for key, value in found.items() if value}


def _metas(tree: Any) -> list[tuple[str, str]]:
    """(name, content) of every meta, names in lower case."""
    found = []
    for meta in tree.iter("meta"):
        name = meta.get("name") or meta.get("property") or meta.get("itemprop") or meta.get("http-equiv")
        if name and (content := meta.get("content")):
            found.append((name.strip().lower(), " ".join(content.split())))
    return found


def _first(metas: list[tuple[str, str]], *names: str) -> str:
    return next((content for name, content in metas if name in names and content), "")


def _text(tree: Any, path: str) -> str:
    element = tree.find(path)
    return "" if element is None else " ".join("".join(element.itertext()).split())


def _address(tree: Any, metas: list[tuple[str, str]]) -> str:
    for link in tree.iter("link"):
        if "canonical" in (link.get("rel") or "").lower().split() and (link.get("href") or "").startswith("http"):
            return str(link.get("href")).strip()
    said = _first(metas, "og:url")
    return said if said.startswith("http") else ""


def _robots(metas: list[tuple[str, str]]) -> str:
    """`noindex; GPTBot: noai`: a name stands before directives for one robot only."""
    said = [content if name == "robots" else f"{name}: {content}" for name, content in metas if name in ROBOTS]
    return "; ".join(dict.fromkeys(said))


def _lang(tree: Any, metas: list[tuple[str, str]]) -> str:
    for element in (tree, tree.find(".//body")):
        if element is not None:
            said = element.get("lang") or element.get("{http://www.w3.org/XML/1998/namespace}lang") or element.get("xml:lang")
            if said and re.fullmatch(r"[A-Za-z]{2,3}(?:[-_][\w-]{1,12})?", said.strip()):
                return str(said).strip()
    return _first(metas, "content-language", "dc.language", "language", "og:locale")


def _published(tree: Any, metas: list[tuple[str, str]]) -> str:
    """ISO form of the first date of publication that is stated; guesses from running text are no facts."""
    for name in DATES:
        if date := iso_date(_first(metas, name)):
            return date
    for script in tree.iter("script"):
        is_data = (script.get("type") or "").lower() == "application/ld+json" and "datePublished" in (script.text or "")
        if is_data and (date := _of_json(script.text)):
            return date
    for time in tree.iter("time"):
        is_date = "pubdate" in time.attrib or "datepublished" in (time.get("itemprop") or "").lower()
        if is_date and (date := iso_date(time.get("datetime") or "")):
            return date
    return ""


def _of_json(text: str) -> str:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        match = re.search(r'"datePublished"\s*:\s*"([^"]+)"', text)
        return iso_date(match[1]) if match else ""
    todo = [value]
    while todo:
        value = todo.pop(0)
        if isinstance(value, dict):
            if isinstance(value.get("datePublished"), str) and (date := iso_date(value["datePublished"])):
                return date
            todo += value.values()
        elif isinstance(value, list):
            todo += value
    return ""


def iso_date(said: str) -> str:
    """`2019/3/5 10:00` -> `2019-03-05T10:00`; "" for what is no date of the years 1900 to 2100."""
    match = _DATE.search(said)
    if match is None:
        return ""
    year, month, day = int(match[1]), int(match[2]), int(match[3])
    if not (1900 <= year <= 2100 and 1 <= month <= 12 and 1 <= day <= 31):
        return ""
    return f"{year}-{month:02d}-{day:02d}" + (f"T{match[4]}{match[5] or ''}" if match[4] else "")
