"""Notices in the head of a file: `SPDX-License-Identifier:` lines, "licensed under the Apache License, Version 2.0", "either version 2 of
the License, or (at your option) any later version". Text in, expressions with their evidence out. Imports spdx, spelled.
"""

from __future__ import annotations

import re
from collections.abc import Callable

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

# Of a file's own head: what stands before the name of a licence in its sentence must give the file, and not speak of others' licences.
GRANT = re.compile(
    r"\b(?:licen[sc]ed|released|distributed?|available|published|redistribut\w+|covered|governed|subject|permi\w+|terms\s+of|free\s+software"
    r"|(?:may|can)\s+be\s+(?:used|copied)|under\s+the|placed|put|dedicated?s?|hereby)\b|\b(?:is|are)\s+(?:in\s+)?the\s+public\b",
    re.IGNORECASE,
)
SPEAKS_OF = re.compile(
    r"\b(?:whether|whose|such\s+as|e\.g|for\s+example|compatible|(?:files|code|works?|software|packages|projects|modules)\s+(?:that|which)\s+(?:is|are)"
    r"|(?:tests?|checks?|asserts?|says|ensures?|verif(?:y|ies))\s+(?:that|if|for|the|a|an)\b|(?:parse|detect|match|find|recogni[sz]e|identif(?:ie)?|determine|"
    r"classifie|scan|validate|list|return|mention|discusse?|compare|handle|contain|collect|download|convert|generate|search|read)s)\b"
    r"|\b(?:parsing|detecting|matching|finding|recogni[sz]ing|identifying|scanning|validating|listing|checking)\b",
    re.IGNORECASE,
)
SENTENCE = re.compile(r"[.!?:;](?:\s|$)|\bcopyright\b", re.IGNORECASE)
SENTENCE_CHARS = 400


def is_grant(plain: str, at: int) -> bool:
    """Does the sentence that the name of a licence stands in, at `at`, give something under it?"""
    before = plain[max(at - SENTENCE_CHARS, 0) : at]
    starts = [match.end() for match in SENTENCE.finditer(before.rstrip())]
    before = before[starts[-1] :] if starts else before
    return GRANT.search(before) is not None and SPEAKS_OF.search(before) is None


def spdx_header(text: str) -> tuple[str, str] | None:
    """Every `SPDX-License-Identifier:` of the text, all of them together; None where there is none, or one is no expression."""
    said = [TAIL.sub("", match).strip() for match in SPDX_LINE.findall(text)]
    try:
        found = [spdx.canonical(one) for one in said if one]
    except spdx.NotSpdx:
        return None
    return (spdx.join("AND", found), "SPDX header") if found else None


def notice(text: str, of_itself: bool = False) -> tuple[str, str] | None:
    """What a notice says; several licences are all of them together, unless it offers a choice. `of_itself`: the text is the head of a file
    that may speak of licences it is not under, so a name counts only where its sentence gives something."""

    def counts(at: int) -> bool:
        return not of_itself or is_grant(plain, at)

    plain = " ".join(MARKS.sub("", text).split())
    found: dict[str, str] = {}  # expression -> where it was read
    if gnu := _gnu(plain, counts):
        found[gnu[0]] = gnu[1]
    if (match := MPL.search(plain)) and counts(match.end()):
        found[f"MPL-{match[1]}"] = match[0]
    if (match := PUBLIC_DOMAIN.search(plain)) and counts(match.end()):
        found["LicenseRef-public-domain"] = match[0]
    for match in UNDER.finditer(plain):
        if not counts(match.end()):
            continue
        for expression, read in _names(plain[match.end() :]):
            if not any(_family(expression) == _family(one) for one in found):  # the notice of the GNU licences says it better
                found[expression] = read
    if not found:
        return None
    operator = "OR" if len(found) > 1 and EITHER.search(plain) else "AND"
    return spdx.join(operator, list(found)), "notice: " + "; ".join(f'"{read[:80]}"' for read in found.values())


def _gnu(plain: str, counts: Callable[[int], bool]) -> tuple[str, str] | None:
    name = next((match for match in GNU.finditer(plain) if counts(match.start())), None)
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
