"""Rules over signal columns: which documents fail which rule, and the values that say so.

In: one shard's signal columns, read by the names the rules use; and what needs all shards of a source (`Known`). Out: a bool per
(document, rule). Imports recipe, signals (names), store.
A comparison never depends on how a float was stored: scores are float32 rounded to 1e-4 (design.md section 3) and are compared as
that decimal; a ratio of two integers is rounded correctly, so it equals the recipe's decimal where the fractions are equal.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from curate.errors import CurateError, nearest
from curate.recipe import DOMAIN_SIGNALS, Rule
from curate.signals import ratio_of
from curate.signals.urls import DOMAINS, DROP_RATIO
from curate.store import Stage

HEAD, MIDDLE = 30, 60  # percentiles that part head, middle and tail (CCNet, Wenzek et al. 2020, arXiv 1911.00359, 3.2)

Cutoffs = dict[tuple[str, str], tuple[float, float]]  # (source, signal) -> the largest value of head, and of middle


class Known(NamedTuple):
    """What a rule may need besides its shard's columns."""

    cutoffs: Mapping[tuple[str, str], tuple[float, float]] = {}
    drop_ratio: np.ndarray | None = None  # (n,) float64 of the shard's documents, NaN without a domain


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
    wanted = columns_of(rules_of(rules, source)) - {DROP_RATIO.name}
    if (source, "domains") not in signals:  # no document has an address
        wanted -= columns_of([rule for rule in rules if rule.signal in DOMAIN_SIGNALS])
    found: dict[str, list[str]] = {}
    known: set[str] = set()
    for (owner, family), stage in sorted(signals.items(), key=lambda item: item[0]):
        if owner != source or not wanted:
            continue
        columns = _stored(stage.path, family)
        known.update(columns)
        if here := sorted(wanted.intersection(columns)):
            found[family] = here
            wanted.difference_update(here)
    if wanted and known:
        name = min(wanted)
        close = nearest(name, known) or sorted(known)
        raise CurateError(f"no signal {name!r} was measured for source {source!r}", allowed=", ".join(close))
    return found


@functools.cache
def _stored(folder: Path, family: str) -> tuple[str, ...]:
    """The columns of a family's tables, () without any. Every shard is judged by them, so they are read once: a finished stage never
    changes, and its stage.json is as long as its shards are many."""
    first = min(folder.glob(f"*/{family}.parquet"), default=None)
    return () if first is None else tuple(pq.read_schema(first).names)


def columns_of(rules: Iterable[Rule]) -> set[str]:
    """The stored columns their signals are made of."""
    return {column for rule in rules for column in ratio_of(rule.signal) or (rule.signal,)}


