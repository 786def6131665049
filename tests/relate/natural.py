"""The natural near duplicates that the README of the test data lists, as sources of texts with what is known of each.

In: the folder of real texts (conftest.data). Out: name -> `Text`s. `group` is what the data say belongs together (the article, the
page, the passage); None where they say nothing.
"""

from __future__ import annotations

import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple

import zstandard


class Text(NamedTuple):
    name: str
    text: str
    group: str | None


class _Shown(HTMLParser):
    """What a page shows: its text without scripts and styles."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self.hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.hidden += tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self.hidden -= tag in ("script", "style")

    def handle_data(self, data: str) -> None:
        if not self.hidden and data.strip():
            self.parts.append(data.strip())


def shown(html: str) -> str:
    parser = _Shown()
    parser.feed(html)
    return "\n".join(parser.parts)


def read(data: Path, name: str) -> list[dict[str, Any]]:
    with open(data / f"{name}.jsonl.zst", "rb") as file:
        stream = io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(file), encoding="utf-8", newline="\n")
        return [json.loads(line) for line in stream]


def natural(data: Path) -> dict[str, list[Text]]:
    pages = read(data, "et_html/zuga_originals")
    passage = re.compile(r"[^\n]{200,}")  # the longest line of 200 characters or more is the passage a prompt is about
    return {
        "articles": [Text(r["id"], r["text"], r["meta"]["title"]) for r in read(data, "et_text/wiki_et_versions")],
        "revisions": [Text(r["id"], r["text"], r["id"].partition("@")[0]) for r in read(data, "et_text/tara_doku")],
        "html": [Text(r["id"], r["html"], _page(r["id"])) for r in pages],
        "pages": [Text(r["id"], shown(r["html"]), _page(r["id"])) for r in pages],
        "titles": [Text(r["id"], r["text"], None) for r in read(data, "et_text/eurlex_directive_titles")],
        "licences": [Text(r["id"].rpartition("/")[2], r["text"], None) for r in read(data, "quality/cs336_fixtures")],
        "laws": [Text(r["id"], r["text"], None) for r in read(data, "et_text/laws")],
        "bibles": [Text(r["id"], r["text"], None) for r in read(data, "lid/genesis_bible")],
        "prompts": [
            Text(r["id"], r["prompt"], max(passage.findall(r["prompt"]), key=len, default=None))
            for r in read(data, "instruct/t0_templates")
        ],
        "sums": [Text(r["id"], r["text"], r["question"]) for n in ("", "_socratic") for r in read(data, f"eval/gsm8k_test{n}_a")],
    }


def _page(name: str) -> str:
    return name.removesuffix(".html").removesuffix("/index")
