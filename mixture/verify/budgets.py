"""Budgets, copies and held-out clusters, counted again from the uses that the selection lists.

In: `Kept` and `Used` of uses.py, the manifest, the recipe. Out: findings. Imports recipe, mixture's budget and verify.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.recipe import Quantity, Recipe
from mixture import budget
from mixture.verify.copies import Passes
from mixture.verify.documents import Found, read
from mixture.verify.report import Report
from mixture.verify.uses import SELECTION, Kept, Used


def check_budgets(manifest: Mapping[str, Any], recipe: Recipe, used: Used, kept: Kept, held: np.ndarray, report: Report) -> None:
    """Tokens per component and pass = manifest = recipe; k to k + 1 epochs of every document, never more than ceil(cap); every pass
    holds the documents it has to; at most one part use."""
    for c, component in enumerate(manifest["components"]):
        asked = recipe.mixture.components[component["name"]]
        stated = component["phases"][0]
        mine = np.flatnonzero(used.is_train & (used.component == c) & (used.document >= 0))
        own = np.flatnonzero(np.isin(kept.source, [kept.sources.index(s) for s in asked.from_]) & (kept.n_tokens > 0) & ~held)
        unique = int(kept.n_tokens[own].sum())
        where = "manifest.json"
        name = component["name"]
        trained = int(used.length[mine].sum())
        report.equal(where, f"{name}: tokens to train", stated["realised"], trained)
        report.equal(where, f"{name}: documents", component["documents"], int(own.size))
        report.equal(where, f"{name}: unique tokens", component["unique_tokens"], unique)
        report.equal(where, f"{name}: unique loss tokens", component["unique_loss_tokens"], int(kept.n_loss_tokens[own].sum()))
        epoch = int((kept.n_tokens[own] * kept.copies[own]).sum())
        if trained > int(budget.exact(asked.max_epochs) * epoch // 1):
            report.add(where, f"{name}: {trained:,} tokens pass the cap of {asked.max_epochs:g} epochs of {epoch:,}")
        copies = _check_passes(name, mine, Passes(manifest, name, own, kept), used, kept, report)
        report.equal(
            where,
            f"{name}: copies",
            stated["copies"],
            {str(k): int(n) for k, n in enumerate(np.bincount(copies)) if n} if own.size else {},
        )
        epochs = -(-copies // kept.copies[own])
        if epochs.max(initial=0) > -(-budget.exact(asked.max_epochs) // 1):
            report.add(SELECTION, f"{name}: a document is used in {epochs.max()} epochs, its cap is {asked.max_epochs:g}")
        whole, most = (trained // epoch, -(-trained // epoch)) if epoch else (0, 0)
        due = (copies >= whole * kept.copies[own]) & (copies <= most * kept.copies[own])
        for i in np.flatnonzero(~due)[:3].tolist():
            report.add(
                SELECTION, f"{name}: used {copies[i]} times, {whole} to {most} epochs of {kept.copies[own[i]]} uses are due",
                f"id {kept.id[own[i]].decode()}",
            )  # fmt: skip
        for entry in manifest["phases"][0]["packing"]["passes"]:
            if entry["component"] == name:
                tokens = int(used.length[mine[used.pass_[mine] == entry["pass"]]].sum())
                report.equal(where, f"{name}: tokens of pass {entry['pass']}", entry["tokens"], tokens)
        asked_for: Quantity = asked.budget
        if asked_for.unit == "tokens" and recipe.mixture.on_shortage == "fail":
            report.equal("recipe.yaml", f"{name}: tokens of the budget", asked_for.count, trained)
    total = int(used.length[used.is_train].sum())
    report.equal("manifest.json", "tokens to train", manifest["phases"][0]["budget"]["realised"], total)
    asked_total: Quantity = recipe.mixture.total
    if recipe.mixture.on_shortage != "shrink_total":
        report.equal("recipe.yaml", "mixture.total", asked_total.count, total)


def _check_passes(name: str, mine: np.ndarray, passes: Passes, used: Used, kept: Kept, report: Report) -> np.ndarray:
    """Uses of each of the component's documents (n_own,), after checking that each use is whole, but for one."""
    copies = np.zeros(kept.id.size, np.int64)
    in_part, last = 0, int(used.pass_[mine].max(initial=-1))
    for number in range(last + 1):
        rows = mine[used.pass_[mine] == number]
        rows = rows[np.lexsort((used.chunk[rows], used.document[rows]))]
        documents, first, n_chunks = np.unique(used.document[rows], return_index=True, return_counts=True)
        tokens = np.zeros(documents.size, np.int64)
        np.add.at(tokens, np.repeat(np.arange(documents.size), n_chunks), used.length[rows])
        expected = np.arange(rows.size) - np.repeat(first, n_chunks)
        ends = np.cumsum(used.length[rows])
        begins = ends - used.length[rows] - np.repeat((ends - used.length[rows])[first], n_chunks)
        wrong = (
            (used.chunk[rows] != expected) | (used.n_chunks[rows] != np.repeat(n_chunks, n_chunks)) | (used.start[rows] != begins)
        )
        for row in rows[wrong][:3].tolist():
            report.add(SELECTION, f"{name}, pass {number}: a document's chunks do not follow each other", f"row {row}")
        copies[documents] += 1
        in_part += int((tokens < kept.n_tokens[documents]).sum())
        own = passes.members(number)
        missing = np.setdiff1d(own, documents)
        if number < last and missing.size:
            report.add(
                SELECTION, f"{name}: pass {number} leaves {missing.size:,} documents out", f"id {kept.id[missing[0]].decode()}"
            )
        if number < last and (tokens < kept.n_tokens[documents]).any():
            report.add(SELECTION, f"{name}: pass {number} is not the last, yet uses a document in part")
        stray = np.setdiff1d(documents, own)
        if stray.size:
            report.add(
                SELECTION, f"{name}: a document of another component or pass, or held out", f"id {kept.id[stray[0]].decode()}"
            )
    if in_part > 1:
        report.add(SELECTION, f"{name}: {in_part:,} documents are used in part, at most one may be")
    return copies[passes.own]


