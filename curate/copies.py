"""Rehydration: how often a document stands in one epoch of its component, by bins of cluster size, of a signal or of a field.

In: the recipe, its stages' folders, and which documents match a component's where:. Out: per component its bins with their copies
(`rehydration`), and per shard the bin of every document (`bins`). No text is read. Imports errors, recipe, values.

The rule `from: filter_rate` (Penedo et al. 2025, FineWeb2, arXiv 2506.20920): the rate of a bin is the share of its documents that
the recipe's rules remove, whatever dedup does. A bin at or above the rate of the whole component gets 1 copy, the bin with the
lowest rate `most`; between them (the paper gives no formula, this is ours) the copies are linear in the rate, halves rounded up.
A bin without documents gets 1. Documents of the component are those of its sources that match its where:, whatever other components
match them too. FineWeb2 filters after dedup, so by cluster size each cluster has one vote: its head, or where that
belongs to another component the component's first member (sources in `from` order, then id). By anything else every document has one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate import values
from curate.errors import CurateError
from curate.recipe import Component, Copies, Recipe, Source
from curate.signals.urls import DROP_RATIO
from curate.values import CLUSTER_SIZE, Folders

Matches = Callable[[Component, Source, str], np.ndarray | None]  # bool (rows,) of a shard; None: all


def rehydration(recipe: Recipe, folders: Folders, matches: Matches) -> dict[str, dict[str, Any]]:
    """{component: {by, origin, bins: [{from, copies}]}} of the components with copies; by filter rate the component and its bins also
    say {judged, removed, rate}, for which decisions and duplicates of the component's sources are counted."""
    data: dict[str, dict[str, Any]] = {}
    for name, component in recipe.mixture.leaves.items():
        if (copies := component.copies) is None:
            continue
        lowers = [int(bound) if bound.is_integer() else bound for bound in copies.lowers]
        data[name] = {"by": copies.by, "origin": copies.origin if copies.origin.startswith("preset ") else "table"}
        if copies.table is not None:
            data[name]["bins"] = [{"from": a, "copies": n} for a, n in zip(lowers, copies.table.values(), strict=True)]
            continue
        assert copies.most is not None
        judged, removed = _judged(component, copies, recipe, folders, matches)
        data[name] |= {"origin": f"filter_rate, at most {copies.most}", **_rate(int(judged.sum()), int(removed.sum()))}
        whole = Fraction(int(removed.sum()), max(int(judged.sum()), 1))
        counted = list(zip(lowers, judged[:-1].tolist(), removed[:-1].tolist(), strict=True))  # the last: outside all bins
        found = by_filter_rate([j for _, j, _ in counted], [r for _, _, r in counted], copies.most, whole)
        data[name]["bins"] = [{"from": a, "copies": n, **_rate(j, r)} for (a, j, r), n in zip(counted, found, strict=True)]
    return data


def bins(copies: Copies, source: Source, key: str, folders: Folders) -> np.ndarray:
    """int64 (rows,): the bin of every document of a shard, -1 below the first one or without a value."""
    return bin_of(values.numbers(copies.by, source, key, folders), copies.lowers)


def bin_of(numbers: np.ndarray, lowers: Sequence[float]) -> np.ndarray:
    """int64: the last bin whose lower bound is not above the number; -1 below all, and for NaN."""
    found = np.searchsorted(np.asarray(lowers, np.float64), numbers, side="right") - 1
    return np.where(np.isnan(numbers), -1, found).astype(np.int64)


def by_filter_rate(judged: Sequence[int], removed: Sequence[int], most: int, whole: Fraction | None = None) -> list[int]:
    """Copies per bin from its documents and those the rules remove, in exact fractions. `whole`: the rate of all documents, where
    there are some in no bin."""
    rates = [Fraction(r, j) if j else None for j, r in zip(judged, removed, strict=True)]
    low = min((rate for rate in rates if rate is not None), default=Fraction(0))
    whole = Fraction(sum(removed), max(sum(judged), 1)) if whole is None else whole
    copies = []
    for rate in rates:
        share = (whole - rate) / (whole - low) if rate is not None and rate < whole else Fraction(0)
        copies.append(int((1 + (most - 1) * share + Fraction(1, 2)) // 1))
    return copies


def _rate(judged: int, removed: int) -> dict[str, Any]:
    return {"judged": judged, "removed": removed, "rate": round(removed / judged, 6) if judged else None}


def _judged(
    component: Component, copies: Copies, recipe: Recipe, folders: Folders, matches: Matches
) -> tuple[np.ndarray, np.ndarray]:
    """Votes per bin and how many of them the rules remove, int64 (n_bins + 1,); the last is for votes outside all bins. Members of
    clusters whose head is elsewhere are kept to the end, 49 bytes each."""
    counts = np.zeros((2, len(copies.lowers) + 1), np.int64)
    heads: list[np.ndarray] = []
    waiting: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def count(where: np.ndarray, is_removed: np.ndarray) -> None:
        np.add.at(counts[0], where, 1)  # -1 is the last
        np.add.at(counts[1], where[is_removed], 1)

    for source in (recipe.sources[name] for name in component.from_):
        for key in values.keys_of(folders, source.name):
            where = bins(copies, source, key, folders)
            of = matches(component, source, key)
            mine = np.ones(where.size, np.bool_) if of is None else of
            name = f"{source.name}.{key}"
            failed = pq.read_table(folders["decide", "", ""] / name / "decisions.parquet", columns=["failed_rules"])
            is_removed = pc.fill_null(pc.list_value_length(failed["failed_rules"]), 0).to_numpy() > 0
            if copies.by != CLUSTER_SIZE:
                count(where[mine], is_removed[mine])
                continue
            table = pq.read_table(folders["clusters", "", ""] / name / "duplicates.parquet", columns=["id", "cluster_id"])
            member = pc.is_valid(table["cluster_id"]).to_numpy()
            other = pc.fill_null(pc.not_equal(table["id"], table["cluster_id"]), False).to_numpy()
            heads.append(_names(table["cluster_id"].filter(pa.array(member & ~other & mine))))
            count(where[~other & mine], is_removed[~other & mine])
            other &= mine
            waiting.append((_names(table["cluster_id"].filter(pa.array(other))), where[other], is_removed[other]))
    if waiting:
        cluster, where, is_removed = (np.concatenate(parts) for parts in zip(*waiting, strict=True))
        without = np.flatnonzero(~np.isin(cluster, np.concatenate(heads)))
        first = without[np.unique(cluster[without], return_index=True)[1]]
        count(where[first], is_removed[first])
    return counts[0], counts[1]


def _names(column: pa.ChunkedArray) -> np.ndarray:
    return column.to_numpy().astype("S32")


def check(recipe: Recipe) -> None:
    """`by:` names something that every source of the component has: cluster_size, a signal with a number, or a field of extra."""
    for name, component in recipe.mixture.leaves.items():
        if component.copies is None:
            continue
        by, where = component.copies.by, f"{recipe.mixture.key_of(name)}.copies.by"
        if by == DROP_RATIO.name:
            what = f"copies need a number, and signal {by!r} is made of the decisions"
            raise CurateError(what, where=where, allowed="another signal, or cluster_size")
        for source in component.from_:
            if values.check(by, recipe, recipe.sources[source], where) == "string":
                what = f"copies need a number, and signal {by!r} is text"
                raise CurateError(what, where=where, allowed="another signal, or cluster_size")
