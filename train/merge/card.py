"""README.md of a merged model: what the receipt says; what people must write is left open. May import train.merge.plan, train.model_card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from train.merge.plan import Plan
from train.model_card import OPEN


def write(folder: Path, made: Plan, receipt: dict[str, Any]) -> None:
    lines = [*_head(receipt), *_body(made, receipt), *_blocks(receipt), *_open()]
    (folder / "README.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _head(receipt: dict[str, Any]) -> list[str]:
    hubs = list(dict.fromkeys(parent["hub"] for parent in receipt["parents"] if "hub" in parent))
    bases = ["base_model:", *(f"- {hub}" for hub in hubs), "base_model_relation: merge"] if hubs else []
    return [
        "---",
        "library_name: transformers",
        "pipeline_tag: text-generation",
        *bases,
        "tags:",
        "- merge",
        "- veski",
        "---",
        "",
    ]


def _body(made: Plan, receipt: dict[str, Any]) -> list[str]:
    lines = [
        f"# {receipt['name']}", "",
        f"Weight arithmetic, no training: `{receipt['formula']}`. Made by `curate train merge`.", "",
        "| | model | weights |", "|---|---|---|",
    ]  # fmt: skip
    for parent in receipt["parents"]:
        place = f"`{parent['hub']}`, revision `{parent['revision']}`" if "hub" in parent else f"`{parent['folder']}`"
        lines.append(f"| {parent['role']} | {place} | {parent.get('weights_sha256') or ''} |")
    said = [
        f"- {receipt['n_changed']:,} of {receipt['n_tensors']:,} tensors were changed; sums in float32, rounded once.",
        *(f"- {entry['said']}." for entry in receipt["vocabulary"] if entry),
        f"- What was added has {receipt['share']:.2%} of the length of a.",
        f"- Chat template and ends of generation: those of {'b1' if receipt['chat'] == 'b' else 'a'}.",
    ]
    for k, vector in enumerate(receipt["vectors"], 1):
        kept = {key: value for key, value in vector.items() if value not in ({}, [], ())}
        said.append(f"- vector {k}: `{kept}`" + (f", times {receipt['times']:g}" if receipt["times"] != 1 else "") + ".")
    return [*lines, "", *said, "", *(f"- Note: {warning}." for warning in made.warnings), ""]


def _blocks(receipt: dict[str, Any]) -> list[str]:
    lines = ["## Where it changed", "", "| block | length of a | of what was added | share |", "|---|---:|---:|---:|"]
    lines += [f"| {b['block']} | {b['norm_a']:.4g} | {b['norm_added']:.4g} | {b['share']:.2%} |" for b in receipt["blocks"]]
    return [*lines, ""]


def _open() -> list[str]:
    said = f"{OPEN} The licences of all models above hold."
    return ["## Intended use and limits", "", OPEN, "", "## Licence", "", said]
