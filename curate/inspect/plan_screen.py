"""What `curate plan` prints: every phase's components, sequences, steps and days; and where it cannot be, the lines that make it possible.

In: the data of mixture/plan.py. Out: text of at most 100 columns. Imports inspect.tables.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from curate.inspect.tables import WIDTH, count, cut, flowed, paint, short, table

LAW = "worth: tokens as if all were new, by the law of repeated data (arXiv 2305.16264); a hint, no promise"


def render(data: Mapping[str, Any], colour: bool = False) -> str:
    """The plan as text, 100 columns."""
    kind = "exact" if data["exact"] else "an estimate"
    lines = [paint(data["name"], "bold", colour) + f"  {kind}, from {data['known']}"]
    for phase in data["phases"]:
        mine = [c for c in data["components"] if c["phase"] == phase["phase"]]
        lines += ["", *_phase(phase, mine, colour)]
    if any(c["repeated_tokens"] for c in data["components"]):
        lines += ["", LAW]
    lines += [paint("! ", "yellow", colour) + hint for hint in data["hints"]]
    if not data["feasible"]:
        lines += ["", paint("! not feasible: ", "red", colour) + data["why"]]
        many = len(data["changes"]) > 1
        for number, change in enumerate(data["changes"]):
            says = f"in the recipe, {'each of these makes' if many else 'this makes'} it feasible:" if not number else "or"
            lines += ["", says, *(f"  {line}" for line in change["yaml"])]
        if not data["changes"]:
            lines += ["", "no single change of a total, a cap, a floor or on_shortage makes it feasible"]
    return "\n".join(lines)


def _phase(phase: Mapping[str, Any], components: Sequence[Mapping[str, Any]], colour: bool) -> list[str]:
    unit, realised = phase["unit"], phase["realised"]
    head = f"{phase['phase']}: {count(phase['requested'])} {unit}, sequences of {count(phase['sequence_length'])} tokens"
    head += {"concat": ", concat and chunk", "single": ", one pair each"}.get(phase["packing"], "")
    head += "" if phase["policy"] == "fixed" else f", policy {phase['policy']}"
    lines = [head]
    has_floors, repeats = any(c["floor"] for c in components), any(c["repeated_tokens"] for c in components)
    columns = ["component", "asked", "to train", "share", "unique", "epochs", "cap", *(["floor"] if has_floors else []),
               *(["repeated", "worth"] if repeats else []), ""]  # fmt: skip
    rows = [_row(c, has_floors, repeats) for c in components]
    total = [
        "total",
        short(sum(c["requested"] for c in components)),
        count(realised),
        "",
        short(sum(c["unique"] for c in components)),
    ]
    if repeats:
        sums = [sum(c[key] or 0 for c in components) for key in ("repeated_tokens", "effective_tokens")]
        total += ["", "", *([""] if has_floors else []), *(short(n) for n in sums)]
    rows.append([*total, *[""] * (len(columns) - len(total))])
    lines += table(columns, rows, "<" + ">" * (len(columns) - 2) + "<")
    return [cut(line, WIDTH) for line in lines] + _figures(phase, colour)


def _row(c: Mapping[str, Any], has_floors: bool, repeats: bool) -> list[str]:
    epochs = "-" if c["epochs"] is None else f"{c['epochs']:.2f}"
    share = "-" if c["share"] is None else f"{100 * c['share']:.1f} %"
    row = [c["component"], short(c["requested"]), count(c["realised"]), share, short(c["unique"]), epochs,
           f"{c['max_epochs']:g}"]  # fmt: skip
    row += [c["floor"] or ""] if has_floors else []
    row += [short(c["repeated_tokens"]), short(c["effective_tokens"])] if repeats else []
    note = "at its cap" if c["at_cap"] and c["realised"] else "" if c["realised"] is not None else _lack(c)
    return [*row, note]


def _lack(c: Mapping[str, Any]) -> str:
    return f"cap {short(c['cap'])}" if c["cap"] < c["requested"] else ""


def _figures(phase: Mapping[str, Any], colour: bool) -> list[str]:
    said = []
    if phase["sequences"] is not None and phase["padding_tokens"] is None:
        said.append(f"at least {count(phase['sequences'])} sequences (lengths are not known)")
    elif phase["sequences"] is not None:
        whole = max(phase["sequences"] * phase["sequence_length"], 1)
        padding = f"padding {100 * phase['padding_tokens'] / whole:.3f} %"
        unavoidable = 100 * (phase["unavoidable_padding_tokens"] or 0) / whole
        padding += f" ({unavoidable:.3f} % unavoidable)" if phase["packing"] == "best_fit" and unavoidable >= 0.0005 else ""
        said += [f"{count(phase['sequences'])} sequences", padding]
    if phase["steps"] is not None:
        said.append(f"{count(phase['steps'])} steps")
    if phase["days"] is not None:
        said.append(f"{phase['days']:.1f} days" if phase["days"] >= 1 else f"{24 * phase['days']:.1f} hours")
    lines = flowed(said) if said else []
    if phase["bent"]:
        how = f"the total shrinks to {count(phase['realised'])}" if phase["bent"] == "shrink_total" else "the shares bend"
        lines.append(paint("! ", "yellow", colour) + f"{how}: " + ", ".join(phase["binding"] or ["budgets do not add up"]))
    levels = {"": phase["level"], **phase["levels"]} if phase["level"] is not None else phase["levels"]
    for name, level in levels.items():
        lines.append(f"water level{f' in {name}' if name else ''}: {level:.4g} of what is asked, where no floor or cap holds")
    return lines
