"""A raw row in, the mapped fields of a document out, or `Refused`; the same from JSON and from Parquet.

Scalars become strings, nested values canonical JSON without nulls, chat shapes [{role, content}]. Imports records, errors, store.
"""

from __future__ import annotations

import datetime
import decimal
import json
import math
from collections.abc import Callable, Sequence
from typing import Any

from curate.errors import CurateError, nearest
from curate.recipe import Source
from curate.sources.records import Refused
from curate.store import canonical_json

# What a lane makes of a row; see schema.DOCUMENTS. `messages` is a list of {role, content, ...}, the others are strings.
COLUMNS = (
    "text", "messages", "prompt", "chosen", "rejected", "parts", "source_id", "url", "language", "license", "license_evidence",
    "date", "title", "extra",
)  # fmt: skip
MADE = ("prompt", "chosen", "rejected", "parts", "license_evidence")  # by lanes, never mapped from a field
PROMPT = ("prompt", "input", "completion")  # targets that become two messages
TARGETS = (*(c for c in COLUMNS if c not in ("license", *MADE)), *PROMPT)
DEFAULTS = {  # tried in this order, record by record, where the recipe maps nothing
    "text": ("text", "content", "raw_content"),
    "source_id": ("id", "_id", "uuid"),
    "url": ("url", "uri"),
    "messages": ("messages", "conversations"),
    "date": ("date",),
    "title": ("title",),
}
ROLES = {"human": "user", "gpt": "assistant", "chatgpt": "assistant", "bot": "assistant", "model": "assistant"}

Mapper = Callable[[dict[str, Any]], dict[str, Any]]


def field_names(source: Source) -> dict[str, tuple[str, ...]]:
    """target -> the fields tried for it, in order; targets nothing is read for are absent."""
    names = dict(DEFAULTS)
    if source.type == "conversation":
        del names["text"]
        if any(target in source.fields for target in PROMPT):
            del names["messages"]
    else:
        del names["messages"]
    names |= {target: (name,) for target, name in source.fields.items()}
    if source.license.from_field is not None:
        names["license"] = (source.license.from_field,)
    return names


def columns_read(source: Source) -> set[str]:
    """Top-level columns a Parquet file is asked for: whole names, and the first part of dotted paths."""
    return {part for names in field_names(source).values() for name in names for part in (name, name.split(".")[0])}


def check_fields(source: Source) -> None:
    """The recipe's `fields:` make sense for the source's type, before any file is opened."""
    where = f"sources.{source.name}.fields"
    for target in source.fields:
        if target == "license":
            line = f"license: {{from_field: {source.fields[target]}}}"
            raise CurateError("a licence field is named under license:", where=where, next=line)
        if target not in TARGETS:
            close = nearest(target, TARGETS)
            raise CurateError(f"documents have no column {target!r}", where=where, allowed=", ".join(close or TARGETS))
    chat = [t for t in ("messages", *PROMPT) if t in source.fields]
    if chat and source.type != "conversation":
        raise CurateError(f"{chat[0]} is for conversations", where=where, found=f"type: {source.type}", next="type: conversation")
    if source.type == "conversation" and "text" in source.fields:
        mapped = "map messages, or prompt and completion"
        raise CurateError("the text of a conversation is derived from its messages", where=where, next=mapped)
    if "messages" not in source.fields and ("prompt" in source.fields) != ("completion" in source.fields):
        raise CurateError("prompt and completion go together", where=where, found=", ".join(chat))


def mapper(source: Source, limit: int) -> Mapper:
    """The function from raw rows to {column: str | None, "messages": list | None}. `limit`: bytes of text."""
    names = field_names(source)
    scalars = [(t, names[t]) for t in ("source_id", "url", "language", "license", "date", "title", "extra") if t in names]
    is_chat, is_prompted = source.type == "conversation", "completion" in names

    def fields(row: dict[str, Any]) -> dict[str, Any]:
        messages = None
        if is_chat:
            messages = _prompted(row, names) if is_prompted else _messages(pick(row, names["messages"]))
            text = chat_text(messages)
        else:
            text = _string(pick(row, names["text"]), "text")
        mapped: dict[str, Any] = dict.fromkeys(COLUMNS)
        mapped["messages"] = messages
        mapped["text"] = _checked(text, limit)
        for target, tried in scalars:
            if (value := pick(row, tried)) is not None:
                try:
                    mapped[target] = _clean(_extra(value) if target == "extra" else as_string(value))
                except RecursionError:
                    raise Refused("broken_json", f"{target} is nested too deeply") from None
        return mapped

    return fields


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


def chat_text(messages: list[dict[str, str]]) -> str:
    """What of a conversation is measured: its contents without roles, joined by blank lines."""
    return "\n\n".join(message["content"] for message in messages if message["content"])


def _extra(value: Any) -> str | None:
    value = plain(value)
    return None if value in (None, {}, []) else _json(value)


def _json(value: Any) -> str:
    try:
        return canonical_json(value).decode()
    except UnicodeEncodeError as error:
        raise Refused("lone_surrogate", f"U+{ord(error.object[error.start]):04X} inside a nested value") from None


def _string(value: Any, what: str) -> str:
    if value is None:
        raise Refused("missing_text", f"no {what}")
    if isinstance(value, bytes):
        value = plain(value)
    if not isinstance(value, str):
        raise Refused("text_not_string", f"{what} is a {type(value).__name__}")
    return value


def _checked(text: str, limit: int) -> str:
    if not text or text.isspace():
        raise Refused("empty_text", f"{len(text)} white space characters")
    n = len(_clean(text).encode())
    if n > limit:
        raise Refused("too_large", f"a text of {n} bytes")
    return text


def _clean(value: str | None) -> str:
    """`value`, refused where it cannot be stored: U+0000, half a surrogate pair."""
    if not value:
        return value  # type: ignore[return-value]
    if "\0" in value:
        raise Refused("nul_character", f"U+0000 at character {value.index(chr(0))}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise Refused("lone_surrogate", f"U+{ord(value[error.start]):04X} at character {error.start}") from None
    return value


def _messages(value: Any) -> list[dict[str, str]]:
    """[{role, content}] or [{from, value}], as a list or as JSON text of one."""
    if isinstance(value, str | bytes):
        try:
            value = json.loads(_string(value, "messages"))
        except (ValueError, RecursionError):
            raise Refused("text_not_string", "messages is a string that is no JSON list") from None
    if value is None:
        raise Refused("missing_text", "no messages")
    if not isinstance(value, list) or not all(isinstance(turn, dict) for turn in value):
        raise Refused("text_not_string", "messages is no list of objects")
    return [_turn(turn) for turn in value]


def _turn(turn: dict[str, Any]) -> dict[str, str]:
    role = _string(pick(turn, ("role", "from")), "role")
    content = pick(turn, ("content", "value"))
    if isinstance(content, list):  # [{"type": "text", "text": ...}]
        content = "".join(_string(part.get("text") if isinstance(part, dict) else part, "content") for part in content)
    return {"role": _clean(ROLES.get(role.lower(), role.lower())), "content": _clean(_string(content, "content"))}


def _prompted(row: dict[str, Any], names: dict[str, tuple[str, ...]]) -> list[dict[str, str]]:
    prompt = _string(pick(row, names["prompt"]), "prompt")
    more = pick(row, names["input"]) if "input" in names else None
    if more is not None and (more := _string(more, "input")).strip():
        prompt = f"{prompt}\n\n{more}"
    completion = _string(pick(row, names["completion"]), "completion")
    return [{"role": "user", "content": _clean(prompt)}, {"role": "assistant", "content": _clean(completion)}]
