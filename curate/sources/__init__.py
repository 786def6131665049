"""Raw files in, records out: `read` is the one way in for every format and compression.

`check_source` finds a wrong field mapping before the work. Imports errors and recipe.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from curate.errors import CurateError, nearest
from curate.recipe import Limits, Source
from curate.sources.beside import InArchive, follows, parts_of, wants_beside
from curate.sources.fields import check_fields, columns_read, needed_fields, pick
from curate.sources.formats import ARCHIVE, FORMATS, Asked, reader
from curate.sources.lanes import BESIDE, FILE, NAMED, PARTS, lane_of, records_of
from curate.sources.lanes.instruction_text import grouped_questions
from curate.sources.licences import settle
from curate.sources.listing import RawFile, format_of, list_files
from curate.sources.parquet import column_names
from curate.sources.pieces import Piece, piece_rows
from curate.sources.readers.grouping import grouped
from curate.sources.records import CAUSES, Bad, RawRow, Record, Refused

__all__ = ["CAUSES", "Bad", "RawFile", "Record", "check_source", "list_files", "raw_rows", "read"]

LOOKED_AT = 10_000  # records of the first file searched for a mapped field before it is called missing


def read(
    path: Path,
    source: Source,
    limits: Limits,
    name: str = "",
    beside: str = "",
    piece: Piece | None = None,
    scratch: Path | None = None,
) -> Iterator[Record | Bad]:
    """Every record of one file, mapped to document columns, and one `Bad` for whatever could not be read.

    `name`, `beside`: of the RawFile; `piece`: only this part of it; `scratch`: folder for what grouping cannot hold. Nothing is repaired
    yet. At most about `limits.document_bytes` of one record is held. Never raises for what a file contains.
    """
    fields, kind = lane_of(source, limits.document_bytes), format_of(path, source)
    of_file: dict[str, Any] = {}
    if source.type in NAMED and FORMATS[kind].is_one:
        own, parts = parts_of(path, name, beside)
        of_file = {FILE: name or path.name, BESIDE: own, PARTS: parts}
    inside = (
        InArchive(path, source, limits.document_bytes)
        if kind == ARCHIVE and (wants_beside(source) or follows(source, True))
        else None
    )
    rows = raw_rows(path, kind, limits.document_bytes, columns_read(source), source, name, piece)
    if source.group is not None:
        by_group = grouped_questions if source.type == "instruction_text" else grouped
        rows = by_group(path, rows, source, limits.document_bytes, scratch)
    own_name, license_, records = path.name, source.license, records_of(source)
    for row in rows:
        if isinstance(row, Bad):
            yield row
            continue
        if of_file:
            for key, value in of_file.items():
                row.values.setdefault(key, value)
        if inside is not None and FILE in row.values:
            if inside.is_part(row.values[FILE]):
                continue
            inside.fill(row.values)
        several = records(row.values)
        for values in several:
            try:
                yield Record(settle(fields(values), license_), row.file or own_name, row.byte_offset)
            except Refused as refused:
                yield Bad(row.file or own_name, row.byte_offset, refused.cause, refused.detail, row.n_bytes // len(several))


def raw_rows(
    path: Path,
    kind: str,
    limit: int,
    columns: set[str] | None = None,
    source: Source | None = None,
    name: str = "",
    piece: Piece | None = None,
) -> Iterator[RawRow | Bad]:
    """Records before mapping. `kind`: of FORMATS; `columns` spares Parquet the others; `source`: how it says its files are read;
    `name`: of the file in it; `piece`: only this part of the file."""
    asked = Asked(limit, columns, source, name)
    return reader(kind)(path, asked) if piece is None else piece_rows(path, kind, asked, piece)


def check_source(source: Source, files: Iterable[RawFile], limits: Limits) -> None:
    """The fields a document needs stand in the first file that has records. Raises CurateError naming what stands there."""
    check_fields(source)
    for file in files:
        if FORMATS[file.format].is_one or file.size < 0:
            continue
        missing = _missing(source, file, limits)
        if missing is None:
            continue
        if missing:
            seen = column_names(file.path) if file.format == "parquet" else _keys_of(file, source, limits)
            raise _wrong_mapping(source, file, missing, seen)
        return


def _missing(source: Source, file: RawFile, limits: Limits) -> dict[str, tuple[str, ...]] | None:
    """target -> fields of which not one has a value in the first records; None for a file without any record."""
    needed = needed_fields(source)
    n = 0
    rows = raw_rows(file.path, file.format, limits.document_bytes, columns_read(source), source)
    for row in itertools.islice(rows, LOOKED_AT):
        if isinstance(row, RawRow):
            n += 1
            needed = {
                target: tried for target, tried in needed.items()
                if pick(row.values, tried) is None and not any(name in row.values for name in tried)  # null here, maybe not later
            }  # fmt: skip
            if not needed:
                return {}
    return needed if n else None


def _keys_of(file: RawFile, source: Source, limits: Limits) -> list[str]:
    keys: dict[str, None] = {}
    for row in itertools.islice(raw_rows(file.path, file.format, limits.document_bytes, None, source), 100):
        if isinstance(row, RawRow):
            keys.update(dict.fromkeys(row.values))
    return list(keys)


def _wrong_mapping(source: Source, file: RawFile, missing: dict[str, tuple[str, ...]], seen: list[str]) -> CurateError:
    target, tried = next(iter(missing.items()))
    close = nearest(tried[0], seen)
    key = "license.from_field" if target == "license" else f"fields.{target}"
    return CurateError(
        f"no record of the first file has {' or '.join(repr(t) for t in tried)}", where=f"sources.{source.name}.{key}",
        found=f"{file.name} has {', '.join(seen) or 'no fields'}",
        next=f"did you mean {close[0]!r}?" if close else f"curate inspect-source {file.path}",
    )  # fmt: skip
