"""Function calling and translation as components: built, trained by `curate train sft`, evaluated before and after, with a gate.

    VESKI_TEST_DATA=FOLDER python -m tests.bench.skills [--folder KEEP]       (some minutes on one core)

A mixture of conversations with functions in Estonian and English (tests.bench.skills_made), of Tatoeba's pairs as instructions in both
directions, and, in one of two runs, of stories that the model itself tells. Model: stories260K (260,032 weights, 512 tokens, English
children's stories; MIT). Both runs take as many examples of calls and pairs. Sizes, rates and rules were set before the first run.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.bench.skills_inputs import DATA, SEED, TEMPLATE, TOP, files, recipe, suite, written
from tests.train.stories import convert
from train.evaluation.results import read_items, read_results

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
RULES = {  # written before any run
    "calls_et.valid": ">= 50 %", "calls_et.call_decision": "+5 points", "calls_en.call_decision": "+5 points",
    "et_en.chrf++": "+1 point", "en_et.chrf++": "+1 point", "stories.bits_per_byte": "+10 %",
}  # fmt: skip


def called(*arguments: object, codes: tuple[int, ...] = (0,)) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([sys.executable, "-m", *map(str, arguments)], cwd=TOP, env=ENVIRONMENT, capture_output=True, text=True)
    if done.returncode not in codes:
        raise SystemExit(f"{' '.join(map(str, arguments))}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done


def evaluate(top: Path, name: str, model: Path) -> Path:
    asked = {"method": "evaluate", "name": name, "model": {"init": str(model)}, "suite": str(top / "suite.yaml"), "to": str(top / "results" / name),
             "seed": SEED, "batch": 20}  # fmt: skip
    called("curate", "train", "evaluate", written(top / f"evaluate-{name}.yaml", asked))
    return top / "results" / name


def trained(top: Path, model: Path, name: str, stories: bool) -> Path:
    build = top / "build" / name
    called(
        "curate", "build-mixture", recipe(top, model, name, stories), "--out", build, "--store", top / "store", "--workers", "1"
    )
    manifest = json.loads((build / "manifest.json").read_text())
    run = written(top / f"run-{name}.yaml", {
        "method": "sft", "name": name, "manifest": str(build / "manifest.json"), "model": {"init": str(model)}, "global_batch": "4096 tokens",
        "schedule": {"kind": "linear", "peak_lr": 2e-3, "warmup": "5 %"}, "save": {"to": str(top / "runs" / name)}, "seed": SEED,
    })  # fmt: skip
    began = time.monotonic()
    called("curate", "train", "sft", run)
    last = max((top / "runs" / name).glob("step-*"))
    receipt = json.loads((last / "receipt.json").read_text())
    n = manifest["phases"][0]["budget"]["examples"]
    took = time.monotonic() - began
    print(
        f"{name}: {n:,} examples, {receipt['sequences']} rows, {receipt['loss_tokens']:,} learned tokens, {last.name}, {took:.0f} s"
    )
    return last


def shares(folder: Path, language: str) -> dict[str, str]:
    """Of each kind: right decision, right call."""
    lines = (folder.parents[1] / "eval" / f"calls_{language}.jsonl").read_text(encoding="utf-8").splitlines()
    questions = {str(i): json.loads(line) for i, line in enumerate(lines, 1)}  # an item without an id is called by its place
    kinds: dict[str, list[dict[str, Any]]] = {}
    for item in read_items(folder, f"calls_{language}"):
        row = questions[item["item"].lstrip("#")]
        kind = row["kind"] if row["kind"] != "needed" else f"needed, value {'seen' if row['seen'] else 'never seen'}"
        kinds.setdefault(kind, []).append(item["details"])
    return {kind: f"{sum(d['decision'] for d in of)}, {sum(d['exact'] for d in of)} of {len(of)}" for kind, of in kinds.items()}


def show(results: dict[str, Path]) -> None:
    values = {name: {(row["task"], row["metric"]): row for row in read_results(folder)} for name, folder in results.items()}
    print(f"\n{'':<26}" + "".join(f"{name:>24}" for name in results))
    for key in values["before"]:
        rows = [values[name][key] for name in results]
        print(
            f"{'.'.join(key):<26}"
            + "".join(f"{row['value']:>10.3f} [{row['low']:.2f}, {row['high']:.2f}]".rjust(24) for row in rows)
        )
    print("\ncalls by kind: right decisions, right calls")
    for language in ("et", "en"):
        each = {name: shares(folder, language) for name, folder in results.items()}
        for kind in each["before"]:
            print(f"{language} {kind:<28}" + "".join(f"{each[name][kind]:>20}" for name in results))
    print("\nwhat was said, the first of each (wanted | " + " | ".join(results) + ")")
    for task in ("calls_et", "calls_en", "en_et", "et_en"):
        said = [read_items(folder, task)[:2] for folder in results.values()]
        for items in zip(*said, strict=True):
            prompt = " / ".join(items[0]["prompt"].split("\n")[1:]).strip(" /")
            print(f"  {task}: {prompt[-90:]}\n     " + "\n     ".join(repr((item["answers"] or [""])[0][:110]) for item in items))


def measured(top: Path) -> None:
    model = convert(DATA / "models" / "stories260K", top / "stories260K")
    (model / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
    files(top, model)
    suite(top)
    results = {"before": evaluate(top, "before", model)}
    for name, stories in (("skills", False), ("with-stories", True)):
        results[name] = evaluate(top, name, trained(top, model, name, stories))
    show(results)
    options = [part for rule in RULES.items() for part in ("--rule", ": ".join(rule))]
    for name in ("skills", "with-stories"):
        done = called("curate", "train", "gate", results["before"], results[name], *options, codes=(0, 1))
        print(
            f"\ngate before -> {name}: exit {done.returncode}\n"
            + re.sub(r"\n+", "\n", done.stdout).strip().replace(str(top), "TOP")
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="where everything stays; default: nowhere")
    if (kept := parser.parse_args().folder) is not None:
        kept.mkdir(parents=True, exist_ok=True)
        measured(kept.absolute())
        return
    with tempfile.TemporaryDirectory() as temporary:
        measured(Path(temporary))


if __name__ == "__main__":
    main()
