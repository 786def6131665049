"""Raw rows in, guesses about their fields out: which is the text, the id, the address, the licence, the conversation.

Pure functions over the first records, for propose.py. Imports fields.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from curate.sources.fields import DEFAULTS, pick

# pairs of fields that are a prompt and its completion; the third may add to the prompt
PROMPTED = (
    ("instruction", "output", "input"), ("prompt", "completion", None), ("prompt", "response", None),
    ("instruction", "response", "context"), ("question", "answer", "context"), ("query", "response", None),
    ("input", "output", None),
)  # fmt: skip
LANGUAGE_CODE = re.compile(r"^[a-z]{2,3}([_-][A-Za-z]{2,8})?$")
ID_NAMES = (*DEFAULTS["source_id"], "doc_id", "document_id", "docid", "uid", "key", "hash", "sha")
MOST = 0.5  # a field counts where at least so many of the rows have it


def flat(row: dict[str, Any], depth: int = 2) -> dict[str, Any]:
    """Fields by dotted path, objects opened to `depth`."""
    found: dict[str, Any] = {}
    for key, value in row.items():
        if isinstance(value, dict) and depth > 1:
            found |= {f"{key}.{inner}": item for inner, item in flat(value, depth - 1).items()}
        else:
            found[key] = value
    return found


def fields_of(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What a source block needs to know: {type, fields, language_field, license_field, notes, seen: {field: mean characters}}."""
    flats = [flat(row) for row in rows]
    names = sorted({name for row in flats for name in row})
    values = {name: [row[name] for row in flats if row.get(name) not in (None, "")] for name in names}
    lengths = {
        name: sum(len(v) for v in column if isinstance(v, str)) / len(rows)
        for name, column in values.items() if any(isinstance(v, str) for v in column)
    }  # fmt: skip
    notes: list[str] = []
    kind, fields = _text_fields(rows, values, lengths, notes)
    fields |= _identity(values, len(rows), notes)
    if (url := _first(values, lambda n, v: n in DEFAULTS["url"]) or _first(values, _is_url)) and url not in DEFAULTS["url"]:
        fields["url"] = url
    for target, hints in (("date", ("date", "timestamp", "created", "published")), ("title", ("title", "headline"))):
        name = _first(values, lambda n, v, hints=hints: n.split(".")[-1].lower() in hints and isinstance(v[0], str | int))
        if name and name not in DEFAULTS[target]:
            fields[target] = name
    return {
        "type": kind, "fields": fields, "notes": notes, "seen": lengths,
        "language_field": _first(values, lambda n, v: "lang" in n.lower() and all(LANGUAGE_CODE.match(str(x)) for x in v)),
        "license_field": _first(values, lambda n, v: "licen" in n.lower() and all(isinstance(x, str) for x in v)),
        "licenses": sorted({x for n, v in values.items() if "licen" in n.lower() for x in v if isinstance(x, str)}),
    }  # fmt: skip


def _text_fields(
    rows: Sequence[dict[str, Any]], values: dict[str, list], lengths: dict[str, float], notes: list[str]
) -> tuple[str, dict[str, str]]:
    """(type, fields): a conversation where turns or a prompt and its completion stand, else the longest text on average."""
    for name, column in values.items():
        if len(column) >= MOST * len(rows) and all(_is_chat(value) for value in column[:100]):
            return "conversation", {} if name in DEFAULTS["messages"] else {"messages": name}
    has_text = any(pick(row, DEFAULTS["text"]) is not None for row in rows)
    for prompt, completion, more in PROMPTED if not has_text else ():
        if all(len(values.get(name, ())) >= MOST * len(rows) and name in lengths for name in (prompt, completion)):
            return "conversation", {"prompt": prompt, "completion": completion} | ({"input": more} if more in lengths else {})
    if {"chosen", "rejected"} <= set(values):
        notes.append("chosen and rejected: preference pairs, of which a cpt recipe reads one text only")
    if not lengths:
        notes.append("no field holds text")
        return "text", {}
    longest = max(lengths, key=lambda name: lengths[name])
    default = next((name for name in DEFAULTS["text"] if any(row.get(name) is not None for row in rows)), None)
    if default and default != longest:
        means = f"{lengths[longest]:.0f} and {lengths.get(default, 0):.0f} characters"
        notes.append(f"{longest} is longer than {default} on average: {means}")
    return "text", {} if longest == default else {"text": longest}


def _is_chat(value: Any) -> bool:
    if not isinstance(value, list) or not value or not all(isinstance(turn, dict) for turn in value):
        return False
    return all({"role", "content"} <= set(turn) or {"from", "value"} <= set(turn) for turn in value)


def _identity(values: dict[str, list], n_rows: int, notes: list[str]) -> dict[str, str]:
    for name in ID_NAMES:
        found = [str(value) for value in values.get(name, ())]
        if len(found) < MOST * n_rows:
            continue
        if len(set(found)) == len(found):
            return {} if name in DEFAULTS["source_id"] else {"source_id": name}
        if name in DEFAULTS["source_id"]:
            notes.append(f"{name} repeats among the first {n_rows} records: {len(set(found))} values; `id: content` ignores it")
    return {}


def _is_url(name: str, column: list) -> bool:
    return all(isinstance(value, str) and value.startswith(("http://", "https://")) for value in column)


def _first(values: dict[str, list], test: Any) -> str | None:
    """The first field, shallow ones before nested ones, with values that pass."""
    for name in sorted(values, key=lambda n: (n.count("."), n)):
        if values[name] and test(name, values[name]):
            return name
    return None
