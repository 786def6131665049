"""What the stages of a build take on disk, in all and per byte of text: what signatures and stored shingle sets cost stands there.

In: the table `stages` of corpus.duckdb and the stages' own lists of files. Out: plain data, and its lines. Imports store,
inspect.corpus, inspect.tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from curate.inspect.corpus import Connection, rows
from curate.inspect.tables import table
from curate.store import read_json
from curate.units import show_bytes


def disk(corpus: Connection, build_dir: Path) -> list[dict[str, Any]]:
    """[{stage, bytes, per_text_byte}], in the order of the flow; stages that are gone from the store are left out."""
    sizes: dict[str, int] = {}
    n_text = 0
    for row in rows(corpus, "SELECT stage, path FROM stages"):
        path = Path(build_dir) / row["path"] / "stage.json"
        if path.exists():
            info = read_json(path)
            found = sum(file["bytes"] for shard in info["shards"].values() for file in shard["files"])
            sizes[row["stage"]] = sizes.get(row["stage"], 0) + found
            n_text += info["counts"].get("text_bytes", 0) if row["stage"] == "documents" else 0
    return [{"stage": stage, "bytes": size, "per_text_byte": size / n_text if n_text else None} for stage, size in sizes.items()]


def lines(found: Sequence[dict[str, Any]]) -> list[str]:
    shown = [
        [one["stage"], show_bytes(one["bytes"]), "-" if one["per_text_byte"] is None else f"{one['per_text_byte']:.3f}"]
        for one in found
    ]
    return table(["stage", "on disk", "per byte of text"], shown, "<>>", "  ") if shown else []
