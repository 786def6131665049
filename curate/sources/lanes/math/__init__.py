"""Mathematics: a row or a file in, one document out. LaTeX sources become readable text, formulas stay as they are; other texts stay whole.

What is a LaTeX source is told by the name or the text (latex.is_latex). In `extra` under "math": that it was one, the file's path, and the
files it was read with (inputs.py).
`delimiters: dollars` gives all formulas one kind of marks, which is a choice about text and so off unless asked. Imports fields, recipe.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from curate.recipe import Source
from curate.recipe.lanes.math import Math
from curate.sources.fields import Mapper, checked, mapper
from curate.sources.lanes import BESIDE, FILE, PARTS
from curate.sources.lanes.code import with_extra
from curate.sources.lanes.math.inputs import joined
from curate.sources.lanes.math.latex import is_latex, readable
from curate.sources.records import Refused
from curate.text import symbols


def lane(source: Source, limit: int) -> Mapper:
    """The function from raw rows to columns. A LaTeX source that has no words of its own (macros alone) is Refused as empty_text."""
    plain, asked = mapper(source, limit), source.math or Math()

    def fields(row: dict[str, Any]) -> dict[str, Any]:
        mapped = plain(row)
        path: str | None = row.get(FILE)
        about: dict[str, Any] = {"path": path}
        if path and (parts := row.get(PARTS)):
            mapped["text"] = checked(joined(path, {**parts, path: mapped["text"]}), limit)
            about["parts"] = list(parts)
        if asked.latex == "clean" and is_latex(mapped["text"], path):
            text = readable(mapped["text"], expand=asked.macros == "expand", beside=row.get(BESIDE) or "")
            if not re.search(r"\w", text):
                raise Refused("empty_text", "a LaTeX source of definitions alone")
            mapped["text"] = checked(text, limit)
            about["is_latex"] = True
        if asked.delimiters == "dollars":
            mapped["text"] = with_dollars(mapped["text"])
        mapped["extra"] = with_extra(mapped["extra"], "math", about)
        return mapped

    return fields


def with_dollars(text: str) -> str:
    """The text with $ $ for \\( \\) and $$ $$ for \\[ \\]; environments and formulas that hold a dollar stay."""
    data = text.encode()
    found = symbols.formulas(np.frombuffer(data or b"\0", np.uint8), np.array([0, len(data)], np.int64))
    kept: list[bytes] = []
    at = 0
    for (start, end), (first, last) in zip(found.outer.tolist(), found.inside.tolist(), strict=True):
        mark = {b"\\(": b"$", b"\\[": b"$$"}.get(data[start:first])
        if mark is None or b"$" in data[first:last]:
            continue
        inside = data[first:last].strip() if mark == b"$" else data[first:last]
        kept += (data[at:start], mark, inside, mark)
        at = end
    return b"".join([*kept, data[at:]]).decode()
