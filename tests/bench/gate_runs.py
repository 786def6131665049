"""Runs for tests/bench/gate.py: texts in order or shuffled in, mixtures, trained weights, and what held-out documents cost out.

Every eighth document is held out by its name (all parts of a magazine article together) before anything is built: no run has seen it, in
whatever order.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import random
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["ACCELERATE_USE_CPU"] = "true"

import torch
import yaml
import zstandard
from transformers import AutoModelForCausalLM

from mixture.tokenizer import Tokenizer
from tests import command
from train import cpt
from train.model import Scorer

FILES = {
    "et": ["et_text/aa_magazine.jsonl.zst", "et_text/wiki_et_versions.jsonl.zst", "et_text/ud_ewt_train_2022.jsonl.zst"],
    "en": ["en_text/18f_posts.jsonl.zst"],
}
BATCH, LENGTH, HELD_OUT, WINDOWS = 4096, 256, 8, 8
RECIPE = """
kind: cpt
name: {name}
roots: {{raw: "{raw}"}}
tokenizer: {{model: "{model}", bos: per_document, eos: per_document}}
seed: {seed}
sources:
  et: {{read: "{{raw}}/et.jsonl", type: text, language: et, license: {{from_field: license}}}}
  en: {{read: "{{raw}}/en.jsonl", type: text, language: en, license: {{from_field: license}}}}
rules: []
dedup: {{exact: normalised}}
mixture:
  total: {total} tokens
  sequence_length: {length}
  components:
{components}
limits: {{quarantine: 5 %}}
"""
Shuffle = Callable[[str, random.Random], str]


def words(text: str, draw: random.Random) -> str:
    """All words of a document in another order: every word and every count stays."""
    parts = text.split()
    draw.shuffle(parts)
    return " ".join(parts)


def letters(text: str, draw: random.Random) -> str:
    """The letters of every word in another order: lengths and letters stay."""
    return " ".join("".join(draw.sample(word, len(word))) for word in text.split())


KINDS: dict[str, tuple[Shuffle | None, int]] = {  # how Estonian is spoilt, per cent of the tokens that are English
    "in order, replay": (None, 25),
    "in order, no replay": (None, 0),
    "words shuffled, replay": (words, 25),
    "letters shuffled, replay": (letters, 25),
}


def documents(data: Path, language: str) -> tuple[list[dict], list[dict]]:
    """(to train on, held out) as {id, text, license}; of an encyclopedia article one version."""
    found: dict[str, dict] = {}
    for name in FILES[language]:
        for line in zstandard.ZstdDecompressor().stream_reader((data / name).open("rb")).read().decode().split("\n"):
            if line:
                row = json.loads(line)
                key = str((row.get("meta") or {}).get("title") or row["id"])
                found.setdefault(key, {"id": key, "text": row["text"], "license": str(row.get("license", ""))})
    parts: tuple[list[dict], list[dict]] = ([], [])
    for key, row in sorted(found.items()):
        parts[hashlib.sha256(key.partition("#")[0].encode()).digest()[0] % HELD_OUT == 0].append(row)
    return parts


def divided(rows: list[dict], tokenizer: Tokenizer, n_tokens: int) -> tuple[list[dict], list[dict]]:
    """(the beginnings of all documents, n_tokens together and a little more; what follows them), cut between words."""
    total = sum(map(len, tokenizer.encode_batch([row["text"] for row in rows])))
    share = 1.05 * n_tokens / total
    parts: tuple[list[dict], list[dict]] = ([], [])
    for row in rows:
        cut = row["text"].find(" ", int(share * len(row["text"]))) % (len(row["text"]) + 1)  # -1: to the end
        for part, text in zip(parts, (row["text"][:cut], row["text"][cut:]), strict=True):
            part += [{**row, "text": text.strip()}] if text.strip() else []
    return parts


def write_texts(folder: Path, texts: dict[str, list[dict]], shuffle: Shuffle | None) -> Path:
    folder.mkdir(parents=True)
    for language, rows in texts.items():
        spoil = shuffle if language == "et" else None
        changed = [{**row, "text": spoil(row["text"], random.Random(row["id"]))} if spoil else row for row in rows]
        (folder / f"{language}.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in changed))
    return folder


def build(folder: Path, raw: Path, model: Path, share: int, seed: int, total: int) -> Path:
    """The manifest with so much English."""
    budgets = (("et", "target", total - total * share // 100), ("en", "replay", total * share // 100))
    lines = [f"    {n}: {{from: [{n}], role: {role}, budget: {t} tokens, max_epochs: 4}}" for n, role, t in budgets if t]
    recipe = folder / f"{raw.name}-{share}-{seed}.yaml"
    recipe.write_text(RECIPE.format(
        name=recipe.stem, raw=raw, model=model, seed=seed, total=total, length=LENGTH, components="\n".join(lines)
    ))  # fmt: skip
    out = folder / f"build-{recipe.stem}"
    done = command.curate("build-mixture", recipe, "--out", out, "--store", folder / "store", "--workers", 1)
    if done.returncode:
        raise SystemExit(done.stderr)
    return out / "manifest.json"


def train(manifest: Path, model: Path, to: Path, seed: int, peak_lr: float) -> Path:
    """The last checkpoint of a run."""
    run = {
        "method": "cpt", "name": to.name, "manifest": str(manifest), "model": {"init": str(model)}, "global_batch": f"{BATCH} tokens",
        "micro_batch": 16, "schedule": {"kind": "cosine", "peak_lr": peak_lr, "warmup": "5 %", "floor": peak_lr / 10},
        "save": {"to": str(to), "keep": 1}, "seed": seed,
    }  # fmt: skip
    path = to.with_suffix(".yaml")
    path.write_text(yaml.safe_dump(run))
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()) as said:
        code = cpt.run(path)
    if code or "matches plan to the token" not in said.getvalue():
        raise SystemExit(f"{to.name}: exit {code}: {said.getvalue()}")
    return max(to.glob("step-*"))


def measure(weights: Path, tokenizer: Tokenizer, held_out: dict[str, list[dict]]) -> list[dict]:
    """Rows of items.parquet: every held-out document, of which the first WINDOWS windows of LENGTH tokens."""
    scorer = Scorer(AutoModelForCausalLM.from_pretrained(weights), "fp32")
    items = []
    for language, rows in held_out.items():
        for row, ids in zip(rows, tokenizer.encode_batch([row["text"] for row in rows]), strict=True):
            nats, n_bytes = 0.0, 0
            for first in range(0, min(len(ids), WINDOWS * LENGTH), LENGTH):
                tokens = torch.tensor([[tokenizer.special["bos"], *ids[first : first + LENGTH].tolist()]])
                with torch.no_grad():
                    nats += scorer.causal(input_ids=tokens, labels=tokens).loss.item() * (tokens.shape[1] - 1)
                n_bytes += int(tokenizer.byte_lengths[tokens[0, 1:].numpy()].sum())
            details = {"nats": nats, "bytes": n_bytes}
            items.append(
                {"task": f"held_out_{language}", "item": row["id"], "language": language, "answers": [], "details": details}
            )
    return items
