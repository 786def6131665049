"""Raw rows in, guesses about their fields out: which is the text, the id, the address, the licence, the conversation.

Pure functions over the first records, for propose.py. Imports fields, turns, guess_pairs, guess_text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from curate.sources.fields import CHAT_DEFAULTS, CODE_DEFAULTS, DEFAULTS, pick
from curate.sources.guess_pairs import pairs_of
from curate.sources.guess_text import text_field
from curate.sources.lanes.code.languages import kind_of, language_of
from curate.sources.lanes.math.latex import is_latex
from curate.sources.records import Refused
from curate.sources.turns import SPEAKER, messages_of

# pairs of fields that are a prompt and its completion; the third may add to the prompt
PROMPTED = (
    ("instruction", "output", "input"), ("prompt", "completion", None), ("prompt", "response", None),
    ("instruction", "response", "context"), ("question", "answer", "context"), ("query", "response", None),
    ("input", "output", None),
)  # fmt: skip
LANGUAGE_CODE = re.compile(r"^[a-z]{2,3}([_-][A-Za-z0-9]{1,12})*$")
MOST_CODES = 0.9  # of the values of a field of languages: a corpus of many has some without a code
SUM = re.compile(r"\d\s*[-+*/\u00d7\u00f7]\s*[$\u20ac]?\d[\d.,]*\s*=\s*(?:<<[^<>]*>>)?\s*[$\u20ac]?\d")
ID_NAMES = (*DEFAULTS["source_id"], "doc_id", "document_id", "docid", "uid", "key", "hash", "sha")
MOST = 0.5  # a field counts where at least so many of the rows have it


def flat(row: dict[str, Any], depth: int = 2) -> dict[str, Any]:
    """Fields by dotted path, objects opened to `depth`."""
    found: dict[str, Any] = {}
    for key, value in row.items():
        if key.startswith("\0"):  # ours
            continue
        if isinstance(value, dict) and depth > 1:
            found |= {f"{key}.{inner}": item for inner, item in flat(value, depth - 1).items()}
        else:
            found[key] = value
    return found


def fields_of(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What a source block needs to know: {type, fields, options, language_field, license_field, notes, seen: {field: mean characters}}."""
    flats = [flat(row) for row in rows]
    names = sorted({name for row in flats for name in row})
    values = {name: [row[name] for row in flats if row.get(name) not in (None, "")] for name in names}
    lengths = {
        name: sum(len(v) for v in column if isinstance(v, str)) / len(rows)
        for name, column in values.items() if any(isinstance(v, str) for v in column)
    }  # fmt: skip
    notes: list[str] = []
    if (pairs := pairs_of(rows, values)) is not None:
        kind, fields = pairs.type, dict(pairs.fields)
        notes += pairs.notes
    else:
        kind, fields = _page_field(values, len(rows)) or _code_field(rows) or _text_fields(rows, values, lengths, notes)
        kind = "math" if kind == "text" and (_are_latex(rows, fields) or _are_sums(rows, fields)) else kind
    fields |= _identity(values, len(rows), notes)
    if (url := _first(values, lambda n, v: n in DEFAULTS["url"]) or _first(values, _is_url)) and url not in DEFAULTS["url"]:
        fields["url"] = url
    for target, hints in (("date", ("date", "timestamp", "created", "published")), ("title", ("title", "headline"))):
        name = _first(values, lambda n, v, hints=hints: n.split(".")[-1].lower() in hints and isinstance(v[0], str | int))
        if name and name not in DEFAULTS[target]:
            fields[target] = name
    return {
        "type": kind, "fields": fields, "options": pairs.options if pairs else {}, "notes": notes, "seen": lengths,
        "language_field": None if kind == "code" else _first(values, lambda n, v: _is_language(n, v, len(rows))),
        "license_field": _first(values, lambda n, v: "licen" in n.lower() and all(isinstance(x, str | list) for x in v)),
        "licenses": sorted({x for n, v in values.items() if "licen" in n.lower() for x in v if isinstance(x, str)}),
    }  # fmt: skip


def _page_field(values: dict[str, list], n_rows: int) -> tuple[str, dict[str, str]] | None:
    """(type, fields) where a field holds pages of markup."""
    for name, column in values.items():
        if len(column) >= MOST * n_rows and all(isinstance(v, str | bytes) and _is_markup(v) for v in column[:20]):
            return "web", {} if name in ("html", "raw_html") else {"html": name}
    return None


