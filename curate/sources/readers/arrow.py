"""An Arrow IPC file (Feather) or stream in, `RawRow | Bad` out, record batch by record batch.

The file form is read by its footer, so that a damaged batch costs itself only; packed, without a footer or inside an archive it is
read as the stream it holds. Every batch is validated before it is looked at. Imports parquet, stream.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from curate.sources.formats import Asked
from curate.sources.parquet import DAMAGE, MAX_BATCH_ROWS, first_line, plain_types, rows_of
from curate.sources.records import Bad, RawRow
from curate.sources.stream import HEAD_BYTES, Stream, compression_of

FILE_MAGIC = b"ARROW1"
SLICE_BYTES = 8 << 20  # of a batch turned into Python objects at a time; a guess, as in parquet.py


def column_names(path: Path) -> list[str]:
    """Top-level columns, empty where the schema cannot be read."""
    try:
        source = Stream(path)
        _skip_magic(source)
        return list(pa.ipc.open_stream(pa.PythonFile(source, "r")).schema.names)
    except DAMAGE:
        return []


def read_arrow(path: Path, asked: Asked) -> Iterator[RawRow | Bad]:
    """Rows as dicts of `asked.columns` (None: all). One Bad for each damaged batch, or for what follows damage in a stream."""
    if isinstance(path, Path) and _head(path).startswith(FILE_MAGIC):
        try:
            memory = pa.memory_map(str(path))
            reader = pa.ipc.open_file(memory)
        except DAMAGE:  # no footer: cut off
            yield from _stream(path, asked)
            return
        with memory, reader:
            yield from _file(path, reader, asked)
        return
    yield from _stream(path, asked)


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(HEAD_BYTES)
    except OSError:
        return b""


def _file(path: Path, reader: Any, asked: Asked) -> Iterator[RawRow | Bad]:
    row = 0
    per_batch = path.stat().st_size // max(reader.num_record_batches, 1)
    for i in range(reader.num_record_batches):
        try:
            batch = reader.get_batch(i)
            _validate(batch)
        except DAMAGE as error:
            yield Bad(path.name, -1, "unreadable", f"batch {i} after row {row}: {first_line(error)}", per_batch)
            continue
        yield from _batch(path, batch, row, asked)
        row += batch.num_rows


def _stream(path: Path, asked: Asked) -> Iterator[RawRow | Bad]:
    source = Stream(path)
    row, settled = 0, 0
    problem = None
    try:
        _skip_magic(source)
        with pa.ipc.open_stream(pa.PythonFile(source, "r")) as reader:
            while True:
                batch = reader.read_next_batch()
                _validate(batch)
                settled = source.n_read
                yield from _batch(path, batch, row, asked)
                row += batch.num_rows
    except StopIteration:
        pass
    except DAMAGE as error:
        problem = ("unreadable", f"after row {row}: {first_line(error)}")
    source.blocks.settled = settled
    if found := source.blocks.problem or problem:
        is_cut = not source.blocks.problem and not source.read(1)
        yield Bad(path.name, -1, "truncated" if is_cut else found[0], found[1], source.blocks.lost_bytes())


def _validate(batch: pa.RecordBatch) -> None:
    """Raises where a column's offsets point outside of it, which pyarrow follows blindly; text that is not UTF-8 is left to its rows."""
    for column in batch.columns:
        try:
            column.validate(full=True)
        except pa.ArrowInvalid as error:
            if "UTF8" not in str(error) or pa.types.is_nested(column.type) or pa.types.is_dictionary(column.type):
                raise


def _skip_magic(source: Stream) -> None:
    """The file form is `ARROW1` and two zeros, then the stream form."""
    head = source.read(8)
    if head != FILE_MAGIC + b"\0\0":
        source.unread(head)


def _batch(path: Path, batch: pa.RecordBatch, row: int, asked: Asked) -> Iterator[RawRow | Bad]:
    wanted = [name for name in batch.schema.names if asked.columns is None or name in asked.columns] or batch.schema.names[:1]
    batch = plain_types(batch.select(wanted))
    per_row = max(batch.nbytes // max(batch.num_rows, 1), 1)
    step = min(max(SLICE_BYTES // per_row, 1), MAX_BATCH_ROWS)
    for start in range(0, batch.num_rows, step):
        part = batch.slice(start, step)
        try:
            yield from rows_of(path, part, row + start)
        except DAMAGE as error:
            yield Bad(
                path.name,
                -1,
                "unreadable",
                f"rows {row + start} to {row + start + part.num_rows}: {first_line(error)}",
                part.nbytes,
            )


def is_arrow(head: bytes) -> bool:
    """Arrow's file form, or the mark of a stream's first message."""
    return head.startswith(FILE_MAGIC) or (head.startswith(b"\xff\xff\xff\xff") and compression_of(head) == "plain")
