"""Pages of printed lines in, running text out: hyphens at line ends undone, lines of a paragraph joined, page numbers and heads left out.

No dictionary: the document's own words say whether a hyphen belongs. Imports nothing of ours.
"""

from __future__ import annotations

import collections
import re
from collections.abc import Iterable, Sequence

HYPHENS = "-\u2010\u00ad\u00ac"  # ¬ is what some OCR writes for a hyphen at the end of a line
MIN_PAGES = 3  # from which a line that keeps coming back is a running head
RUNNING_SHARE = 0.4  # of pages (a guess): left and right pages have different heads
EDGE_LINES = 2  # at the top and at the bottom of a page where heads and numbers stand
MIN_LINE_CHARS = 25  # a shorter line ends where it does on purpose: verse, tables, titles (a guess)
_END = re.compile(rf"(?P<word>[^\W\d_]+(?:['’][^\W\d_]+)?)[{HYPHENS}]$")
_START = re.compile(r"^(?P<word>[^\W\d_]+(?:['’-][^\W\d_]+)*)")
_NUMBER = re.compile(r"^\W*(?:\d{1,4}|[ivxlcdm]{1,7})\W*$|^(?:page|lk|lehekülg|стр)\W*\d{1,4}\W*$", re.I)
_LEADERS = re.compile(r"(?:\. ?){4,}\d*$")  # of a table of contents, or an index
_WORDS = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")


def joined(pages: Sequence[Sequence[str]]) -> tuple[str, int]:
    """(the text, lines left out as page numbers and running heads)."""
    kept, n_running = without_running_lines([[line.rstrip() for line in page] for page in pages])
    lines = [line for page in kept for line in page]
    return "\n".join(_joined(lines, _words(lines))).strip("\n"), n_running


def without_running_lines(pages: Sequence[list[str]]) -> tuple[list[list[str]], int]:
    """Pages without numbers and lines at their edges that come back on many pages, whatever their digits."""
    seen: collections.Counter[str] = collections.Counter()
    for page in pages:
        seen.update({_shape(page[i]) for i in _edges(page)})
    found, n = [], 0
    for page in pages:
        gone = {
            i for i in _edges(page)
            if _NUMBER.match(page[i].strip()) or (len(pages) >= MIN_PAGES and seen[_shape(page[i])] >= max(2, RUNNING_SHARE * len(pages)))
        }  # fmt: skip
        n += len(gone)
        found.append([line for i, line in enumerate(page) if i not in gone])
    return found, n


def _edges(page: Sequence[str]) -> list[int]:
    filled = [i for i, line in enumerate(page) if line.strip()]
    return sorted({*filled[:EDGE_LINES], *filled[-EDGE_LINES:]})


def _shape(line: str) -> str:
    return re.sub(r"\d+", "0", line.strip().lower())


def _words(lines: Iterable[str]) -> frozenset[str]:
    """Every word of the text that no line end cuts, with its hyphens."""
    found: set[str] = set()
    for line in lines:
        words = [word.lower() for word in _WORDS.findall(line)]
        found.update(words[:-1] if _END.search(line) else words)
    return frozenset(found)


def _joined(lines: Sequence[str], words: frozenset[str]) -> list[str]:
    out: list[str] = []
    width = 0  # of the last printed line of what is being joined
    for line in lines:
        text = line.strip()
        if out and text and (end := _END.search(out[-1])) and (start := _START.match(text)):
            out[-1] = out[-1][: -1 if _is_broken(end["word"], start["word"], words) else None] + text
        elif out and text and width >= MIN_LINE_CHARS and _goes_on(out[-1], text):
            out[-1] += " " + text
        else:
            out.append(line)
        width = len(text)
    return out


def _is_broken(left: str, right: str, words: frozenset[str]) -> bool:
    """Was one word cut here, so that the hyphen goes? `Tallinna-Tartu` and what the text writes with a hyphen elsewhere keep it."""
    if right[0].isupper() and not left.isupper():
        return False
    first = right.split("-")[0].lower()
    if left.lower() + first in words:
        return True
    return f"{left}-{first}".lower() not in words


def _goes_on(line: str, following: str) -> bool:
    """A sentence that is not over, and goes on with a small letter."""
    return (
        following[0].islower()
        and not _LEADERS.search(line)
        and line[-1:] not in ".!?:;…"
        and not line[-1:].isspace()
        and line != ""
    )
