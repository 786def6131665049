"""The sections of manifest.json: what was counted, put into the words of the contract (design.md, section 4).

Documents, layout, plans and counts in; plain dicts out. Imports curate's contract modules and mixture's account, budget, order, pack,
selection, sequences.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.recipe import PhaseSpec, Recipe
from curate.store import digest, file_sha256, read_json, table_root
from mixture import budget, order, overlong, pack, provenance
from mixture.account import Counts
from mixture.overlong import LeftOut
from mixture.selection import UNKNOWN, Coded, Documents, Part
from mixture.sequences import Layout

GROUP = "/"  # leaves of a group are named group/leaf


def component(
    c: int, name: str, recipe: Recipe, docs: Documents, own: np.ndarray, counts: Counts, parts: Sequence[Sequence[Part]],
    plans: Sequence[budget.Plan], copies: Mapping[str, Any] | None, left: LeftOut | None = None,
) -> dict:  # fmt: skip
    """`own`: documents that are the component's in some phase; `copies`: where it has them, {by, origin, bins: [{from, copies, ...}]}."""
    asked = recipe.mixture.leaves[name]
    in_bins = {} if copies is None else {
        "copies_per_epoch": per_epoch(copies, docs.bins(c, own), docs.copies_of(c, own), docs.n_tokens[own], counts.trained[c][own])
    }  # fmt: skip
    found = [(f, part) for f, in_phase in enumerate(parts) for part in in_phase if part.component == c]
    return {
        "name": name, "group": name.rpartition(GROUP)[0], "role": asked.role, "sources": list(asked.from_),
        "where": {key: bounds.model_dump(mode="json", exclude_none=True) for key, bounds in asked.where.items()},
        "documents": int(own.size), "languages": _by_value(docs.language, counts.languages[c]),
        "licences": _by_value(docs.license, counts.licences[c]),
        **provenance.stated([*docs.provenance.values, None], counts.provenance[c].tolist()), "unique_tokens": int(docs.n_tokens[own].sum()),
        "unique_loss_tokens": int(docs.n_loss_tokens[own].sum()), "max_epochs": asked.max_epochs, **in_bins,
        **left_out(name, recipe.mixture.overlong_of(name), overlong.limits(recipe.mixture)[c], left.table if left else None),
        "phases": [_in_phase(recipe.mixture.phase_list[f], part, counts, plans[f], f) for f, part in found],
    }  # fmt: skip


def left_out(name: str, action: str, limit: int, table: pa.Table | None) -> dict:
    """{overlong, left_out}: of a component whose documents are not simply split, how many were dropped and cut for which reason."""
    if table is None:
        return {}
    mine = table.filter(pc.equal(table["component"], name))
    lost = pa.table(
        {"action": mine["action"], "reason": mine["reason"], "lost": pc.subtract(mine["n_tokens"], mine["n_kept_tokens"])}
    )
    rows = (
        lost.group_by(["action", "reason"])
        .aggregate([("lost", "sum"), ("lost", "count")])
        .sort_by([("action", "ascending"), ("reason", "ascending")])
    )
    return {
        "overlong": {"action": action, "sequence_length": limit},
        "left_out": [
            {"action": row["action"], "reason": row["reason"], "documents": row["lost_count"], "tokens": row["lost_sum"]}
            for row in rows.to_pylist()
        ],
    }