def find_cutoffs(
    rules: Sequence[Rule], shards: Sequence[tuple[str, str]], signals: Mapping[tuple[str, str], Stage], threads: int = 1
) -> Cutoffs:
    """The cutoffs of every `keep` rule, exact: over all values of a source, as they are compared, the nearest-rank percentile, that
    is the value at place ceil(p n / 100) of n in ascending order. Equal values are never parted. shards: (source, key); one signal
    of one source in memory at a time, 8 bytes a document."""
    found: Cutoffs = {}
    with ThreadPoolExecutor(threads) as pool:
        for source in dict.fromkeys(source for source, _ in shards):
            for rule in rules_of(rules, source):
                if rule.op != "keep" or (source, rule.signal) in found:
                    continue
                columns = families([rule], source, signals)

                def read(key: str, of: str = source, rule: Rule = rule, columns: dict[str, list[str]] = columns) -> np.ndarray:
                    frame = _read(of, key, columns, signals)
                    return frame.select(_value(rule.signal, frame.schema)).to_series().cast(pl.Float64).drop_nulls().to_numpy()

                keys = [key for of, key in shards if of == source] if columns else []
                values = np.concatenate([np.empty(0), *pool.map(read, keys)])
                if n := len(values):
                    places = [-(-percentile * n // 100) - 1 for percentile in (HEAD, MIDDLE)]
                    head, middle = np.partition(values, places)[places].tolist()
                    found[source, rule.signal] = (head, middle)
    return found


def bound_text(rule: Rule, source: str, cutoffs: Mapping[tuple[str, str], tuple[float, float]]) -> str:
    """`rule.bound_text`, for `keep` with the numbers: `in head, middle: <= 1.9342`."""
    if rule.op != "keep" or (source, rule.signal) not in cutoffs:
        return rule.bound_text
    head, middle = (_shortest(value) for value in cutoffs[source, rule.signal])
    parts = {
        ("head",): f"<= {head}", ("middle",): f"> {head}, <= {middle}", ("tail",): f"> {middle}",
        ("head", "middle"): f"<= {middle}", ("middle", "tail"): f"> {head}", ("head", "tail"): f"<= {head} or > {middle}",
    }  # fmt: skip
    kept = tuple(part for part in ("head", "middle", "tail") if part in (rule.keep or []))
    return f"{rule.bound_text}: {parts.get(kept, 'any')}"


def _shortest(value: float) -> str:
    """The value itself, never rounded: a bound that is shown must hold for the values beside it."""
    return f"{value:g}" if float(f"{value:g}") == value else repr(value)


def judge(
    rules: Sequence[Rule], source: str, key: str, rows: int, signals: Mapping[tuple[str, str], Stage], known: Known | None = None
) -> Judged:
    """Judge shard `key` of `source`. A missing value fails unless the rule says pass: nothing shows that it is within the bound."""
    known = known or Known()
    own = rules_of(rules, source)
    if not own:
        return Judged(np.zeros((rows, 0), bool), np.full(rows, -1, np.int32), pl.DataFrame())
    columns = families(own, source, signals)
    frame = _read(source, key, columns, signals) if columns else pl.DataFrame(height=rows)
    if frame.height != rows:
        where, found = f"{source}.{key}", f"{frame.height} and {rows}"
        raise CurateError("signals and documents do not have the same rows", where=where, found=found, exit_code=1)
    drop_ratio = known.drop_ratio if known.drop_ratio is not None else np.full(rows, np.nan)
    frame = frame.with_columns(pl.Series(DROP_RATIO.name, drop_ratio).fill_nan(None))
    nothing = pl.Series("", [None], pl.Int64).new_from_index(0, rows)  # no document of the source has an address
    frame = frame.with_columns(nothing.alias(c.name) for c in DOMAINS.columns if c.name not in frame.columns)
    values = frame.select(_value(rule.signal, frame.schema).alias(str(i)) for i, rule in enumerate(own))
    tests = values.select(
        _fails(rule, pl.col(str(i)), known.cutoffs.get((source, rule.signal))).fill_null(rule.missing == "fail")
        for i, rule in enumerate(own)
    )
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
    numbers, texts = np.full(len(judged.first), np.nan), np.full(len(judged.first), None, object)
    for i in np.unique(judged.first[judged.first >= 0]).tolist():
        rows = np.flatnonzero(judged.first == i)
        value = judged.values[str(i)].gather(rows)
        if value.dtype == pl.String:
            texts[rows] = value.to_list()
        else:
            numbers[rows] = value.cast(pl.Float64).to_numpy()
    return pa.array(numbers, pa.float64(), from_pandas=True), pa.array(texts, pa.string())  # NaN becomes null


def _read(source: str, key: str, columns: Mapping[str, Iterable[str]], signals: Mapping[tuple[str, str], Stage]) -> pl.DataFrame:
    parts = [
        pl.read_parquet(signals[source, family].shard_path(key) / f"{family}.parquet", columns=list(names), glob=False)
        for family, names in columns.items()
    ]
    return pl.concat(parts, how="horizontal")


def _value(signal: str, columns: Mapping[str, pl.DataType]) -> pl.Expr:
    if parts := ratio_of(signal):
        numerator, denominator = (pl.col(name).cast(pl.Float64) for name in parts)
        return pl.when(denominator == 0).then(0.0).otherwise(numerator / denominator)
    if columns[signal] == pl.Float32:
        return pl.col(signal).cast(pl.Float64).round(4)
    return pl.col(signal)


def _fails(rule: Rule, value: pl.Expr, cutoffs: tuple[float, float] | None) -> pl.Expr:
    if rule.min is not None:
        return value < rule.min
    if rule.max is not None:
        return value > rule.max
    if rule.keep is not None:
        head, middle = cutoffs or (0.0, 0.0)  # without cutoffs no document has a value
        parts = {"head": value <= head, "middle": (value > head) & (value <= middle), "tail": value > middle}
        return ~pl.any_horizontal(parts[part] for part in dict.fromkeys(rule.keep))
    texts = [v for v in rule.equals or [] if isinstance(v, str)]
    return (
        ~value.is_in(texts) if texts else ~value.cast(pl.Float64).is_in([v for v in rule.equals or [] if not isinstance(v, str)])
    )
