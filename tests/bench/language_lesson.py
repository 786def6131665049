"""The language lesson: a tiny English model goes on with Estonian, with 0, 20 and 50 % of its tokens English. What stays of English?

    python -m tests.bench.language_lesson [DATA] [--steps 78] [--seeds 3]

Model: stories260K (260,032 weights, trained on English children's stories; MIT). Text: Estonian encyclopedia and web, English blogs and
encyclopedia of DATA. Every run has equal steps of 4,096 tokens and the same run file; a seed changes the order of the text and what is
held out. Measured on text that no run of its seed trained on: the held-out rows of the mixture with half English, and stories of the kind
that the model was first trained on. Bits per byte, lower is better; mean and range over the seeds.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import math
import os
import statistics
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["ACCELERATE_USE_CPU"] = "true"

import torch
import yaml
from accelerate import Accelerator
from transformers import AutoModelForCausalLM

from curate.recipe import TokenizerSpec
from mixture.tokenizer import Tokenizer, load_tokenizer
from tests import command, real
from tests.train.stories import convert
from train import cpt
from train.evaluate import HeldOut
from train.model import Scorer
from train.streams import Streams, open_streams

SHARES = (0, 20, 50)  # per cent of the tokens that are English
BATCH, LENGTH = 4096, 256
TEXTS = {"et": ["wiki", "web"], "en": ["en"]}
RECIPE = """
kind: cpt
name: lesson
roots: {{raw: "{raw}"}}
tokenizer: {{model: "{model}", bos: per_document, eos: per_document}}
seed: {seed}
sources:
  wiki: {{read: "{{raw}}/wiki/*", type: text, language: et, license: {{from_field: license}}}}
  web: {{read: "{{raw}}/web/*", type: text, language: et, license: {{from_field: license}}}}
  en: {{read: "{{raw}}/en/*", type: text, language: en, license: {{from_field: license}}}}
rules:
  - {{preset: gopher/quality, set: {{min_alpha_word_ratio: 0.7}}}}
  - {{signal: language, equals: [et], sources: [wiki, web]}}
dedup: {{exact: normalised, near: {{jaccard: 0.75, across: [wiki, web, en]}}}}
held_out: {{per_component: 20k tokens, at_most: 5 % of tokens}}
mixture:
  total: {total} tokens
  sequence_length: {length}
  components:
{components}
limits: {{quarantine: 5 %}}
"""


def build(folder: Path, model: Path, share: int, seed: int, total: int) -> Path:
    """The manifest with so much English."""
    lines = [
        f"    {name}: {{from: [{', '.join(TEXTS[name])}], role: {role}, budget: {tokens} tokens, max_epochs: 2}}"
        for name, role, tokens in (("et", "target", total - total * share // 100), ("en", "replay", total * share // 100))
        if tokens
    ]
    recipe = folder / f"en{share}-{seed}.yaml"
    text = RECIPE.format(raw=folder / "raw", model=model, seed=seed, total=total, length=LENGTH, components="\n".join(lines))
    recipe.write_text(text)
    out = folder / f"build-{share}-{seed}"
    done = command.curate("build-mixture", recipe, "--out", out, "--store", folder / "store", "--workers", 1)
    if done.returncode:
        raise SystemExit(done.stderr)
    return out / "manifest.json"


def train(manifest: Path, model: Path, to: Path, seed: int) -> Path:
    """The last checkpoint of a run."""
    run = {
        "method": "cpt", "name": to.name, "manifest": str(manifest), "model": {"init": str(model)}, "global_batch": f"{BATCH} tokens",
        "micro_batch": 16, "schedule": {"kind": "cosine", "peak_lr": 2e-3, "warmup": "5 %", "floor": 2e-4},
        "save": {"to": str(to), "keep": 1}, "seed": seed,
    }  # fmt: skip
    path = to.with_suffix(".yaml")
    path.write_text(yaml.safe_dump(run))
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()) as said:
        code = cpt.run(path)
    if code or "matches plan to the token" not in said.getvalue():
        raise SystemExit(f"{to.name}: exit {code}: {said.getvalue()}")
    return max(to.glob("step-*"))


def measured(weights: Path, streams: Streams, tokenizer: Tokenizer, stories: list[str]) -> dict[str, float]:
    """Bits per byte: et, en (held out), stories."""
    scorer, accelerator = Scorer(AutoModelForCausalLM.from_pretrained(weights), "fp32"), Accelerator()
    found = HeldOut(streams, accelerator, 16, tokenizer).measure(scorer, accelerator)
    result = {name: found[name]["bits_per_byte"] for name in ("et", "en")}
    nats = n_bytes = 0.0
    for ids in tokenizer.encode_batch(stories):
        row = torch.tensor([[tokenizer.special["bos"], *ids.tolist()]])[:, :512]
        with torch.no_grad():
            nats += scorer.causal(input_ids=row, labels=row).loss.item() * (row.shape[1] - 1)
        n_bytes += int(tokenizer.byte_lengths[row[0, 1:].numpy()].sum())
    return {**result, "stories": nats / math.log(2) / n_bytes}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="?", default=os.environ.get("VESKI_TEST_DATA", "../shared/data"), type=Path)
    parser.add_argument("--steps", type=int, default=78)
    parser.add_argument("--seeds", type=int, default=3)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    started, total = time.monotonic(), asked.steps * BATCH
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        model = convert(asked.data / "models" / "stories260K", folder / "stories260K")
        real.write_layout(folder / "raw", {source: real.rows(asked.data, source) for source in ("wiki", "web", "en")}, "zst")
        tokenizer = load_tokenizer(TokenizerSpec(model=str(model), bos="per_document", eos="per_document"))
        sample = (asked.data / "models" / "stories260K" / "tinystories_sample.txt").read_text()
        stories = [story.strip() for story in sample.split("<|endoftext|>") if story.strip()]
        rows: dict[str, list[dict[str, float]]] = {}
        for seed in range(1, asked.seeds + 1):
            manifests = {share: build(folder, model, share, seed, total) for share in SHARES}
            streams = open_streams([manifests[max(SHARES)]])  # its held-out rows are everybody's
            rows.setdefault("before", []).append(measured(model, streams, tokenizer, stories))
            for share, manifest in manifests.items():
                weights = train(manifest, model, folder / f"run-{share}-{seed}", seed)
                rows.setdefault(f"{share} % English", []).append(measured(weights, streams, tokenizer, stories))
    print(f"{asked.steps} steps of {BATCH:,} tokens, {asked.seeds} seeds; bits per byte: mean (lowest to highest)\n")
    print(f"{'':<14}{'Estonian, held out':>26}{'English, held out':>26}{'English stories':>26}")
    for name, found in rows.items():
        cells = [[one[what] for one in found] for what in ("et", "en", "stories")]
        print(f"{name:<14}" + "".join(f"{statistics.mean(c):>10.3f} ({min(c):.3f} to {max(c):.3f})" for c in cells))
    worse = [one["en"] - two["en"] for one, two in zip(rows["0 % English"], rows["50 % English"], strict=True)]
    said = (
        f"English is {min(worse):.3f} to {max(worse):.3f} bits per byte cheaper with half English than with none, in every seed"
    )
    print("\n" + (said if min(worse) > 0 else "replay did not protect English in every seed"))
    print(f"{time.monotonic() - started:.0f} s in all")
    raise SystemExit(0 if min(worse) > 0 else 1)


if __name__ == "__main__":
    main()
