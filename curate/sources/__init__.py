"""Raw files in, records out: `read` is the one way in for every format and compression.

`check_source` finds a wrong field mapping before the work. Imports errors and recipe.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path

from curate.errors import CurateError, nearest
from curate.recipe import Limits, Source
from curate.sources.fields import PROMPT, check_fields, columns_read, field_names, pick
from curate.sources.formats import FORMATS, Asked, reader
from curate.sources.lanes import lane_of
from curate.sources.licences import settle
from curate.sources.listing import RawFile, format_of, list_files
from curate.sources.parquet import column_names
from curate.sources.records import CAUSES, Bad, RawRow, Record, Refused

__all__ = ["CAUSES", "Bad", "RawFile", "Record", "check_source", "list_files", "raw_rows", "read"]

LOOKED_AT = 10_000  # records of the first file searched for a mapped field before it is called missing


def read(path: Path, source: Source, limits: Limits) -> Iterator[Record | Bad]:
    """Every record of one file, mapped to document columns, and one `Bad` for whatever could not be read.

    Nothing is repaired yet. At most about `limits.document_bytes` of one record is held. Never raises for what a file contains.
    """
    fields = lane_of(source, limits.document_bytes)
    for row in raw_rows(path, format_of(path, source), limits.document_bytes, columns_read(source), source):
        if isinstance(row, Bad):
            yield row
            continue
        try:
            yield Record(settle(fields(row.values), source.license), path.name, row.byte_offset)
        except Refused as refused:
            yield Bad(path.name, row.byte_offset, refused.cause, refused.detail, row.n_bytes)


def raw_rows(
    path: Path, kind: str, limit: int, columns: set[str] | None = None, source: Source | None = None
) -> Iterator[RawRow | Bad]:
    """Records before mapping. `kind`: of FORMATS; `columns` spares Parquet the others; `source`: how it says its files are read."""
    return reader(kind)(path, Asked(limit, columns, source))


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
    names = field_names(source)
    needed = {t: names[t] for t in ("text", "messages", *PROMPT, "source_id", "license") if t in names}
    for target in ("source_id",):  # nothing is amiss where a default finds no id
        if target not in source.fields:
            needed.pop(target, None)
    needed.pop("input", None)  # often empty
    n = 0
    rows = raw_rows(file.path, file.format, limits.document_bytes, columns_read(source), source)
    for row in itertools.islice(rows, LOOKED_AT):
        if isinstance(row, RawRow):
            n += 1
            needed = {target: tried for target, tried in needed.items() if pick(row.values, tried) is None}
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
