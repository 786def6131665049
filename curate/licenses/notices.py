"""Notices in the head of a file: `SPDX-License-Identifier:` lines, "licensed under the Apache License, Version 2.0", "either version 2 of
the License, or (at your option) any later version". Text in, expressions with their evidence out. Imports spdx, spelled.
"""

from __future__ import annotations

import re

from curate.licenses import spdx, spelled

SPDX_LINE = re.compile(r"SPDX-License-Identifier:[ \t]*([^\r\n]+)", re.IGNORECASE)
TAIL = re.compile(r"\s*(?:\*+[/)]|--+>|#\}|\?>|\\n|[\"']{3}).*$|[\s#%;*\"'}\]|]+$")  # what ends a comment

MARKS = re.compile(r"^[ \t]*(?:[#*;%!\"'|]+|//+|--+|\.\.|dnl\b|REM\b)?[ \t]*", re.MULTILINE)
# What says that a licence follows, and then at most so many words of its name.
UNDER = re.compile(
    r"\b(?:(?:licen[sc]ed|released|distributed|available|published|redistributed)\b[^.;]{0,80}?\bunder|(?:covered|governed)\s+by)\s+"
    r"(?:(?:the|a|an|either|both|of|terms|conditions|and|following|its|this|your|choice|dual)\s+)*",
    re.IGNORECASE,
)
N_WORDS = 12
PIECE = re.compile(r"\s*,?\s*(?:(?:and/or|or|and)\b\s+(?:the\s+|a\s+)?|/\s*)", re.IGNORECASE)
NAME = re.compile(r"[Ll]icen[sc]e|LICENSE|\d|^[A-Z0-9-]+$")  # "under apache" may be a folder
GNU = re.compile(r"\bGNU\s+((?:Lesser|Library|Affero)\s+)?General\s+Public\s+Licen[sc]e", re.IGNORECASE)
GNU_VERSION = re.compile(r"\bversion\s+(\d)(?:\.(\d))?", re.IGNORECASE)
LATER = re.compile(r"\b(?:any\s+later|or\s+later|or\s+\(?newer)\b", re.IGNORECASE)
GNU_AROUND = 400  # characters after the name in which the version of a notice stands
GNU_NAMES = {"": "GPL", "lesser": "LGPL", "library": "LGPL", "affero": "AGPL"}
MPL = re.compile(
    r"subject\s+to\s+the\s+(?:terms\s+of\s+the\s+)?Mozilla\s+Public\s+Licen[sc]e,?\s+(?:v\.?|version)\s*(\d\.\d)", re.I
)
PUBLIC_DOMAIN = re.compile(r"\b(?:is|are|been|hereby)\s+(?:\w+\s+){0,3}?(?:in|into|to)\s+the\s+public\s+domain\b", re.IGNORECASE)
EITHER = re.compile(r"\bdual[ -]?licen[sc]ed\b|\beither\s+of\b|\byour\s+(?:choice|option)\b|\balternatively\b", re.IGNORECASE)


def spdx_header(text: str) -> tuple[str, str] | None:
    """Every `SPDX-License-Identifier:` of the text, all of them together; None where there is none, or one is no expression."""
    said = [TAIL.sub("", match).strip() for match in SPDX_LINE.findall(text)]
    try:
        found = [spdx.canonical(one) for one in said if one]
    except spdx.NotSpdx:
        return None
    return (spdx.join("AND", found), "SPDX header") if found else None


def notice(text: str) -> tuple[str, str] | None:
    """What a notice says; several licences are all of them together, unless it offers a choice."""
    plain = " ".join(MARKS.sub("", text).split())
    found: dict[str, str] = {}  # expression -> where it was read
    if gnu := _gnu(plain):
        found[gnu[0]] = gnu[1]
    if match := MPL.search(plain):
        found[f"MPL-{match[1]}"] = match[0]
    if match := PUBLIC_DOMAIN.search(plain):
        found["LicenseRef-public-domain"] = match[0]
    for match in UNDER.finditer(plain):
        for expression, read in _names(plain[match.end() :]):
            if not any(_family(expression) == _family(one) for one in found):  # the notice of the GNU licences says it better
                found[expression] = read
    if not found:
        return None
    operator = "OR" if len(found) > 1 and EITHER.search(plain) else "AND"
    return spdx.join(operator, list(found)), "notice: " + "; ".join(f'"{read[:80]}"' for read in found.values())


def _gnu(plain: str) -> tuple[str, str] | None:
    name = GNU.search(plain)
    if name is None:
        return None
    around = plain[name.start() : name.end() + GNU_AROUND]
    version = GNU_VERSION.search(around)
    if version is None:
        return None
    kind = GNU_NAMES[(name[1] or "").strip().lower()]
    later = "or-later" if LATER.search(around[: version.end() + 80]) else "only"
    expression = f"{kind}-{version[1]}.{version[2] or '0'}-{later}"
    known = spdx.ids()[0].get(expression.lower())
    return (known, f"{name[0]}, {version[0]}{' or later' if later == 'or-later' else ''}") if known else None


def _names(after: str) -> list[tuple[str, str]]:
    """The licences named at the start of `after`, and further ones joined by and, or."""
    found: list[tuple[str, str]] = []
    while True:
        words = re.match(rf"(?:\S+\s*){{0,{N_WORDS}}}", after)
        parts = words[0].split() if words else []
        for n in range(len(parts), 0, -1):
            said = " ".join(parts[:n]).rstrip(".,;:")
            is_name = NAME.search(said) and not said.endswith((" under", " a", " an", " the", " of"))
            if is_name and (expression := spelled.named(said)):
                break
        else:
            return found
        found.append((expression, said))
        rest = after[after.index(said.split()[0]) :]
        rest = re.sub(r"^\s*" + r"\s+".join(map(re.escape, said.split())), "", rest)
        rest = re.sub(r"^[.,]?\s*(?:\([^()]*\))?", "", rest)
        rest = re.sub(r"^\s*licen[sc]es?\b", "", rest, flags=re.IGNORECASE)
        joined = PIECE.match(rest)
        if joined is None:
            return found
        after = rest[joined.end() :]


def _family(expression: str) -> str:
    """`LGPL-2.1-or-later` -> LGPL."""
    return expression.split("-")[0]
