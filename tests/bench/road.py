"""The whole road beside the same chain in datatrove: same real Estonian text, same cores, both warm, in one run.

`python -m tests.bench.road [--mb 16] [--runs 3]` prints a table.
Each side is a process of its own, timed from outside, start-up included; the first run of ours, which compiles, stands apart.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import zstandard

TOP = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("VESKI_TEST_DATA", TOP.parent / "shared" / "data"))
FILES = (
    "aa_magazine",
    "wiki_et_versions",
    "laws",
    "tara_doku",
    "progeopik_rst",
    "ud_edt_dev",
    "ud_ewt_train_2022",
    "estner_new_dev",
)

STAGE = re.compile(r"[a-z]+\t[0-9.]+")

RECIPE = """\
kind: cpt
name: road
roots: {{raw: "{raw}"}}
tokenizer: {{model: "{tokenizer}", eos: per_document}}
sources:
  et: {{read: "{{raw}}/*.jsonl.gz", language: et, license: {{declared: LicenseRef-test}}}}
language_id: [{{backend: fasttext, model: "{lid}"}}]
rules:
  - {{signal: language, equals: [et]}}
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


def write_tokenizer(path: Path) -> None:
    """GPT-2's byte-level BPE as one tokenizer.json, which both sides read."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    folder = DATA / "tokenizers" / "gpt2"
    tokenizer = Tokenizer(models.BPE.from_file(str(folder / "vocab.json"), str(folder / "merges.txt")))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken("<|endoftext|>", special=True)])
    tokenizer.save(str(path))


def ours(raw: Path, work: Path, tokenizer: Path) -> list[str]:
    recipe = work / "road.yaml"
    recipe.write_text(RECIPE.format(raw=raw, tokenizer=tokenizer, lid=DATA / "lid/lid.176.ftz"))
    places = ["--out", str(work / "build"), "--store", str(work / "store")]
    return [sys.executable, "-m", "curate", "build-mixture", str(recipe), *places]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--mb", type=float, default=16)
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    lines = []
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder)
        size = write_raw(top / "raw", args.mb, 4)
        write_raw(top / "small", 0.5, 2)
        (top / "warm").mkdir()
        tokenizer = top / "gpt2" / "tokenizer.json"
        tokenizer.parent.mkdir()
        write_tokenizer(tokenizer)
        cold = timed(ours(top / "small", top / "warm", tokenizer), top / "log")

        def rival(raw: str, out: str) -> list[str]:
            return [
                sys.executable,
                "-m",
                "tests.bench.datatrove_chain",
                raw,
                out,
                str(DATA / "lid/lid.176.ftz"),
                str(tokenizer),
                "2",
            ]

        timed(rival(str(top / "small"), str(top / "warm-rival")), top / "log")
        pairs = []
        for run in range(args.runs):
            work = top / f"run{run}"
            work.mkdir()
            a = timed(ours(top / "raw", work, tokenizer), top / "ours.log")
            b = timed(rival(str(top / "raw"), str(work / "rival")), top / "rival.log")
            pairs.append((a, b))
        lines.append(f"{size / 1e6:.1f} MB of text, 2 cores; datatrove with 2 workers, veski as it decides itself; both warm")
        lines.append(f"first run of veski, 0.5 MB of text (compiles what is not in numba's cache): {cold:.1f} s")
        lines += [f"run {i}: veski {a:6.1f} s   datatrove {b:6.1f} s   ratio {b / a:5.1f}" for i, (a, b) in enumerate(pairs)]
        median = sorted(b / a for a, b in pairs)[len(pairs) // 2]
        lines.append(f"median ratio {median:.1f}")
        stages = [x.replace("\t", " ") for x in (top / "rival.log").read_text().split("\n") if STAGE.fullmatch(x)]
        lines.append("datatrove by stage (s): " + ", ".join(stages))
        built = [x.strip() for x in (top / "ours.log").read_text().split("\n") if x.startswith("road")]
        lines.append("veski by stage: " + built[0])
    print("\n".join(lines))


if __name__ == "__main__":
    main()
