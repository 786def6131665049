"""A raw row in, the mapped fields of a document out, or `Refused`; the same from JSON and from Parquet.

Scalars become strings, nested values canonical JSON without nulls. Imports records, errors, schema, store.
"""

from __future__ import annotations

import datetime
import decimal
import json
import math
from collections.abc import Callable, Sequence
from typing import Any

from curate.errors import CurateError, nearest
from curate.recipe import PROVENANCE_KEYS, Source
from curate.schema import said
from curate.sources.records import EXTRA, Refused
from curate.store import canonical_json

# What a lane makes of a row; see schema.DOCUMENTS. `messages` is a list of {role, content, ...}, the others are strings.
COLUMNS = (
    "text", "messages", "prompt", "chosen", "rejected", "parts", "source_id", "url", "language", "license", "license_evidence",
    "date", "title", "extra",
)  # fmt: skip
MADE = ("prompt", "chosen", "rejected", "parts", "license_evidence")  # by lanes, never mapped from a field
PROMPT = ("prompt", "input", "completion")  # targets that become two messages
PROVENANCE = tuple(f"provenance.{of}" for of in ("generator", "date", "seed", "license"))  # of rows that a model wrote
# Targets of conversations alone. protected: what placeholders in the messages stand for; verdict: of a filter elsewhere.
CHAT = ("messages", *PROMPT, "instances", "system", "history", "tools", "protected", "task", "verdict", *PROVENANCE)
FORMS = {"messages", "instances", *PROMPT}  # what a conversation may be made of
OF_CODE = ("path", "repository", "code_language")  # targets of code alone
TARGETS = (*(c for c in COLUMNS if c not in ("license", "messages", *MADE)), *CHAT, *OF_CODE)
DEFAULTS = {  # tried in this order, record by record, where the recipe maps nothing
    "text": ("text", "content", "raw_content"),
    "source_id": ("id", "_id", "uuid"),
    "url": ("url", "uri"),
    "date": ("date",),
    "title": ("title",),
    "extra": (EXTRA,),
}
CHAT_DEFAULTS = {  # of conversations: of messages, instances and prompt with completion, the first that a record has
    "messages": ("messages", "conversations", "conversation"),
    "instances": ("instances",),
    "prompt": ("instruction", "prompt", "question", "query"),
    "input": ("input", "context"),
    "completion": ("output", "completion", "response", "answer"),
    "system": ("system", "system_prompt"),
    "history": ("history",),
    "tools": ("tools", "functions"),
    "protected": ("protected",),
    "verdict": ("verdict",),
    **{target: (target,) for target in PROVENANCE},
}
# Of code: the names that The Stack, StarCoder's data, github-code and python-edu give, in this order.
CODE_DEFAULTS = {
    "text": ("text", "content", "code", "raw_content"),
    "source_id": (*DEFAULTS["source_id"], "hexsha", "blob_id"),
    "path": ("path", "max_stars_repo_path", "file_path", "filepath", "filename"),
    "repository": ("repo_name", "repository", "repo", "max_stars_repo_name"),
    "code_language": ("language", "lang", "programming_language"),
}

Mapper = Callable[[dict[str, Any]], dict[str, Any]]
Tried = list[tuple[str, tuple[str, ...]]]  # target, fields tried for it
LAYOUTS, LAYOUT_CHARS = 256, 4096  # kept by `of_layout`: rows of a file mostly have the same keys


def field_names(source: Source) -> dict[str, tuple[str, ...]]:
    """target -> the fields tried for it, in order; targets nothing is read for are absent."""
    names = DEFAULTS | (CODE_DEFAULTS if source.type == "code" else {})
    if source.type == "conversation":
        del names["text"]
        names |= CHAT_DEFAULTS
        if FORMS & set(source.fields):  # what the recipe maps, and nothing else
            for target in FORMS - set(source.fields) - ({"prompt"} if "instances" in source.fields else set()):
                del names[target]
    if source.own is not None:
        del names["text"]
        names |= source.own.targets()
    names |= {target: (name,) for target, name in source.fields.items()}
    if source.license.from_field is not None:
        names["license"] = (source.license.from_field,)
    return names


def columns_read(source: Source) -> set[str]:
    """Top-level columns a Parquet file is asked for: whole names, and the first part of dotted paths."""
    names = [name for tried in field_names(source).values() for name in tried]
    if source.group is not None:
        names += [source.group.by] + ([source.group.order] if source.group.order else [])
    return {part for name in names for part in (name, name.split(".")[0])}


