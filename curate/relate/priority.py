"""Who is better of equals: `dedup.priority` as one rank per member.

In: the recipe's list (`source`, a signal, -signal), the signals stages, ordinals. Out: which stages it reads, and int32 ranks.
`source` is the order of the recipe; a signal's larger value wins, of -signal the smaller one; a missing value comes last; the id
decides what is left. References come before everybody. Imports recipe names, signals (names), layout, store.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate.errors import CurateError, nearest
from curate.recipe import DOMAIN_SIGNALS
from curate.relate.layout import Shard
from curate.signals import ratio_of
from curate.signals.urls import DROP_RATIO
from curate.store import Stage

SOURCE = "source"
Columns = dict[tuple[str, str], tuple[Stage, str]]  # (source, column) -> its signals stage and family


def check(priority: Sequence[str], known: Mapping[str, str]) -> None:
    """`known`: every signal of any source with its type. Raises CurateError, which names the nearest."""
    for given in priority:
        name = given.removeprefix("-")
        if given == SOURCE:
            continue
        if name in (*DOMAIN_SIGNALS, DROP_RATIO.name):
            what = f"signal {name!r} is made from the duplicates themselves, or from the rules"
            raise CurateError(
                what, where="dedup.priority", allowed="source, and signals that are measured in each document alone"
            )
        if known.get(name) == "string":
            raise CurateError(f"signal {name!r} is text", where="dedup.priority", allowed="source, signals that are numbers")
        if name not in known:
            numbers = [n for n, kind in known.items() if kind != "string"]
            close = nearest(name, [SOURCE, *numbers])
            raise CurateError(
                f"no signal {name!r}", where="dedup.priority", found=given, allowed=", ".join(close or [SOURCE, *sorted(numbers)]),
                next=f"did you mean {close[0]!r}?" if close else "",
            )  # fmt: skip


def columns_of(priority: Sequence[str], sources: Sequence[str], signals: Mapping[tuple[str, str], Stage]) -> Columns:
    """The stored columns the list reads. A source may lack one (a model that scores others); some source has each."""
    names = [given.removeprefix("-") for given in priority if given != SOURCE]
    wanted = {column for name in names for column in ratio_of(name) or (name,)}
    found: Columns = {}
    for (source, family), stage in sorted(signals.items(), key=lambda item: item[0]):
        if source in sources:
            first = min(stage.path.glob(f"*/{family}.parquet"), default=None)
            held = wanted.intersection(pq.read_schema(first).names if first is not None else ())
            found |= {(source, column): (stage, family) for column in held if (source, column) not in found}
    if missing := sorted(wanted - {column for _, column in found}):
        raise CurateError(
            f"signal {missing[0]!r} was measured for no source", where="dedup.priority",
            next="use it in a rule, which asks for its family, or leave it out",
        )  # fmt: skip
    return found


def rank(
    priority: Sequence[str], shards: Sequence[Shard], references: Collection[str], columns: Columns, ordinal: np.ndarray,
    ends: np.ndarray, ids: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """int32 (m,), smaller is better. `references`: sources among `shards` that are references; they lie first.

    ids: S32 (m,), a memory map. One key in memory at a time, sorted stably from the last to the first: 24 bytes a member.
    """
    n_fixed = int(ends[sum(shard.source in references for shard in shards)])
    own = [(shard, int(a), int(b)) for shard, a, b in zip(shards, ends[:-1], ends[1:], strict=True) if a >= n_fixed and b > a]
    m = len(ordinal) - n_fixed
    # ordinals are the order of (source, id), so that ids are asked only where sources are not
    order = np.arange(m) if SOURCE in priority else np.argsort(ids[n_fixed:], kind="stable")
    for given in reversed(priority):
        values = _sources(own, m, n_fixed) if given == SOURCE else _values(given, own, columns, ordinal, m, n_fixed)
        order = order[np.argsort(values[order], kind="stable")]
        del values
    found = np.arange(len(ordinal), dtype=np.int32)
    found[n_fixed:][order] = np.arange(n_fixed, len(ordinal), dtype=np.int32)
    return found


def _sources(own: list[tuple[Shard, int, int]], m: int, n_fixed: int) -> np.ndarray:
    names = list(dict.fromkeys(shard.source for shard, _, _ in own))
    values = np.empty(m, np.int32)
    for shard, a, b in own:
        values[a - n_fixed : b - n_fixed] = names.index(shard.source)
    return values


def _values(
    given: str, own: list[tuple[Shard, int, int]], columns: Columns, ordinal: np.ndarray, m: int, n_fixed: int
) -> np.ndarray:
    """float64 (m,): the smaller the better, NaN (last) where the signal is missing."""
    name = given.removeprefix("-")
    values = np.full(m, np.nan)
    for shard, a, b in own:
        parts = ratio_of(name) or (name,)
        if not all((shard.source, part) in columns for part in parts):
            continue
        row = np.asarray(ordinal[a:b]) - shard.first
        numbers = [_column(*columns[shard.source, part], shard.key, part, row) for part in parts]
        found = numbers[0]
        if len(numbers) == 2:
            with np.errstate(invalid="ignore", divide="ignore"):
                found = np.where(numbers[1] == 0, 0.0, numbers[0] / numbers[1])
        values[a - n_fixed : b - n_fixed] = found if given.startswith("-") else -found
    return values


def _column(stage: Stage, family: str, key: str, name: str, row: np.ndarray) -> np.ndarray:
    path: Path = stage.shard_path(key) / f"{family}.parquet"
    column = pq.read_table(path, columns=[name]).column(0).cast(pa.float64(), safe=False)
    return column.to_numpy()[row]  # nulls become NaN