def held_out(used: Used, kept: Kept) -> np.ndarray:
    """bool (n_kept,): documents in held-out rows."""
    held = np.zeros(kept.id.size, np.bool_)
    held[used.document[~used.is_train & (used.document >= 0)]] = True
    return held


def check_held_out(
    manifest: Mapping[str, Any], used: Used, kept: Kept, held: np.ndarray, clusters: Found, report: Report, build_dir: Path
) -> None:
    """Whole, once, and no member of a held-out document's cluster is trained on."""
    for c, component in enumerate(manifest["components"]):
        mine = ~used.is_train & (used.component == c)
        report.equal(
            "manifest.json",
            f"{component['name']}: held-out tokens",
            manifest["held_out"]["tokens"][component["name"]],
            int(used.length[mine].sum()),
        )
    tokens = np.zeros(kept.id.size, np.int64)
    out = ~used.is_train & (used.document >= 0)
    np.add.at(tokens, used.document[out], used.length[out])
    for number in np.flatnonzero(held & (tokens != kept.n_tokens))[:3].tolist():
        report.add(SELECTION, "a held-out document is not held out whole, once", f"id {kept.id[number].decode()}")
    trained = np.zeros(kept.id.size, np.bool_)
    trained[used.document[used.is_train & (used.document >= 0)]] = True
    ids = pa.array([name.decode() for name in kept.id[held].tolist()], pa.string())
    own: set[str] = set()
    tables = {}
    for key in clusters.keys:
        table = read(clusters.file(key, "duplicates.parquet"), report, build_dir, ["id", "cluster_id"])
        if table is not None:
            tables[key] = table.filter(pc.is_valid(table["cluster_id"]))
            own.update(tables[key].filter(pc.is_in(tables[key]["id"], ids))["cluster_id"].to_pylist())
    wanted = pa.array(sorted(own), pa.string())
    members = [i for table in tables.values() for i in table.filter(pc.is_in(table["cluster_id"], wanted))["id"].to_pylist()]
    both = np.flatnonzero((np.isin(kept.id, np.asarray(members, "S32").reshape(-1)) | held) & trained)
    for number in both[:3].tolist():
        report.add(SELECTION, "trained on, though its duplicate cluster is held out", f"id {kept.id[number].decode()}")
