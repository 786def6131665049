"""A chat vector on a real tiny model: (SFT of stories260K - stories260K), added to stories260K continued in Estonian, without training.

    python -m tests.bench.chat_vector [DATA] [--steps 78] [--seeds 3] [--drawn FILE.html]

Base c: stories260K (260,032 weights, trained on English children's stories; MIT). b: c fine-tuned on real instructions of DATA (Code Alpaca,
Self-Instruct's English seeds and user-oriented tasks; `curate train sft`, the template `alpaca`, loss on answers). a: c continued on Estonian
encyclopedia and web (`curate train cpt`). Result: a + lambda (b - c), by `curate train merge` with its sweep: every lambda is asked what the
two mixtures hold out, answers to instructions and Estonian text; bits per byte, lower is better. Nobody trained on what is asked. For
comparison: c itself, b, and a fine-tuned as c was. A seed changes the order of all texts and what is held out. Mean and range over the seeds.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["ACCELERATE_USE_CPU"] = "true"

import torch
import yaml
import zstandard

from curate.store import read_json
from tests import command, real
from tests.train.stories import convert
from train import cpt, sft
from train.evaluation import run as evaluation
from train.merge import run as merge

LAMBDAS = (-0.5, 0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5)
BATCH, LENGTH = 4096, 512
FILES = ("code_alpaca_2k", "self_instruct_seed_en", "user_oriented_150")
ASKED = ("instructions", "estonian")


def recipes(folder: Path, model: Path, seed: int, tokens: int) -> dict[str, dict[str, Any]]:
    tokenizer = {"model": str(model), "bos": "per_document", "eos": "per_document"}
    alpaca = {"model": str(model), "bos": "none", "eos": "none", "chat_template": "alpaca"}
    texts = {"type": "text", "language": "et", "license": {"from_field": "license"}}
    chats = {"type": "conversation", "language": "en", "license": {"declared": "LicenseRef-see-data-README"}}
    held = {
        "held_out": {"per_component": "20k tokens", "at_most": "20 % of tokens"},
        "seed": seed,
        "limits": {"quarantine": "10 %"},
    }
    return {
        "instructions": {
            "kind": "sft", "name": "instructions", **held, "tokenizer": alpaca,
            "sources": {"chats": {"read": str(folder / "chats" / "*.jsonl"), **chats}}, "dedup": {"exact": "normalised"},
            "mixture": {"total": f"{tokens} tokens", "sequence_length": LENGTH,
                        "components": {"en": {"from": ["chats"], "role": "instruction", "budget": f"{tokens} tokens", "max_epochs": 3}}},
        },
        "estonian": {
            "kind": "cpt", "name": "estonian", **held, "tokenizer": tokenizer,
            "sources": {name: {"read": str(folder / "raw" / name / "*"), **texts} for name in ("wiki", "web")},
            "rules": [{"preset": "gopher/quality", "set": {"min_alpha_word_ratio": 0.7}}, {"signal": "language", "equals": ["et"]}],
            "dedup": {"exact": "normalised", "near": {"jaccard": 0.75, "across": ["wiki", "web"]}},
            "mixture": {"total": f"{tokens} tokens", "sequence_length": LENGTH,
                        "components": {"et": {"from": ["wiki", "web"], "role": "target", "budget": f"{tokens} tokens", "max_epochs": 3}}},
        },
    }  # fmt: skip


def write_chats(data: Path, folder: Path) -> None:
    folder.mkdir()
    for name in FILES:
        with open(data / "instruct" / f"{name}.jsonl.zst", "rb") as file, open(folder / f"{name}.jsonl", "wb") as out:
            zstandard.ZstdDecompressor().copy_stream(file, out)


def build(recipe: dict[str, Any], folder: Path, seed: int) -> Path:
    name = f"{recipe['name']}-{seed}"
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    done = command.curate(
        "build-mixture", folder / f"{name}.yaml", "--out", folder / name, "--store", folder / "store", "--workers", 1
    )
    if done.returncode not in (0, 3):
        raise SystemExit(done.stderr)
    return folder / name / "manifest.json"


def train(method: str, manifest: Path, model: Path, to: Path, seed: int) -> Path:
    """The last checkpoint of a run, with the tokenizer of its base."""
    run = {
        "method": method, "name": to.name, "manifest": str(manifest), "model": {"init": str(model)}, "global_batch": f"{BATCH} tokens",
        "micro_batch": 8, "schedule": {"kind": "cosine", "peak_lr": 2e-3, "warmup": "5 %", "floor": 2e-4},
        "save": {"to": str(to), "keep": 1}, "seed": seed,
    }  # fmt: skip
    path = to.with_suffix(".yaml")
    path.write_text(yaml.safe_dump(run))
    with quiet() as said:
        code = (sft if method == "sft" else cpt).run(path)
    if code or "matches plan to the token" not in said.getvalue():
        raise SystemExit(f"{to.name}: exit {code}: {said.getvalue()}")
    return max(to.glob("step-*"))


@contextlib.contextmanager
def quiet() -> Iterator[io.StringIO]:
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()) as said:
        yield said


def suite(folder: Path, manifests: dict[str, Path], seed: int) -> Path:
    path = folder / f"suite-{seed}.yaml"
    tasks = [{"name": name, "kind": "bits_per_byte", "data": {"manifest": str(manifest)}} for name, manifest in manifests.items()]
    path.write_text(yaml.safe_dump({"name": "held", "tasks": tasks}))
    return path


def scores(rows: dict[str, float]) -> dict[str, float]:
    """instructions, estonian: of the component, all its rows together."""
    return {name: next(v for key, v in rows.items() if key.startswith(f"{name}.component.")) for name in ASKED}


def asked(model: Path, asking: Path, to: Path) -> dict[str, float]:
    run = {"method": "evaluate", "name": "one", "model": {"init": str(model)}, "suite": str(asking), "to": str(to)}
    to.with_suffix(".yaml").write_text(yaml.safe_dump(run))
    with quiet() as said:
        code = evaluation.run(to.with_suffix(".yaml"))
    if code:
        raise SystemExit(said.getvalue())
    rows = [row for name in ASKED for row in json.loads((to / "tasks" / f"{name}.json").read_text())["rows"]]
    return scores({row["task"]: row["value"] for row in rows})


def swept(folder: Path, a: Path, b: Path, c: Path, asking: Path, seed: int) -> dict[float, dict[str, float]]:
    """lambda -> scores; the result for lambda 1 lies in folder/merged-SEED."""
    to = folder / f"sweep-{seed}"
    run = {
        "method": "merge", "name": "chat-vector", "a": str(a), "vectors": [{"b": str(b), "c": str(c)}], "to": str(folder / f"merged-{seed}"),
        "sweep": {"lambdas": list(LAMBDAS), "suite": str(asking), "to": str(to)},
    }  # fmt: skip
    (folder / f"merge-{seed}.yaml").write_text(yaml.safe_dump(run))
    with quiet() as said:
        code = merge.run(folder / f"merge-{seed}.yaml")
    if code:
        raise SystemExit(said.getvalue())
    found = read_json(to / "sweep.json")
    each = [
        {name.removesuffix(".bits_per_byte"): rows[i]["value"] for name, rows in found["scores"].items()}
        for i in range(len(LAMBDAS))
    ]
    return {value: scores(rows) for value, rows in zip(found["lambdas"], each, strict=True)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="?", default=os.environ.get("VESKI_TEST_DATA", "../shared/data"), type=Path)
    parser.add_argument("--steps", type=int, default=78)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--drawn", type=Path, help="The first seed's page is copied here.")
    options = parser.parse_args()
    torch.set_num_threads(1)
    began, found = time.monotonic(), {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        c = convert(options.data / "models" / "stories260K", folder / "stories260K")
        real.write_layout(folder / "raw", {source: real.rows(options.data, source) for source in ("wiki", "web")}, "zst")
        write_chats(options.data, folder / "chats")
        for seed in range(1, options.seeds + 1):
            of = recipes(folder, c, seed, options.steps * BATCH)
            manifests = {name: build(of[name], folder, seed) for name in ASKED}
            asking = suite(folder, manifests, seed)
            a = train("cpt", manifests["estonian"], c, folder / f"cpt-{seed}", seed)
            b = train("sft", manifests["instructions"], c, folder / f"sft-{seed}", seed)
            both = train("sft", manifests["instructions"], a, folder / f"both-{seed}", seed)
            print(f"seed {seed}: trained, {time.monotonic() - began:.0f} s", file=sys.stderr)
            for name, model in (("c, stories260K", c), ("b = c + SFT", b), ("a + SFT, trained", both)):
                found.setdefault(name, []).append(asked(model, asking, folder / f"asked-{seed}-{model.parent.name}"))
            for value, row in swept(folder, a, b, c, asking, seed).items():
                found.setdefault(f"a {value:+g} (b - c)", []).append(row)
            if options.drawn and seed == 1:
                shutil.copyfile(folder / f"sweep-{seed}" / "sweep.html", options.drawn)
    raise SystemExit(show(found, options.steps, time.monotonic() - began))


def show(found: dict[str, list[dict[str, float]]], steps: int, seconds: float) -> int:
    print(
        f"{steps} steps of {BATCH:,} tokens a training, {len(found['b = c + SFT'])} seeds; bits per byte: mean (lowest to highest)\n"
    )
    print(f"{'':<20}{'answers, held out':>27}{'Estonian, held out':>27}")
    for name, rows in found.items():
        cells = [[row[what] for row in rows] for what in ASKED]
        print(f"{name:<20}" + "".join(f"{statistics.mean(cell):>11.3f} ({min(cell):.3f} to {max(cell):.3f})" for cell in cells))
    least = [cheaper(found, value) for value in (-0.5, 0.5, 1.0)]
    for value, less in zip((-0.5, 0.5, 1.0), least, strict=True):
        print(
            f"lambda {value:+g}: answers are {min(less):+.3f} to {max(less):+.3f} bits per byte cheaper than without the vector, seed by seed"
        )
    print(f"{seconds:.0f} s in all")
    return 0 if min(least[1]) > 0 > max(least[0]) else 1  # half of the vector helps in every seed, and its opposite harms


def cheaper(found: dict[str, list[dict[str, float]]], value: float) -> list[float]:
    """Bits per byte of answers that lambda saves, by seed."""
    pairs = zip(found["a +0 (b - c)"], found[f"a {value:+g} (b - c)"], strict=True)
    return [without["instructions"] - with_it["instructions"] for without, with_it in pairs]


if __name__ == "__main__":
    main()
