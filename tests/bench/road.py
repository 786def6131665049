"""The whole road beside the same chain in datatrove: same real Estonian text, same cores, both warm, in one run.

`python -m tests.bench.road [--mb 12] [--workers 2]` prints a table.
Each side is a process of its own, timed from outside, start-up included; ours also prints numba's compile time, apart.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import zstandard

TOP = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("VESKI_TEST_DATA", TOP.parent / "shared" / "data"))
FILES = ("aa_magazine", "wiki_et_versions", "laws", "tara_doku", "progeopik_rst", "ud_edt_dev", "ud_ewt_train_2022", "estner_new_dev")

RECIPE = """\
kind: cpt
name: road
roots: {{raw: "{raw}"}}
tokenizer: {{model: "{tokenizer}", eos: per_document}}
sources:
  et: {{read: "{{raw}}/*.jsonl.gz", language: et, license: {{declared: LicenseRef-test}}}}
language_id: [{{backend: fasttext, model: "{lid}"}}]
rules:
  - {{signal: language, is: [et]}}
  - {{signal: language_score, min: 0.65}}
  - {{preset: gopher/quality}}
dedup: {{exact: normalised, near: {{jaccard: 0.75, ngram: 5, bands: 16, rows: 7}}}}
mixture:
  total: 500k tokens
  sequence_length: 2048
  components:
    et: {{from: [et], role: target, budget: 500k tokens, max_epochs: 4}}
"""


def write_raw(folder: Path, mb: float, shards: int) -> int:
    """The first `mb` MB of the Estonian files in `shards` JSONL files; returns the bytes of text."""
    folder.mkdir(parents=True)
    rows, size = [], 0
    for name in FILES:
        text = zstandard.ZstdDecompressor().stream_reader(open(DATA / "et_text" / f"{name}.jsonl.zst", "rb")).read().decode()
        for line in text.split("\n"):
            if line and size < mb * 1e6:
                row = json.loads(line)
                rows.append({"id": row["id"], "text": row["text"], "url": row.get("url", "")})
                size += len(row["text"].encode())
    for i in range(shards):
        with gzip.open(folder / f"{i:03d}.jsonl.gz", "wt", encoding="utf-8", compresslevel=3) as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows[i::shards])
    return size


def timed(command: list[str], log: Path) -> float:
    started = time.monotonic()
    env = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    with open(log, "w") as file:
        done = subprocess.run(command, cwd=TOP, stdout=file, stderr=subprocess.STDOUT, env=env)
    if done.returncode:
        raise SystemExit(f"failed: {' '.join(command)}\n{log.read_text()[-3000:]}")
    return time.monotonic() - started


def ours(raw: Path, work: Path, workers: int) -> list[str]:
    recipe = work / "road.yaml"
    recipe.write_text(RECIPE.format(raw=raw, tokenizer=DATA / "tokenizers/gpt_neox_20b/tokenizer.json", lid=DATA / "lid/lid.176.ftz"))
    return [sys.executable, "-m", "curate", "build-mixture", str(recipe), "--out", str(work / "build"), "--store", str(work / "store"), "--workers", str(workers)]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--mb", type=float, default=12)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder)
        size = write_raw(top / "raw", args.mb, 4)
        write_raw(top / "small", 0.5, 2)
        (top / "warm").mkdir()
        cold = timed(ours(top / "small", top / "warm", 1), top / "log")
        lid, tokenizer = str(DATA / "lid/lid.176.ftz"), str(DATA / "tokenizers/gpt_neox_20b/tokenizer.json")

        def rival(raw: str, out: str) -> list[str]:
            return [sys.executable, "-m", "tests.bench.datatrove_chain", raw, out, lid, tokenizer, str(args.workers)]

        timed(rival(str(top / "small"), str(top / "warm-rival")), top / "log")
        pairs = []
        for run in range(args.runs):
            work = top / f"run{run}"
            work.mkdir()
            a = timed(ours(top / "raw", work, args.workers), top / "ours.log")
            b = timed(rival(str(top / "raw"), str(work / "rival")), top / "rival.log")
            pairs.append((a, b))
        lines.append(f"text {size / 1e6:.1f} MB, {args.workers} workers on each side, both warm; first run of ours (compiles, 0.5 MB) {cold:.1f} s")
        lines += [f"run {i}: veski {a:6.1f} s   datatrove {b:6.1f} s   ratio {b / a:5.1f}" for i, (a, b) in enumerate(pairs)]
        median = sorted(b / a for a, b in pairs)[len(pairs) // 2]
        lines.append(f"median ratio {median:.1f}")
        lines += ["datatrove by stage: " + ", ".join(x.replace("\t", " ") + " s" for x in (top / "rival.log").read_text().split("\n") if x.count("\t") == 1 and not x.startswith(" "))]  # fmt: skip
        lines += ["veski by stage: " + x.strip() for x in (top / "ours.log").read_text().split("\n") if "measure" in x and "%" in x and "(" in x]
    print("\n".join(lines))


if __name__ == "__main__":
    main()
