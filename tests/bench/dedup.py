"""Speed of near-dedup beside datatrove's four MinHash stages, datasketch and rensa, on the same real texts: `python -m
tests.bench.dedup [--runs 5] [--rival-runs 2] [--megabytes N]` prints the tables of docs/evidence/dedup.txt.

Everyone is a process of its own on the same JSONL files (ours: on the documents.parquet ingest made of them), both cores where the
tool can use them, in the same run. Ours is warm: numba's cache is filled by a first run, which is printed as what compiling costs.
Rates per core are MB of UTF-8 per CPU second (user and system, all processes). Memory is that of the largest process.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.bench import dedup_texts, rivals
from tests.bench.kernels import FILES, best, texts
from tests.bench.rivals import Ran
from tests.bench.road import DATA

FILES_OF_RAW = 4  # tasks for datatrove
STEPS = ("signatures", "buckets", "shingles", "clusters", "domains", "decide")


class Measured(NamedTuple):
    """Medians over the runs; `start`: loading and starting, which is not the work itself."""

    megabytes: float
    wall: float
    work: float
    cpu: float
    peak: int
    documents: int
    dropped: int
    steps: dict[str, tuple[float, float]]  # name -> wall, CPU


def median(runs: Sequence[Measured]) -> Measured:
    middle = [statistics.median(run[i] for run in runs) for i in range(5)]  # type: ignore[misc]
    steps = {
        name: (statistics.median(r.steps[name][0] for r in runs), statistics.median(r.steps[name][1] for r in runs))
        for name in runs[0].steps
    }
    return Measured(middle[0], middle[1], middle[2], middle[3], int(middle[4]), runs[0].documents, runs[0].dropped, steps)


def ours(place: Path, workers: int) -> Measured:
    """One run in a fresh copy of the prepared store."""
    copy = place.with_name("copy")
    shutil.copytree(place, copy)
    try:
        ran = rivals.run(["tests.bench.near_dedup", "run", str(copy), str(workers)])
    finally:
        shutil.rmtree(copy)
    said = json.loads(ran.output)
    steps = {name: (said["wall"].get(name, 0.0), said["cpu"].get(name, 0.0)) for name in (*STEPS, "all")}
    return Measured(
        said["text_bytes"] / 1e6, ran.seconds, *steps["all"], ran.peak_bytes, said["documents"], said["dropped"], steps
    )


def datatrove(raw: Path, place: Path, size: int, documents: int) -> Measured:
    """14 x 8 is its default; 16 x 7 is what we run: the latter, so that both make 112 hashes in 16 bands."""
    out = place / "datatrove"
    ran = rivals.datatrove(raw, out, 16, 7, workers=2)
    dropped = documents - len(rivals.kept_by_datatrove(out))
    shutil.rmtree(out)
    steps = {
        name: (float(seconds), 0.0) for name, _, seconds in (line.partition("\t") for line in ran.output.split("\n")) if seconds
    }
    work = sum(wall for wall, _ in steps.values())
    return Measured(size / 1e6, ran.seconds, work, ran.cpu_seconds, ran.peak_bytes, documents, dropped, steps)


def library(name: str, raw: Path) -> Measured:
    ran: Ran = rivals.run(["tests.bench.sketches", name, str(raw)], threads=2 if name.startswith("rensa") else 1)
    said = json.loads(ran.output)
    steps = {step: (said["wall"][step], said["cpu"][step]) for step in said["wall"]}
    work, used = (sum(of[i] for of in steps.values()) for i in (0, 1))
    return Measured(said["text_bytes"] / 1e6, ran.seconds, work, used, ran.peak_bytes, said["documents"], said["dropped"], steps)


def signature_rates(rows: list[str]) -> dict[str, float]:
    """MB/s of CPU time of our steps from Arrow texts to band keys; whole documents, batches of a MB."""
    import pyarrow as pa

    from curate import text

    batches = [text.buffers(batch) for batch in text.batches(pa.array(rows, pa.large_string()))]
    segments = [text.segment(*batch) for batch in batches]
    megabytes = sum(int(offsets[-1] - offsets[0]) for _, offsets in batches) / 1e6

    def sign(seg: Any) -> None:
        text.signatures(seg, ngram=5, bands=16, rows=7, seed=0)

    work: dict[str, Callable[[], object]] = {
        "words": lambda: [text.segment(*batch) and None for batch in batches],
        "112 hashes": lambda: [sign(seg) for seg in segments],
        "both": lambda: [sign(text.segment(*batch)) for batch in batches],
    }
    return {name: megabytes / best(step, 5) for name, step in work.items()}


def show_signatures(rivals_of: dict[str, Measured]) -> None:
    print("\n1. Signatures: 112 min-hashes of word 5-grams, MB/s of one core (CPU time; veski: best of 5)\n")
    print(f"{'':<34}{'words, shingles':>16}{'hashes':>10}{'both':>10}")
    for name, files in FILES.items():
        rate = signature_rates(texts(DATA, files))
        print(f"{'veski, ' + name:<34}{rate['words']:>16.1f}{rate['112 hashes']:>10.1f}{rate['both']:>10.1f}")
    for name, of in rivals_of.items():
        if name == "datatrove":
            print(f"{'datatrove, its four stages':<34}{'':>26}{of.megabytes / of.cpu:>10.2f}")
            continue
        shingling = sum(used for step, (_, used) in of.steps.items() if step.startswith("shingles"))
        hashing = of.steps["signatures"][1]
        print(f"{name + ' (shingles: Python, one regex)':<34}{of.megabytes / shingling:>16.1f}{of.megabytes / hashing:>10.1f}"
              f"{of.megabytes / (shingling + hashing):>10.1f}")  # fmt: skip
    print(
        "veski: a rolling hash over words stands in for shingles, and counts as hashing. datatrove: nearly all of it is stage 1"
    )


def show_whole(title: str, of: dict[str, Measured]) -> None:
    first = of["veski"]
    print(f"\n{title}: {first.megabytes:.1f} MB, {first.documents:,} documents\n")
    print(
        f"{'':<22}{'process s':>10}{'work s':>9}{'CPU s':>9}{'MB/s/core':>11}{'peak MB':>9}{'dropped':>9}{'wall: x veski':>15}{'work: x veski':>15}"
    )
    for name, m in of.items():
        per_core = m.megabytes / m.cpu
        print(f"{name:<22}{m.wall:>10.2f}{m.work:>9.2f}{m.cpu:>9.2f}{per_core:>11.2f}{m.peak / 1e6:>9.0f}{m.dropped:>9,}"
              f"{m.wall / first.wall:>15.1f}{m.work / first.work:>15.1f}")  # fmt: skip
    one = of["veski, 1 worker"]
    print(
        "\nveski by step, 1 worker, wall / CPU s: "
        + ", ".join(f"{s} {one.steps[s][0]:.2f} / {one.steps[s][1]:.2f}" for s in STEPS)
    )
    rival = of["datatrove, 2 workers"]
    print("datatrove by stage, wall s: " + ", ".join(f"{name} {wall:.1f}" for name, (wall, _) in rival.steps.items()))


def compare(name: str, rows: list[dict[str, str]], top: Path, runs: int, rival_runs: int) -> dict[str, Measured]:
    raw, place = top / name / "raw", top / name / "place"
    size = rivals.write_jsonl(raw, rows, FILES_OF_RAW)
    rivals.run(["tests.bench.near_dedup", "prepare", str(raw), str(place)])
    shutil.copytree(top / "small", place / "warm")
    found = {name: median([ours(place, n) for _ in range(runs)]) for name, n in (("veski, 1 worker", 1), ("veski", 0))}
    found["datatrove, 2 workers"] = median([datatrove(raw, top, size, len(rows)) for _ in range(rival_runs)])
    for rival in ("datasketch", "rensa", "rensa_rho"):
        found[rival] = median([library(rival, raw) for _ in range(rival_runs)])
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--rival-runs", type=int, default=2)
    parser.add_argument("--megabytes", type=float, default=1000, help="of each corpus; less for a quick look")
    args = parser.parse_args()

    def cut(rows: list[dict[str, str]]) -> list[dict[str, str]]:
        left = args.megabytes * 1e6
        kept = []
        for row in rows:
            if left > 0:
                kept.append(row)
            left -= len(row["text"].encode())
        return kept

    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder)
        os.environ["NUMBA_CACHE_DIR"] = str(top / "numba")
        corpora = {"ordinary": cut(dedup_texts.ordinary(DATA)), "templates": cut(dedup_texts.template_heavy(DATA))}
        few = corpora["templates"][:100]  # and near copies of some, so that the kernels of every step are compiled and loaded
        few += [{"id": row["id"] + "+", "text": row["text"] + " lisa"} for row in few[:20]]
        rivals.write_jsonl(top / "raw", few, 1)
        rivals.run(["tests.bench.near_dedup", "prepare", str(top / "raw"), str(top / "small")])
        shutil.copytree(top / "small", top / "cold")
        started = time.monotonic()
        rivals.run(["tests.bench.near_dedup", "run", str(top / "cold"), "1"])
        cold = time.monotonic() - started
        shutil.copytree(top / "small", top / "again")
        started = time.monotonic()
        rivals.run(["tests.bench.near_dedup", "run", str(top / "again"), "1"])
        print(
            f"veski, first run in an empty cache folder: {cold:.1f} s, the second {time.monotonic() - started:.1f} s (120 documents)"
        )
        found = {name: compare(name, rows, top, args.runs, args.rival_runs) for name, rows in corpora.items()}
        of = found["ordinary"]
        show_signatures({name.partition(",")[0]: m for name, m in of.items() if not name.startswith("veski")})
        print(
            f"\n2. Whole near-dedup, from texts to what is dropped (jaccard 0.75; medians of {args.runs}, rivals of {args.rival_runs})"
        )
        print(
            "process: start to end, imports included; work: what is between. veski begins at documents.parquet and ends with the"
        )
        print(
            "decisions and their witnesses on disk; datatrove from JSONL to JSONL; datasketch and rensa from texts in memory to flags"
        )
        print(
            "(shingled in Python, nothing read or written, nothing verified; rensa_rho samples positions). veski: two cores, used as"
        )
        print(
            "it decides itself. CPU s: of the work; of the whole process, start included, for datatrove and for veski on two cores"
        )
        show_whole("Ordinary text", of)
        show_whole("Template-heavy text, half of it pages of three templates, none alike", found["templates"])


if __name__ == "__main__":
    main()
