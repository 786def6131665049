"""Lanes: a raw row in, the columns of one document out, by the source's type. Each kind of data has its own traps, and its own module.

A lane is `lane(source, limit) -> Mapper`: values of a raw row -> {column of COLUMNS: value or None}, or `Refused` with a cause of CAUSES.
It is a function of the row alone: no state, no clock, no network. Types without an entry are plain text (fields.py). Imports recipe.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from curate.recipe import Source
from curate.sources.fields import Mapper, mapper

# type of a source -> module of this folder with `lane(source, limit)`
LANES: dict[str, str] = {"conversation": "conversation", "code": "code", "math": "math", "parallel": "parallel", "preference": "preference",
                         "instruction_text": "instruction_text", "web": "web"}  # fmt: skip

# Types whose documents depend on the name of the file they are (a language on .py) and on files beside it (its licence, its macros): rows of formats
# of one document a file carry both under these keys, and a renamed file is read again.
NAMED = ("code", "math")
FILE, BESIDE, PARTS = "\0file", "\0beside", "\0parts"  # PARTS: name -> text of the files that a LaTeX source reads
# Of lanes whose documents have changed since VERSION of ingest: raise it when a lane makes another document of the same row.
VERSIONS = {
    "math": 2,  # definitions, endnotes, plain TeX, \\input
    "code": 2,  # a row that states no licence does not hide the file beside
    "conversation": 2,  # tool calls and reasoning are in the text; a task of several instances is as many documents
}


def records_of(source: Source) -> Callable[[dict[str, Any]], list[dict[str, Any]]]:
    """The function from a row to the records it is: mostly one, of a task with several instances one each."""
    if source.type != "conversation":
        return lambda row: [row]
    found: Callable[[dict[str, Any]], list[dict[str, Any]]] = importlib.import_module(
        "curate.sources.lanes.conversation"
    ).records_of(source)
    return found


def lane_of(source: Source, limit: int) -> Mapper:
    """The lane of a source. `limit`: bytes of one document's text."""
    if source.type not in LANES:
        return mapper(source, limit)
    found: Mapper = importlib.import_module(f"curate.sources.lanes.{LANES[source.type]}").lane(source, limit)
    return found
