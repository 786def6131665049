"""Small builds without the rest of the road: token shards written flat, tables of kept documents, a recipe from its parts."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import yaml

from curate.recipe import Recipe, load_recipe
from mixture.build import plan_and_pack


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
    folder: Path, sources: dict[str, list[dict]], n_shards: int = 1, token_bytes: int = 2
) -> tuple[dict[str, pa.Table], list[Path]]:
    """Each source's documents cut into `n_shards` flat .ds files (and .ds.loss where a document has a mask), and their tables."""
    tables, shards = {}, []
    for source, documents in sources.items():
        rows = []
        for part in np.array_split(np.arange(len(documents)), n_shards):
            path = folder / f"{source}-{n_shards}-{len(shards)}" / "tokens.ds"
            path.parent.mkdir(parents=True)
            chosen = [documents[i] for i in part]
            start = 0
            for d in chosen:
                n_loss = len(d["tokens"]) if d["loss"] is None else int(np.sum(d["loss"]))
                rows.append(
                    {
                        "bin": -1,
                        **d,
                        "n_tokens": len(d["tokens"]),
                        "n_loss_tokens": n_loss,
                        "shard": len(shards),
                        "token_start": start,
                    }
                )
                start += len(d["tokens"])
            np.concatenate([np.empty(0, int), *(d["tokens"] for d in chosen)]).astype(f"<u{token_bytes}").tofile(path)
            if any(d["loss"] is not None for d in documents):
                masks = [np.ones(len(d["tokens"])) if d["loss"] is None else d["loss"] for d in chosen]
                np.concatenate([np.empty(0), *masks]).astype("u1").tofile(path.with_name("tokens.ds.loss"))
            shards.append(path)
        columns = {
            name: [row[name] for row in rows]
            for name in ("id", "cluster_id", "n_tokens", "n_loss_tokens", "shard", "token_start", "language", "license", "bin")
        }
        tables[source] = pa.table(
            {
                name: pa.array(v, None if name.startswith(("n_", "sh", "tok", "bin")) else pa.string())
                for name, v in columns.items()
            }
        )
    return tables, shards


def recipe_of(
    folder: Path, components: dict[str, dict], total: int, length: int, *, held_out: dict | None = None, seed: int = 1,
    on_shortage: str = "fail", sources: list[str] | None = None,
) -> Recipe:  # fmt: skip
    """components: name -> {from, budget, max_epochs}."""
    names = sources or [source for c in components.values() for source in c["from"]]
    data = {
        "kind": "cpt", "name": "small", "tokenizer": {"model": "none"}, "seed": seed,
        "sources": {source: {"read": "x.jsonl", "license": {"declared": "MIT"}} for source in names},
        "mixture": {
            "total": f"{total} tokens", "sequence_length": length, "on_shortage": on_shortage,
            "components": {name: {"role": "other", **c} for name, c in components.items()},
        },
    }  # fmt: skip
    if held_out:
        data["held_out"] = held_out
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    return load_recipe(path)


def build(
    recipe: Recipe, folder: Path, sources: dict[str, list[dict]], *, n_shards: int = 1, token_bytes: int = 2, name: str = "build",
    copies: dict | None = None,
) -> dict:  # fmt: skip
    """Tokens under `folder`/tokens, the build under `folder`/`name`; the summary."""
    tables, shards = write_tokens(folder / f"tokens-{name}", sources, n_shards, token_bytes)
    tokenizer = {"name": "none", "sha256": "0" * 64, "vocab_size": 50_000, "special": {"bos": None, "eos": None, "pad": None}}
    return plan_and_pack(
        recipe,
        tables,
        shards,
        folder / name,
        tokenizer=tokenizer,
        token_bytes=token_bytes,
        lineage=[{"stage": "tokens"}],
        copies=copies,
    )
