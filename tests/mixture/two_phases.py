"""A real build of two phases: three sources in three components, several passes, a loss mask, documents longer than a row, held-out ones.

main: 24 tokens a row, et twice and more over (passes 0 to 2) beside en; anneal: rows of 40, the best documents and what is left of et.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import yaml

from curate.recipe import load_recipe
from mixture.build import plan_and_pack
from tests.mixture.small_build import documents_of, write_tokens

TOKENIZER = {"name": "none", "sha256": "0" * 64, "vocab_size": 50_000, "special": {"bos": None, "eos": None, "pad": None}}


def sources_of(seed: int = 7) -> dict[str, list[dict]]:
    rng = np.random.default_rng(seed)
    made = {name: documents_of(name, rng.integers(2, 60, n).tolist()) for name, n in (("web", 40), ("books", 25), ("chat", 20))}
    for document in made["web"]:
        document["score"] = int(document["id"][0], 16)  # what where: asks: an even 0 to 15
    for document in made["chat"]:
        document["loss"] = rng.integers(0, 2, len(document["tokens"]))
    return made


def recipe_file(folder: Path, sources: dict[str, list[dict]]) -> Path:
    tokens = {name: sum(len(d["tokens"]) for d in documents) for name, documents in sources.items()}
    et, en = 2 * tokens["web"], tokens["books"] // 2
    data = {
        "kind": "cpt", "name": "two", "tokenizer": {"model": "none"}, "seed": 11,
        "sources": {
            name: {"read": "x.jsonl", "license": {"declared": "MIT"}, "fields": {"text": "text", "extra": "score"}} for name in sources
        },
        "held_out": {"per_component": "60 tokens", "at_most": "10 % of tokens"},
        "mixture": {
            "sequence_length": 24,
            "components": {
                "best": {"from": ["web"], "where": {"score": {"min": 12}}, "role": "target", "max_epochs": 6},
                "et": {"from": ["web"], "role": "target", "max_epochs": 4},
                "en": {"from": ["books", "chat"], "role": "replay", "max_epochs": 2},
            },
            "phases": {
                "main": {"total": f"{et + en} tokens", "components": {"et": f"{et} tokens", "en": f"{en} tokens"}},
                "anneal": {
                    "total": "1500 tokens", "sequence_length": 40,
                    "components": {"best": "600 tokens", "et": "400 tokens", "en": "500 tokens"},
                },
            },
        },
    }  # fmt: skip
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    return path


def build(folder: Path) -> Path:
    """The build folder under `folder`."""
    sources = sources_of()
    recipe = load_recipe(recipe_file(folder, sources))
    tables, shards, patterns = write_tokens(folder / "tokens", recipe, sources, n_shards=2)
    plan_and_pack(
        recipe,
        tables,
        shards,
        folder / "build",
        tokenizer=TOKENIZER,
        token_bytes=2,
        lineage=[{"stage": "tokens"}],
        patterns=patterns,
    )
    return folder / "build"
