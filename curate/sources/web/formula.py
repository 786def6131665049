"""What a formula is while a page is extracted: its LaTeX, and the token that stands for it. Imports nothing of ours."""

from __future__ import annotations

import re
from typing import NamedTuple

_STYLE = re.compile(r"^\s*(?:\{\s*)?\\(?:display|text)style\b\s*")
DELIMITED = (("$$", "$$"), ("\\[", "\\]"), ("\\(", "\\)"), ("$", "$"), ("[latex]", "[/latex]"))


class Formula(NamedTuple):
    latex: str
    is_display: bool


class Found(NamedTuple):
    """Formulas of a page; the token of the i-th is `prefix` with at least five digits and a z."""

    formulas: list[Formula]
    prefix: str

    def token(self, i: int) -> str:
        return f"{self.prefix}{i:05d}z"


def cleaned(said: str) -> str:
    """LaTeX in one line, without what renderers wrap it in: CDATA marks, delimiters, {\\displaystyle ...}, comments."""
    said = re.sub(r"%?\s*<!\[CDATA\[|%?\s*\]\]>", "", said)
    said = re.sub(r"(?<!\\)%[^\n]*\n", " ", said)
    said = " ".join(said.split())
    for opening, closing in DELIMITED:
        if len(said) > len(opening + closing) and said.startswith(opening) and said.endswith(closing):
            inner = said[len(opening) : -len(closing)].strip()
            if opening not in inner:
                said = inner
                break
    if match := _STYLE.match(said):
        inner = said[match.end() :]
        if not match[0].lstrip().startswith("{"):
            said = inner
        elif inner.endswith("}") and _is_balanced(inner[:-1]):
            said = inner[:-1].strip()
    return said


def _is_balanced(text: str) -> bool:
    depth = 0
    for c in re.sub(r"\\.", "", text):
        depth += (c == "{") - (c == "}")
        if depth < 0:
            return False
    return depth == 0
