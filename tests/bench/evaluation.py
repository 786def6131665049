"""The suite et-quick before, during and after continued pretraining of stories260K on Estonian; and the same numbers by other ways.

    VESKI_TEST_DATA=FOLDER python -m tests.bench.evaluation        (some minutes on one core)

A mixture of Estonian Wikipedia and web pages with English replay, whose recipe looks for the evaluation sets in its documents; a run that asks
the suite before, in the middle and after, with a gate; then the first model and the last checkpoint by `curate train evaluate`, compared.
What the run measured and what the commands measure must be equal. Last, 200 items of XCOPA-et and 200 of EstQA through our files and through
lm-evaluation-harness by itself (its command line, hand-written tasks; tests/train/evaluation/by_itself.py).
Model: stories260K (260,032 weights, English children's stories; MIT).
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from tests import real
from tests.train.evaluation import by_itself
from tests.train.evaluation.test_against_harness import SUITE as BY_HAND
from tests.train.stories import convert
from train.evaluation.results import read_items, read_results

TOP = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("VESKI_TEST_DATA", TOP.parent / "shared" / "data"))
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "VESKI_EVAL": str((DATA / "eval").absolute())}
SUITE = TOP / "recipes" / "eval" / "et-quick.yaml"
RECIPE = """
kind: cpt
name: quick
roots: {raw: RAW, eval: EVAL}
tokenizer: {model: MODEL, bos: per_document, eos: per_document}
seed: 7
sources:
  wiki: {read: "{raw}/wiki/*", type: text, language: et, license: {from_field: license}}
  web: {read: "{raw}/web/*", type: text, language: et, license: {from_field: license}}
  en: {read: "{raw}/en/*", type: text, language: en, license: {from_field: license}}
dedup: {exact: normalised, near: {jaccard: 0.75, across: [wiki, web, en]}}
decontaminate: {against: ["{eval}/xcopa_et_test.jsonl.zst", "{eval}/estqa-train-v1.0.jsonl.zst"], action: report}
held_out: {per_component: 20k tokens, at_most: 5 % of tokens}
mixture:
  total: 1M tokens
  sequence_length: 256
  components:
    et: {from: [wiki, web], role: target, budget: 750k tokens, max_epochs: 2}
    en: {from: [en], role: replay, budget: 250k tokens, max_epochs: 2}
limits: {quarantine: 5 %}
"""


def called(*arguments: object) -> str:
    done = subprocess.run([sys.executable, "-m", *map(str, arguments)], cwd=TOP, env=ENVIRONMENT, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, arguments))}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def written(path: Path, content: object) -> Path:
    path.write_text(yaml.safe_dump(content))
    return path


def values(folder: Path) -> dict[tuple[str, str], float]:
    return {(row["task"], row["metric"]): row["value"] for row in read_results(folder)}


def against_harness(model: Path, top: Path) -> None:
    files = {"xcopa": "xcopa_et_test.jsonl.zst", "estqa": "estqa-train-v1.0.jsonl.zst"}
    tasks = [{**task, "data": {"path": str((DATA / "eval" / files[task["name"]]).absolute())}} for task in BY_HAND["tasks"]]
    asked = {"method": "evaluate", "name": "by-hand", "model": {"init": str(model)}, "to": str(top / "by-hand"), "limit": 200, "seed": 7, "batch": 8,
             "suite": str(written(top / "by-hand-suite.yaml", {**BY_HAND, "tasks": tasks}))}  # fmt: skip
    called("curate", "train", "evaluate", written(top / "by-hand.yaml", asked))
    theirs = by_itself.run(model, DATA.absolute(), top / "harness", limit=200, shots=2, seed=7, batch=8)
    ours = {name: read_items(top / "by-hand", name) for name in files}
    pairs = zip(ours["xcopa"], theirs["samples"]["xcopa"], strict=True)
    apart = max(
        abs(a - float(b[0][0])) for item, s in pairs for a, b in zip(item["details"]["log_likelihoods"], s["resps"], strict=True)
    )
    same = sum(item["answers"] == s["resps"][0] for item, s in zip(ours["estqa"], theirs["samples"]["estqa"], strict=True))
    mine, scores = values(top / "by-hand"), theirs["scores"]
    print("beside the harness by itself, 200 items each, 2 shots for XCOPA-et:")
    for metric, name in (("accuracy", "acc"), ("accuracy_norm", "acc_norm")):
        print(f"  xcopa {metric} {mine['xcopa', metric]} and {scores['xcopa'][f'{name},none']}")
    print(f"  xcopa, largest difference of a log-likelihood: {apart:.1e} nats")
    print(
        f"  estqa exact_match {mine['estqa', 'exact_match']} and {scores['estqa']['exact_match,none']}, {same} of 200 generated answers equal"
    )


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        top = Path(temporary)
        model = convert(DATA / "models" / "stories260K", top / "stories260K")
        real.write_layout(top / "raw", {source: real.rows(DATA, source) for source in ("wiki", "web", "en")}, "zst")
        recipe = top / "quick.yaml"
        recipe.write_text(
            RECIPE.replace("RAW", str(top / "raw")).replace("MODEL", str(model)).replace("EVAL", str((DATA / "eval").absolute()))
        )
        called("curate", "build-mixture", recipe, "--out", top / "build", "--store", top / "store", "--workers", "1")
        manifest = top / "build" / "manifest.json"
        run = written(top / "run.yaml", {
            "method": "cpt", "name": "quick", "manifest": str(manifest), "model": {"init": str(model)}, "global_batch": "4096 tokens",
            "schedule": {"kind": "cosine", "peak_lr": 2e-3, "warmup": "5 %", "floor": 2e-4}, "save": {"to": str(top / "run")}, "seed": 3,
            "evaluate": {"suite": str(SUITE), "suite_every": "120 steps", "gate": {"et_bits_per_byte": "-5 %, surely"}},
        })  # fmt: skip
        began = time.monotonic()
        called("train", "cpt", run)
        seconds = time.monotonic() - began
        steps = sorted((top / "run" / "evaluations").iterdir())
        last = max((top / "run").glob("step-*"))
        for name, init in (("before", model), ("after", last)):
            asked = {"method": "evaluate", "name": name, "model": {"init": str(init)}, "suite": str(SUITE), "to": str(top / "results" / name),
                     "manifest": str(manifest), "contamination": str(top / "build"), "seed": 3}  # fmt: skip
            called("curate", "train", "evaluate", written(top / f"{name}.yaml", asked))
        print(called("curate", "train", "compare", top / "results" / "before", top / "results" / "after"))
        print(f"inside the run, {seconds:.0f} s with {len(steps)} evaluations:")
        for key in values(steps[0]):
            print(f"  {'.'.join(key):<44} " + " -> ".join(f"{values(step)[key]:.4f}" for step in steps))
        for inside, outside in ((steps[0], top / "results" / "before"), (steps[-1], top / "results" / "after")):
            here, there = values(inside), values(outside)
            assert here.keys() == there.keys()
            print(
                f"{inside.name}: largest difference from the command {max(abs(here[key] - there[key]) for key in here):.2e} over {len(here)} scores"
            )
        found = {
            row["task"]: (row["contaminated"], row["n"])
            for row in read_results(top / "results" / "after")
            if row["contaminated"] is not None
        }
        against_harness(model, top)
        print("items that stand in what was trained on: " + ", ".join(f"{task} {n} of {of}" for task, (n, of) in found.items()))


if __name__ == "__main__":
    main()
