"""Repeated places as spans: what a shard's families say of its documents, as tables, and their stage published.

In: places with their records. Out: <family>.parquet and <family>.spans.parquet (schema.REPEATS). Imports schema, store, signals
(records), counts and kernels.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate.relate.repeats import kernels
from curate.relate.repeats.counts import Places, Repeated
from curate.schema import REPEATS
from curate.signals.family import Family
from curate.store import Stage, digest, table_root

FIRST = (kernels.FIRST_IN_CORPUS, kernels.FIRST_IN_SOURCE, kernels.FIRST_IN_DOMAIN)


class Spans(NamedTuple):
    """Repeated places of a shard's documents, by (row, start)."""

    row: np.ndarray  # (n,) int32
    start: np.ndarray  # (n,) int64, what it counts is the finder's business; in a table bytes of the document
    end: np.ndarray  # (n,) int64
    n_documents: np.ndarray  # (n, 3) int32: of the corpus, the source, the domain
    first: np.ndarray  # (n,) uint8, FIRST_IN_...

    @classmethod
    def of(cls, places: Places, repeated: Repeated) -> Spans:
        """Of the places that stand more than once. To be called batch by batch, in the order of the text."""
        record = repeated.records(places)
        again = np.flatnonzero(record >= 0)
        record = record[again]
        counts = np.stack([repeated.corpus[record], repeated.source[record], repeated.domain[record]], axis=1)
        return cls(places.row[again], places.start[again], places.end[again], counts, repeated.first_bits(record))

    @classmethod
    def joined(cls, parts: Iterable[Spans]) -> Spans:
        place, counts = np.empty(0, np.int64), np.empty((0, 3), np.int32)
        none = cls(np.empty(0, np.int32), place, place, counts, np.empty(0, np.uint8))
        row, start, end, counts, first = (np.concatenate(column) for column in zip(none, *parts, strict=True))
        return cls(row, start, end, counts, first)

    def where(self, wanted: np.ndarray) -> Spans:
        row, start, end, counts, first = (column[wanted] for column in self)
        return Spans(row, start, end, counts, first)

    def table(self, kind: str) -> pa.Table:
        columns = [*(pa.array(column, pa.int64()) for column in self[:3]), pa.repeat(kind, len(self.row))]
        columns += [pa.array(self.n_documents[:, i], pa.int64()) for i in range(3)]
        columns += [pa.array(self.first & bit > 0) for bit in FIRST]
        return pa.table(columns, schema=REPEATS)


def per_row(row: np.ndarray, values: np.ndarray, n_rows: int) -> np.ndarray:
    """int64 (n_rows,): the sum of the integers `values` of every row."""
    total = np.zeros(n_rows, np.int64)
    np.add.at(total, row, values)
    return total


def publish(stage: Stage, key: str, documents: Path, family: Family, columns: dict[str, np.ndarray], spans: Spans) -> None:
    """Write the family's tables of one shard; rows are those of `documents`, which has their ids."""
    ids = pq.read_table(documents, columns=["id"]).column("id")
    table = pa.table([ids, *(pa.array(columns[column.name], pa.int64()) for column in family.columns)], schema=family.schema())
    found = spans.table(family.span_kinds[0])
    with stage.shard(key) as shard:
        pq.write_table(table, shard.path / f"{family.name}.parquet", compression="zstd")
        pq.write_table(found, shard.path / f"{family.name}.spans.parquet", compression="zstd")
        shard.done(table.num_rows, digest(table_root(table), table_root(found)))
