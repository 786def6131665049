"""What a file says of its own licence. The head of a text in, an SPDX expression and how it was found out. Imports licenses.

Looked at: an SPDX-License-Identifier line anywhere in the first 60 lines (spdx.dev: one a file, in a comment), else the terms or the
grant in the comment that a file begins with. A licence that a file only speaks of is none: "parses MIT licences" grants nothing, and nothing
below the first line of code counts.
"""

from __future__ import annotations

import re

HEAD_LINES, HEAD_CHARS = 60, 16_000  # the GPL's own notice has 15 lines, the MIT licence 21 (a guess with room)

_SPDX = re.compile(r"SPDX-License-Identifier:[ \t]*([A-Za-z0-9.+() \t-]*[A-Za-z0-9.+)])")
_COMMENTED = re.compile(
    r"\s*(?:$|#|//|/\*|\*|--|;|%|!|<!--|<\?xml|\"\"\"|'''|\(\*|\{-|rem\b|\.\.|dnl\b|@REM\b|<%--|\{#)", re.IGNORECASE
)
_BLOCKS = (
    ("/*", "*/"), ("<!--", "-->"), ('"""', '"""'), ("'''", "'''"), ("(*", "*)"), ("{-", "-}"), ("=begin", "=end"), ("<%--", "--%>"),
    ("{#", "#}"),
)  # fmt: skip


def of_header(text: str) -> tuple[str, str] | None:
    """(SPDX expression, evidence) of a file's own words; None where it has none that are understood."""
    from curate import licenses

    lines = text[:HEAD_CHARS].split("\n")[:HEAD_LINES]
    for number, line in enumerate(lines, 1):
        if "SPDX-License-Identifier" in line and (match := _SPDX.search(line)):
            found = licenses.identify(f"SPDX-License-Identifier: {match[1].strip()}")
            return (found[0], f"SPDX header, line {number}") if found else None
    comment = header_comment(lines)
    if "licen" not in comment.lower() and "copyright" not in comment.lower():
        return None
    found = licenses.identify(comment, of_itself=True)
    return (found[0], f"header comment: {found[1]}") if found else None


def header_comment(lines: list[str]) -> str:
    """The comment lines a file begins with; blank lines and an open block comment are part of it."""
    kept: list[str] = []
    closing = ""
    for line in lines:
        bare = line.strip()
        if closing:
            kept.append(bare)
            closing = "" if closing in bare else closing
            continue
        if not _COMMENTED.match(line) and not bare.startswith("=begin"):
            break
        kept.append(bare)
        for opening, end in _BLOCKS:
            if bare.startswith(opening) and end not in bare[len(opening) :]:
                closing = end
    return "\n".join(line.strip("/*#-;%!<>(){}\"' \t") for line in kept)
