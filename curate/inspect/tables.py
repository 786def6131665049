"""Plain text for people: columns that line up in 100 characters, numbers with their thousands, bars, changed words.

Values in, strings out. Imports nothing of ours. Colour is asked for by the caller, who knows whether this is a terminal.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import Any

WIDTH = 100
_STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}


def paint(text: str, style: str, colour: bool) -> str:
    return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if colour else text


def count(value: Any) -> str:
    """1234567 -> '1,234,567'; '-' where there is no number."""
    return "-" if value is None else f"{value:,}"


def short(value: Any) -> str:
    """Tokens in four figures: 812 -> '812', 45210 -> '45.21 k', 8600000000 -> '8.600 B'."""
    if value is None:
        return "-"
    for unit, size in (("T", 10**12), ("B", 10**9), ("M", 10**6), ("k", 10**3)):
        if value >= size:
            number = value / size
            return f"{number:.{max(0, 3 - len(str(int(number))) + 1)}f} {unit}"
    return f"{value:.0f}"


def percent(part: float | None, whole: float | None) -> str:
    """Two figures below 10 %, whole numbers above; '-' where nothing can be divided."""
    if part is None or not whole:
        return "-"
    share = 100 * part / whole
    return f"{share:.0f} %" if share >= 10 or share == 0 else f"{share:.1f} %" if share >= 0.1 else f"{share:.2g} %"


def number(value: Any) -> str:
    """A signal's value: whole numbers with thousands, fractions with four digits, text as it is."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return count(int(value)) if value == int(value) and abs(value) < 1e15 else f"{value:.4f}"
    return count(value) if isinstance(value, int) and not isinstance(value, bool) else str(value)


def bar(value: float, maximum: float, width: int = 20) -> str:
    """Full where value = maximum; anything above nothing shows at least a sliver."""
    if maximum <= 0 or value <= 0:
        return ""
    eighths = max(1, round(8 * width * min(value / maximum, 1.0)))
    return "█" * (eighths // 8) + ("", *"▏▎▍▌▋▊▉")[eighths % 8]


def table(head: Sequence[str], rows: Sequence[Sequence[str]], align: str, indent: str = "") -> list[str]:
    """Lines of a table; `align` has one of < > per column. The last column is cut so that a line fits in WIDTH."""
    widths = [max(len(str(row[i])) for row in (head, *rows)) for i in range(len(head))]
    lines = []
    for row in (head, *rows):
        cells = [f"{cell!s:{side}{width}}" for cell, side, width in zip(row, align, widths, strict=True)]
        lines.append(cut((indent + "  ".join(cells)).rstrip(), WIDTH))
    return lines


def cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def one_line(text: str) -> str:
    """White space and control characters shown as single spaces, so that a text cannot move the cursor."""
    return re.sub(r"[\s\x00-\x1f\x7f-\x9f]+", " ", text).strip()


def wrapped(text: str, width: int, max_lines: int) -> list[str]:
    """The first lines of a text in a column of `width` characters; '…' marks what is left out."""
    lines: list[str] = []
    for paragraph in text.splitlines():
        words = one_line(paragraph)
        while words:
            end = (
                len(words) if len(words) <= width else (words.rfind(" ", 1, width + 1) if " " in words[1 : width + 1] else width)
            )
            lines.append(words[:end])
            words = words[end:].lstrip()
            if len(lines) > max_lines:
                return [*lines[: max_lines - 1], cut(lines[max_lines - 1] + " …", width)]
    return lines


def changed_words(left: str, right: str, max_words: int = 400) -> tuple[str, str]:
    """Both texts with the words that differ in [brackets]; long equal stretches are shortened to '…'.

    Between the common beginning and the common end the first `max_words` words are compared: word by word is quadratic in the
    worst case.
    """
    a, b = left.split(), right.split()
    begin = _n_common(a, b)
    end = _n_common(a[begin:][::-1], b[begin:][::-1])
    mid_a, mid_b = a[begin : len(a) - end], b[begin : len(b) - end]
    out_a, out_b = _shortened(a[:begin]), _shortened(a[:begin])
    blocks = difflib.SequenceMatcher(a=mid_a[:max_words], b=mid_b[:max_words], autojunk=False)
    for kind, a0, a1, b0, b1 in blocks.get_opcodes():
        if kind == "equal":
            out_a += _shortened(mid_a[a0:a1])
            out_b += _shortened(mid_b[b0:b1])
        else:
            out_a += [f"[{' '.join(mid_a[a0:a1])}]"] if a1 > a0 else []
            out_b += [f"[{' '.join(mid_b[b0:b1])}]"] if b1 > b0 else []
    for words, out in ((mid_a, out_a), (mid_b, out_b)):
        out += (["…"] if len(words) > max_words else []) + _shortened(a[len(a) - end :])
    return " ".join(out_a), " ".join(out_b)


def _n_common(a: list[str], b: list[str]) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _shortened(words: list[str]) -> list[str]:
    return words if len(words) <= 16 else [*words[:8], "…", *words[-6:]]


def flowed(items: Sequence[str], first: str = "", indent: str = "", gap: str = "   ") -> list[str]:
    """Lines of at most WIDTH characters that never break inside an item; the first line begins with `first`."""
    lines, line, is_empty = [], first, True
    for item in items:
        if not is_empty and len(line) + len(gap) + len(item) > WIDTH:
            lines.append(line)
            line, is_empty = indent, True
        line += item if is_empty else gap + item
        is_empty = False
    return [*lines, line]


def side_by_side(left: str, right: str, heads: tuple[str, str], max_lines: int = 12, indent: str = "  ") -> list[str]:
    """Two texts in two columns."""
    width = (WIDTH - len(indent) - 3) // 2
    a, b = wrapped(left, width, max_lines), wrapped(right, width, max_lines)
    n = max(len(a), len(b))
    pairs = zip([heads[0], *a, *[""] * (n - len(a))], [heads[1], *b, *[""] * (n - len(b))], strict=True)
    return [f"{indent}{cut(x, width):<{width}} | {cut(y, width)}".rstrip() for x, y in pairs]
