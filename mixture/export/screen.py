"""What `curate export` prints. The data of tokens.py or texts.py in, a few lines out. Imports units."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from curate.units import show_bytes


def render(data: Mapping[str, Any]) -> str:
    kind = data["export"]["kind"]
    n_bytes = data["bytes"] if kind == "tokens" else sum(output["bytes"] for output in data["outputs"])
    n_files = data["files"] if kind == "tokens" else len(data["outputs"])
    head = f"{data['folder']}  {kind} of {data['export']['of']['name']}: {n_files:,} files, {show_bytes(n_bytes)}"
    said = "" if data["is_new"] else "  (it lay there already, whole)"
    return "\n".join([head + said, *(_tokens(data) if kind == "tokens" else _texts(data))])


def _tokens(data: Mapping[str, Any]) -> list[str]:
    left = f", {data['shards_left_out']:,} that no sequence needs left out" if data["shards_left_out"] else ""
    lines = [
        f"{data['sequences']:,} sequences and {data['held_out_sequences']:,} held out, {data['tokens']:,} tokens to train; "
        f"{data['shards']:,} token shards{left}",
        f"stream root {data['export']['of']['stream_root']}",
    ]
    if not data["has_tokenizer"]:
        lines.append(f"! without its tokenizer ({data['problem']}): training from it measures no bits per byte")
    return [*lines, f"the receiver checks it with: python {data['folder']}/verify.py   (or curate verify {data['folder']})"]


def _texts(data: Mapping[str, Any]) -> list[str]:
    width = max([len(name) for name in data["components"]] + [9])
    lines = [f"{'component':<{width}}{'selected':>12}{'exported':>12}{'withheld':>12}{'uses':>14}{'trained tokens':>20}"]
    for name, own in data["components"].items():
        numbers = (
            f"{own['selected']:>12,}{own['exported']:>12,}{own['withheld']:>12,}{own['uses']:>14,}{own['trained_tokens']:>20,}"
        )
        lines.append(f"{name:<{width}}{numbers}")
    documents = data["documents"]
    lines.append(
        f"documents: {documents['exported']:,} exported + {documents['withheld']:,} withheld = {documents['selected']:,} selected"
    )
    lines += [f"  {n:,} rows withheld: {why}" for why, n in data["withheld_reasons"].items()]
    return [*lines, f"next: curate verify {data['folder']}"]
