"""Which licences may be handed on: SPDX expressions of rows and patterns of the user's in, yes or the reason for no out.

Patterns are SPDX ids with * and ?, letter case aside: `CC0-1.0`, `CC-BY-*`. Of `A OR B` one must be allowed, of `A AND B` both; `A WITH
exception` stands for itself. A licence that is not known is never allowed, whatever the patterns say. Imports errors.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache

from curate.errors import CurateError

UNKNOWN = frozenset({"", "unknown", "none", "noassertion", "licenseref-unknown"})  # SPDX's words for it, and ours


def check(patterns: Sequence[str]) -> None:
    """Raises CurateError for a pattern that allows everything: nobody has looked at that."""
    for pattern in patterns:
        if not re.search(r"[A-Za-z0-9]", pattern):
            raise CurateError(
                "this pattern names no licence", where="--allow", found=repr(pattern), allowed="SPDX ids: CC0-1.0, 'CC-BY-*'"
            )


@lru_cache(maxsize=1 << 16)
def refusal(licence: str | None, patterns: tuple[str, ...]) -> str:
    """Why a row of this licence is not handed on; "" where it is."""
    plain = " ".join((licence or "").split())
    if any(word.casefold() in UNKNOWN for word in (plain, *_ids(plain))):
        return "unknown licence"
    tokens = re.findall(r"\(|\)|[^\s()]+", plain)
    try:
        allowed, rest = _either(tokens, patterns)
    except IndexError:  # it ended too early: no expression, so it is taken as a name
        allowed, rest = False, []
    if rest or not allowed:
        allowed = _matches(plain, patterns)
    return "" if allowed else f"{plain} is not allowed"


def _ids(text: str) -> Iterator[str]:
    return (word for word in re.findall(r"[^\s()]+", text) if word not in ("AND", "OR", "WITH"))


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name.casefold(), pattern.casefold()) for pattern in patterns)


def _either(tokens: list[str], patterns: Sequence[str]) -> tuple[bool, list[str]]:
    allowed, rest = _both(tokens, patterns)
    while rest and rest[0] == "OR":
        more, rest = _both(rest[1:], patterns)
        allowed = allowed or more
    return allowed, rest


def _both(tokens: list[str], patterns: Sequence[str]) -> tuple[bool, list[str]]:
    allowed, rest = _one(tokens, patterns)
    while rest and rest[0] == "AND":
        more, rest = _one(rest[1:], patterns)
        allowed = allowed and more
    return allowed, rest


def _one(tokens: list[str], patterns: Sequence[str]) -> tuple[bool, list[str]]:
    if tokens[0] == "(":
        allowed, rest = _either(tokens[1:], patterns)
        return allowed and rest[0] == ")", rest[1:]
    if len(tokens) > 2 and tokens[1] == "WITH":
        return _matches(" ".join(tokens[:3]), patterns), tokens[3:]
    return _matches(tokens[0], patterns), tokens[1:]
