"""Rehydration: how often a document stands in one epoch of its component, by bins of cluster size, of a signal or of a field.

In: the recipe and its stages' folders by (stage, source, family). Out: `Rehydration`: per component its bins with their copies, and
per shard the bin of every document, row by row those of documents.parquet. No text is read. Imports errors, recipe, signals.

The rule `from: filter_rate` (Penedo et al. 2025, FineWeb2, arXiv 2506.20920): the rate of a bin is the share of its documents that
the recipe's rules remove, whatever dedup does. A bin at or above the rate of the whole component gets 1 copy, the bin with the
lowest rate `most`; between them (the paper gives no formula, this is ours) the copies are linear in the rate, halves rounded up.
A bin without documents gets 1. FineWeb2 filters after dedup, so by cluster size each cluster has one vote: its head, or where that
belongs to another component the component's first member (sources in `from` order, then id). By anything else every document has one.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.errors import CurateError, nearest
from curate.recipe import DOMAIN_SIGNALS, Copies, Recipe, Source
from curate.signals import AFTER_CUTS, ratio_of, signal_names
from curate.signals.urls import DROP_RATIO

CLUSTER_SIZE = "cluster_size"
Folders: TypeAlias = Mapping[tuple[str, str, str], Path]


@dataclass(frozen=True)
class Rehydration:
    """Components with copies. `data`: {component: {by, origin, bins: [{from, copies}]}}; by filter rate the component and its bins
    also say {judged, removed, rate}. `bins(source, key)`: int64 (rows,), -1 below the first bin or without a value; None for a
    source whose component has no copies."""

    data: dict[str, dict[str, Any]]
    sources: dict[str, list[str]]  # component -> its sources
    bins: Callable[[str, str], np.ndarray | None]

    def copies(self, source: str, key: str) -> np.ndarray | None:
        """int64 (rows,): copies of each document of a shard; None where all are 1."""
        bins = self.bins(source, key)
        if bins is None:
            return None
        of = next(given for name, given in self.data.items() if source in self.sources[name])
        return np.array([*(b["copies"] for b in of["bins"]), 1], np.int64)[bins]  # bin -1 is the last, which is 1


def no_bins(source: str, key: str) -> np.ndarray | None:
    """Of recipes without copies."""
    return None


def rehydration(recipe: Recipe, folders: Folders) -> Rehydration | None:
    """None where no component has copies. By filter rate, decisions and duplicates of the component's sources are counted."""
    given = {name: c.copies for name, c in recipe.mixture.components.items() if c.copies is not None}
    if not given:
        return None
    of_source = {source: name for name in given for source in recipe.mixture.components[name].from_}

    def bins(source: str, key: str) -> np.ndarray | None:
        copies = given.get(of_source.get(source, ""))
        return bin_of(_values(copies.by, recipe.sources[source], key, folders), copies.lowers) if copies else None

    data: dict[str, dict[str, Any]] = {}
    for name, copies in given.items():
        lowers = [int(bound) if bound.is_integer() else bound for bound in copies.lowers]
        data[name] = {"by": copies.by, "origin": copies.origin if copies.origin.startswith("preset ") else "table"}
        if copies.table is not None:
            data[name]["bins"] = [{"from": a, "copies": n} for a, n in zip(lowers, copies.table.values(), strict=True)]
            continue
        assert copies.most is not None
        judged, removed = _judged(recipe.mixture.components[name].from_, copies, bins, folders)
        data[name] |= {"origin": f"filter_rate, at most {copies.most}", **_rate(int(judged.sum()), int(removed.sum()))}
        whole = Fraction(int(removed.sum()), max(int(judged.sum()), 1))
        counted = list(zip(lowers, judged[:-1].tolist(), removed[:-1].tolist(), strict=True))  # the last: outside all bins
        found = by_filter_rate([j for _, j, _ in counted], [r for _, _, r in counted], copies.most, whole)
        data[name]["bins"] = [{"from": a, "copies": n, **_rate(j, r)} for (a, j, r), n in zip(counted, found, strict=True)]
    return Rehydration(data, {name: list(recipe.mixture.components[name].from_) for name in given}, bins)


def bin_of(values: np.ndarray, lowers: Sequence[float]) -> np.ndarray:
    """int64: the last bin whose lower bound is not above the value; -1 below all, and for NaN."""
    found = np.searchsorted(np.asarray(lowers, np.float64), values, side="right") - 1
    return np.where(np.isnan(values), -1, found).astype(np.int64)


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
    sources: Sequence[str], copies: Copies, bins: Callable[[str, str], np.ndarray | None], folders: Folders
) -> tuple[np.ndarray, np.ndarray]:
    """Votes per bin and how many of them the rules remove, int64 (n_bins + 1,); the last is for votes outside all bins. Members of
    clusters whose head is elsewhere are kept to the end, 49 bytes each."""
    counts = np.zeros((2, len(copies.lowers) + 1), np.int64)
    heads: list[np.ndarray] = []
    waiting: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def count(where: np.ndarray, is_removed: np.ndarray) -> None:
        np.add.at(counts[0], where, 1)  # -1 is the last
        np.add.at(counts[1], where[is_removed], 1)

    for source in sources:
        for key in keys_of(folders, source):
            where = bins(source, key)
            assert where is not None
            failed = pq.read_table(folders["decide", "", ""] / f"{source}.{key}" / "decisions.parquet", columns=["failed_rules"])
            is_removed = pc.fill_null(pc.list_value_length(failed["failed_rules"]), 0).to_numpy() > 0
            if copies.by != CLUSTER_SIZE:
                count(where, is_removed)
                continue
            table = _duplicates(folders, source, key, ["id", "cluster_id"])
            member = pc.is_valid(table["cluster_id"]).to_numpy()
            other = pc.fill_null(pc.not_equal(table["id"], table["cluster_id"]), False).to_numpy()
            heads.append(_names(table["cluster_id"].filter(pa.array(member & ~other))))
            count(where[~other], is_removed[~other])
            waiting.append((_names(table["cluster_id"].filter(pa.array(other))), where[other], is_removed[other]))
    if waiting:
        cluster, where, is_removed = (np.concatenate(parts) for parts in zip(*waiting, strict=True))
        without = np.flatnonzero(~np.isin(cluster, np.concatenate(heads)))
        first = without[np.unique(cluster[without], return_index=True)[1]]
        count(where[first], is_removed[first])
    return counts[0], counts[1]


