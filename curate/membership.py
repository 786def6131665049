"""Components as queries: which components every document matches, by its source and by the conditions of their where:.

In: the recipe and its stages' folders. Out: a pattern per document, row by row those of documents.parquet. A pattern is the components
(leaves, by number) that a document matches, in recipe order, each with the bin of its copies. In a phase a document belongs to the
first of them that the phase has. No text is read; a changed condition changes the mixture and nothing before it. Imports errors,
recipe, values, copies.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cache
from threading import Lock
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate import copies, values
from curate.errors import CurateError
from curate.recipe import Component, Condition, Recipe, Source
from curate.values import Folders

Pattern: TypeAlias = tuple[tuple[int, int], ...]  # (component, bin of its copies, -1 in none), in recipe order
_NO_MATCH = -2  # where a bin would stand


@dataclass(frozen=True)
class Membership:
    """`pattern(source, key)`: int64 (rows,), index into `patterns`, which grows as shards are asked for and never changes otherwise.
    `copies`: of components with copies, {component: {by, origin, bins: [{from, copies, ...}]}} (curate/copies.py)."""

    components: list[str]
    patterns: list[Pattern]
    copies: dict[str, dict[str, Any]]
    pattern: Callable[[str, str], np.ndarray]


def membership(recipe: Recipe, folders: Folders) -> Membership:
    """Reads the short columns that where: and copies: name, a shard at a time; threads may ask for shards at once."""
    leaves = recipe.mixture.leaves
    fed = {name: [(i, c) for i, c in enumerate(leaves.values()) if name in c.from_] for name in recipe.sources}
    patterns: list[Pattern] = []
    number_of: dict[Pattern, int] = {}
    lock = Lock()

    def number(pattern: Pattern) -> int:
        with lock:
            if pattern not in number_of:
                number_of[pattern] = len(patterns)
                patterns.append(pattern)
            return number_of[pattern]

    def pattern(name: str, key: str) -> np.ndarray:
        source = recipe.sources[name]
        read = _Reader(source, key, folders)
        rows = values.n_rows(name, key, folders)
        found = np.full((rows, len(fed[name])), -1, np.int32)
        for at, (_, component) in enumerate(fed[name]):
            if component.copies is not None:
                found[:, at] = copies.bin_of(read.numbers(component.copies.by), component.copies.lowers)
            if component.where:
                found[~holds(component.where, read), at] = _NO_MATCH
        kind, kinds = _distinct(found)
        named = [tuple((i, b) for (i, _), b in zip(fed[name], row, strict=True) if b != _NO_MATCH) for row in kinds.tolist()]
        return np.array([number(one) for one in named], np.int64)[kind]

    data = copies.rehydration(recipe, folders, lambda component, source, key: matches(component, source, key, folders))
    return Membership(list(leaves), patterns, data, pattern)


def first_of(pattern: Pattern, phase: Collection[int]) -> int:
    """The component of a document in a phase that has the components `phase`; -1: in none."""
    return next((component for component, _ in pattern if component in phase), -1)


class _Reader:
    """Columns of one shard, each read once however many conditions ask for it."""

    def __init__(self, source: Source, key: str, folders: Folders) -> None:
        self.numbers = cache(lambda name: values.numbers(name, source, key, folders))
        self.texts = cache(lambda name: values.texts(name, source, key, folders))


def matches(component: Component, source: Source, key: str, folders: Folders) -> np.ndarray | None:
    """bool (rows,): the conditions of where: hold; None where there are none."""
    return holds(component.where, _Reader(source, key, folders)) if component.where else None


def holds(where: Mapping[str, Condition], read: _Reader) -> np.ndarray:
    """bool (rows,): every condition holds. `max` is allowed itself, `below` is not; a document without a value fails unless the
    condition says pass."""
    return np.logical_and.reduce([_holds(name, condition, read) for name, condition in where.items()])


def _holds(name: str, given: Condition, read: _Reader) -> np.ndarray:
    """A field may hold numbers in some documents and texts in others; a text is within no bound."""
    asked = [(given.min, np.greater_equal), (given.max, np.less_equal), (given.below, np.less)]
    bounds = [(bound, within) for bound, within in asked if bound is not None]
    texts = [value for value in given.equals or [] if isinstance(value, str)]
    numbers = [value for value in given.equals or [] if not isinstance(value, str)]
    found: list[tuple[np.ndarray, np.ndarray]] = []  # (holds, has a value)
    if texts:
        column = read.texts(name)
        has = column.is_valid().to_numpy(zero_copy_only=False)
        equal = pc.is_in(column, value_set=pa.array(texts, pa.string())).to_numpy(zero_copy_only=False)  # a null is in no set
        found.append((equal & (not bounds), has))
    if bounds or numbers:
        number = read.numbers(name)
        has = ~np.isnan(number)
        good = has & np.isin(number, numbers) if given.equals is not None else has
        found.append((np.logical_and.reduce([good, *(within(number, bound) for bound, within in bounds)]), has))
    good, has = (np.logical_or.reduce(part) for part in zip(*found, strict=True))
    return good | ~has if given.missing == "pass" else good


def _distinct(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(int64 (rows,): which distinct row each row is; the distinct rows, in the order they come in). table: (rows, n) int32."""
    rows, width = table.shape
    if not rows:
        return np.empty(0, np.int64), table
    if not width or (table == table[0]).all():
        return np.zeros(rows, np.int64), table[:1]
    as_bytes = pa.FixedSizeBinaryArray.from_buffers(pa.binary(4 * width), rows, [None, pa.py_buffer(np.ascontiguousarray(table))])
    encoded = pc.dictionary_encode(as_bytes)
    kinds = np.frombuffer(b"".join(encoded.dictionary.to_pylist()), np.int32).reshape(-1, width)
    return encoded.indices.to_numpy().astype(np.int64), kinds


def check(recipe: Recipe) -> None:
    """What where: and copies: name is there for every source of the component, and of a type that the condition can be about."""
    copies.check(recipe)
    for name, component in recipe.mixture.leaves.items():
        for value, condition in component.where.items():
            where = f"{recipe.mixture.key_of(name)}.where.{value}"
            for source in component.from_:
                kind = values.check(value, recipe, recipe.sources[source], where)
                of_text = condition.equals is not None and all(isinstance(v, str) for v in condition.equals)
                of_text = of_text and (condition.min, condition.max, condition.below) == (None, None, None)
                if kind != "any" and of_text != (kind == "string"):
                    allowed = "equals: [values]" if kind == "string" else "min:, max:, below:, or equals: a number"
                    raise CurateError(f"{value!r} of source {source!r} is {kind}", where=where, allowed=allowed)
