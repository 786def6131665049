"""What `curate what-if` prints: what is kept, the difference by reason, texts that change sides, tokens, the lines to paste.

In: the data of what_if.py. Out: text of at most 100 columns. Imports inspect.{outcomes, samples, tables}.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from curate.inspect.outcomes import KEPT
from curate.inspect.samples import document_lines
from curate.inspect.tables import WIDTH, count, flowed, paint, table

N_MOVES = 12


def render(data: Mapping[str, Any], colour: bool = False) -> str:
    """The comparison as text, 100 columns."""
    lines = [*_sources(data), "", *_reasons(data), ""]
    lines += [*_moves(data), ""] if data["moves"] else []
    for changed in data["texts"]:
        lines += _texts(changed, colour)
    lines += _components(data)
    if data["feasible"] is not None:
        verdict = (
            paint("feasible", "green", colour) if data["feasible"] else paint("not feasible: ", "red", colour) + data["problem"]
        )
        lines += ["", f"the plan is {verdict}"]
    lines += (
        ["", "to keep it, in the recipe:", *(f"  {line}" for line in data["yaml"])] if data["yaml"] else ["", "nothing changes"]
    )
    return "\n".join(lines)


def _sources(data: Mapping[str, Any]) -> list[str]:
    shown = [
        [name, count(s["before"]["kept"]), "->", count(s["after"]["kept"]), f"{s['after']['kept'] - s['before']['kept']:+,}",
         count(s["newly_kept"]), count(s["newly_dropped"])]
        for name, s in data["sources"].items()
    ]  # fmt: skip
    return table(["source", "kept", "", "", "", "newly kept", "newly dropped"], shown, "<><>>>>")


def _reasons(data: Mapping[str, Any]) -> list[str]:
    """Dropped for it; and of the documents a rule fails, those that no other rule fails, and those that another fails as well."""
    if not data["reasons"]:
        return ["nothing is dropped"]
    shown = []
    for reason, pair in data["reasons"].items():
        b, a = pair["before"], pair["after"]
        row = [reason, count(b["dropped"]), "->", count(a["dropped"]), f"{a['dropped'] - b['dropped']:+,}"]
        for kind in ("alone", "jointly"):
            row += ["", "", ""] if a[kind] is None else [count(b[kind]), "->", count(a[kind])]
        shown.append(row)
    head = ["reason", "dropped", "", "", "", "alone", "", "", "jointly", "", ""]
    says = "alone: no other rule fails them, so this rule alone removes so many; jointly: another rule fails them as well"
    return [*table(head, shown, "<><>>><>><>"), *flowed(says.split(" "), "", "", " ")]


def _moves(data: Mapping[str, Any]) -> list[str]:
    shown = [[m["before"], "->", m["after"], count(m["documents"])] for m in data["moves"][:N_MOVES]]
    lines = table(["was", "", "is", "documents"], shown, "<<<>")
    left = data["moves"][N_MOVES:]
    return [*lines, f"and {count(sum(m['documents'] for m in left))} in {len(left)} other ways"] if left else lines


def _texts(changed: Mapping[str, Any], colour: bool) -> list[str]:
    is_kept = changed["side"] == KEPT
    what = "newly kept, was dropped for" if is_kept else "newly dropped for"
    lines = [paint(f"{what} {changed['reason']}", "green" if is_kept else "red", colour)]
    for document in changed["documents"]:
        lines += [f"  {line}" for line in document_lines(document, colour, 3, WIDTH - 2)]
    return [*lines, ""]


def _components(data: Mapping[str, Any]) -> list[str]:
    shown = []
    for name, a in data["components"]["after"].items():
        b = data["components"]["before"].get(name, {"documents": None, "tokens": None})
        note = (
            "not tokenized yet" if a["tokens"] is None else f"{count(a['estimated'])} of them estimated" if a["estimated"] else ""
        )
        figure = ("~" if a["estimated"] else "") + count(a["tokens"])
        documents = [count(b["documents"]), "->", count(a["documents"])]
        shown.append([name, a["requested"], f"{a['max_epochs']:g}", *documents, count(b["tokens"]), "->", figure, note])
    lines = table(["component", "budget", "cap", "documents", "", "", "unique tokens", "", "", ""], shown, "<>>><>><><")
    pairs = [(name, data["components"]["before"].get(name), a) for name, a in data["components"]["after"].items()]
    for name, before, a in pairs:
        sides = [side for side in (before, a) if side is not None and side["tokens"] is not None]
        if any(side["epoch_tokens"] != side["tokens"] for side in sides):
            figures = [count(None if side is None else side["epoch_tokens"]) for side in (before, a)]
            lines.append(f"{name}: with its copies an epoch is {figures[0]} -> {figures[1]} tokens")
    return lines
