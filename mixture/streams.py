"""Two streams side by side, row by row, by their stored hashes: which rows, and so which training steps, differ.

In: the folders of two builds with a manifest. Out: plain data. Equal hashes are equal tokens in equal chunks. Imports manifest.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from curate.manifest import read_manifest


def compare(a: Path, b: Path) -> dict[str, Any]:
    """{rows: {a, b}, first_changed, same_place, same_content, components: {name: {a, b, same_place, same_content}}}.

    first_changed: the first stream index at which the rows differ, None where all are equal; same_place: rows that are equal at the
    same index; same_content: rows of B that stand anywhere in A."""
    (one, ours, names), (other, theirs, more) = _stream(Path(a)), _stream(Path(b))
    n = min(len(one), len(other))
    same = one[:n] == other[:n]
    differ = np.flatnonzero(~same)
    first = int(differ[0]) if differ.size else None if len(one) == len(other) else n
    known = np.isin(other, one)
    components = {}
    for name in dict.fromkeys([*names, *more]):
        left, right = (np.array([of[c] == name for c in range(len(of))] or [False], np.bool_)[component]
                       for of, component in ((names, ours), (more, theirs)))  # fmt: skip
        components[name] = {
            "a": int(left.sum()), "b": int(right.sum()), "same_place": int((same & right[:n]).sum()),
            "same_content": int((known & right).sum()),
        }  # fmt: skip
    return {
        "rows": {"a": len(one), "b": len(other)}, "first_changed": first, "same_place": int(same.sum()),
        "same_content": int(known.sum()), "components": components,
    }  # fmt: skip


def _stream(build: Path) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """(hash of every row in the order of the stream, its component, names of the components)."""
    manifest = read_manifest(build / "manifest.json")
    order, hashes, component = (np.load(build / "sequences" / f"{name}.npy") for name in ("order", "row_hash", "component"))
    at = order.astype(np.int64)
    return (
        np.ascontiguousarray(hashes[at]).view("V16").reshape(-1),
        component[at].astype(np.int64),
        [c["name"] for c in manifest["components"]],
    )
