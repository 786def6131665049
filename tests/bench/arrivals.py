"""What an arrival costs beside a first run and a full rerun, and a second query of `curate similar`: python -m tests.bench.arrivals [MB]

Real texts of VESKI_TEST_DATA in pieces of 3 kB, cut anew at other lengths until there are enough (default 60 MB), so that pieces of
two cuts overlap but are no near duplicates. One source, near duplicates at 0.75, every family without a model, PII cut; until decide,
one worker. Runs: 95 % of the documents; the other 5 % arrive as a file; all of them in a fresh store. The roots of the last two must be equal.
A warm-up on a few documents goes before, so that no run compiles. CPU seconds are user + system of the whole process.
"""

from __future__ import annotations

import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests import real
from tests.bench.signals import data_folder

LENGTHS = (3000, 2300, 3900, 1700, 5100)
SHARE = 0.05  # of the documents that arrive later


def pieces(data: Path, n_bytes: int) -> Iterator[str]:
    texts = [row["text"] for source in real.FILES for row in real.rows(data, source)]
    held = 0
    for length in LENGTHS:
        for text in texts:
            at = 0
            while at < len(text):
                end = text.rfind(" ", at, at + length) if at + length < len(text) else len(text)
                end = end if end > at else at + length
                held += len(text[at:end].encode())
                if held > n_bytes:
                    return
                yield text[at:end]
                at = end


def recipe(folder: Path, raw: str) -> Path:
    path = folder / f"{raw}.yaml"
    path.write_text(f"""
kind: cpt
name: arrivals
tokenizer: {{model: {Path(__file__).resolve().parents[2] / "recipes/quickstart/tokenizer"}, eos: per_document}}
sources: {{all: {{read: '{folder}/{raw}/*.jsonl', language: et, license: {{declared: CC0-1.0}}}}}}
cuts: [{{kind: pii, of: all}}]
rules: [{{signal: n_words, min: 20}}]
dedup: {{near: {{jaccard: 0.75}}}}
mixture: {{total: 1k tokens, sequence_length: 64, components: {{c: {{from: all, role: target, budget: 1k tokens}}}}}}
""")
    return path


def curate(*args: object) -> tuple[float, float, dict]:
    """(wall seconds, CPU seconds, what --json printed)"""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run([sys.executable, "-m", "curate", *map(str, args), "--json"], capture_output=True, text=True)
    wall, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode not in (0, 3):
        sys.exit(done.stderr)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, json.loads(done.stdout)


def build(folder: Path, path: Path, name: str, store: str) -> None:
    places = ("--out", folder / name, "--store", folder / store, "--until", "decide", "--workers", "1")
    wall, cpu, data = curate("build-mixture", path, *places)
    parts = "  ".join(f"{stage} {seconds:6.1f}" for stage, seconds in data["seconds"].items())
    print(f"{name:<16}{wall:8.1f} s wall {cpu:8.1f} s CPU   {parts}", flush=True)


def counts(store: Path) -> str:
    found = []
    for stage, family in (("signals", "gopher_quality"), ("signatures", None), ("shingles", None)):
        infos = [(path.stat().st_mtime_ns, json.loads(path.read_text())) for path in (store / stage).glob("*/stage.json")]
        _, newest = max((i for i in infos if i[1]["settings"].get("family") == family), key=lambda i: i[0])
        found.append(f"{stage} {newest['counts']}")
    return "; ".join(found)


def roots(build_dir: Path) -> dict[str, str]:
    _, _, rows = curate("sql", build_dir, "select stage || ' ' || family as name, root from stages")
    return {row["name"]: row["root"] for row in rows}


def size(store: Path, stage: str) -> int:
    return sum(path.stat().st_size for path in (store / stage).rglob("*") if path.is_file())


def main() -> None:
    n_bytes = int(float(sys.argv[1]) * 1e6) if len(sys.argv) > 1 else 60_000_000
    listed = list(pieces(data_folder(), n_bytes))
    n_bytes = sum(len(text.encode()) for text in listed)
    random.Random(0).shuffle(listed)
    late = int(len(listed) * SHARE)
    with tempfile.TemporaryDirectory(prefix="veski-arrivals-") as name:
        folder = Path(name)
        for raw, part in (("warm", listed[:200]), ("raw", listed[late:])):
            (folder / raw).mkdir()
            (folder / raw / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in part), encoding="utf-8")
        print(f"{len(listed):,} documents, {n_bytes / 1e6:.1f} MB; {late:,} arrive later; {os.cpu_count()} cores, one worker")
        build(folder, recipe(folder, "warm"), "warm-up", "warm-store")
        build(folder, recipe(folder, "raw"), "first", "store")
        first = {stage: size(folder / "store", stage) for stage in ("signals", "signatures", "shingles")}
        (folder / "raw" / "b.jsonl").write_text(
            "".join(json.dumps({"text": text}) + "\n" for text in listed[:late]), encoding="utf-8"
        )
        build(folder, folder / "raw.yaml", "5 % more", "store")
        print(f"  {counts(folder / 'store')}")
        build(folder, folder / "raw.yaml", "all anew", "fresh")
        print(
            f"  roots of {len(roots(folder / 'all anew'))} stages equal: {roots(folder / '5 % more') == roots(folder / 'all anew')}"
        )
        print(
            "  bytes on disk per byte of text: " + ", ".join(f"{k} {v / (n_bytes * (1 - SHARE)):.3f}" for k, v in first.items())
        )
        (folder / "q.txt").write_text(listed[-1][:-100], encoding="utf-8")
        for query in ("similar", "similar again"):
            wall, cpu, data = curate("similar", folder / "all anew", "--text-file", folder / "q.txt")
            print(f"{query:<16}{wall:8.1f} s wall {cpu:8.1f} s CPU   {len(data['texts'][0]['hits'])} hits", flush=True)
        index = size(folder / "fresh", "similar_index")
        print(f"  index {index / len(listed):.0f} bytes a document, {index / n_bytes:.3f} per byte of text")


if __name__ == "__main__":
    main()
