"""Small builds without the rest of the road: token shards written flat, tables of kept documents, a recipe from its parts."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import yaml

from curate.recipe import Recipe, load_recipe
from mixture.build import plan_and_pack
from mixture.selection import KEPT, Pattern

LOOSE = pa.schema([(f.name, pa.string() if not pa.types.is_integer(f.type) else f.type) for f in KEPT])  # as other rooms give it


def name_of(*parts: object) -> str:
    return hashlib.md5(repr(parts).encode()).hexdigest()


def documents_of(source: str, lengths: list[int], seed: int = 0) -> list[dict]:
    """Documents in order of id: id, cluster_id (None), tokens, loss (None: all), language, license."""
    rng = np.random.default_rng([seed, len(source), *source.encode()])
    made = [
        {
            "id": name_of(source, i), "cluster_id": None, "tokens": rng.integers(0, 50_000, n), "loss": None,
            "language": "et", "license": "MIT",
        }
        for i, n in enumerate(lengths)
    ]  # fmt: skip
    return sorted(made, key=lambda d: d["id"])


def write_tokens(
    folder: Path, recipe: Recipe, sources: dict[str, list[dict]], n_shards: int = 1, token_bytes: int = 2,
    copies: dict | None = None,
) -> tuple[dict[str, pa.Table], list[Path], list[Pattern]]:  # fmt: skip
    """Each source's documents cut into `n_shards` flat .ds files (and .ds.loss where a document has a mask), their tables, and the
    patterns these count into. A document's other keys are what `where:` asks; `bin` is that of its component's copies."""
    tables, shards, patterns = {}, [], []
    for source, documents in sources.items():
        rows = []
        for part in np.array_split(np.arange(len(documents)), n_shards):
            path = folder / f"{source}-{n_shards}-{len(shards)}" / "tokens.ds"
            path.parent.mkdir(parents=True)
            chosen = [documents[i] for i in part]
            start = 0
            for d in chosen:
                pattern = tuple(
                    (number, d.get("bin", -1) if name in (copies or {}) else -1)
                    for number, (name, c) in enumerate(recipe.mixture.leaves.items())
                    if source in c.from_ and all(bounds.holds(d.get(key)) for key, bounds in c.where.items())
                )
                if pattern not in patterns:
                    patterns.append(pattern)
                n_loss = len(d["tokens"]) if d["loss"] is None else int(np.sum(d["loss"]))
                rows.append({
                    **d, "n_tokens": len(d["tokens"]), "n_loss_tokens": n_loss, "shard": len(shards), "token_start": start,
                    "pattern": patterns.index(pattern),
                })  # fmt: skip
                start += len(d["tokens"])
            np.concatenate([np.empty(0, int), *(d["tokens"] for d in chosen)]).astype(f"<u{token_bytes}").tofile(path)
            if any(d["loss"] is not None for d in documents):
                masks = [np.ones(len(d["tokens"])) if d["loss"] is None else d["loss"] for d in chosen]
                np.concatenate([np.empty(0), *masks]).astype("u1").tofile(path.with_name("tokens.ds.loss"))
            shards.append(path)
        tables[source] = pa.table({name: [row[name] for row in rows] for name in KEPT.names}, schema=LOOSE)
    return tables, shards, patterns


def recipe_of(
    folder: Path, components: dict[str, dict], total: int, length: int, *, held_out: dict | None = None, seed: int = 1,
    on_shortage: str = "fail", sources: list[str] | None = None,
) -> Recipe:  # fmt: skip
    """One phase. components: name -> {from, budget, max_epochs}."""
    mixture = {
        "total": f"{total} tokens", "sequence_length": length, "on_shortage": on_shortage,
        "components": {name: {"role": "other", **c} for name, c in components.items()},
    }  # fmt: skip
    names = sources or [source for c in components.values() for source in c["from"]]
    return recipe_with(folder, mixture, names, held_out, seed)


def recipe_with(folder: Path, mixture: dict, sources: list[str], held_out: dict | None = None, seed: int = 1) -> Recipe:
    """Any mixture section."""
    data = {
        "kind": "cpt", "name": "small", "tokenizer": {"model": "none"}, "seed": seed,
        "sources": {source: {"read": "x.jsonl", "license": {"declared": "MIT"}} for source in sources},
        "mixture": mixture, **({"held_out": held_out} if held_out else {}),
    }  # fmt: skip
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    return load_recipe(path)


def build(
    recipe: Recipe, folder: Path, sources: dict[str, list[dict]], *, n_shards: int = 1, token_bytes: int = 2, name: str = "build",
    copies: dict | None = None,
) -> dict:  # fmt: skip
    """Tokens under `folder`/tokens, the build under `folder`/`name`; the summary."""
    tables, shards, patterns = write_tokens(folder / f"tokens-{name}", recipe, sources, n_shards, token_bytes, copies)
    tokenizer = {"name": "none", "sha256": "0" * 64, "vocab_size": 50_000, "special": {"bos": None, "eos": None, "pad": None}}
    return plan_and_pack(
        recipe, tables, shards, folder / name, tokenizer=tokenizer, token_bytes=token_bytes, lineage=[{"stage": "tokens"}],
        patterns=patterns, copies=copies,
    )  # fmt: skip
