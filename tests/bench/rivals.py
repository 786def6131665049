"""Other people's near-dedup as dedup.py and the evidence of templates run it: datatrove as a process, and its results read back.

Texts as JSONL folders in, ids of kept documents or clusters out. May import datatrove's own files by format only.
"""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

TOP = Path(__file__).resolve().parents[2]


class Ran(NamedTuple):
    seconds: float  # wall clock of the whole process, start-up included
    cpu_seconds: float  # user and system, children included
    peak_bytes: int  # largest resident memory of one process of it
    output: str


def run(command: Sequence[str], *, threads: int = 1) -> Ran:
    """Run to the end in a process of its own; raises SystemExit with what it said when it fails."""
    env = {**os.environ, "OMP_NUM_THREADS": str(threads), "RAYON_NUM_THREADS": str(threads), "TOKENIZERS_PARALLELISM": "false"}
    started = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.measured", *command],
        cwd=TOP,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    output, errors = process.communicate()
    seconds = time.monotonic() - started
    if process.returncode:
        raise SystemExit(f"failed: {' '.join(command)}\n{output[-1500:]}\n{errors[-3000:]}")
    output, _, last = output.rstrip("\n").rpartition("\n")
    used = json.loads(last)
    return Ran(seconds, used["cpu_seconds"], used["peak_bytes"], output)


def write_jsonl(folder: Path, rows: Sequence[Mapping[str, Any]], files: int) -> int:
    """The rows in turn into `files` JSONL files; returns the bytes of text. Plain, so that nobody's time is spent on unpacking."""
    folder.mkdir(parents=True)
    for i in range(files):
        with open(folder / f"{i:03d}.jsonl", "w", encoding="utf-8") as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows[i::files])
    return sum(len(row["text"].encode()) for row in rows)


def datatrove(raw: Path, out: Path, bands: int, rows: int, *, workers: int, plain: bool = False, clusters: bool = False) -> Ran:
    flags = ["--plain"] * plain + ["--clusters"] * clusters
    return run(["tests.bench.datatrove_minhash", str(raw), str(out), str(bands), str(rows), str(workers), *flags])


def kept_by_datatrove(out: Path) -> set[str]:
    return {row["id"] for row in _written(out / "kept")}


def clusters_by_datatrove(out: Path) -> dict[str, str]:
    """id -> cluster, of a run with --clusters; whoever is alone is a cluster of its own."""
    found = {}
    for row in (row for name in ("kept", "removed") for row in _written(out / name)):
        cluster = row.get("metadata", {}).get("minhash_cluster_id")
        found[row["id"]] = row["id"] if cluster in (None, -1) else f"cluster {cluster}"
    return found


def _written(folder: Path) -> Iterator[dict[str, Any]]:
    for path in sorted(folder.glob("*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as file:
            yield from map(json.loads, file)
