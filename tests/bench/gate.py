"""Does the gate stop a run that was trained on shuffled text, and let a sound one pass? Real runs, the real command.

    python -m tests.bench.gate [DATA] [--steps 120] [--seeds 2]

Model: stories260K (260,032 weights; MIT), first taught English blogs and Estonian, half and half, so that both can be lost: that is "before".
Then it goes on, as in continued pretraining: with Estonian in order and half English (replay), the same without replay, with the words of every
Estonian document in another order, with the letters of every Estonian word in another order. All with the same steps and settings.
The rules are written before these runs, as a user would: English may cost 2 % more; Estonian must become cheaper by half of what a pilot run
(in order, replay, a seed of its own) reached, and the interval must say so. Measured on documents that no run saw; intervals are paired over
documents. What two other rules would have said stands in the last lines.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import tempfile
import time
from pathlib import Path

from tests.bench.gate_runs import BATCH, FILES, KINDS, build, documents, measure, train, write_texts

import torch  # isort: skip  (after gate_runs, which sets its threads)

from curate.recipe import TokenizerSpec
from mixture.tokenizer import load_tokenizer
from tests import command
from tests.train.stories import convert
from train.evaluation import scoring
from train.evaluation.bootstrap import estimate
from train.evaluation.gate import check
from train.evaluation.results import write_tables

SOUND = "in order, replay"
FIRST_STEPS, FIRST_SEED, PILOT_SEED, SEED = 150, 100, 102, 10
FIRST_RATE, RATE = 2e-3, 1e-3  # peak learning rates


def write_results(folder: Path, items: list[dict]) -> dict[str, float]:
    """A folder of results as `curate train evaluate` leaves it; bits per byte by language."""
    rows = []
    for task in dict.fromkeys(item["task"] for item in items):
        own = [item for item in items if item["task"] == task]
        found = estimate(own, scoring.measure("bits_per_byte", own[0]["language"]))
        rows.append({
            "task": task, "kind": "bits_per_byte", "language": own[0]["language"], "metric": "bits_per_byte", "value": found.value, "low": found.low,
            "high": found.high, "n": found.n, "n_missing": found.n_missing,
        })  # fmt: skip
    write_tables(folder, rows, items)
    return {row["language"]: row["value"] for row in rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="?", default=os.environ.get("VESKI_TEST_DATA", "../shared/data"), type=Path)
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--seeds", type=int, default=2)
    asked, started = parser.parse_args(), time.monotonic()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        wrong = lesson(Path(place), asked.data, asked.steps, asked.seeds)
    print(f"\n{wrong} of the gate's verdicts are not what they should be; {time.monotonic() - started:.0f} s in all")
    raise SystemExit(1 if wrong else 0)


def lesson(folder: Path, data: Path, steps: int, seeds: int) -> int:
    stories = convert(data / "models" / "stories260K", folder / "stories260K")
    tokenizer = load_tokenizer(TokenizerSpec(model=str(stories), bos="per_document", eos="per_document"))
    parts = {language: documents(data, language) for language in FILES}
    held_out = {language: two[1] for language, two in parts.items()}
    texts = {
        kind: write_texts(folder / f"raw-{i}", {language: two[0] for language, two in parts.items()}, shuffle)
        for i, (kind, (shuffle, _)) in enumerate(KINDS.items())
    }
    first = build(folder, texts[SOUND], stories, 50, FIRST_SEED, FIRST_STEPS * BATCH)
    base = train(first, stories, folder / "before", FIRST_SEED, FIRST_RATE)
    before = write_results(folder / "results" / "before", measure(base, tokenizer, held_out))

    def go_on(kind: str, seed: int) -> tuple[Path, dict[str, float]]:
        name = f"{list(KINDS).index(kind)}-{seed}"
        manifest = build(folder, texts[kind], stories, KINDS[kind][1], seed, steps * BATCH)
        weights = train(manifest, base, folder / f"run-{name}", seed, RATE)
        return folder / "results" / name, write_results(folder / "results" / name, measure(weights, tokenizer, held_out))

    pilot = 1 - go_on(SOUND, PILOT_SEED)[1]["et"] / before["et"]
    fall = f"-{math.floor(1000 * pilot / 2) / 10} %"
    rules = {"en_bits_per_byte": "+2 %", "et_bits_per_byte": f"{fall}, proven"}
    print(f"before: {FIRST_STEPS} steps, then {steps} steps of {BATCH:,} tokens each; held out: ", end="")
    print(", ".join(f"{len(rows)} documents of {language}" for language, rows in held_out.items()))
    print(f"the pilot's Estonian became {100 * pilot:.2f} % cheaper; the rules: {json.dumps(rules)}")
    options = [option for name, rule in rules.items() for option in ("--rule", f"{name}: {rule}")]
    wrong, others = 0, []
    for kind in KINDS:
        for seed in range(1, seeds + 1):
            results, _ = go_on(kind, SEED + seed)
            for text in (fall, f"{fall}, surely"):
                (line,) = check(folder / "results" / "before", results, {"et_bits_per_byte": text}).lines
                others.append(f"{kind}, seed {seed}: et_bits_per_byte {text}: {line.status}")
            done = command.curate("train", "gate", folder / "results" / "before", results, *options)
            expected = 0 if kind == SOUND else 1
            wrong += done.returncode != expected
            print(f"\n{kind}, seed {seed}: exit {done.returncode}\n{done.stdout.rstrip() or done.stderr.rstrip()}", flush=True)
    print("\nWhat the same rule says with another last word:", *others, sep="\n")
    return wrong


if __name__ == "__main__":
    main()
