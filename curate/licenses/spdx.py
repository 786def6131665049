"""SPDX licence expressions: text in, the expression in its canonical spelling, or what is wrong with it, out.

Ids are those of the SPDX licence list (spdx-<version>.txt) and `LicenseRef-*` of one's own; AND binds tighter than OR, WITH tighter than
both; letter case of ids and operators does not matter; the GNU ids that the list deprecates become their `-only` and `-or-later`.
Source: SPDX specification 2.3, annex D. Imports nothing of ours.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache, lru_cache
from pathlib import Path
from typing import NamedTuple

LIST_VERSION = "3.27.0"
REFERENCE = re.compile(r"(?:DocumentRef-[A-Za-z0-9.-]+:)?LicenseRef-[A-Za-z0-9.-]+$", re.IGNORECASE)
OPERATORS = ("AND", "OR", "WITH")

# What the list deprecates and replaces by an expression (spdx.org/licenses, "Deprecated License Identifiers").
GNU = re.compile(r"(GFDL|A?GPL|LGPL)-(\d\.\d)(\+?)$")
REPLACED = {
    "GPL-2.0-with-autoconf-exception": "GPL-2.0-only WITH Autoconf-exception-2.0",
    "GPL-2.0-with-bison-exception": "GPL-2.0-or-later WITH Bison-exception-2.2",
    "GPL-2.0-with-classpath-exception": "GPL-2.0-only WITH Classpath-exception-2.0",
    "GPL-2.0-with-font-exception": "GPL-2.0-only WITH Font-exception-2.0",
    "GPL-2.0-with-GCC-exception": "GPL-2.0-only WITH GCC-exception-2.0",
    "GPL-3.0-with-autoconf-exception": "GPL-3.0-only WITH Autoconf-exception-3.0",
    "GPL-3.0-with-GCC-exception": "GPL-3.0-only WITH GCC-exception-3.1",
    "BSD-2-Clause-FreeBSD": "BSD-2-Clause-Views", "BSD-2-Clause-NetBSD": "BSD-2-Clause",
    "wxWindows": "LGPL-2.0-or-later WITH WxWindows-exception-3.1",
}  # fmt: skip


class NotSpdx(ValueError):
    """The text is no SPDX expression; the message says why."""


class One(NamedTuple):
    """A licence: its id as the list spells it (with `+`), and its exception, if any."""

    id: str
    exception: str = ""

    def __str__(self) -> str:
        return f"{self.id} WITH {self.exception}" if self.exception else self.id


class Many(NamedTuple):
    """Two or more parts under one operator, AND or OR."""

    operator: str
    parts: tuple[Tree, ...]

    def __str__(self) -> str:
        return f" {self.operator} ".join(
            f"({part})" if isinstance(part, Many) and part.operator != self.operator and self.operator == "AND" else str(part)
            for part in self.parts
        )


Tree = One | Many


@cache
def ids() -> tuple[dict[str, str], dict[str, str]]:
    """(licences, exceptions): id in lower case -> id."""
    rows = (Path(__file__).parent / f"spdx-{LIST_VERSION}.txt").read_text().splitlines()
    exceptions = [row.removeprefix("WITH ") for row in rows if row.startswith("WITH ")]
    licences = [row.removesuffix(" -") for row in rows if not row.startswith("WITH ")]
    return {name.lower(): name for name in licences}, {name.lower(): name for name in exceptions}


@lru_cache(maxsize=1 << 16)
def parse(text: str) -> Tree:
    """The expression as a tree. Raises NotSpdx."""
    tokens = re.findall(r"\(|\)|[^\s()]+", text)
    if not tokens:
        raise NotSpdx("nothing is written")
    try:
        tree, rest = _many("OR", tokens)
    except RecursionError:
        raise NotSpdx("it is nested too deeply") from None
    if rest:
        raise NotSpdx(f"{rest[0]!r} is not expected here")
    return tree


def canonical(text: str) -> str:
    """`mit or gpl-2.0+` -> `MIT OR GPL-2.0-or-later`. Raises NotSpdx."""
    return str(parse(text))


def join(operator: str, expressions: Sequence[str]) -> str:
    """One expression of several, each once, in their order."""
    parts = tuple(dict.fromkeys(parse(one) for one in expressions))
    return str(parts[0] if len(parts) == 1 else Many(operator, _flat(operator, parts)))


def _many(operator: str, tokens: list[str]) -> tuple[Tree, list[str]]:
    """Parts joined by `operator`; the parts of OR are joined by AND."""
    inner = (lambda left: _many("AND", left)) if operator == "OR" else _one
    part, rest = inner(tokens)
    parts = [part]
    while rest and rest[0].upper() == operator:
        part, rest = inner(rest[1:])
        parts.append(part)
    return (parts[0] if len(parts) == 1 else Many(operator, _flat(operator, parts))), rest


def _flat(operator: str, parts: Sequence[Tree]) -> tuple[Tree, ...]:
    return tuple(
        inner for part in parts for inner in (part.parts if isinstance(part, Many) and part.operator == operator else (part,))
    )


def _one(tokens: list[str]) -> tuple[Tree, list[str]]:
    if not tokens:
        raise NotSpdx("it ends too early")
    first, *rest = tokens
    if first == "(":
        tree, rest = _many("OR", rest)
        if not rest or rest[0] != ")":
            raise NotSpdx("a parenthesis is not closed")
        return tree, rest[1:]
    if first == ")" or first.upper() in OPERATORS:
        raise NotSpdx(f"{first!r} is not expected here")
    if rest and rest[0].upper() == "WITH":
        if len(rest) < 2:
            raise NotSpdx("no exception after WITH")
        known = ids()[1].get(rest[1].lower())
        if known is None and not REFERENCE.match(rest[1]):
            raise NotSpdx(f"{rest[1]!r} is no exception of the SPDX list {LIST_VERSION}")
        found = _license(first)
        if not isinstance(found, One) or found.exception:
            raise NotSpdx(f"{first} has an exception already")
        return found._replace(exception=known or rest[1]), rest[2:]
    return _license(first), rest


def _license(token: str) -> Tree:
    if REFERENCE.match(token):
        return One(re.sub("licenseref-", "LicenseRef-", token, flags=re.IGNORECASE))
    licences = ids()[0]
    name = licences.get(token.lower())
    plus = ""
    if name is None and token.endswith("+"):
        name, plus = licences.get(token[:-1].lower()), "+"
    if name is None:
        raise NotSpdx(f"{token!r} is no licence of the SPDX list {LIST_VERSION}")
    if match := GNU.match(name + plus):
        return One(f"{match[1]}-{match[2]}-{'or-later' if match[3] else 'only'}")
    if name in REPLACED:
        return parse(REPLACED[name])
    return One(name + plus)