def _names(column: pa.ChunkedArray) -> np.ndarray:
    return column.to_numpy().astype("S32")


def keys_of(folders: Folders, source: str) -> list[str]:
    """The shards of a source's documents, in order."""
    return sorted(path.parent.name for path in folders["documents", source, ""].glob("*/documents.parquet"))


def _duplicates(folders: Folders, source: str, key: str, columns: list[str]) -> pa.Table:
    return pq.read_table(folders["clusters", "", ""] / f"{source}.{key}" / "duplicates.parquet", columns=columns)


def _values(by: str, source: Source, key: str, folders: Folders) -> np.ndarray:
    """float64 (rows,), NaN without a value."""
    if by == CLUSTER_SIZE:
        return _floats(_duplicates(folders, source.name, key, ["cluster_size"])["cluster_size"])
    if (stored := _family(by, source.name, folders)) is not None:
        return _floats(pq.read_table(_file(folders, stored, key), columns=[by])[by])
    if (parts := ratio_of(by)) is not None:
        found = [_family(part, source.name, folders) for part in parts]
        if all(found):
            above, below = (
                _floats(pq.read_table(_file(folders, stored, key), columns=[part])[part])
                for part, stored in zip(parts, found, strict=True) if stored is not None
            )  # fmt: skip
            return np.divide(above, below, out=np.where(np.isnan(above + below), np.nan, 0.0), where=below != 0)
    if "extra" not in source.fields and by not in DOMAIN_SIGNALS:
        raise CurateError(
            f"no signal {by!r} was measured for source {source.name!r}", allowed="cluster_size, or a signal that is"
        )
    extra = pq.read_table(folders["documents", source.name, ""] / key / "documents.parquet", columns=["extra"])["extra"]
    if by in DOMAIN_SIGNALS:  # no document has an address
        return np.full(len(extra), np.nan)
    path = [] if source.fields.get("extra") == by else by.split(".")
    return np.array([_number(text, path) for text in extra.to_pylist()], np.float64)


def _family(column: str, source: str, folders: Folders) -> tuple[str, str, str] | None:
    """The stage of this source that stores the column."""
    mine = (name for name in sorted(folders) if name[1] == source and name[2])
    return next((name for name in mine if column in _columns(folders[name], name[2])), None)


@functools.cache
def _columns(folder: Path, family: str) -> frozenset[str]:
    shards = sorted(folder.glob(f"*/{family}.parquet"))
    return frozenset(pq.read_schema(shards[0]).names) if shards else frozenset()


def _file(folders: Folders, stage: tuple[str, str, str], key: str) -> Path:
    return folders[stage] / key / f"{stage[2]}.parquet"


def _floats(column: pa.ChunkedArray) -> np.ndarray:
    """float64, null becomes NaN. A score is float32 rounded to 1e-4 and is compared as that decimal, as rules do."""
    values = np.asarray(column.cast(pa.float64()).to_numpy(), np.float64)
    return np.round(values, 4) if column.type == pa.float32() else values


def _number(text: str | None, path: Sequence[str]) -> float:
    """The number at `path` inside a document's `extra` (JSON; a number in a string counts), else NaN."""
    value = json.loads(text) if text else None
    for part in path:
        value = value.get(part) if isinstance(value, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return float("nan")
    try:
        return float(value)
    except ValueError:
        return float("nan")


def check(recipe: Recipe) -> None:
    """`by:` names something that every source of the component has: cluster_size, a signal with a number, or a field of extra."""
    for name, component in recipe.mixture.components.items():
        if component.copies is None or component.copies.by == CLUSTER_SIZE:
            continue
        by, where = component.copies.by, f"mixture.components.{name}.copies.by"
        for source in (recipe.sources[source] for source in component.from_):
            known = signal_names(recipe, source)
            if why := _not_a_number(by, known):
                raise CurateError(
                    f"copies need a number, and signal {by!r} {why}", where=where, allowed="another signal, or cluster_size"
                )
            if by not in known and "extra" not in source.fields:
                close = nearest(by, [CLUSTER_SIZE, *known])
                raise CurateError(
                    f"source {source.name!r} has no signal {by!r}, and no field that could hold it", where=where,
                    allowed=", ".join([CLUSTER_SIZE, *(c for c in close if c != CLUSTER_SIZE)]),
                    next=f"did you mean {close[0]!r}?" if close else f"sources.{source.name}.fields: {{extra: {by}}}",
                )  # fmt: skip


def _not_a_number(by: str, known: Mapping[str, str]) -> str:
    if by == DROP_RATIO.name:
        return "is made of the decisions"
    if by in known and by.startswith(AFTER_CUTS):
        return "is of the text after cuts"
    return "is text" if known.get(by) == "string" else ""