def check_fields(source: Source) -> None:
    """The recipe's `fields:` make sense for the source's type, before any file is opened."""
    where = f"sources.{source.name}.fields"
    own = source.own.targets() if source.own is not None else {}
    if source.type != "conversation":
        own |= dict.fromkeys((f"provenance.{key}" for key in PROVENANCE_KEYS), ())
    for target in source.fields:
        if target in own:
            continue
        if target == "license":
            line = f"license: {{from_field: {source.fields[target]}}}"
            raise CurateError("a licence field is named under license:", where=where, next=line)
        if target not in TARGETS:
            known = (*own, *TARGETS)
            raise CurateError(
                f"documents have no column {target!r}", where=where, allowed=", ".join(nearest(target, known) or known)
            )
    if source.own is not None and "text" in source.fields and "text" not in own:
        raise CurateError(f"the text of type: {source.type} is made of its parts", where=where, allowed=", ".join(own))
    chat = [t for t in CHAT if t in source.fields and t not in own]
    if chat and source.type != "conversation":
        raise CurateError(f"{chat[0]} is for conversations", where=where, found=f"type: {source.type}", next="type: conversation")
    if source.type != "code" and (of_code := [t for t in OF_CODE if t in source.fields and t not in own]):
        raise CurateError(f"{of_code[0]} is for code", where=where, found=f"type: {source.type}", next="type: code")
    if source.type == "conversation" and "text" in source.fields:
        mapped = "map messages, or prompt and completion"
        raise CurateError("the text of a conversation is derived from its messages", where=where, next=mapped)
    if (
        source.own is None
        and not {"messages", "instances"} & set(source.fields)
        and ("prompt" in source.fields) != ("completion" in source.fields)
    ):
        raise CurateError("prompt and completion go together", where=where, found=", ".join(chat))


def needed_fields(source: Source) -> dict[str, tuple[str, ...]]:
    """target -> fields of which some record must have one, or the mapping is wrong."""
    names = field_names(source)
    made_of = ("text", "messages", "instances", *PROMPT) if source.own is None else source.own.needed()
    needed = {target: names[target] for target in (*made_of, "source_id", "license") if target in names}
    if source.type == "conversation" and not {"messages", "instances", *PROMPT} & set(source.fields):  # any form will do
        forms = ("messages", "instances", "prompt")
        needed = {t: names[t] for t in ("source_id", "license") if t in names} | {
            "messages": tuple(n for t in forms for n in names[t])
        }
    if "source_id" not in source.fields:  # nothing is amiss where a default finds no id
        needed.pop("source_id", None)
    needed.pop("input", None)  # often empty
    if "instances" in source.fields:
        needed.pop("prompt", None)
    return needed


def mapper(source: Source, limit: int) -> Mapper:
    """The function from raw rows of plain text to {column: str | None}. `limit`: bytes of text."""
    names, others = field_names(source)["text"], scalars(source)

    def fields(row: dict[str, Any]) -> dict[str, Any]:
        text = checked(string(pick(row, names), "text"), limit)
        mapped = others(row)
        mapped["text"] = text
        return mapped

    return fields


def scalars(source: Source) -> Mapper:
    """The function from raw rows to every column of COLUMNS, those filled that say where a document is from; the lane makes the others."""
    names = field_names(source)
    found: Tried = [(t, names[t]) for t in ("source_id", "url", "language", "license", "date", "title", "extra") if t in names]
    tried_in = of_layout(found)
    empty: dict[str, Any] = dict.fromkeys(COLUMNS)
    given, told = source.provenance or {}, {}
    if source.type != "conversation":  # whose lane knows more of it
        told = {t.partition(".")[2]: names[t] for t in names if t.startswith("provenance.")}

    def fields(row: dict[str, Any]) -> dict[str, Any]:
        mapped = empty.copy()
        for target, tried in tried_in(row):
            if (value := pick(row, tried)) is not None:
                if type(value) is str and target != "extra":
                    mapped[target] = clean(value) or None
                    continue
                try:
                    mapped[target] = clean(_extra(value) if target == "extra" else as_string(value))
                except RecursionError:
                    raise Refused("broken_json", f"{target} is nested too deeply") from None
        if given or told:
            own = {key: clean(value) for key, tried in told.items() if (value := as_string(pick(row, tried))) is not None}
            mapped["extra"] = add_extra(mapped["extra"], "provenance", {**given, **own})
        return mapped

    return fields


