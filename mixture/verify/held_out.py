"""Held-out documents counted again: whole, once, within their limits, and no near-duplicate of them is trained on.

In: `Kept` and `Used` of uses.py, `Members`, the clusters, what `continues` consumed. Out: findings. Imports recipe and verify.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.recipe import Recipe
from mixture.verify.copies import Members, phases_of
from mixture.verify.documents import Found, read
from mixture.verify.going_on import Before
from mixture.verify.history import uses_of
from mixture.verify.report import Report
from mixture.verify.uses import SELECTION, Kept, Used, ids_of

MANIFEST = "manifest.json"


def held_out(used: Used, kept: Kept) -> np.ndarray:
    """bool (n_kept,): documents in held-out rows."""
    held = np.zeros(kept.id.size, np.bool_)
    held[used.document[~used.is_train & (used.document >= 0)]] = True
    return held


def check_held_out(
    manifest: Mapping[str, Any], recipe: Recipe, used: Used, kept: Kept, members: Members, held: np.ndarray, before: Before | None,
    clusters: Found, report: Report, build_dir: Path,
) -> None:  # fmt: skip
    """`before` None: what was consumed is not known."""
    out = np.flatnonzero(~used.is_train & (used.document >= 0))
    _check_homes(manifest, recipe, used, kept, members, out, before, report)
    uses_of(out[np.lexsort((used.chunk[out], used.document[out], used.pass_[out]))], used, "held out", report)
    for row in out[used.pass_[out] != 0][:3].tolist():
        report.add(SELECTION, "a held-out document has pass 0", f"row {row}")
    tokens = np.zeros(kept.id.size, np.int64)
    np.add.at(tokens, used.document[out], used.length[out])
    for number in np.flatnonzero(held & (tokens != kept.n_tokens))[:3].tolist():
        report.add(SELECTION, "a held-out document is not held out whole, once", f"id {kept.id[number].decode()}")
    trained = np.zeros(kept.id.size, np.bool_)
    trained[used.document[used.is_train & (used.document >= 0)]] = True
    members_of = _clusters(clusters, report, build_dir)
    related = _related(members_of, kept, held)
    for number in np.flatnonzero((related | held) & trained)[:3].tolist():
        report.add(SELECTION, "trained on, though its duplicate cluster is held out", f"id {kept.id[number].decode()}")
    if before is None:
        return
    was = before.history.used > 0
    for number in np.flatnonzero(held & was)[:3].tolist():
        report.add(SELECTION, "held out, though an earlier build trained on it", f"id {kept.id[number].decode()}")
    fresh = held & ~before.held & ~_related(members_of, kept, before.held)
    for number in np.flatnonzero(_related(members_of, kept, fresh) & was)[:3].tolist():
        report.add(
            SELECTION, "an earlier build trained on it, and its duplicate cluster is held out", f"id {kept.id[number].decode()}"
        )
    home = _home(recipe, members)
    for number in np.flatnonzero(before.held & (home >= 0) & (kept.n_tokens > 0) & ~was & ~held)[:3].tolist():
        report.add(SELECTION, "an earlier build held it out, this one does not", f"id {kept.id[number].decode()}")


def _home(recipe: Recipe, members: Members) -> np.ndarray:
    """int64 (n_kept,): where a held-out document counts: the first component it matches that has a budget in any phase."""
    present = {c for phase in phases_of(recipe) for c in phase}
    first = [next((c for c, _ in pattern if c in present), -1) for pattern in members.patterns]
    return np.array([*first, -1], np.int64)[members.pattern]


def _check_homes(
    manifest: Mapping[str, Any], recipe: Recipe, used: Used, kept: Kept, members: Members, out: np.ndarray, before: Before | None,
    report: Report,
) -> None:  # fmt: skip
    """Tokens and documents by component, each in its own, and no more than the recipe allows."""
    stated, home = manifest["held_out"], _home(recipe, members)
    for row in out[used.component[out] != home[used.document[out]]][:3].tolist():
        report.add(SELECTION, "held out of a component that is not its own", f"row {row}")
    asked = recipe.held_out
    for c, name in enumerate(members.names):
        mine = out[used.component[out] == c]
        tokens = int(used.length[mine].sum())
        report.equal(MANIFEST, f"{name}: held-out tokens", stated["tokens"].get(name), tokens)
        report.equal(
            MANIFEST, f"{name}: held-out documents", stated["documents"].get(name), int(np.unique(used.document[mine]).size)
        )
        most = int(asked.at_most.value * int(kept.n_tokens[home == c].sum()) // 1) if asked else 0
        most = min(most, asked.per_component.count) if asked else 0
        if tokens > most and before is not None and not before.held.any():
            report.add(SELECTION, f"{name}: {tokens:,} tokens are held out, at most {most:,} may be")


def _clusters(clusters: Found, report: Report, build_dir: Path) -> pa.Table:
    """id and cluster_id of the documents that stand in a cluster."""
    found = []
    for key in clusters.keys:
        table = read(clusters.file(key, "duplicates.parquet"), report, build_dir, ["id", "cluster_id"])
        if table is not None:
            found.append(table.filter(pc.is_valid(table["cluster_id"])))
    return (
        pa.concat_tables(found) if found else pa.table({"id": pa.array([], pa.string()), "cluster_id": pa.array([], pa.string())})
    )


def _related(clusters: pa.Table, kept: Kept, documents: np.ndarray) -> np.ndarray:
    """bool (n_kept,): whoever stands in the cluster of one of these documents."""
    if not documents.any() or not clusters.num_rows:
        return np.zeros(kept.id.size, np.bool_)
    ids = ids_of(clusters["id"])
    named = clusters["cluster_id"].filter(pa.array(np.isin(ids, kept.id[documents])))
    return np.isin(kept.id, ids[pc.is_in(clusters["cluster_id"], value_set=pc.unique(named)).to_numpy()])
