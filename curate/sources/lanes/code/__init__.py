"""Source code: a row or a file in, one document out: its text, and in `extra` under "code" its language, path and repository.

Rows are those of The Stack, StarCoder, GitHub code and python-edu by their own field names, files those of a tree or an archive. The
licence is, in this order: what the file says in its header, what `license.from_field` says, what licence files beside it say, what the
recipe declares. The natural language stays in `language`. Nothing is judged here: signals/code does. Imports fields, records, recipe,
licenses.
"""

from __future__ import annotations

import json
from typing import Any

from curate import licenses
from curate.recipe import Source
from curate.recipe.lanes.code import Code
from curate.sources.fields import Mapper, as_string, field_names, mapper, pick
from curate.sources.lanes import BESIDE, FILE
from curate.sources.lanes.code.languages import language_of
from curate.sources.lanes.code.licence import of_header
from curate.sources.lanes.code.notebooks import script
from curate.sources.records import Refused
from curate.store import canonical_json

NOTEBOOK = "Jupyter Notebook"


def lane(source: Source, limit: int) -> Mapper:
    """The function from raw rows to columns. A notebook that is none is Refused; everything else is a document."""
    plain, names, asked = mapper(source, limit), field_names(source), source.code or Code()

    def fields(row: dict[str, Any]) -> dict[str, Any]:
        mapped = plain(row)
        path = _string(pick(row, names["path"])) or row.get(FILE)
        found = language_of(path, mapped["text"], _string(pick(row, names["code_language"])))
        about: dict[str, Any] = {"path": path, "repository": _repository(row, names, path, asked.repository_levels)}
        if found:
            about |= {"language": found.name, "language_by": found.by}
        if found and found.name == NOTEBOOK and asked.notebooks == "script":
            made = script(mapped["text"])
            if len(made.text.encode(errors="replace")) > limit:
                raise Refused("too_large", f"a script of {len(made.text)} characters")
            mapped["text"] = _storable(made.text)
            about |= {"language": made.language, "notebook_cells": made.n_cells}
        mapped["license"], mapped["license_evidence"] = _license(row, mapped, names, asked, source.license.spellings or {})
        mapped["extra"] = with_extra(mapped["extra"], "code", about)
        return mapped

    return fields


def with_extra(extra: str | None, lane_name: str, about: dict[str, Any]) -> str | None:
    """`extra` with what a lane says under its own name; a mapped value that is no object goes under "extra"."""
    about = {key: value for key, value in about.items() if value not in (None, "")}
    if not about:
        return extra
    given = json.loads(extra) if extra and extra[0] in "{[" else extra
    kept = given if isinstance(given, dict) else {} if given is None else {"extra": given}
    return canonical_json({**kept, lane_name: about}).decode()


def _repository(row: dict[str, Any], names: dict[str, tuple[str, ...]], path: str | None, levels: int) -> str | None:
    named = _string(pick(row, names["repository"]))
    if named or not levels or not path:
        return named
    folders = path.replace("!/", "/").split("/")[:-1]
    return "/".join(folders[:levels]) or None


def _license(
    row: dict[str, Any], mapped: dict[str, Any], names: dict[str, tuple[str, ...]], asked: Code, spellings: dict[str, str]
) -> tuple[str | None, str | None]:
    """(licence, evidence); (None, None) leaves it to what the recipe declares. A row that says nothing does not hide a file beside."""
    stated: str | None = None
    if asked.licenses == "found" and (found := of_header(mapped["text"])):
        return found
    if "license" in names:
        given = pick(row, names["license"])
        if isinstance(given, list | tuple):  # The Stack: every licence found in the repository
            given = " AND ".join(sorted({str(one) for one in given if one}))
        stated = as_string(given)
    if stated and says_something(stated, spellings):
        return _storable(stated), f"field {names['license'][0]}"
    if asked.licenses == "found" and row.get(BESIDE):
        license_, _, evidence = row[BESIDE].partition("\t")
        return license_, evidence
    return (_storable(stated), f"field {names['license'][0]}") if stated else (None, None)


def says_something(stated: str, spellings: dict[str, str]) -> bool:
    """Does a row's field name a licence, or restrict something in words of its own? "none stated", NOASSERTION and the like do not."""
    return stated in spellings or (bool(stated.strip()) and licenses.read(stated) != (None, None))


def _string(value: Any) -> str | None:
    """A name or path as text; nothing that cannot be stored."""
    if not isinstance(value, str) or not value or "\0" in value:
        return None
    return value.encode(errors="replace").decode()


def _storable(text: str) -> str:
    """JSON inside JSON may hold what the outer check never saw."""
    if "\0" in text:
        raise Refused("nul_character", f"U+0000 at character {text.index(chr(0))}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Refused("lone_surrogate", f"U+{ord(text[error.start]):04X} at character {error.start}") from None
    return text
