"""A run in, one HTML page out: what `curate report RUN` draws. No torch, no network, nothing beside the page.

In: log.jsonl, the newest receipt.json, and the manifests where they lie where the run file says. May import curate.errors,
curate.store, train.watch.{log,record,words}; numpy.
"""

from __future__ import annotations

from pathlib import Path

from curate.store import write_atomic
from train.report.find import find
from train.report.page import page


def write_report(target: Path, out: Path | None = None) -> Path:
    """`target`: a run's folder or its run file. The page lies in the folder unless `out` says where."""
    run = find(target)
    path = out or run.folder / "report.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, page(run).encode())
    return path
