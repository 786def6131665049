"""Code, names and numbers of a text that a translation must not touch: placeholders put in, and checked back out.

`hidden(text)` -> (text with placeholders, {placeholder: what it stands for}); `restored(messages, kept)` puts them back, or `Refused` with
the cause damaged_placeholder. A placeholder is [[C1]] (code, addresses, markup), [[N1]] (a number) or [[P1]] (a name), numbered through
a conversation; what looks like one already is code. Names are runs of capitalised words that do not begin a sentence (a guess: German
nouns are such names too; a language that inflects names may want `names` left out). Pure; imports records.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from typing import Any

from curate.sources.records import Refused

KINDS = ("code", "numbers", "names")
PLACEHOLDER = re.compile(r"\[\[[CNP]\d+\]\]")
# A line of code without a fence: it begins like a definition, an import, a query, an assignment or a call, ends in ; { or }, or is
# indented and begins with a word that controls (a guess). Such lines in a row are one piece.
_LINE = (
    r"[ \t]*(?:(?:def|class|function|public|private|static|import|package|using|#include|SELECT|INSERT|UPDATE|DELETE|CREATE)\b[^\n]*"
    r"|[A-Za-z_][\w.\[\]]*[ \t]*[-+*/:]?=[ \t]*[^\s=][^\n]*|[A-Za-z_][\w.]*\([^\n]*\)[ \t]*:?|[^\n]*[;{}])"
    r"|[ \t]{2,}(?:return|for|if|while|else|elif|print|try|except|case|break)\b[^\n]*"
)
LINES = rf"(?:(?<=\n)|\A)(?:{_LINE})(?:\n(?:[ \t]*\n)*(?:{_LINE}))*(?=\n|\Z)"
# fenced code, code between back ticks, LaTeX, addresses, markup tags, {places} and %s of templates, names with _ or () in them
CODE = (
    rf"```.*?(?:```|\Z)|{LINES}|"
    r"`[^`\n]+`|\$\$.+?\$\$|\$[^$\s](?:[^$\n]*[^$\s])?\$(?!\d)|\\\(.+?\\\)|\\\[.+?\\\]"
    r"|https?://[^\s<>\"')\]]+(?<![.,;:!?])|[\w.+-]+@[\w-]+(?:\.[\w-]+)+"
    r"|</?[A-Za-z][^<>\n]*>|\{[A-Za-z_]\w*\}|%[sd]\b|\[\[[CNP]\d+\]\]|\b\w+\(\)|\b[A-Za-z]\w*_\w+\b"
)
NUMBER = r"(?<![\w])[+\u2212-]?\d+(?:[.,:/\u00a0\u202f]\d+)*(?![\w])|(?<![\w])\d+(?:[.,:/]\d+)*"
UPPER, WORD = r"[^\W\d_a-zà-öø-ÿа-я]", r"[^\W\d_]"
# after a word, a comma or a bracket, so no sentence begins there
NAME = rf"(?:(?<=[^\W\d_][ ])|(?<=,[ ])|(?<=\())(?<!\b[Ii] )(?:{UPPER}{WORD}+)(?:[ -]{UPPER}{WORD}+)*"


def pattern(kinds: Collection[str] = KINDS) -> re.Pattern[str]:
    of = {"code": f"(?P<C>{CODE})", "numbers": f"(?P<N>{NUMBER})", "names": f"(?P<P>{NAME})"}
    asked = ["code", *(kind for kind in ("names", "numbers") if kind in kinds)]  # what looks like a placeholder is always hidden
    return re.compile("|".join(of[kind] if kind in kinds else f"(?P<C>{PLACEHOLDER.pattern})" for kind in asked), re.DOTALL)


def hidden(text: str, kinds: Collection[str] = KINDS, first: int = 1) -> tuple[str, dict[str, str]]:
    """(the text with a placeholder for every piece, what each stands for); they are numbered from `first`."""
    kept: dict[str, str] = {}

    def one(match: re.Match[str]) -> str:
        placeholder = f"[[{match.lastgroup}{first + len(kept)}]]"
        kept[placeholder] = match[0]
        return placeholder

    return pattern(kinds).sub(one, text), kept


def restored(messages: list[dict[str, Any]], kept: Any) -> list[dict[str, Any]]:
    """The messages with what their placeholders stand for. `kept`: a mapping for every message, or JSON text of such a list.

    Refused: a placeholder that is missing, there twice, of another message or unknown.
    """
    try:
        listed = json.loads(kept) if isinstance(kept, str) else kept
    except ValueError:
        raise Refused("damaged_placeholder", "protected is text that is no JSON") from None
    if not isinstance(listed, list) or not all(isinstance(of, dict) for of in listed) or len(listed) != len(messages):
        raise Refused("damaged_placeholder", f"protected is not a mapping for each of {len(messages)} messages")
    return [{**one, "content": _shown(one["content"], of)} for one, of in zip(messages, listed, strict=True)]


def _shown(text: str, kept: dict[str, Any]) -> str:
    kept = {name: value for name, value in kept.items() if isinstance(value, str)}  # Parquet fills in what other rows have
    found = PLACEHOLDER.findall(text)
    for name in found:
        if name not in kept:
            raise Refused("damaged_placeholder", f"{name} is unknown")
    for name in kept:
        if (n := found.count(name)) != 1:
            raise Refused("damaged_placeholder", f"{name} is there {n} times, it stood there once")
    return PLACEHOLDER.sub(lambda match: kept[match[0]], text)
