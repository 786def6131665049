"""A Parquet file in, `RawRow | Bad` out, row group by row group; only the columns asked for are read.

Parquet does not check UTF-8, so it is checked here. Numbers, times and nested values come out as plain Python.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curate.sources.formats import Asked
from curate.sources.records import Bad, RawRow
from curate.sources.stream import Member, held

BATCH_BYTES = 8 << 20  # a guess: large enough to pay for a batch, small beside memory_per_worker
MAX_BATCH_ROWS = 1024
HELD_BYTES = 256 << 20  # of a Parquet file inside an archive, which must be read from its end (a guess)
DAMAGE = (pa.ArrowException, OSError, ValueError)  # what pyarrow raises over damaged bytes


def column_names(path: Path) -> list[str]:
    """Top-level columns, empty where the file has no readable footer."""
    try:
        return list(pq.read_schema(path).names)
    except DAMAGE:
        return []


def n_rows(path: Path) -> int:
    """Rows by the footer; 0 where there is none."""
    try:
        return int(pq.read_metadata(path).num_rows)
    except DAMAGE:
        return 0


def group_bytes(path: Path) -> list[int]:
    """Bytes of each row group, unpacked; empty where there is no footer."""
    try:
        found = pq.read_metadata(path)
        return [max(found.row_group(i).total_byte_size, 0) for i in range(found.num_row_groups)]
    except DAMAGE:
        return []


def read_parquet(path: Path, asked: Asked) -> Iterator[RawRow | Bad]:
    """Rows as dicts of `asked.columns` (None: all). One Bad for a file without a footer, and one for each damaged row group."""
    columns = asked.columns
    source: Any = path
    try:
        size = path.stat().st_size
        if isinstance(path, Member):
            data = held(path, HELD_BYTES)
            if data is None:
                yield Bad(
                    path.name, -1, "too_large", f"a Parquet file of more than {HELD_BYTES} bytes in an archive: unpack it", size
                )
                return
            head, source = data[:4], pa.BufferReader(data)
        else:
            with open(path, "rb") as file:
                head = file.read(4)
    except OSError as error:
        yield Bad(path.name, -1, "unreadable", error.strerror or str(error), 0)
        return
    if head != b"PAR1":
        cause = "truncated" if len(head) < 4 and b"PAR1".startswith(head) else "unreadable"
        yield Bad(path.name, -1, cause, "the content is not Parquet", size)
        return
    try:
        file = pq.ParquetFile(source, buffer_size=1 << 20, pre_buffer=False)
    except DAMAGE as error:
        yield Bad(path.name, -1, "truncated", f"no readable footer: {first_line(error)}", size)
        return
    with file:
        names = file.schema_arrow.names
        wanted = [name for name in names if columns is None or name in columns] or names[:1]  # one at least: rows must be counted
        first_row = 0
        for group in range(file.num_row_groups):
            meta = file.metadata.row_group(group)
            if asked.groups is None or group in asked.groups:
                yield from _read_group(path, file, group, wanted, first_row)
            first_row += meta.num_rows


def _read_group(path: Path, file: pq.ParquetFile, group: int, wanted: list[str], first_row: int) -> Iterator[RawRow | Bad]:
    meta = file.metadata.row_group(group)
    per_row = max(meta.total_byte_size // max(meta.num_rows, 1), 1)
    batch_rows = min(max(BATCH_BYTES // per_row, 1), MAX_BATCH_ROWS)
    row = first_row
    batches = file.iter_batches(batch_size=batch_rows, row_groups=[group], columns=wanted)
    while True:
        try:
            batch = next(batches)
        except StopIteration:
            return
        except DAMAGE as error:
            lost = max(meta.total_byte_size, 0)  # not from the columns' metadata: pyarrow 26 aborts on some damaged ones
            yield Bad(path.name, -1, "unreadable", f"row group {group} from row {row} on: {first_line(error)}", lost)
            return
        yield from rows_of(path, plain_types(batch), row)
        row += batch.num_rows


def plain_types(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Nanoseconds become microseconds, which Python's datetime can hold."""
    for i, field in enumerate(batch.schema):
        if pa.types.is_timestamp(field.type) and field.type.unit == "ns":
            batch = batch.set_column(i, field.name, batch.column(i).cast(pa.timestamp("us", field.type.tz), safe=False))
    return batch


def rows_of(path: Path, batch: pa.RecordBatch, first_row: int) -> Iterator[RawRow | Bad]:
    """The rows of a batch; one that is not UTF-8 is a Bad."""
    try:
        rows: list[dict[str, Any] | None] = batch.to_pylist()
    except UnicodeDecodeError:  # one at a time, so that only the bad rows are lost
        rows = [_row_or_none(batch, i) for i in range(batch.num_rows)]
    for i, values in enumerate(rows):
        if values is None:
            yield Bad(path.name, -1, "invalid_utf8", f"row {first_row + i}", 0)
            continue
        n = 0
        for value in values.values():
            if type(value) is str or type(value) is bytes:
                n += len(value)
        yield RawRow(values, -1, n)


def _row_or_none(batch: pa.RecordBatch, i: int) -> dict[str, Any] | None:
    try:
        return {name: batch.column(name)[i].as_py() for name in batch.schema.names}
    except UnicodeDecodeError:
        return None


def first_line(error: BaseException) -> str:
    """What an error of pyarrow says, without its traceback."""
    return (str(error).splitlines() or [type(error).__name__])[0]