def of_layout(found: Tried) -> Callable[[dict[str, Any]], Tried]:
    """The function from a row to what of `found` its keys may answer, remembered by its keys."""
    known: dict[tuple[str, ...], Tried] = {}

    def tried_in(row: dict[str, Any]) -> Tried:
        keys = tuple(row)
        if (there := known.get(keys)) is None:
            there = [(target, left) for target, tried in found if (left := tuple(n for n in tried if n in row or "." in n))]
            if sum(map(len, keys)) + len(keys) <= LAYOUT_CHARS:  # else a file of ever new keys would fill the memory
                if len(known) >= LAYOUTS:
                    known.clear()
                known[keys] = there
        return there

    return tried_in


def pick(row: dict[str, Any], names: Sequence[str]) -> Any:
    """The first value that is not null among `names`; `a.b` is the key "a.b", else "b" inside "a"."""
    for name in names:
        value = row.get(name)
        if value is None and "." in name:
            value = row
            for part in name.split("."):
                value = value.get(part) if isinstance(value, dict) else None
        if value is not None:
            return value
    return None


def as_string(value: Any) -> str | None:
    """One spelling per value, whatever format it came from: 5 and 5.0 are "5", true is "true", NaN is nothing."""
    value = plain(value)
    if value is None or isinstance(value, str):
        return value or None
    return _json(value)


def plain(value: Any) -> Any:
    """JSON's types only: no NaN, whole floats as integers, keys with null dropped, bytes as UTF-8, times in ISO form."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return int(value) if value.is_integer() and abs(value) < 2**53 else value
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError as error:
            raise Refused("invalid_utf8", f"byte {value[error.start]:#04x} at byte {error.start} of the value") from None
    if isinstance(value, dict):
        return {str(key): item for key, inner in value.items() if (item := plain(inner)) is not None}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    return str(value) if isinstance(value, decimal.Decimal) else repr(value)


def number(value: Any, what: str) -> float | int | None:
    """A number, or the text of one; None for null and NaN; else `Refused`."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            raise Refused("not_a_number", f"{what} is {value[:50]!r}") from None
    if isinstance(value, bool) or not (value is None or isinstance(value, int | float | decimal.Decimal)):
        raise Refused("not_a_number", f"{what} is a {type(value).__name__}")
    found: float | int | None = plain(float(value) if isinstance(value, decimal.Decimal) else value)
    return found


def add_extra(extra: str | None, name: str, value: Any) -> str:
    """The column extra with our key; what was mapped to it and is no object stands under "value"."""
    own = json.loads(extra) if extra else {}
    return _json({**(own if isinstance(own, dict) else {"value": own}), name: value})


chat_text = said  # of a conversation: what is measured


def _extra(value: Any) -> str | None:
    value = plain(value)
    return None if value in (None, {}, []) else _json(value)


def _json(value: Any) -> str:
    try:
        return canonical_json(value).decode()
    except UnicodeEncodeError as error:
        raise Refused("lone_surrogate", f"U+{ord(error.object[error.start]):04X} inside a nested value") from None


def string(value: Any, what: str) -> str:
    """A value that must be text, else `Refused` for missing or of another type."""
    if value is None:
        raise Refused("missing_text", f"no {what}")
    if isinstance(value, bytes):
        value = plain(value)
    if not isinstance(value, str):
        raise Refused("text_not_string", f"{what} is a {type(value).__name__}")
    return value


def checked(text: str, limit: int) -> str:
    """A document's text, refused where it is blank, too long or cannot be stored."""
    if not text or text.isspace():
        raise Refused("empty_text", f"{len(text)} white space characters")
    n = len(_stored(text))
    if n > limit:
        raise Refused("too_large", f"a text of {n} bytes")
    return text


def clean(value: str | None) -> str:
    """`value`, refused where it cannot be stored: U+0000, half a surrogate pair."""
    if value:
        _stored(value)
    return value  # type: ignore[return-value]


def _stored(value: str) -> bytes | str:
    """`value` in UTF-8, or itself where it is ASCII, which has as many bytes; refused as `clean` says."""
    if value.isascii():
        if "\0" in value:
            raise _nul(value)
        return value
    try:
        data = value.encode()
    except UnicodeEncodeError as error:
        if "\0" in value:
            raise _nul(value) from None
        raise Refused("lone_surrogate", f"U+{ord(value[error.start]):04X} at character {error.start}") from None
    if b"\0" in data:  # looked for in bytes, 10 times faster than in characters of two bytes
        raise _nul(value)
    return data


def _nul(value: str) -> Refused:
    return Refused("nul_character", f"U+0000 at character {value.index(chr(0))}")
