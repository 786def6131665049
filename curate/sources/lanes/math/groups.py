"""Groups of TeX: a text and a place in, the place after the group that opens there out. Pure; linear for any number of questions about a text."""

from __future__ import annotations

import re
from functools import lru_cache

MOST_BRACKET = 1_000  # characters of a group in brackets
_MARKS = {closing: re.compile(rf"[\{closing}{{}}\\]") for closing in "])"}  # what may stand in brackets and is more than itself
_BRACE = re.compile(r"\\.|[{}]", re.DOTALL)


def group(text: str, at: int, opening: str = "{", closing: str = "}") -> int:
    """Place after the end of the group that opens at `at`; -1 where it does not close, or nothing opens there. A group in brackets holds
    at most MOST_BRACKET characters."""
    if not text.startswith(opening, at):
        return -1
    if opening == "{":
        return _pairs(text).get(at, -1)
    inner, stop = at + 1, min(len(text), at + MOST_BRACKET)
    marks = _MARKS[closing]
    while (mark := marks.search(text, inner, stop)) is not None:
        if mark[0] == closing:
            return mark.end()
        if mark[0] == "}":
            return -1
        inner = _pairs(text).get(mark.start(), len(text)) if mark[0] == "{" else mark.end() + 1
    return -1


@lru_cache(maxsize=2)
def _pairs(text: str) -> dict[int, int]:
    """Place of every opening brace that closes -> place after its closing one."""
    found: dict[int, int] = {}
    opened: list[int] = []
    for match in _BRACE.finditer(text):
        if match[0] == "{":
            opened.append(match.start())
        elif match[0] == "}" and opened:
            found[opened.pop()] = match.end()
    return found
