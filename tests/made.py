"""A build of small made texts by the real road in this process: raw JSONL, every stage, mixture, corpus.duckdb. For what works on builds."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml

from curate import cli, pipeline
from curate.inspect import corpus as corpus_room
from curate.manifest import read_manifest
from curate.recipe import Recipe, load_recipe
from curate.store import Store
from mixture import tokens
from tests.mixture import tiny_tokenizer

WORDS = [
    f"{a}{b}{c}"
    for a in ("ve", "ja", "põ", "kü", "lau")
    for b in ("ski", "hva", "lla", "ma", "õh")
    for c in ("ne", "", "tu", "s")
]


def text(n_words: int, seed: object) -> str:
    """Words drawn by seed, as lines of twelve."""
    words = random.Random(str(seed)).choices(WORDS, k=n_words)
    return "\n".join(" ".join(words[i : i + 12]) for i in range(0, n_words, 12))


def write_source(folder: Path, source: str, rows: Sequence[dict[str, Any]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{source}.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


def write_recipe(folder: Path, **keys: Any) -> Path:
    """recipe.yaml with the tiny tokenizer beside it."""
    tiny_tokenizer.write(folder / "tok", template=tiny_tokenizer.CHATML)
    (folder / "recipe.yaml").write_text(
        yaml.safe_dump({"kind": "cpt", "name": "made", "tokenizer": {"model": "tok"}, "seed": 7, **keys}, sort_keys=False)
    )
    return folder / "recipe.yaml"


def build(path: Path, out: Path | None = None, sets: Sequence[str] = ()) -> SimpleNamespace:
    """.build, .store (a Store), .recipe, .manifest (None where the budget is infeasible), .problem."""
    out = out or path.parent / "build"
    recipe: Recipe = load_recipe(path, sets)
    store = Store(path.parent / "store")
    pipeline.check(recipe)
    tokenizer = tokens.check(recipe)
    cli._begin(out, recipe, store.root)
    curated = pipeline.curate(recipe, store, workers=1)
    stages, problem = cli._mix(curated, out, tokenizer, 1, pack=True)
    manifest = None if problem else read_manifest(out / "manifest.json")
    corpus_room.write_corpus(out, {**curated.stages(), "tokens": stages, **curated.reference_stages()}, manifest)
    return SimpleNamespace(build=out, store=store, recipe=recipe, manifest=manifest, problem=problem)
