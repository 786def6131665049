"""Does the gate stop a run that was trained on shuffled text, and let a sound one pass? Real runs, the real command.

    python -m tests.bench.gate [DATA] [--steps 300] [--seeds 2]

Model: stories260K (260,032 weights; MIT), first taught English blogs and Estonian, half and half, until both can be lost: that is "before".
Then it goes on, as in continued pretraining: with Estonian in order and a quarter English (replay), the same without replay, with the words of
every Estonian document in another order, with the letters of every Estonian word in another order. All with the same steps and settings. The
Estonian is the beginning of every document (the base was taught the rest), as much as fills the budget once, so that seeds differ in the order
of the rows and hardly in what is seen.
The rules are written before these runs, from two pilots (in order, replay, seeds of their own), and are two gates, as a user has them who has
trained once before: against "before", English may cost 2 % more; against the first pilot, the last run that was good, Estonian may cost more by
twice what the two pilots differ by, and by at least 0.3 %. A run is stopped where either says so. Measured on documents that no run saw;
intervals are paired over documents. What a rule against "before" would have said (half of the pilots' fall) stands in the last lines.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import tempfile
import time
from pathlib import Path

from tests.bench.gate_runs import BATCH, FILES, KINDS, build, divided, documents, measure, train, write_texts

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
FIRST_STEPS, FIRST_SEED, SEED = 600, 100, 20
PILOT_SEEDS = (103, 104)
FIRST_RATE, RATE = 2e-3, 5e-4  # peak learning rates


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
    parser.add_argument("--steps", type=int, default=300)
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
    begun, rest = divided(parts["et"][0], tokenizer, steps * BATCH * 3 // 4)
    texts = {
        kind: write_texts(folder / f"raw-{i}", {"et": begun, "en": parts["en"][0]}, shuffle)
        for i, (kind, (shuffle, _)) in enumerate(KINDS.items())
    }
    first_texts = write_texts(folder / "raw-first", {"et": rest, "en": parts["en"][0]}, None)
    first = build(folder, first_texts, stories, 50, FIRST_SEED, FIRST_STEPS * BATCH)
    base = train(first, stories, folder / "before", FIRST_SEED, FIRST_RATE)
    before = write_results(folder / "results" / "before", measure(base, tokenizer, held_out))

    def go_on(kind: str, seed: int) -> tuple[Path, dict[str, float]]:
        name = f"{list(KINDS).index(kind)}-{seed}"
        manifest = build(folder, texts[kind], stories, KINDS[kind][1], seed, steps * BATCH)
        weights = train(manifest, base, folder / f"run-{name}", seed, RATE)
        return folder / "results" / name, write_results(folder / "results" / name, measure(weights, tokenizer, held_out))

    pilots = [go_on(SOUND, seed) for seed in PILOT_SEEDS]
    costs = [cost["et"] for _, cost in pilots]
    bound = max(0.3, round(200 * abs(costs[1] / costs[0] - 1), 1))
    fall = f"-{math.floor(1000 * (1 - sum(costs) / 2 / before['et']) / 2) / 10} %"
    gates = [(folder / "results" / "before", {"en_bits_per_byte": "+2 %"}), (pilots[0][0], {"et_bits_per_byte": f"+{bound} %"})]
    print(f"before: {FIRST_STEPS} steps, then {steps} steps of {BATCH:,} tokens each; held out: ", end="")
    print(", ".join(f"{len(rows)} documents of {language}" for language, rows in held_out.items()))
    said = " and ".join(f"{cost:.4f}" for cost in costs)
    print(f"Estonian cost {before['et']:.4f} bits per byte before, {said} after the pilots")
    print(f"the rules: against before {json.dumps(gates[0][1])}, against the first pilot {json.dumps(gates[1][1])}", flush=True)
    wrong, others = 0, []
    for kind in KINDS:
        for seed in range(1, seeds + 1):
            results, _ = go_on(kind, SEED + seed)
            (line,) = check(folder / "results" / "before", results, {"et_bits_per_byte": fall}).lines
            others.append(f"{kind}, seed {seed}: {line.status}")
            expected, codes = 0 if kind == SOUND else 1, []
            print(f"\n{kind}, seed {seed}:", flush=True)
            for reference, rules in gates:
                options = [option for name, rule in rules.items() for option in ("--rule", f"{name}: {rule}")]
                done = command.curate("train", "gate", reference, results, *options)
                codes.append(done.returncode)
                print(f"{done.stdout.rstrip() or done.stderr.rstrip()}: exit {done.returncode}", flush=True)
            wrong += max(codes) != expected
    print(f"\nWhat et_bits_per_byte: {fall} against before would have said:", *others, sep="\n")
    return wrong


if __name__ == "__main__":
    main()
