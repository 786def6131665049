"""What in a store no build needs: stages of other settings, and what interrupted runs left behind.

A store and a folder of builds in, a list (and with `delete` its removal) out. Imports inspect.corpus and units.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from curate.errors import CurateError
from curate.store import folder_bytes
from curate.units import show_bytes

ABANDONED_SECONDS = 3600  # a temporary folder untouched for so long belongs to nobody (a guess; a shard takes minutes)


def collect(store: Path, builds: Path, delete: bool) -> dict:
    """{unused: [{path, bytes}], kept: n, deleted: bool}. A stage is used when a build's `stages` table names it."""
    if not store.is_dir():
        raise CurateError("there is no store here", where=str(store), next="curate gc --store DIR")
    used = {path for build in sorted(builds.glob("*/corpus.duckdb")) for path in _stages_of(build.parent)}
    stages = [p for p in sorted(store.glob("*/*")) if p.is_dir() and not p.parent.name.startswith(".")]
    unused = [p for p in stages if p.resolve() not in used]
    old = time.time() - ABANDONED_SECONDS
    unused += [p for p in sorted((store / ".tmp").glob("*")) if p.stat().st_mtime < old]
    listed = [{"path": str(p), "bytes": folder_bytes(p)} for p in unused]
    if delete:
        for path in unused:
            shutil.rmtree(path)
    return {"unused": listed, "kept": len(stages) - sum(p in stages for p in unused), "deleted": delete}


def _stages_of(build: Path) -> list[Path]:
    from curate.inspect.corpus import open_corpus, rows

    with open_corpus(build) as corpus:
        return [(build / row["path"]).resolve() for row in rows(corpus, "SELECT DISTINCT path FROM stages")]


def render(data: dict) -> str:
    by_stage: dict[str, list[int]] = {}
    for item in data["unused"]:
        by_stage.setdefault(str(Path(item["path"]).parent), []).append(item["bytes"])
    lines = [f"{show_bytes(sum(sizes)):>9}  {len(sizes):>4} in {folder}" for folder, sizes in sorted(by_stage.items())]
    total = show_bytes(sum(item["bytes"] for item in data["unused"]))
    verb = "deleted" if data["deleted"] else "could be deleted"
    lines.append(f"{len(data['unused'])} folders, {total} {verb}; {data['kept']} stages are in use")
    if data["unused"] and not data["deleted"]:
        lines.append("next: curate gc --json lists them, curate gc --delete removes them")
    return "\n".join(lines)
