"""What `curate thresholds` prints: a table per source, texts on both sides of each bound, stop words, the lines to paste.

In: the data of thresholds.py. Out: text of at most 100 columns. Imports inspect.{tables, threshold_methods}.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from curate.inspect.tables import count, flowed, paint, percent, table, wrapped
from curate.inspect.threshold_methods import METHODS

_HEAD = ["bound", "base", "drops", "proposed", "would drop", "method"]


def render(data: Mapping[str, Any], colour: bool = False) -> str:
    lines: list[str] = []
    for name, found in data["sources"].items():
        lines += [paint(f"{name}: {count(found['documents'])} documents, whatever the rules said of them", "bold", colour), ""]
        lines += [*_table(found, colour), *_notes(found), ""]
        lines += [f"all of these bounds together would drop {percent(found['together'], 1)}", ""]
    lines += [*_methods(data), ""]
    for name, found in data["sources"].items():
        for rule in found["rules"]:
            lines += _sides(name, rule, colour)
    lines += _stop_words(data["stop_words"], colour) if data["stop_words"] else []
    return "\n".join([*lines, paint("for the recipe:", "bold", colour), "", *data["yaml"]])


def _table(found: Mapping[str, Any], colour: bool) -> list[str]:
    shown = [
        [
            r["rule"],
            _bound(r["base"]),
            percent(r["base_would_drop"], 1),
            _bound(r["proposed"]),
            percent(r["would_drop"], 1),
            r["method"],
        ]
        for r in found["rules"]
    ]
    lines = table(_HEAD, shown, "<>>>><", "  ")
    return [lines[0], *(_grouped(lines[1:], [r["part"] for r in found["rules"]], colour))]


def _grouped(lines: list[str], parts: list[str], colour: bool) -> list[str]:
    """A heading wherever the filter changes."""
    result, last = [], ""
    for line, part in zip(lines, parts, strict=True):
        result += [line] if part == last else [paint(f" {part}", "cyan", colour), line]
        last = part
    return result


def _bound(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}" if value == int(value) else f"{value:g}"


def _notes(found: Mapping[str, Any]) -> list[str]:
    notes = [f"! {rule['rule']}: {rule['note']}" for rule in found["rules"] if rule["note"]]
    return [line for note in notes for line in ["", *flowed(note.split(" "), "", "  ", " ")]]


def _methods(data: Mapping[str, Any]) -> list[str]:
    """What the methods that were used do."""
    used = {rule["method"] for found in data["sources"].values() for rule in found["rules"]}
    says = {"clamp": "median - standard deviation of the language's scores, held between 0.3 and 0.9",
            **METHODS, "fixed": "not adapted to the language: FineWeb2's own value"}  # fmt: skip
    lines = [f"  {name:<12}{text}" for name, text in says.items() if name in used]
    note = "without a reference; FineWeb2 takes meanstd for Gopher quality: Wikipedia against English Wikipedia"
    if data["reference"]:
        of = f"that of {data['clean']}" if data["clean"] else "the source's own"
        note = f"the reference is {data['reference']}; the distribution compared with it is {of}"
    return [*lines, *flowed(note.split(" "), "  ", "  ", " ")]


def _sides(source: str, rule: Mapping[str, Any], colour: bool) -> list[str]:
    if not any(rule["texts"].values()):
        return []
    bound = f"{'>=' if rule['op'] == 'min' else '<='} {_bound(rule['proposed'])}"
    lines = [paint(f"{source}: {rule['signal']} {bound}", "bold", colour)]
    for side, style in (("dropped", "red"), ("kept", "green")):
        for document in rule["texts"][side]:
            lines.append("  " + paint(f"{side:<8}{format(document['value'], 'g')}", style, colour) + f"   {document['id']}")
            lines += [f"    {line}" for line in wrapped(document["text"] or "", 94, 2)]
    return [*lines, ""]


def _stop_words(found: Mapping[str, Any], colour: bool) -> list[str]:
    words = [f"{item['word']} {100 * item['share']:.2g} %" for item in found["words"]]
    head = f"stop words from {found['source']} ({count(found['n_words'])} words)"
    file = [f"  written to {found['file']}"] if "file" in found else ["  --write-stop-words FILE writes them"]
    return [paint(head, "bold", colour), *flowed(words, "  ", "  "), *file, ""]
