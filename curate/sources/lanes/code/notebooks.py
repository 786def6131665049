"""A Jupyter notebook in, the script a person would have written out. JSON text in, `Script` out; pure.

Code cells stay as they are, but magics and shell lines of IPython become comments, so that what is left may parse; Markdown and raw
cells become comments; outputs, execution counts and metadata are dropped. Cells are parted by `# %%` lines, which editors and jupytext
read back as cells. Notebook formats 3 (worksheets) and 4 (nbformat's documentation).
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

from curate.sources.lanes.code.languages import tables
from curate.sources.records import Refused

_LINE_COMMENTS = {
    "//": ("C", "C++", "C#", "F#", "Go", "Java", "JavaScript", "Kotlin", "Rust", "Scala", "Swift", "TypeScript", "PHP")
}
_SPECIAL = re.compile(r"^(\s*)([%!?]|\w[\w.]*\?{1,2}\s*$)", re.MULTILINE)  # %magic, !shell, ?help, name?
_DATA = re.compile(r"data:[\w/+.-]+;base64,[A-Za-z0-9+/=\s]{100,}")  # a picture inside Markdown


class Script(NamedTuple):
    text: str
    language: str  # of languages.txt where it is known there
    n_cells: int


def script(text: str) -> Script:
    """The script of a notebook. Raises Refused: broken_json, not_an_object (no notebook), empty_text (no cell with text)."""
    try:
        book = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Refused("broken_json", f"a notebook that is no JSON: {str(error)[:100]}") from None
    cells = _cells(book)
    if cells is None:
        raise Refused("not_an_object", "a notebook without cells")
    language = _language(book)
    mark = next((mark for mark, names in _LINE_COMMENTS.items() if language in names), "#")
    parts = []
    for cell in cells:
        source = _source(cell)
        if not source.strip():
            continue
        if cell.get("cell_type") == "code":
            parts.append(f"{mark} %%\n{_plain(source, mark, language)}")
        else:
            kind = "raw" if cell.get("cell_type") == "raw" else "markdown"
            parts.append(f"{mark} %% [{kind}]\n{_commented(_DATA.sub('data:', source), mark)}")
    if not parts:
        raise Refused("empty_text", f"a notebook of {len(cells)} cells without text")
    return Script("\n\n".join(parts) + "\n", language, len(cells))


def _cells(book: Any) -> list[dict[str, Any]] | None:
    if not isinstance(book, dict):
        return None
    sheets = book.get("worksheets")
    found = book.get("cells")
    if found is None and isinstance(sheets, list):
        found = [cell for sheet in sheets if isinstance(sheet, dict) for cell in sheet.get("cells") or []]
    if not isinstance(found, list):
        return None
    return [cell for cell in found if isinstance(cell, dict)]


def _source(cell: dict[str, Any]) -> str:
    found = cell.get("source", cell.get("input", ""))
    lines = found if isinstance(found, list) else [found]
    return "".join(line for line in lines if isinstance(line, str)).replace("\r\n", "\n").strip("\n")


def _language(book: dict[str, Any]) -> str:
    meta = book.get("metadata") if isinstance(book.get("metadata"), dict) else {}
    named = [meta.get("language_info"), meta.get("kernelspec")]  # type: ignore[union-attr]
    for key, given in zip(("name", "language"), named, strict=True):
        if isinstance(given, dict) and isinstance(given.get(key), str):
            found = given[key].lower().split(" ")[0]
            return tables().by_name.get(found) or tables().by_interpreter.get(found) or given[key]
    return "Python"


def _plain(source: str, mark: str, language: str) -> str:
    """A code cell: a cell magic comments out the cell where another language follows, other magics their own line."""
    if language != "Python":
        return source
    if re.match(r"%%(?!time|timeit|capture|prun|debug)\w", source.lstrip()):
        return _commented(source, mark)
    return _SPECIAL.sub(rf"\1{mark} \2", source)


def _commented(source: str, mark: str) -> str:
    return "\n".join(f"{mark} {line}".rstrip() for line in source.split("\n"))
