"""What `curate simulate` prints: the miniature beside its whole, and the dry run. The data of dry_run.py in, text of 100 columns out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def render(data: Mapping[str, Any]) -> str:
    documents = data["documents"]
    lines = [f"{data['out']}: {data['share']} of {data['build']}", "", *_components(data), ""]
    subset = (
        "all of them documents that the whole trains on"
        if not documents["outside"]
        else f"{documents['outside']:,} OF THEM NOT IN THE WHOLE"
    )
    held = "the same held-out documents" if data["same_held_out"] else "OTHER HELD-OUT DOCUMENTS"
    lines += [
        f"{documents['small']:,} documents of {documents['whole']:,}, {subset}; {held} ({data['held_out_documents']:,})",
        "",
    ]
    lines += [*_dry_run(data["dry_run"]), "", f"next: train from {data['out']}/manifest.json   curate verify {data['out']}"]
    return "\n".join(lines)


def _components(data: Mapping[str, Any]) -> list[str]:
    several = len({line["phase"] for line in data["components"]}) > 1
    rows = [["component", *(["phase"] if several else []), "whole", "miniature", "share", "", "epochs", "", "uses", "documents"]]
    for line in data["components"]:
        share, epochs, uses = line["share"], line["epochs"], line["uses"]
        unit = "" if line["unit"] == "tokens" else f" {line['unit']}"
        rows.append([
            line["component"], *([line["phase"]] if several else []), f"{line['realised']['whole']:,}{unit}",
            f"{line['realised']['small']:,}", f"{100 * share['whole']:.2f} %", f"{100 * share['small']:.2f} %",
            f"{epochs['whole']:.3f}", f"{epochs['small']:.3f}", "{}-{}".format(*uses["small"]),
            f"{line['documents']['small']:,} of {line['documents']['whole']:,}",
        ])  # fmt: skip
    return _table(rows, "<" + ("<" if several else "") + ">>>>>>>>")


def _dry_run(run: Mapping[str, Any]) -> list[str]:
    speed = f"{run['tokens'] / max(run['seconds'], 1e-9) / 1e6:.1f} M tokens/s read and checked"
    empty = f", {run['empty_rows']:,} empty" if run["empty_rows"] else ""
    lines = [
        f"dry run: {run['steps']:,} of {run['of_steps']:,} steps, {run['rows']:,} rows{empty}, {run['tokens']:,} tokens, "
        f"padding {100 * run['padding_share']:.3f} %; {speed}"
    ]
    rows = [["component", "rows", "tokens", "share", "planned", "most off", "rows off"]]
    for name, of in run["components"].items():
        numbers = [f"{of['rows']:,}", f"{of['tokens']:,}", *(f"{100 * of[k]:.2f} %" for k in ("share", "planned", "max_drift"))]
        rows.append([name, *numbers, f"{of['max_drift_rows']:.2f}"])
    lines += _table(rows, "<>>>>>>")
    lengths = run["lengths"]
    if lengths["percentiles"]:
        shown = "  ".join(f"{p} %: {n:,}" for p, n in lengths["percentiles"].items())
        lines.append(
            f"{lengths['chunks']:,} chunks, {lengths['chunks_a_row']:g} a row, {lengths['chunks_that_go_on']:,} go on elsewhere"
        )
        lines.append(f"tokens of a chunk, at  {shown}")
    return [*lines, *_curve(run)]


def _curve(run: Mapping[str, Any]) -> list[str]:
    """Epochs so far, at some steps."""
    marks = run["curve"][:: max(1, len(run["curve"]) // 8)]
    names = list(run["components"])
    rows = [["epochs so far, at step", *(f"{mark['step']:,}" for mark in marks)]]
    rows += [[name, *(f"{mark['epochs'][name]:.2f}" for mark in marks)] for name in names]
    return _table(rows, "<" + ">" * len(marks)) if marks else []


def _table(rows: Sequence[Sequence[str]], align: str) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(f"{cell:{side}{width}}" for cell, side, width in zip(row, align, widths, strict=True)).rstrip() for row in rows
    ]
