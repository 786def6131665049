"""Peak memory and speed of ingest: a JSONL of 5 GB in one go by one worker and in pieces by two, and a file with one line of 2 GB.

    python -m tests.bench.ingest_memory [--gb 5] [--line-gb 2]

Needs about four times the file on disk, in TMPDIR; removes it. Memory is what processes hold beside mapped files (RssAnon), sampled
every 20 ms: the most of any one process, and of all together.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import orjson

from tests.real import rows

TOP = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("VESKI_TEST_DATA", TOP.parent / "shared" / "data"))
RECIPE = """kind: cpt
name: memory
tokenizer: {{model: none}}
sources: {{s: {{read: {read}, language: et, license: {{declared: CC0-1.0}}}}}}
mixture: {{total: 1k tokens, sequence_length: 64, components: {{c: {{from: s, role: target, budget: 1k tokens}}}}}}
"""
WORK = """
import json, sys, time
from pathlib import Path
from curate import documents
from curate.recipe import load_recipe
from curate.sources import pieces
from curate.store import Store
pieces.SPLIT_BYTES = int(sys.argv[4]) or 1 << 60
start = time.monotonic()
stage = documents.ingest(Store(Path(sys.argv[2])), load_recipe(Path(sys.argv[1])), int(sys.argv[3]))["s"]
print(json.dumps({**stage.info()["counts"], "root": stage.root, "seconds": time.monotonic() - start}))
"""


def generate(path: Path, n_bytes: int) -> None:
    """Real Estonian, English, code and mathematics, over and over under new ids."""
    real = [row for source in ("wiki", "web", "en", "code", "math") for row in rows(DATA, source)]
    with open(path, "wb") as file:
        n = 0
        while file.tell() < n_bytes:
            for row in real:
                file.write(orjson.dumps({**row, "id": f"{n}-{row.get('id', '')}"}) + b"\n")
            n += 1


def generate_long_line(path: Path, n_bytes: int) -> None:
    with open(path, "wb") as file:
        file.write(b'{"id": "before", "text": "a line before"}\n{"id": "long", "text": "')
        for _ in range(n_bytes // 1_000_000):
            file.write(b"pikk rida " * 100_000)
        file.write(b'"}\n{"id": "after", "text": "a line after"}\n')


def measured(recipe: Path, store: Path, workers: int, split: int) -> dict:
    """Counts of the ingest, seconds, and `most` and `together`: bytes of the largest process and of all."""
    command = [sys.executable, "-c", WORK, str(recipe), str(store), str(workers), str(split)]
    running = subprocess.Popen(command, cwd=TOP, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    seen = {"most": 0, "together": 0}

    def watch() -> None:
        while running.poll() is None:
            sizes = [_anonymous(pid) for pid in _family(running.pid)]
            seen["most"] = max([seen["most"], *sizes])
            seen["together"] = max(seen["together"], sum(sizes))
            time.sleep(0.02)

    thread = threading.Thread(target=watch)
    thread.start()
    out, _ = running.communicate()
    thread.join()
    assert running.returncode == 0
    return {**json.loads(out), **seen}


def _family(pid: int) -> Iterator[int]:
    yield pid
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                yield from _family(int(child))
    except OSError:
        return


def _anonymous(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon")), 0)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--gb", type=float, default=5)
    parser.add_argument("--line-gb", type=float, default=2)
    asked = parser.parse_args()
    from curate.sources.pieces import SPLIT_BYTES

    print(
        f"{'file':<24}{'read':<16}{'workers':>8}{'s':>8}{'MB/s':>8}{'MB, largest process':>21}{'MB, together':>14}{'documents':>12}{'lost':>6}"
    )
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        roots = set()
        generate(place / "big.jsonl", int(asked.gb * 1e9))
        for workers, split in ((1, 0), (2, SPLIT_BYTES)):
            roots.add(_row(place, "big.jsonl", workers, split))
        assert len(roots) == 1, "the pieces are not the whole"
        (place / "big.jsonl").unlink()
        generate_long_line(place / "line.jsonl", int(asked.line_gb * 1e9))
        for workers, split in ((1, 0), (2, SPLIT_BYTES)):
            roots.add(_row(place, "line.jsonl", workers, split))
        assert len(roots) == 2
    print("roots are equal in one go and in pieces")


def _row(place: Path, name: str, workers: int, split: int) -> str:
    (place / "recipe.yaml").write_text(RECIPE.format(read=name))
    with tempfile.TemporaryDirectory(dir=place) as store:
        found = measured(place / "recipe.yaml", Path(store), workers, split)
    size = (place / name).stat().st_size
    what = f"{name} {size / 1e9:.1f} GB"
    how = f"{split >> 20} MiB pieces" if split else "in one go"
    print(f"{what:<24}{how:<16}{workers:>8}{found['seconds']:>8.0f}{size / 1e6 / found['seconds']:>8.0f}{found['most'] / 1e6:>21.0f}"
          f"{found['together'] / 1e6:>14.0f}{found['n_documents']:>12,}{found['n_quarantined']:>6}", flush=True)  # fmt: skip
    return found["root"]


if __name__ == "__main__":
    main()
