"""The sections of manifest.json: what was counted, put into the words of the contract (design.md, section 4).

Documents, layout, plan and counts in; plain dicts out. Imports curate's contract modules and mixture's budget, order, pack.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.recipe import Recipe
from curate.store import digest, file_sha256, read_json, table_root
from mixture import budget, order, pack
from mixture.account import Counts
from mixture.selection import Documents
from mixture.sequences import Layout

PHASE = "main"  # until recipes have several


def component(
    c: int, name: str, recipe: Recipe, docs: Documents, own: np.ndarray, counts: Counts, plan: budget.Plan,
    copies: Mapping[str, Any] | None,
) -> dict:  # fmt: skip
    """`copies`: of a component that has them, {by, origin, bins: [{from, copies, ...}], ...}."""
    asked = recipe.mixture.leaves[name]
    uses, unique, trained = counts.uses[own], int(docs.n_tokens[own].sum()), int(counts.trained[c])
    by_document, times = counts.trained_of[own], docs.copies[own]
    epoch = int((times * docs.n_tokens[own]).sum())
    stated = {"copies_per_epoch": per_epoch(copies, docs.bin[own], times, docs.n_tokens[own], by_document)} if copies else {}
    return {
        "name": name, "role": asked.role, "sources": list(asked.from_), "documents": int(own.size),
        "languages": _tokens_by(docs.language.take(pa.array(own)), by_document),
        "licences": _tokens_by(docs.license.take(pa.array(own)), by_document),
        "unique_tokens": unique, "unique_loss_tokens": int(docs.n_loss_tokens[own].sum()), "max_epochs": asked.max_epochs,
        **stated,
        "phases": [
            {
                "phase": PHASE, "requested": plan.requested[c], "realised": trained, "cap_tokens": plan.caps[c],
                "epochs": {
                    "min": int((uses // times).min()) if own.size else 0, "mean": round(trained / epoch, 6) if epoch else 0.0,
                    "max": int((-(-uses // times)).max(initial=0)),
                },
                "copies": {str(k): int(n) for k, n in enumerate(np.bincount(uses)) if n},
                "over_budget": {"documents": int((uses == 0).sum()), "tokens": int(counts.unused_tokens[c])},
            }
        ],
    }  # fmt: skip


def per_epoch(
    given: Mapping[str, Any], bins: np.ndarray, copies: np.ndarray, n_tokens: np.ndarray, trained: np.ndarray
) -> dict[str, Any]:
    """The copies of one component: what decided them, the passes and tokens of an epoch, and of every bin the documents, their tokens
    (each once) and the tokens trained on. `no_bin`: documents below the first bin or without a value, one copy each."""
    n = len(given["bins"])
    where = np.where(bins < 0, n, bins)
    sums = np.zeros((3, n + 1), np.int64)
    for total, values in zip(sums, (np.ones(bins.size, np.int64), n_tokens, trained), strict=True):
        np.add.at(total, where, values)
    counted = [dict(zip(("documents", "tokens", "trained_tokens"), column, strict=True)) for column in sums.T.tolist()]
    return {
        **given, "passes": int(copies.max(initial=1)), "epoch_tokens": int((copies * n_tokens).sum()),
        "bins": [{**one, **own} for one, own in zip(given["bins"], counted, strict=False)], "no_bin": counted[n],
    }  # fmt: skip


def _tokens_by(names: pa.Array, tokens: np.ndarray) -> dict[str, int]:
    """Trained tokens by value, most first; no value is "unknown"."""
    table = pa.table({"name": pc.fill_null(names, "unknown"), "tokens": tokens}).group_by("name").aggregate([("tokens", "sum")])
    pairs = sorted(zip(table["name"].to_pylist(), table["tokens_sum"].to_pylist(), strict=True), key=lambda p: (-p[1], p[0]))
    return {name: n for name, n in pairs if n}


def components_root(docs: Documents, owned: Sequence[np.ndarray], held: np.ndarray) -> str:
    """Hash over components and their documents in canonical order: id, tokens, loss tokens, held out or not."""
    parts = []
    for name, own in zip(docs.components, owned, strict=True):
        table = pa.table({
            "id": docs.id.take(pa.array(own)), "n_tokens": docs.n_tokens[own], "n_loss_tokens": docs.n_loss_tokens[own],
            "held_out": held[own],
        })  # fmt: skip
        parts += [name, table_root(table)]
    return digest(*parts)


def phase(recipe: Recipe, layout: Layout, plan: budget.Plan, docs: Documents) -> dict:
    length = recipe.mixture.sequence_length
    trained = list(zip(layout.uses, layout.packed, strict=True))[: layout.n_trained_uses]
    by_pass = [
        {
            "component": docs.components[use.component], "pass": use.pass_, "sequences": p.n_rows, "tokens": int(p.length.sum()),
            "padding_tokens": p.padding(length), "unavoidable_padding_tokens": p.unavoidable(length),
        }
        for use, p in trained
    ]  # fmt: skip
    tokens = int(layout.length[: layout.row_ptr[layout.n_trained]].sum())
    return {
        "name": PHASE,
        "budget": {
            "unit": "tokens", "requested": recipe.mixture.total.count, "realised": tokens,
            "padding": layout.n_trained * length - tokens, "on_shortage": recipe.mixture.on_shortage, "bent": plan.bent,
            "binding": plan.binding,
        },
        "sequence_length": length,
        "packing": {
            "algorithm": "best-fit decreasing", "window_documents": pack.WINDOW, "passes": by_pass,
            "cut": {
                "documents_that_fit": 0,
                "overlong_uses": sum(int(((p.n_chunks > 1) & (p.chunk == 0)).sum()) for _, p in trained),
                "rule": "ceil(length / sequence_length) chunks, sizes equal to within one token",
            },
            "padding": "at the end of a row: no document, no label",
            "end_of_document": "the tokenizer's bos and eos are tokens of their document and of its budget",
            "labels": "the next token of the same use of the document, across its chunks too; a use's first token is no label",
        },
        "order": {"algorithm": order.ALGORITHM, "version": order.VERSION, "first_index": 0, "n_sequences": layout.n_trained},
    }  # fmt: skip


def outputs(build_dir: Path, shards: Sequence[Path]) -> list[dict]:
    """Every file the manifest stands for. Hashes of token shards come from their stage's own record where there is one."""
    base = build_dir.resolve()
    files = [base / "recipe.yaml", base / "selection.parquet"]
    files += [p for p in (base / "sequences").iterdir() if not p.name.startswith(".")]
    for shard in shards:
        beside = (shard.with_name(shard.name + suffix) for suffix in ("", ".index", ".metadata", ".loss"))
        files += [p.resolve() for p in beside if p.exists()]
    known: dict[Path, str] = {}
    for folder in sorted({p.parent for p in files}):
        if (folder / "shard.json").exists():
            known |= {folder / f["name"]: f["sha256"] for f in read_json(folder / "shard.json")["files"]}
    listed = [
        {"path": os.path.relpath(p, base), "bytes": p.stat().st_size, "sha256": known.get(p) or file_sha256(p)} for p in files
    ]  # fmt: skip
    return sorted(listed, key=lambda entry: str(entry["path"]))


def tool_versions() -> dict[str, str]:
    """What made the bytes: they are promised for one lock file."""
    libraries = {name: importlib.metadata.version(name) for name in ("veski", "numpy", "numba", "pyarrow")}
    return {"python": platform.python_version(), **libraries}
