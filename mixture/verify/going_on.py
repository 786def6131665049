"""What earlier builds consumed, counted again from their selections; a build that is gone is a finding.

In: the recipe's `continues`, the old build folders, `Kept`. Out: a `Before`, and findings against the manifest's own account.
Imports errors, manifest, recipe, store and verify.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.errors import CurateError
from curate.manifest import read_manifest, rows_consumed
from curate.recipe import Continue, Recipe
from curate.store import file_sha256
from mixture.verify.history import History
from mixture.verify.report import Report
from mixture.verify.uses import SELECTION, Kept, ids_of

MANIFEST = "manifest.json"
USE = ["phase", "component", "source", "id", "pass"]
COLUMNS = [*USE, "split", "token_start", "n_tokens", "n_loss_tokens", "stream_index"]


@dataclass(frozen=True)
class Before:
    """What is known of documents when the first phase begins."""

    history: History
    held: np.ndarray  # bool (n_kept,): held out by an earlier build


def consumed(recipe: Recipe, manifest: Mapping[str, Any], kept: Kept, report: Report) -> Before | None:
    """None (and a finding) where an earlier build cannot be read: then no use of this one can be judged."""
    before = Before(History.empty(kept.id.size), np.zeros(kept.id.size, np.bool_))
    stated, told = manifest.get("continues", []), []
    for number, old in enumerate(recipe.mixture.continues):
        where = f"mixture.continues.{number}"
        try:
            told.append(_take(old, where, recipe, kept, before))
        except (CurateError, OSError, pa.ArrowException, ValueError, KeyError) as error:
            what = f"{error.what} ({error.where})" if isinstance(error, CurateError) else " ".join(str(error).split())[:200]
            report.add("recipe.yaml", f"what an earlier build consumed cannot be counted again: {what}", where)
            return None
    if report.equal(MANIFEST, "continues", len(stated), len(told)):
        for number, (mine, theirs) in enumerate(zip(told, stated, strict=True)):
            for key in mine:
                report.equal(MANIFEST, f"continues: {key} of {mine['name']}", theirs.get(key), mine[key], f"entry {number}")
    before.history.reached[:] = np.where(before.history.used > 0, kept.n_tokens, 0)  # what such a use left out is lost
    return before


def _take(old: Continue, where: str, recipe: Recipe, kept: Kept, before: Before) -> dict[str, Any]:
    """Adds one old build to `before`; returns what the new manifest should say of it."""
    path = recipe.path(old.manifest, f"{where}.manifest")
    manifest = read_manifest(path)
    n_rows = old.rows
    if n_rows is None:
        receipt = json.loads(recipe.path(old.receipt or "", f"{where}.receipt").read_bytes())
        try:
            n_rows = rows_consumed(receipt, manifest)
        except KeyError:
            raise CurateError("the receipt is of another stream than the manifest", where=str(path)) from None
    selection = path.parent / SELECTION
    listed = next(output for output in manifest["outputs"] if output["path"] == SELECTION)
    if file_sha256(selection) != listed["sha256"]:
        raise CurateError("this selection is not the one that its manifest lists", where=str(selection))
    table = pq.read_table(selection, columns=COLUMNS)
    is_train = pc.equal(table["split"], "train")
    held = _numbers(table.filter(pc.invert(is_train)), kept)
    before.held[held[held >= 0]] = True
    trained = table.filter(is_train)
    trained = trained.append_column("consumed", pc.cast(pc.less(trained["stream_index"], n_rows), pa.int64()))
    of_use = [("token_start", "min"), ("consumed", "sum"), ("consumed", "count")]
    uses = trained.group_by(USE, use_threads=False).aggregate(of_use)
    read = uses["consumed_sum"].to_numpy() > 0
    begun = uses.filter(pa.array(read & (uses["token_start_min"].to_numpy() == 0)))
    known = _numbers(begun, kept)
    np.add.at(before.history.used, known[known >= 0], 1)
    eaten = trained.filter(pc.equal(trained["consumed"], 1))
    number = _numbers(eaten, kept)
    n_tokens = eaten["n_tokens"].to_numpy()
    for name, total in (("n_tokens", before.history.tokens), ("n_loss_tokens", before.history.labels)):
        np.add.at(total, number[number >= 0], eaten[name].to_numpy()[number >= 0])
    lost = trained.filter(pc.equal(trained["consumed"], 0)).join(
        uses.filter(pa.array(read)).select(USE), USE, join_type="left semi"
    )
    by_component = {
        row["component"]: row["n_tokens_sum"] for row in eaten.group_by("component").aggregate([("n_tokens", "sum")]).to_pylist()
    }
    return {
        "name": manifest["name"], "stream": manifest["roots"]["stream"], "rows": n_rows,
        "tokens": {c["name"]: by_component.get(c["name"], 0) for c in manifest["components"]}, "uses": begun.num_rows,
        "lost": {"chunks": lost.num_rows, "tokens": pc.sum(lost["n_tokens"]).as_py() or 0},
        "gone": {"documents": int(np.unique(ids_of(eaten["id"])[number < 0]).size), "tokens": int(n_tokens[number < 0].sum())},
    }  # fmt: skip


def _numbers(table: pa.Table, kept: Kept) -> np.ndarray:
    """int64: the number in Kept of every row's document, -1 where it is not there any more. Kept stands by source, then id."""
    found = np.full(table.num_rows, -1, np.int64)
    ids = ids_of(table["id"])
    for s, name in enumerate(kept.sources):
        rows = np.flatnonzero(pc.equal(table["source"], name).to_numpy())
        first, last = np.searchsorted(kept.source, [s, s + 1]).tolist()
        if rows.size and last > first:
            at = first + np.minimum(np.searchsorted(kept.id[first:last], ids[rows]), last - first - 1)
            found[rows] = np.where(kept.id[at] == ids[rows], at, -1)
    return found
