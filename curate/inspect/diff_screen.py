"""What `curate diff` prints: recipe keys, roots and where they part, documents and tokens, reasons, documents that change sides.

In: the data of diff.py. Out: text of at most 100 columns. Imports inspect.{diff, samples, step, tables}.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from curate.inspect.diff import ABSENT, KEPT
from curate.inspect.samples import document_lines, evidence
from curate.inspect.step import name_of
from curate.inspect.tables import WIDTH, count, cut, flowed, number, paint, table

N_KEYS = 30  # of the recipe, shown
N_ROWS = 12  # of a table, shown
N_NAME = 36  # characters of a licence


def render(data: Mapping[str, Any], colour: bool = False) -> str:
    """The difference as text, 100 columns."""
    a, b = data["builds"]["a"], data["builds"]["b"]
    lines = [paint(f"A {a['build']}  B {b['build']}", "bold", colour)]
    lines += [f"{name} has no mixture: its budget could not be met, or it stopped before"
              for name, side in (("A", a), ("B", b)) if not side["has_mixture"]]  # fmt: skip
    same = all(root["same"] for root in data["roots"].values()) and not data["parted"]
    blocks = [("recipe", _keys(data))]
    if same:
        lines.append(paint("the same mixture: every root is equal", "green", colour))
    blocks += [] if same else [
              ("roots", _roots(data)), ("components", _components(data)), ("phases", _phases(data)),
              ("sources", _sources(data)),
              ("languages", _named(data, "languages")), ("licences", _named(data, "licences")), ("reasons", _reasons(data)),
              ("signals that rules judge, over kept documents", _quality(data)), ("documents that change sides", _moves(data))]  # fmt: skip
    for title, block in blocks:
        lines += ["", paint(title, "bold", colour), *block] if block else []
    for changed in data["changed"]:
        lines += ["", *_changed(changed, colour)]
    return "\n".join(lines)


FIGURES = {"kept": "kept", "documents": "documents", "uses": "uses", "tokens": "tokens to train", "kept_tokens": "kept tokens"}


def render_by(data: Mapping[str, Any], colour: bool = False) -> str:
    """The tables of --by as text: documents and tokens; --json has all figures."""
    a, b = data["builds"]["a"], data["builds"]["b"]
    lines = [paint(f"A {a['build']}  B {b['build']}", "bold", colour)]
    tokens = "tokens" if a["has_mixture"] and b["has_mixture"] else "kept_tokens"
    for by in data["by"]:
        has = {key for row in by["rows"] for side in (row["a"], row["b"]) for key in side or ()}
        kinds = [*[key for key in ("kept", "documents", "uses") if key in has][:1], *([tokens] if tokens in has else [])]
        shown = [[cut(row["value"], N_NAME), *(cell for key in kinds for cell in _pair(data, key, row))] for row in by["rows"]]
        head = [by["name"], *(cell for key in kinds for cell in (FIGURES[key], "", "", ""))]
        lines += ["", *table(head, shown, "<" + "><>>" * len(kinds), "  ")]
    return "\n".join(lines)


def _short(value: Any) -> str:
    return "-" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _keys(data: Mapping[str, Any]) -> list[str]:
    shown = []
    for change in data["recipe"][:N_KEYS]:
        line = f"  {change['key']}: {_short(change['a'])} -> {_short(change['b'])}"
        shown += [line] if len(line) <= WIDTH else [f"  {change['key']}:"] + [
            cut(f"    {name} {_short(change[name.lower()])}", WIDTH) for name in ("A", "B")
        ]  # fmt: skip
    return shown + _left(len(data["recipe"]) - N_KEYS)


def _left(n: int) -> list[str]:
    return [f"  and {n} more: --json"] if n > 0 else []


def _roots(data: Mapping[str, Any]) -> list[str]:
    """Which differ, and where the two part."""
    known = {name: root for name, root in data["roots"].items() if root["a"] is not None and root["b"] is not None}
    differ = [name for name, root in known.items() if not root["same"]]
    equal = [name for name, root in known.items() if root["same"]]
    lines = [f"  differ: {', '.join(differ)}" + (f"; equal: {', '.join(equal)}" if equal else "")] if differ else []
    if data["parted"]:
        first = data["parted"][0]
        rest = sum(not stage["same"] for stage in data["stages"]) - 1
        lines += flowed(
            f"first parted at stage {_stage(first)}; {rest} more of {len(data['stages'])} stages differ".split(" "),
            "  ",
            "  ",
            " ",
        )
        lines += [f"    {stage['source'] or 'all sources'}: {_stage(stage)}" for stage in data["parted"][:N_ROWS]]
        lines += _left(len(data["parted"]) - N_ROWS)
    elif differ:
        lines.append("  no stage differs: the budget, the order or the packing does")
    strange = [
        s for s in data["stages"] if s["a"] and s["b"] and not s["same"] and s["a"]["fingerprint"] == s["b"]["fingerprint"]
    ]
    return lines + [f"  ! {_stage(s)}: other rows under the same fingerprint: curate verify both builds" for s in strange]


def _stage(stage: Mapping[str, Any]) -> str:
    of = " ".join(part for part in (stage["source"], stage["family"]) if part)
    if not stage["a"] or not stage["b"]:
        return f"{stage['stage']} {of} (only in {'A' if stage['a'] else 'B'})".replace("  ", " ")
    a, b = stage["a"]["rows"], stage["b"]["rows"]
    size = f"{count(a)} rows" if a == b else f"{count(a)} -> {count(b)} rows"
    return f"{stage['stage']} {of} ({size})".replace("  ", " ")


def _change(a: Any, b: Any) -> list[str]:
    """Cells: before, arrow, after, difference."""
    return [count(a), "->", count(b), "" if a is None or b is None or a == b else f"{b - a:+,}"]


def _pair(data: Mapping[str, Any], name: str, of: Mapping[str, Any]) -> list[str]:
    return _change(*((side or {}).get(name) for side in (of["a"], of["b"])))


def _components(data: Mapping[str, Any]) -> list[str]:
    shown = []
    for name, of in data["components"].items():
        epochs = ["-" if not side or side["epochs"] is None else f"{side['epochs']:.2f}" for side in (of["a"], of["b"])]
        shown.append([name, *_pair(data, "documents", of), *_pair(data, "tokens", of), epochs[0], "->", epochs[1]])
    head = ["component", "documents", "", "", "", "tokens to train", "", "", "", "epochs", "", ""]
    return table(head, shown, "<><>>><>>><>", "  ") if shown else []


def _phases(data: Mapping[str, Any]) -> list[str]:
    """Where a side has several."""
    if not any(sum(of[side] is not None for of in data["phases"].values()) > 1 for side in "ab"):
        return []
    shown = [
        [name, *_pair(data, "tokens", of), *_pair(data, "sequences", of)[:3], *_pair(data, "sequence_length", of)[:3]]
        for name, of in data["phases"].items()
    ]
    return table(["phase", "tokens to train", "", "", "", "sequences", "", "", "of tokens", "", ""], shown, "<><>>><>><>", "  ")


def _sources(data: Mapping[str, Any]) -> list[str]:
    shown = [
        [name, *_pair(data, "documents", of)[:3], *_pair(data, "kept", of), *_pair(data, _tokens(data), of)]
        for name, of in data["sources"].items()
    ]
    return table(["source", "documents", "", "", "kept", "", "", "", _says(data), "", "", ""], shown, "<><>><>>><>>", "  ")


def _tokens(data: Mapping[str, Any]) -> str:
    return "trained_tokens" if all(side["has_mixture"] for side in data["builds"].values()) else "tokens"


def _says(data: Mapping[str, Any]) -> str:
    return {"trained_tokens": "tokens to train", "tokens": "kept tokens"}[_tokens(data)]


def _named(data: Mapping[str, Any], kind: str) -> list[str]:
    shown = [
        [cut(name, N_NAME), *_pair(data, "kept", of), *_pair(data, _tokens(data), of)]
        for name, of in list(data[kind].items())[:N_ROWS]
    ]
    lines = table([kind[:-1], "kept", "", "", "", _says(data), "", "", ""], shown, "<><>>><>>", "  ")
    return lines + _left(len(data[kind]) - N_ROWS)


def _reasons(data: Mapping[str, Any]) -> list[str]:
    """Those whose count changed; how many did not is said."""
    changed = [r for r in data["reasons"] if r["a"] != r["b"]]
    shown = [[r["source"], r["reason"], *_change(r["a"], r["b"])] for r in changed[:N_ROWS]]
    lines = table(["source", "reason", "dropped", "", "", ""], shown, "<<><>>", "  ") if shown else []
    same = len(data["reasons"]) - len(changed)
    return (
        lines
        + _left(len(changed) - N_ROWS)
        + ([f"  {same} of {len(data['reasons'])} reasons drop as many as before"] if same and shown else [])
    )


def _quality(data: Mapping[str, Any]) -> list[str]:
    changed = [q for q in data["quality"] if q["a"] != q["b"]]
    shown = [
        [q["source"], q["signal"], number(q["a"]["mean"]), "->", number(q["b"]["mean"]), number(q["a"]["median"]), "->",
         number(q["b"]["median"])]
        for q in changed[: 2 * N_ROWS]
    ]  # fmt: skip
    lines = table(["source", "signal", "mean", "", "", "median", "", ""], shown, "<<><>><>", "  ") if shown else []
    same = len(data["quality"]) - len(changed)
    return lines + _left(len(changed) - 2 * N_ROWS) + ([f"  {same} more are unchanged"] if same and shown else [])


def _moves(data: Mapping[str, Any]) -> list[str]:
    shown = [[m["source"], m["a"], "->", m["b"], count(m["documents"])] for m in data["moves"][:N_ROWS]]
    lines = table(["source", "in A", "", "in B", "documents"], shown, "<<<<>", "  ") if shown else []
    left = data["moves"][N_ROWS:]
    return [*lines, *([f"  and {count(sum(m['documents'] for m in left))} in {len(left)} other ways: --json"] if left else [])]


def _changed(changed: Mapping[str, Any], colour: bool) -> list[str]:
    """Documents of one change, each in a line, or with its text."""
    is_kept = changed["side"] == KEPT
    was = "not in A" if changed["a"] == ABSENT else f"in A {changed['a']}"
    is_ = "not in B" if changed["b"] == ABSENT else f"in B {changed['b']}"
    lines = [paint(f"newly {'kept' if is_kept else 'dropped'}: {was}, {is_}", "green" if is_kept else "red", colour)]
    for document in changed["documents"]:
        if "text" in document:
            lines += [f"  {line}" for line in document_lines(document, colour, 4, WIDTH - 2)]
        else:
            parts = [document["source"], document["id"], _proof(document), name_of(document)]
            lines.append(cut("  " + "  ".join(part for part in parts if part), WIDTH))
    return lines


def _proof(document: Mapping[str, Any]) -> str:
    """The bound it failed, or the kept document it is like."""
    if document["keep"] or not document["witness_id"]:
        return evidence(document).strip()
    similar = "" if document["similarity"] is None else f" ({document['similarity']:.4f})"
    return f"like {document['witness_id'][:8]}{similar}"