def _in_phase(spec: PhaseSpec, part: Part, counts: Counts, plan: budget.Plan, f: int) -> dict:
    """A component in one phase. Documents' uses, and so min, max, copies and over_budget, are all so far; the mean is of this phase."""
    c, now = part.component, counts.phases[f]
    own, realised = now.members[c], int(now.measured(spec.unit)[c])
    return {
        "phase": spec.name, "unit": spec.unit, "requested": plan.requested[c], "realised": realised, "tokens": int(now.tokens[c]),
        "loss_tokens": int(now.loss_tokens[c]), "examples": int(now.examples[c]), "cap_tokens": max(plan.caps[c], 0), "documents": own.documents,
        "unique_tokens": own.unique_tokens,
        "epochs": {"min": own.min_epochs, "mean": round(realised / part.epoch, 6) if part.epoch else 0.0, "max": own.max_epochs},
        "copies": own.copies, "over_budget": {"documents": own.unused_documents, "tokens": own.unused_tokens},
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


def _by_value(column: Coded, tokens: np.ndarray) -> dict[str, int]:
    """Trained tokens by value, most first; no value is "unknown"."""
    total: dict[str, int] = {}
    for name, n in zip([*column.values, UNKNOWN], tokens.tolist(), strict=True):
        if n:
            total[name] = total.get(name, 0) + n
    return dict(sorted(total.items(), key=lambda pair: (-pair[1], pair[0])))


def components_root(docs: Documents, owned: Callable[[int], np.ndarray], held: np.ndarray) -> str:
    """Hash over components and their documents in canonical order (`owned`, of a component's number): id, tokens, loss tokens, held out
    or not."""
    parts = []
    for c, name in enumerate(docs.components):
        own: Any = owned(c)
        if own.size and own[-1] - own[0] + 1 == own.size and (np.diff(own) == 1).all():
            own = slice(int(own[0]), int(own[-1]) + 1)  # a run of documents is not copied
        table = pa.table({
            "n_tokens": docs.n_tokens[own], "n_loss_tokens": docs.n_loss_tokens[own], "held_out": held[own],
        })  # fmt: skip
        parts += [name, table_root(table, first={"id": docs.id[own].update})]
    return digest(*parts)


ALGORITHMS: dict[str, dict[str, Any]] = {
    "best_fit": {
        "algorithm": "best-fit decreasing", "window_documents": pack.WINDOW,
        "rule": "ceil(length / sequence_length) chunks, sizes equal to within one token",
    },
    "concat": {"algorithm": "concat and chunk", "rule": "documents end to end in the order of the pass, cut every sequence_length tokens"},
    "single": {"algorithm": "one pair a sequence", "rule": "a pair is whole: prompt, chosen, prompt, rejected; nothing is padded"},
}  # fmt: skip


def phase(f: int, spec: PhaseSpec, layout: Layout, plan: budget.Plan, docs: Documents, counts: Counts) -> dict:
    passes, now = layout.of_phase(f), counts.phases[f]
    by_pass = [
        {
            "component": docs.components[use.component], "pass": use.pass_, "sequences": filled.n_rows, "tokens": filled.n_tokens,
            "padding_tokens": filled.padding, "unavoidable_padding_tokens": filled.unavoidable,
        }
        for use, filled in passes
    ]  # fmt: skip
    first, n_rows = layout.first_row[f], layout.first_row[f + 1] - layout.first_row[f]
    tokens = int(now.tokens.sum())
    algorithm = dict(ALGORITHMS[spec.packing])
    rule = algorithm.pop("rule")
    longer = pack.longer_rows([use.n_tokens for use, _ in passes], spec.sequence_length) if spec.packing == "best_fit" else None
    return {
        "name": spec.name,
        "budget": {
            "unit": spec.unit, "requested": spec.total.count, "realised": int(now.measured(spec.unit).sum()), "tokens": tokens,
            "loss_tokens": int(now.loss_tokens.sum()), "examples": int(now.examples.sum()),
            "padding": n_rows * spec.sequence_length - tokens if spec.packing != "single" else 0, "on_shortage": spec.on_shortage, "bent": plan.bent,
            "binding": plan.binding, "policy": spec.policy.kind, "level": None if plan.level is None else float(plan.level),
        },
        "sequence_length": spec.sequence_length, **({"row_length": spec.row_length} if spec.packing == "single" else {}),
        "packing": {
            **algorithm, "passes": by_pass,
            "cut": {
                "documents_that_fit": sum(filled.cut_that_fit for _, filled in passes),
                "overlong_uses": sum(filled.overlong for _, filled in passes),
                "rule": rule,
            },
            "padding": "at the end of a row: no document, no label",
            "end_of_document": "the tokenizer's bos and eos are tokens of their document and of its budget",
            "labels": "the next token of the same use of the document, across its chunks too; a use's first token is no label",
            **({"longer_rows": {"unavoidable_padding_tokens": longer[0], "sequence_length": longer[1]}} if longer else {}),
        },
        "order": {"algorithm": order.ALGORITHM, "version": order.VERSION, "first_index": first, "n_sequences": n_rows},
    }  # fmt: skip


def outputs(build_dir: Path, shards: Sequence[Path]) -> list[dict]:
    """Every file the manifest stands for. Hashes of token shards come from their stage's own record where there is one."""
    base = build_dir.resolve()
    files = [base / "recipe.yaml", base / "selection.parquet"]
    files += [path for name in ("members.parquet", overlong.NAME) if (path := base / name).exists()]
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
