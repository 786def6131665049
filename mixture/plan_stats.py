"""Statistics from elsewhere: a JSON or CSV file with what each source has in, Cells for plan_cells.py out.

JSON: {"web": {"documents": 9000000, "tokens": "8.6B tokens", "loss_tokens": ..., "lengths": {"256": 4000000, "1024": ...}}}, where
`lengths` counts documents up to so many tokens each; CSV: columns source, documents, tokens, loss_tokens. A name is a source's, or a
component's (as the recipe calls it: et, english/web) whose `where:` no file can evaluate; it takes its documents from its source's.
`epoch_tokens` of a component with copies: its tokens, each document times its copies. Numbers are after held-out. Imports errors,
recipe, units.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from curate.errors import CurateError, nearest
from curate.recipe import Mixture, Recipe
from curate.units import quantity
from mixture.plan_cells import Cell
from mixture.plan_rows import SAMPLE

KEYS = ("documents", "tokens", "loss_tokens", "epoch_tokens", "lengths")


def read_stats(path: Path, recipe: Recipe) -> list[Cell]:
    """Raises CurateError: no such file, a name that is neither a source nor a component, a number that is missing or none."""
    given = _file(path)
    mixture = recipe.mixture
    known = [*recipe.sources, *mixture.leaves]
    for name, row in given.items():
        if name not in known:
            close = nearest(name, known)
            raise CurateError(f"no source and no component {name!r}", where=str(path), allowed=", ".join(close or known))
        if unknown := sorted(set(row) - set(KEYS)):
            raise CurateError(f"unknown key {unknown[0]!r} of {name!r}", where=str(path), allowed=", ".join(KEYS))
    rows = {name: _row(name, row, path) for name, row in given.items()}
    return _cells(rows, mixture, path)


def hints(recipe: Recipe) -> list[str]:
    """What statistics do not say."""
    copied = [name for name, leaf in recipe.mixture.leaves.items() if leaf.copies is not None]
    return (
        [f"copies of {', '.join(copied)} are those of epoch_tokens in the statistics, 1 where it is not given"] if copied else []
    )


def _file(path: Path) -> dict[str, dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError:
        raise CurateError("there is no such file", where="--stats", found=str(path)) from None
    if path.suffix == ".csv":
        lines = list(csv.DictReader(text.splitlines()))
        if not lines or "source" not in lines[0]:
            raise CurateError("no column `source`", where=str(path), allowed="source,documents,tokens,loss_tokens")
        return {line.pop("source"): {key: value for key, value in line.items() if key and value} for line in lines}
    try:
        data = json.loads(text)
        return {name: dict(row) for name, row in data.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise CurateError(
            "not statistics", where=str(path), found=str(error), allowed='{"web": {"documents": 9, "tokens": 900}}'
        ) from None


def _row(name: str, row: Mapping[str, Any], path: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key in ("documents", "tokens", "loss_tokens", "epoch_tokens"):
        value = row.get(key)
        if value is None and key in ("documents", "tokens"):
            raise CurateError(
                f"{name}: no {key}", where=str(path), found=", ".join(row), allowed='{"documents": 9, "tokens": 900}'
            )
        found[key] = None if value is None else _count(value, "documents" if key == "documents" else key, f"{path}: {name}.{key}")
    found["loss_tokens"] = found["tokens"] if found["loss_tokens"] is None else found["loss_tokens"]
    found["lengths"] = _lengths(row.get("lengths") or {}, f"{path}: {name}.lengths")
    return found


def _count(value: Any, unit: str, where: str) -> int:
    if isinstance(value, str) and not value.strip().replace("_", "").isdigit():
        return quantity(value, ("tokens", "loss_tokens", "documents"), where).count
    number = Fraction(str(value).strip().replace("_", "")) if not isinstance(value, bool) else Fraction(-1)
    if number.denominator != 1 or number < 0:
        raise CurateError(f"no whole number of {unit}", where=where, found=repr(value))
    return int(number)


def _lengths(histogram: Mapping[str, Any], where: str) -> np.ndarray:
    """Order statistics of {tokens at most: documents}, documents spread evenly between two bounds."""
    bins = sorted((_count(bound, "tokens", where), _count(n, "documents", where)) for bound, n in histogram.items())
    whole = sum(n for _, n in bins)
    if not whole:
        return np.empty(0, np.int64)
    ends = np.cumsum([n for _, n in bins])
    at = (np.arange(min(SAMPLE, whole)) + 0.5) * whole / min(SAMPLE, whole)
    k = np.searchsorted(ends, at, side="right").clip(max=len(bins) - 1)
    lower = np.array([0, *(bound for bound, _ in bins)], np.float64)
    inside = (at - (ends[k] - np.array([n for _, n in bins])[k])) / np.array([max(n, 1) for _, n in bins])[k]
    return np.maximum(np.ceil(lower[k] + inside * (lower[k + 1] - lower[k])), 1).astype(np.int64)


def _cells(rows: Mapping[str, Mapping[str, Any]], mixture: Mixture, path: Path) -> list[Cell]:
    """A component that says its own documents takes them out of its source's; the rest of a source is of the components without where:."""
    leaves = mixture.leaves
    if both := [name for name, leaf in leaves.items() if leaf.where and name in {s for c in leaves.values() for s in c.from_}]:
        raise CurateError(f"{both[0]!r} is a source and a component with a where: of whom are these numbers?", where=str(path),
                          next="give the component a name of its own")  # fmt: skip
    cells: list[Cell] = []
    taken: dict[str, list[Cell]] = {}
    own = {
        name
        for name in leaves
        if name in rows and (leaves[name].where or name not in {s for c in leaves.values() for s in c.from_})
    }
    for name, leaf in leaves.items():
        if leaf.where and name not in own:
            raise CurateError(
                f"nothing is said of component {name!r}: how many documents satisfy its where: is not the source's number",
                where=str(path), next=f'"{name}": {{"documents": ..., "tokens": ...}}',
            )  # fmt: skip
        if name in own:
            row = rows[name]
            after = [later for later, other in list(leaves.items())[list(leaves).index(name) + 1 :]
                     if not other.where and later not in own and set(leaf.from_) & set(other.from_)]  # fmt: skip
            times = Fraction(row["epoch_tokens"] or row["tokens"], row["tokens"] or 1)
            cells.append(_cell(leaf.from_[0], {name: max(times, Fraction(1)), **dict.fromkeys(after, Fraction(1))}, row))
            for source in leaf.from_:
                taken.setdefault(source, []).append(cells[-1])
    for source in dict.fromkeys(s for leaf in leaves.values() for s in leaf.from_):
        matching = {
            name: Fraction(1) for name, leaf in leaves.items() if source in leaf.from_ and not leaf.where and name not in own
        }
        if not matching:
            continue
        if source not in rows:
            raise CurateError(f"nothing is said of source {source!r}", where=str(path), found=", ".join(rows),
                              next=f'"{source}": {{"documents": ..., "tokens": ...}}')  # fmt: skip
        cells.append(_cell(source, matching, _less(rows[source], taken.get(source, []), source, path)))
    return cells


def _less(row: Mapping[str, Any], taken: Sequence[Cell], source: str, path: Path) -> dict[str, Any]:
    left = dict(row)
    for key in ("documents", "tokens", "loss_tokens"):
        left[key] = row[key] - sum(getattr(cell, key) for cell in taken)
        if left[key] < 0:
            raise CurateError(
                f"the components of source {source!r} have more {key} than it", where=str(path), found=f"{-left[key]:,} more"
            )
    return left


def _cell(source: str, copies: Mapping[str, Fraction], row: Mapping[str, Any]) -> Cell:
    return Cell(source, copies, row["documents"], row["tokens"], row["loss_tokens"], row["lengths"])
