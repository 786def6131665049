"""Copies counted again: the bin of every tokenized document, which passes may hold it, what the manifest states of an epoch.

In: `Kept` and `Used` of uses.py, the recipe, and the bins that the caller reads from the stages again. Out: findings. Imports recipe,
mixture's selection, statement and verify.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate.recipe import Recipe
from mixture import selection, statement
from mixture.verify.documents import Found
from mixture.verify.report import Report
from mixture.verify.uses import SELECTION, Kept, Used


class Rehydration(Protocol):
    """What verify needs of curate.copies.Rehydration."""

    @property
    def data(self) -> Mapping[str, Mapping[str, Any]]: ...

    @property
    def bins(self) -> Callable[[str, str], np.ndarray | None]: ...


def with_copies(
    kept: Kept, recipe: Recipe, tokens: Mapping[str, Found], documents: Mapping[str, Found], again: Rehydration | None
) -> Kept:
    """`kept` with the bin and the copies of every document."""
    if again is None:
        return kept
    bin_, copies = kept.bin.copy(), kept.copies.copy()
    component = {source: name for name, c in recipe.mixture.components.items() for source in c.from_}
    shards = ((source, key) for source, stage in tokens.items() for key in stage.info["keys"])
    for number, (source, key) in enumerate(shards):
        if (bins := again.bins(source, key)) is None:
            continue
        own = slice(int(kept.first[number]), int(kept.first[number + 1]))
        ids = np.asarray(pq.read_table(documents[source].file(key, "documents.parquet"), columns=["id"])["id"].to_pylist(), "S32")
        bin_[own] = bins[np.searchsorted(ids, kept.id[own])]
        copies[own] = np.array([*(b["copies"] for b in again.data[component[source]]["bins"]), 1], np.int64)[bin_[own]]
    return replace(kept, bin=bin_, copies=copies)


class Passes:
    """Which documents the passes of one component hold, by the specification in selection.py. `own`: numbers in Kept."""

    def __init__(self, manifest: Mapping[str, Any], name: str, own: np.ndarray, kept: Kept) -> None:
        self.own, self.copies = own, kept.copies[own]
        self.per_epoch = int(self.copies.max(initial=1))
        ids = pa.nulls(own.size, pa.string())
        if self.per_epoch > 1:
            ids = pa.array([id_.decode() for id_ in kept.id[own].tolist()], pa.string())
        key = selection.copies_key(manifest["seed"], manifest["phases"][0]["name"], name)
        self._offset = selection.offsets(ids, self.per_epoch, key)

    def members(self, number: int) -> np.ndarray:
        """The documents of pass `number`, as numbers in Kept."""
        return self.own[selection.stands_in(self.copies, self._offset, self.per_epoch, number)]


def check_copies(
    manifest: Mapping[str, Any], recipe: Recipe, used: Used, kept: Kept, held: np.ndarray, again: Rehydration | None, report: Report,
) -> None:  # fmt: skip
    """`copies_per_epoch` of every component, and that no document is used more than its copies in one epoch."""
    data = again.data if again else {}
    for c, component in enumerate(manifest["components"]):
        name = component["name"]
        sources = [kept.sources.index(s) for s in recipe.mixture.components[name].from_]
        own = np.flatnonzero(np.isin(kept.source, sources) & (kept.n_tokens > 0) & ~held)
        mine = np.flatnonzero(used.is_train & (used.component == c) & (used.document >= 0))
        stated = component.get("copies_per_epoch")
        if name not in data:
            report.equal("manifest.json", f"{name}: copies_per_epoch", stated, None)
            continue
        trained = np.zeros(kept.id.size, np.int64)
        np.add.at(trained, used.document[mine], used.length[mine])
        counted = statement.per_epoch(data[name], kept.bin[own], kept.copies[own], kept.n_tokens[own], trained[own])
        for what in sorted({*counted, *(stated or {})}):
            report.equal("manifest.json", f"{name}: copies_per_epoch.{what}", (stated or {}).get(what), counted.get(what))
        first = mine[used.chunk[mine] == 0]
        epoch = used.pass_[first] // counted["passes"]
        for number in range(int(epoch.max(initial=-1)) + 1):
            uses = np.bincount(used.document[first[epoch == number]], minlength=kept.id.size)
            for document in np.flatnonzero(uses > kept.copies)[:3].tolist():
                report.add(
                    SELECTION, f"{name}: used {uses[document]} times in epoch {number}, its copies are {kept.copies[document]}",
                    f"id {kept.id[document].decode()}",
                )  # fmt: skip
