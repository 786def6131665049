"""What `curate remove` prints: the removed documents, what like them remains, and how the mixture changes.

In: the data of removal.py, with `steps` (mixture.streams) and `problem` beside it. Out: text of at most 100 columns. Imports
inspect.{step, tables}.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from curate.inspect.step import name_of
from curate.inspect.tables import WIDTH, count, cut, flowed, paint, table

N_REMOVED = 20  # shown
N_ALIKE = 5  # of each, shown
N_UNKNOWN = 10


def render(data: Mapping[str, Any], colour: bool = False) -> str:
    n = len(data["removed"])
    lines = [paint(f"{count(n)} document{'s' if n != 1 else ''} removed from {data['build']}: {data['without']}", "bold", colour)]
    lines += _unknown(data, colour)
    if data["problem"]:
        lines += ["", paint("! no mixture: ", "red", colour) + data["problem"]]
    for document in data["removed"][:N_REMOVED]:
        lines += ["", *_document(document, colour)]
    if n > N_REMOVED:
        lines += ["", f"and {count(n - N_REMOVED)} more: --json lists all"]
    return "\n".join([*lines, "", *_remaining(data, colour), *_change(data), *_left(data)])


def _unknown(data: Mapping[str, Any], colour: bool) -> list[str]:
    lines = []
    for one in data["unknown"][:N_UNKNOWN]:
        near = f" (nearest: {', '.join(one['nearest'])})" if one["nearest"] else ""
        lines.append(paint(cut(f"! no document has the id or source_id {one['name']}{near}", WIDTH), "yellow", colour))
    left = len(data["unknown"]) - N_UNKNOWN
    return [*lines, *([f"! and {count(left)} more names that no document has"] if left > 0 else [])]


def _document(document: Mapping[str, Any], colour: bool) -> list[str]:
    was = document["was"]
    name = name_of(document)
    lines = [paint(cut(f"{document['source']}  {document['id']}  {name}", WIDTH), "cyan", colour), f"  was {_fate(was)}"]
    for one in document["alike"][:N_ALIKE]:
        notes = [
            one["state"],
            *(["came back"] if one["came_back"] else []),
            *(["of its cluster"] if one["in_cluster"] else []),
        ]
        lines.append(cut(f"  like it: Jaccard {one['jaccard']:.4f}  {one['source']}  {one['id']}  {', '.join(notes)}", WIDTH))
    left = len(document["alike"]) - N_ALIKE
    return [*lines, *([f"  and {count(left)} more like it: --json"] if left > 0 else [])]


def _fate(was: Mapping[str, Any]) -> str:
    if not was["kept"]:
        return f"dropped for {was['reason']}: it was in no mixture before either"
    if was["split"] == "held_out":
        return "held out, never trained on"
    if not was["tokens"]:
        return "kept, and not trained on (over budget, in no component, or there was no mixture)"
    times = {1: "once", 2: "twice"}.get(was["uses"], f"{count(was['uses'])} times")
    return f"trained on {times}, {count(was['tokens'])} tokens, rows {count(was['first'])} to {count(was['last'])} of the stream"


def _remaining(data: Mapping[str, Any], colour: bool) -> list[str]:
    chances = [f"{math.floor(1000 * chance) / 10:g} % at {j}" for j, chance in data["index"]["chance"].items()]
    found = flowed(
        chances, f"how many such documents {data['index']['bands']} bands of {data['index']['rows']} find, by Jaccard:  ", "  "
    )
    total = sum(data["remaining"].values())
    if not total:
        return [f"nothing kept is like them (Jaccard >= {data['jaccard']:g})", *found]
    states = ", ".join(f"{count(n)} {state}" for state, n in data["remaining"].items())
    lines = [paint(f"! {count(total)} kept documents are like them: {states}", "yellow", colour)]
    if data["came_back"]:
        lines.append(f"  {count(data['came_back'])} came back: dropped before as duplicates of what is removed, kept now")
    return [*lines, *found, "  to take them out as well: add their ids to the file and run the same command"]


def _change(data: Mapping[str, Any]) -> list[str]:
    shown = []
    for name, of in data["diff"]["components"].items():
        cells = [name]
        for key in ("documents", "tokens", "unique_tokens"):
            a, b = ((side or {}).get(key) for side in (of["a"], of["b"]))
            cells += [count(a), "->", count(b)]
        shown.append(cells)
    head = ["component", "documents", "", "", "tokens to train", "", "", "unique tokens", "", ""]
    lines = ["", *table(head, shown, "<><>><>><>")] if shown and not data["problem"] else []
    moves = [m for m in data["diff"]["moves"] if m["b"] != "removed"]
    lines += [f"besides: {count(m['documents'])} of {m['source']} {m['a']} -> {m['b']}" for m in moves[:6]]
    return lines + _steps(data)


def _steps(data: Mapping[str, Any]) -> list[str]:
    steps = data["steps"]
    if steps is None:
        return []
    a, b = steps["rows"]["a"], steps["rows"]["b"]
    if steps["first_changed"] is None:
        return [f"the stream is the same, all {count(b)} rows"]
    at = f"row {count(steps['first_changed'])}" + (f", step {count(steps['first_step'])}" if steps.get("first_step") else "")
    parts = [f"{name}: {count(of['same_place'])} of {count(of['b'])} rows in place," for name, of in steps["components"].items()]
    lines = [f"the stream changes from {at} on; of {count(a)} rows before and {count(b)} now, {count(steps['same_place'])} are the same in "
             f"the same place, {count(steps['same_content'])} the same anywhere"]  # fmt: skip
    return [cut(lines[0], 2 * WIDTH), *flowed(parts, "  ", "  ", " ")]


def _left(data: Mapping[str, Any]) -> list[str]:
    return [
        "their texts still lie in the raw input and the store, their tokens in the old build's shards: curate gc --delete, once no build",
        "needs them",
        f"next: curate explain {data['without']} {data['removed'][0]['id']}   curate verify {data['without']}",
    ]