def _code_field(rows: Sequence[dict[str, Any]]) -> tuple[str, dict[str, str]] | None:
    """(type, fields) where most records name a file of a programming language beside their text."""
    paths = [path for row in rows if isinstance(path := pick(row, CODE_DEFAULTS["path"]), str)]
    with_text = sum(isinstance(pick(row, CODE_DEFAULTS["text"]), str) for row in rows)
    is_code = sum((found := language_of(path, "")) is not None and kind_of(found.name) == "code" for path in paths)
    return ("code", {}) if min(with_text, is_code) >= MOST * len(rows) and rows else None


def _are_sums(rows: Sequence[dict[str, Any]], fields: dict[str, str]) -> bool:
    """Do most texts calculate with numbers?"""
    texts = [pick(row, (fields["text"],) if "text" in fields else DEFAULTS["text"]) for row in rows[:100]]
    return sum(isinstance(text, str) and SUM.search(text) is not None for text in texts) > MOST * len(texts)


def _are_latex(rows: Sequence[dict[str, Any]], fields: dict[str, str]) -> bool:
    """Are most texts sources of LaTeX documents?"""
    texts = [pick(row, (fields["text"],) if "text" in fields else DEFAULTS["text"]) for row in rows[:100]]
    return sum(isinstance(text, str) and is_latex(text) for text in texts) > MOST * len(texts)


def _is_markup(value: str | bytes) -> bool:
    head = value[:2000] if isinstance(value, str) else value[:2000].decode("latin-1")
    return re.search(r"<!doctype html|<html[\s>]|<body[\s>]", head, re.I) is not None


def _text_fields(
    rows: Sequence[dict[str, Any]], values: dict[str, list], lengths: dict[str, float], notes: list[str]
) -> tuple[str, dict[str, str]]:
    """(type, fields): a conversation where turns or a prompt and its completion stand, else a text."""
    for name, column in values.items():
        if len(column) >= MOST * len(rows) and all(_is_chat(value) for value in column[:100]):
            return "conversation", {} if name in CHAT_DEFAULTS["messages"] else {"messages": name}
    instances, names = values.get("instances", ()), CHAT_DEFAULTS["prompt"]
    if len(instances) >= MOST * len(rows) and any(name in values for name in names) and all(map(_is_instance, instances)):
        if several := sum(len(one) > 1 for one in instances):
            notes.append(f"{several} rows have several instances: each becomes a document")
        return "conversation", {}
    has_text = any(pick(row, DEFAULTS["text"]) is not None for row in rows)
    for prompt, completion, more in PROMPTED if not has_text else ():
        if all(len(values.get(name, ())) >= MOST * len(rows) and name in lengths for name in (prompt, completion)):
            return "conversation", {"prompt": prompt, "completion": completion} | ({"input": more} if more in lengths else {})
    if (found := text_field(values, lengths, len(rows), notes)) is None:
        notes.append("no field holds text")
        return "text", {}
    default = next((one for one in DEFAULTS["text"] if any(row.get(one) is not None for row in rows)), None)
    return "text", {} if found == default else {"text": found}


def _is_chat(value: Any) -> bool:
    """A list of turns, JSON text of one, or a transcript."""
    if not value or not isinstance(value, list | str):
        return False
    if isinstance(value, str) and not value.lstrip().startswith("[") and not SPEAKER.match(value):
        return False
    try:
        return bool(messages_of(value))
    except Refused:
        return False


def _is_instance(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, dict) and "output" in one for one in value)


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


def _is_language(name: str, column: list, n_rows: int) -> bool:
    """Of most rows, not of a few: WARC records rarely have a Content-Language."""
    codes = sum(LANGUAGE_CODE.match(str(value)) is not None for value in column)
    return "lang" in name.lower() and len(column) >= MOST * n_rows and codes >= MOST_CODES * len(column)


def _is_url(name: str, column: list) -> bool:
    return all(isinstance(value, str) and value.startswith(("http://", "https://")) for value in column)


def _first(values: dict[str, list], test: Any) -> str | None:
    """The first field, shallow ones before nested ones, with values that pass."""
    for name in sorted(values, key=lambda n: (n.count("."), n)):
        if values[name] and test(name, values[name]):
            return name
    return None
