"""What was seen of a source in, notes for people out: traps that a proposed block does not show. Pure; for propose.py."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

MOST = 0.5
TOKENIZER_FILES = frozenset({
    "tokenizer.json", "tokenizer_config.json", "vocab.json", "vocab.txt", "merges.txt", "special_tokens_map.json", "added_tokens.json",
})  # fmt: skip
_WIKITEXT = re.compile(r"\[\[[^\[\]\n]+\]\]")
_TEMPLATE = re.compile(r"\{\{[^{}\n]+")
_FRONT_MATTER = re.compile(r"\A---[ \t]*\r?\n.+?\n---[ \t]*\r?\n", re.DOTALL)
_DOMAIN = re.compile(r"[\w-]+(\.[\w-]+)+\Z")


def notes_of(path: Path, kind: str, type_: str, rows: Sequence[Mapping[str, Any]], texts: Sequence[str]) -> list[str]:
    """`kind`: the format; `type_`: of the proposed source; `texts`: as ingest would see them."""
    found = []
    if path.name.lower() in TOKENIZER_FILES:
        found.append("this is a file of a tokenizer by its name, no text to train on")
    elif kind == "text" and type_ == "text" and len(texts) == 1 and (what := _list(texts[0])):
        found.append(f"{what} a line: a list, no text to train on; {_USES[what]}")
    if n := sum(_FRONT_MATTER.match(text) is not None for text in texts):
        found.append(
            f"{n} of {len(texts)} texts begin with front matter, which stays in the text: only format: markdown, of files, takes it off"
        )
    if kind not in ("mediawiki", "text") and _most(texts, _is_wikitext):
        found.append("texts are wikitext: [[links]] and {{templates}} stay; only format: mediawiki, of a dump, cleans them")
    if kind == "mediawiki":
        found.append("Wikipedia's text is CC-BY-SA-4.0, before June 2023 CC-BY-SA-3.0: declare what holds for this dump")
    pairs = {"question", "answer"}
    if type_ in ("text", "math") and rows and all(pairs <= set(row) for row in rows[:100]):
        found.append(
            "question and answer make a conversation, too: type: conversation, fields: {prompt: question, completion: answer}"
        )
    return found


_USES = {
    "a domain or an address": "urls.block_lists takes it",
    "a word": "stop_words and bad_words take such lists",
    "a rule of a browser's filter": "urls.block_lists takes domains, no such rules",
}


def _list(text: str) -> str:
    """What every line of a list is; "" for no list."""
    lines = [line.strip() for line in text.splitlines()[:2000] if line.strip()]
    if len(lines) < 20:
        return ""
    if lines[0].startswith("[Adblock"):
        return "a rule of a browser's filter"
    if sum(_DOMAIN.match(line) is not None for line in lines) > 0.9 * len(lines):
        return "a domain or an address"
    short = sum(len(line.split()) <= 3 and line[-1] not in ".!?:;," for line in lines)
    return "a word" if short > 0.9 * len(lines) else ""


def _is_wikitext(text: str) -> bool:
    return len(_WIKITEXT.findall(text)) >= 3 and _TEMPLATE.search(text) is not None


def _most(texts: Sequence[str], test: Any) -> bool:
    return sum(map(test, texts)) > MOST * len(texts) if texts else False
