"""How deduplication grows: 0.1 to 10 million documents end to end, a million pages of one template, and a billion on paper.

    python -m tests.bench.dedup_scale [--most 10000000] [--template 1000000] [--folder FOLDER] [--plot FILE.svg] [--workers 2]

Documents are 300 to 500 bytes of words drawn by Zipf's law from 50,000, a twentieth of them copies of an earlier one with up to two
words changed; they are written straight as the stage documents (with their n_words), so that reading raw files is not measured.
What is timed is signatures, buckets, shingles, clusters and decide, in a process of its own: wall seconds, CPU seconds of it and
its workers, and the largest resident set of one process (memory maps of the store included). Pages of one template have no text:
their keys and shingle sets are drawn (tests/relate/drawn.py), 100 shingles a page, 85 of them the frame's. Ten million documents
take about 15 GB below --folder (default: the folder for temporary files), removed at the end.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate import schema, text
from curate.decide import decide, decide_counts
from curate.engine import quietly, run
from curate.relate import relate
from curate.relate.spill import PART_ROWS, bits_for
from curate.signals import measure
from curate.store import Stage, Store, folder_bytes
from tests.relate import drawn
from tests.relate.corpus import recipe_of

SHARD_ROWS = 16_384  # as documents.n_shards cuts
SIZES = (100_000, 300_000, 1_000_000, 3_000_000, 10_000_000)
WARM = 40_000  # documents of a run that is not shown: it compiles
VOCABULARY, COPIES, RESERVE = 50_000, 0.05, 20_000
LIMIT_BYTES = 8e9  # of one process at ten million documents


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--most", type=int, default=10_000_000)
    parser.add_argument("--template", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path)
    parser.add_argument(
        "--plot", type=Path, default=Path(__file__).resolve().parents[2] / "docs" / "evidence" / "dedup_growth.svg"
    )
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--inside", help="(inside) a store that is made already: only what is timed")
    args = parser.parse_args()
    if args.inside:
        inside(Path(args.inside), args.most, args.workers)
        return
    rows = growth([n for n in SIZES if n <= args.most] or [args.most], args.folder, args.workers)
    if len(rows) > 1:
        args.plot.parent.mkdir(parents=True, exist_ok=True)
        args.plot.write_text(svg(rows))
    template([n for n in (10_000, 100_000, 1_000_000) if n <= args.template], args.folder)
    paper(rows[-1])
    if rows[-1]["peak_bytes"] > LIMIT_BYTES:
        sys.exit(f"a process held {rows[-1]['peak_bytes'] / 1e9:.1f} GB, allowed {LIMIT_BYTES / 1e9:.0f}")


def growth(sizes: list[int], folder: Path | None, workers: int) -> list[dict[str, Any]]:
    print(f"(a) growth, {workers} workers; seconds of wall clock by step; MB of text; GB of disk and memory")
    names = ("documents", "text MB", "signatures", "buckets", "shingles", "clusters", "decide", "wall s", "cpu s", "MB/s", "peak GB", "disk GB",
             "B/doc disk", "kept")  # fmt: skip
    print("".join(f"{name:>12}" for name in names), flush=True)
    measured(WARM, folder, workers)
    rows = []
    for n in sizes:
        row = measured(n, folder, workers)
        rows.append(row)
        of = [row["seconds"][name] for name in ("signatures", "buckets", "shingles", "clusters", "decide")]
        wall, megabytes = sum(row["seconds"].values()), row["text_bytes"] / 1e6
        shown = f"{n:>12,}{megabytes:>12.0f}" + "".join(f"{x:>12.1f}" for x in (*of, wall, row["cpu_seconds"], megabytes / wall))
        shown += (
            f"{row['peak_bytes'] / 1e9:>12.2f}{row['disk_bytes'] / 1e9:>12.2f}{row['disk_bytes'] / n:>12.0f}{row['kept']:>12,}"
        )
        print(shown, flush=True)
    return rows


def measured(n: int, folder: Path | None, workers: int) -> dict[str, Any]:
    """One size: documents made here, everything else in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="veski-scale-", dir=folder) as made:
        n_bytes = write(Path(made), n)
        command = [
            sys.executable, "-m", "tests.bench.measured", "tests.bench.dedup_scale", "--inside", made, "--most", str(n),
            "--workers", str(workers),
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{n} documents: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    lines = done.stdout.strip().split("\n")
    return {"documents": n, "text_bytes": n_bytes, **json.loads(lines[-2]), **json.loads(lines[-1])}


def write(folder: Path, n: int, seed: int = 1) -> int:
    """Documents and their lengths, as stages; returns the bytes of text."""
    rng, store = np.random.default_rng(seed), Store(folder)
    made = handles(store, n)
    vocabulary = words_of(rng)
    earlier: list[np.ndarray] = []  # word numbers of documents that later ones copy
    n_bytes, keys = 0, [f"{i:05d}" for i in range(-(-n // SHARD_ROWS))]
    for i, key in enumerate(keys):
        rows = min(SHARD_ROWS, n - i * SHARD_ROWS)
        numbers = (
            np.exp(rng.random((rows, 60)) * math.log(VOCABULARY)).astype(np.int32) - 1
        )  # log-uniform: Zipf's law, exponent 1
        lengths = rng.integers(38, 60, rows)
        listed = [numbers[j, :m] for j, m in enumerate(lengths.tolist())]
        for j in np.flatnonzero(rng.random(rows) < COPIES).tolist() if earlier else ():
            copy = earlier[int(rng.integers(len(earlier)))].copy()
            copy[rng.integers(0, len(copy), int(rng.integers(0, 3)))] = rng.integers(0, VOCABULARY)
            listed[j] = copy
        earlier = [*earlier, *listed[:500]][-RESERVE:]
        offsets = np.concatenate([[0], np.cumsum([len(x) for x in listed])]).astype(np.int64)
        lists = pa.LargeListArray.from_arrays(pa.array(offsets), vocabulary.take(pa.array(np.concatenate(listed))))
        texts = pc.binary_join(lists, pa.scalar(" ", pa.large_string())).cast(pa.large_string())
        data, at = text.buffers(texts)
        n_bytes += int(at[-1] - at[0])
        digits = np.frombuffer(b"0123456789abcdef", np.uint8)[rng.integers(0, 16, (rows, 48), np.uint8)]
        ids = pa.array(
            [f"{i * SHARD_ROWS + j:08x}{tail.decode()}" for j, tail in enumerate(digits[:, :24].copy().view("S24").ravel())]
        )
        same = text.normalised_hashes(data, at)  # text_hash: equal texts have equal ones, that is all relate asks of it
        columns = {"id": ids, "source": ["a"] * rows, "text": texts, "text_hash": [f"{a:016x}{b:016x}" for a, b in same.tolist()]}
        table = {f.name: pa.array(columns.get(f.name, [None] * rows), f.type) for f in schema.DOCUMENTS}
        drawn.table(made["documents"], key, "documents", table)
        drawn.table(made["signals-length"], key, "length", {"id": ids, "n_words": pa.array(np.diff(offsets))})
    for stage in made.values():
        stage.finish(keys)
    return n_bytes


def words_of(rng: np.random.Generator) -> pa.Array:
    """Frequent words are short: 2 letters and more, 6 bytes a word of running text with the space."""
    letters = np.frombuffer("abdeghijklmnoprstuvõäöü".encode("latin-1"), np.uint8)
    drawn_words = {}
    while len(drawn_words) < VOCABULARY:
        length = 2 + int(math.log2(2 + len(drawn_words)) / 2.2) + int(rng.integers(0, 3))
        drawn_words[rng.choice(letters, length).tobytes().decode("latin-1")] = None
    return pa.array(list(drawn_words), pa.large_string())


def handles(store: Store, n: int) -> dict[str, Stage]:
    return {name: store.stage(name, version=1, settings={"scale": n}) for name in ("documents", "signals-length")}


def inside(folder: Path, n: int, workers: int) -> None:
    """Everything that is timed; prints its seconds by step and the bytes it left on disk."""
    store = Store(folder)
    made = handles(store, n)
    documents, signals = {"a": made["documents"]}, {("a", "length"): made["signals-length"]}
    recipe = recipe_of(["a"])
    seconds, before = {}, folder_bytes(folder)
    with quietly():
        start = time.monotonic()
        signatures, tasks = measure.signature_tasks(store, recipe, recipe.sources["a"], documents["a"])
        run(tasks, workers=workers, label="signatures")
        signatures.finish(documents["a"].keys)
        seconds["signatures"] = time.monotonic() - start
        with Steps(seconds):
            relations = relate(store, recipe, documents, signals, {"a": signatures}, workers)
        start = time.monotonic()
        decisions = decide(store, recipe, documents, signals, relations, workers)
        seconds["decide"] = time.monotonic() - start
    counts = decide_counts(decisions)["a"]
    assert counts["documents"] == n == counts["kept"] + sum(counts["dropped"].values())
    parts = {
        stage.name: folder_bytes(stage.path)
        for stage in (signatures, relations.buckets, relations.shingles, relations.clusters, decisions)
    }
    members = relations.buckets.info()["rows"]
    print(json.dumps({"seconds": seconds, "disk_bytes": folder_bytes(folder) - before, "parts": parts, "members": members,
                      "kept": counts["kept"]}))  # fmt: skip


class Steps:
    """Seconds of the stages that `relate` runs one after another, from the times their stage.json was written."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self.seconds = seconds

    def __enter__(self) -> None:
        from curate import engine

        self._run, self._engine = engine.run, engine

        def timed(tasks: Any, *, workers: int, label: str) -> None:
            start = time.monotonic()
            self._run(tasks, workers=workers, label=label)
            self.seconds[label] = self.seconds.get(label, 0.0) + time.monotonic() - start

        engine.run = timed

    def __exit__(self, *_: object) -> None:
        self._engine.run = self._run


def template(sizes: list[int], folder: Path | None) -> None:
    print("\n(b) pages of one template in one component, none like another; CPU seconds of one process")
    print("".join(f"{name:>14}" for name in ("pages", "buckets", "clusters", "us/page", "pairs/page", "capped")), flush=True)
    with quietly(), tempfile.TemporaryDirectory(prefix="veski-template-", dir=folder) as made:
        for n in [2_000, *sizes]:  # the first compiles
            pages = drawn.stages(Path(made) / str(n), n, size=100, template=0.85)
            times = [time.process_time()]
            found = drawn.grouped(pages)
            times.append(time.process_time())
            shingles = drawn.sets(pages, found)
            times.append(time.process_time())
            counts = drawn.clustered(pages, found, shingles).info()["counts"]
            times.append(time.process_time())
            of_buckets, of_clusters = times[1] - times[0], times[3] - times[2]
            if n in sizes:
                print(f"{n:>14,}{of_buckets:>14.2f}{of_clusters:>14.2f}{(of_buckets + of_clusters) / n * 1e6:>14.1f}"
                      f"{counts['compared_pairs'] / n:>14.0f}{counts['capped_buckets']:>14}", flush=True)  # fmt: skip


def paper(row: dict[str, Any]) -> None:
    """From the largest corpus measured: what is linear times the documents, what lies on disk a document."""
    n, billion = row["documents"], 10**9
    print(
        f"\n(c) a billion documents of {row['text_bytes'] / n:.0f} bytes on paper, from {n:,} measured; time and disk are linear in them"
    )
    for name, seconds in row["seconds"].items():
        if seconds / n * billion < 60:  # nothing to do here: no addresses
            continue
        print(
            f"{name:<24}{seconds / n * 1e6:>10.1f} us a document {seconds / n * billion / 3600:>10.1f} h on this machine's cores"
        )
    for name, n_bytes in row["parts"].items():
        print(f"{name:<24}{n_bytes / n:>10.0f} bytes a document {n_bytes / n * billion / 1e9:>9.0f} GB on disk")
    share = row["members"] / n
    print(
        f"keys while buckets runs {16 * 12 + 2 * 20:>10} bytes a document {(16 * 12 + 2 * 20):>9} GB on disk, then 4 a band and hash: 72"
    )
    print(
        f"buckets, resident       {9:>10} bytes a document {9:>9} GB, and a partition of {PART_ROWS:,} rows: {PART_ROWS * 20 / 1e6:.0f} MB"
    )
    print(f"partitions of keys      {1 << bits_for(billion):>10}")
    print(f"resolve, resident       {96:>10} bytes a member, {share:.3f} of the documents share a bucket: {96 * share:>4.0f} GB")
    print(
        f"members that 16 bands can number: 2**31 / 16 = {2**31 // 16:,}, {2**31 / 16 / billion:.3f} of a billion; ordinals: 2**31"
    )


def svg(rows: list[dict[str, Any]]) -> str:
    """Documents against CPU seconds, largest process and disk, each on logarithmic axes, with a dotted line of linear growth."""
    width, height, left, top = 300, 220, 52, 30
    series = (
        ("CPU seconds", [row["cpu_seconds"] for row in rows]), ("largest process, GB", [row["peak_bytes"] / 1e9 for row in rows]),
        ("disk, GB", [row["disk_bytes"] / 1e9 for row in rows]),
    )  # fmt: skip
    x = [math.log10(row["documents"]) for row in rows]
    parts = []
    for k, (name, values) in enumerate(series):
        y = [math.log10(value) for value in values]
        low, high = math.floor(min(y)), max(math.ceil(max(y)), math.floor(min(y)) + 1)
        x_low, x_high = math.floor(min(x)), math.ceil(max(x))

        def place(
            a: float, b: float, k: int = k, low: int = low, high: int = high, x_low: int = x_low, x_high: int = x_high
        ) -> str:
            across = k * (width + left + 20) + left + (a - x_low) / (x_high - x_low) * width
            return f"{across:.1f},{top + (high - b) / (high - low) * height:.1f}"

        corner = place(x_low, high).split(",")
        parts.append(f'<rect x="{corner[0]}" y="{corner[1]}" width="{width}" height="{height}" fill="none" stroke="#999"/>')
        parts.append(f'<text x="{corner[0]}" y="{top - 10}">{name}</text>')
        for exponent in range(low, high + 1):
            at = place(x_low, exponent).split(",")
            parts.append(f'<text x="{float(at[0]) - 6}" y="{float(at[1]) + 4}" text-anchor="end">{10.0**exponent:g}</text>')
        for exponent in range(x_low, x_high + 1):
            at = place(exponent, low).split(",")
            parts.append(f'<text x="{at[0]}" y="{float(at[1]) + 16}" text-anchor="middle">1e{exponent}</text>')
        linear = " ".join(place(a, y[-1] + a - x[-1]) for a in x if low <= y[-1] + a - x[-1])
        parts.append(f'<polyline points="{linear}" fill="none" stroke="#999" stroke-dasharray="3 3"/>')
        parts.append(f'<polyline points="{" ".join(map(place, x, y))}" fill="none" stroke="#06c" stroke-width="2"/>')
        parts += [f'<circle cx="{at.split(",")[0]}" cy="{at.split(",")[1]}" r="3" fill="#06c"/>' for at in map(place, x, y)]
    size = f'width="{3 * (width + left + 20)}" height="{top + height + 40}"'
    style = '<style>text{font:11px sans-serif;fill:#333}</style><rect width="100%" height="100%" fill="#fff"/>'
    foot = f'<text x="{left}" y="{top + height + 34}">documents; dotted: linear growth</text>'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>{style}{"".join(parts)}{foot}</svg>\n'


if __name__ == "__main__":
    main()
