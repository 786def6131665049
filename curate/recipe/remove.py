"""`remove:` of a recipe: documents that are taken out whatever the rules say, as takedown requests ask.

Names of documents, or files of them, in; a sorted list of names out, so that the canonical recipe says it all. decide.py takes them out
with the reason `removed`. Imports errors and recipe's own modules.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pydantic import Field, model_validator

from curate.errors import CurateError
from curate.recipe.strict import Names, Strict

REMOVED = "removed"  # the reason


class Remove(Strict):
    ids: Names = []  # ids of documents, or the ids their origin gave them
    files: Names = Field([], exclude_if=lambda files: not files)  # of such ids, one a line; read when the recipe is loaded

    @model_validator(mode="after")
    def _some(self) -> Remove:
        if not self.ids and not self.files:
            raise ValueError("remove: needs ids: [...] or files: [...]")
        return self


def read_names(path: Path, where: str = "") -> list[str]:
    """The names of a file, one a line, in order, each once; blank lines and lines that begin with # count for nothing."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise CurateError("there is no such file", where=where, found=str(path)) from None
    except (UnicodeDecodeError, IsADirectoryError) as error:
        raise CurateError("this is not a text file", where=where, found=f"{path}: {error}") from None
    names = dict.fromkeys(line.strip() for line in lines if line.strip() and not line.strip().startswith("#"))
    if not names:
        raise CurateError("this file names no document", where=where, found=str(path), allowed="ids or source_ids, one a line")
    return list(names)


def resolved(remove: Remove, path: Callable[[str, str], Path]) -> Remove:
    """With the files read; `path` says where a file of the recipe lies."""
    names = set(remove.ids)
    for file in remove.files:
        names.update(read_names(path(file, "remove.files"), "remove.files"))
    return Remove(ids=sorted(names))
