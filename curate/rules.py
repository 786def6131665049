"""Rules over signal columns: which documents fail which rule, and the values that say so.

In: one shard's signal columns, read by the names the rules use. Out: a bool per (document, rule). Imports recipe, schema, store.
A comparison never depends on how a float was stored: scores are float32 rounded to 1e-4 (design.md section 3) and are compared as
that decimal; a ratio of two integers is rounded correctly, so it equals the recipe's decimal where the fractions are equal.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from curate.errors import CurateError, nearest
from curate.recipe import Rule
from curate.signals import DERIVED
from curate.store import Stage


class Judged(NamedTuple):
    """Of the n documents of a shard, by the R rules of their source."""

    failed: np.ndarray  # (n, R) bool
    first: np.ndarray  # (n,) int32: the first rule that failed, -1 where none did
    values: pl.DataFrame  # (n, R), one column per rule, named "0", "1", ...

    @property
    def eligible(self) -> np.ndarray:
        return self.first < 0


def rules_of(rules: Sequence[Rule], source: str) -> list[Rule]:
    return [rule for rule in rules if rule.sources is None or source in rule.sources]


def families(rules: Sequence[Rule], source: str, signals: Mapping[tuple[str, str], Stage]) -> dict[str, list[str]]:
    """family -> the columns of it that the rules of this source use."""
    wanted = {column for rule in rules_of(rules, source) for column in DERIVED.get(rule.signal, (rule.signal,))}
    found: dict[str, list[str]] = {}
    known: set[str] = set()
    for (owner, family), stage in sorted(signals.items(), key=lambda item: item[0]):
        if owner != source or not wanted or not stage.keys:
            continue
        columns = pq.read_schema(stage.shard_path(stage.keys[0]) / f"{family}.parquet").names
        known.update(columns)
        if here := sorted(wanted.intersection(columns)):
            found[family] = here
            wanted.difference_update(here)
    if wanted and known:
        name = min(wanted)
        close = nearest(name, known) or sorted(known)
        raise CurateError(f"no signal {name!r} was measured for source {source!r}", allowed=", ".join(close))
    return found


def judge(rules: Sequence[Rule], source: str, key: str, rows: int, signals: Mapping[tuple[str, str], Stage]) -> Judged:
    """Judge shard `key` of `source`. A missing value fails unless the rule says pass: nothing shows that it is within the bound."""
    own = rules_of(rules, source)
    if not own:
        return Judged(np.zeros((rows, 0), bool), np.full(rows, -1, np.int32), pl.DataFrame())
    frame = _read(source, key, families(own, source, signals), signals)
    if frame.height != rows:
        where, found = f"{source}.{key}", f"{frame.height} and {rows}"
        raise CurateError("signals and documents do not have the same rows", where=where, found=found, exit_code=1)
    values = frame.select(_value(rule.signal, frame.schema).alias(str(i)) for i, rule in enumerate(own))
    tests = values.select(_fails(rule, pl.col(str(i))).fill_null(rule.missing == "fail") for i, rule in enumerate(own))
    failed = np.column_stack([column.to_numpy() for column in tests.get_columns()])
    first = np.where(failed.any(axis=1), failed.argmax(axis=1), -1).astype(np.int32)
    return Judged(failed, first, values)


def failed_names(own: Sequence[Rule], failed: np.ndarray) -> pa.Array:
    """list<string>: the names of all rules each document failed, in recipe order; empty lists, no nulls."""
    _, rule = np.nonzero(failed)
    offsets = np.concatenate([[0], np.cumsum(failed.sum(axis=1))]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array([r.name for r in own], pa.string()).take(pa.array(rule)))


def reason_values(own: Sequence[Rule], judged: Judged) -> tuple[pa.Array, pa.Array]:
    """(value float64, value_text string) of the first failing rule; null where the other one holds it or no rule failed."""
    numbers = pl.Series("number", [None], pl.Float64).new_from_index(0, len(judged.first))
    frame = pl.DataFrame([pl.Series("first", judged.first), numbers, numbers.cast(pl.String).alias("text"), *judged.values])
    for i in range(len(own)):
        column = "text" if judged.values.schema[str(i)] == pl.String else "number"
        value = pl.col(str(i)).cast(frame.schema[column])
        frame = frame.with_columns(pl.when(pl.col("first") == i).then(value).otherwise(pl.col(column)).alias(column))
    return frame["number"].to_arrow(), frame["text"].to_arrow().cast(pa.string())


def _read(source: str, key: str, columns: Mapping[str, Iterable[str]], signals: Mapping[tuple[str, str], Stage]) -> pl.DataFrame:
    parts = [
        pl.read_parquet(signals[source, family].shard_path(key) / f"{family}.parquet", columns=list(names), glob=False)
        for family, names in columns.items()
    ]
    return pl.concat(parts, how="horizontal")


def _value(signal: str, columns: Mapping[str, pl.DataType]) -> pl.Expr:
    if signal in DERIVED:
        numerator, denominator = (pl.col(name).cast(pl.Float64) for name in DERIVED[signal])
        return pl.when(denominator == 0).then(0.0).otherwise(numerator / denominator)
    if columns[signal] == pl.Float32:
        return pl.col(signal).cast(pl.Float64).round(4)
    return pl.col(signal)


def _fails(rule: Rule, value: pl.Expr) -> pl.Expr:
    if rule.min is not None:
        return value < rule.min
    if rule.max is not None:
        return value > rule.max
    texts = [v for v in rule.equals or [] if isinstance(v, str)]
    return (
        ~value.is_in(texts) if texts else ~value.cast(pl.Float64).is_in([v for v in rule.equals or [] if not isinstance(v, str)])
    )
