"""manifest.json: the statement the trainer consumes. Written last, read with its own hash checked.

Imports store and errors. The fields are design.md section 4; mixture/build.py fills them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from curate.errors import CurateError
from curate.store import read_json, write_json

SCHEMA_VERSION = 1
FIELDS = (
    "schema_version", "kind", "name", "tool_versions", "recipe_sha256", "roots", "tokenizer", "seed", "phases", "components",
    "held_out", "stream_checkpoints", "outputs", "lineage",
)  # fmt: skip


def write_manifest(path: Path, manifest: dict) -> None:
    if missing := [name for name in FIELDS if name not in manifest]:
        raise ValueError(f"manifest without {', '.join(missing)}")
    write_json(path, manifest)


def read_manifest(path: Path) -> dict:
    """Raises CurateError when the file is absent, damaged, or of a schema this version cannot read."""
    path = Path(path)
    try:
        manifest = read_json(path)
    except FileNotFoundError:
        raise CurateError(
            "there is no manifest here", where=str(path), next=f"curate build-mixture RECIPE --out {path.parent}"
        ) from None
    if manifest.get("schema_version") != SCHEMA_VERSION:
        raise CurateError(
            "this manifest has another schema", where=str(path), found=f"schema_version {manifest.get('schema_version')}",
            allowed=f"schema_version {SCHEMA_VERSION}", next="curate build-mixture RECIPE",
        )  # fmt: skip
    return manifest


def rows_consumed(receipt: dict[str, Any], manifest: dict[str, Any]) -> int:
    """Rows of a manifest's stream that a run's receipt says entered the model. Raises KeyError where it is of other streams only."""
    root = manifest["roots"]["stream"]
    found = [of for of in receipt["streams"] if of["manifest"]["stream"] == root]
    if not found:
        raise KeyError(f"no stream {root[:8]}")
    return int(found[0]["sequences"]) + int(found[0]["n_skipped"])  # what a run file skips is used up too
