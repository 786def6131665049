"""What every reader yields: a `Record`, or a `Bad` row for quarantine with one of the causes below.

`RawRow` is a record before its fields are mapped. Imports nothing of ours.
"""

from __future__ import annotations

from typing import Any, NamedTuple

# cause -> what it means. One bad record is one row; its neighbours are read.
CAUSES = {
    "unreadable": "the file, or a part of it, cannot be opened or decoded; lost_bytes as stored, of a Parquet row group unpacked",
    "truncated": "the file ends in the middle of a compressed stream, a Parquet footer or a JSON line; lost_bytes as stored",
    "invalid_utf8": "bytes that are not UTF-8",
    "broken_json": "a line that is not JSON",
    "not_an_object": "a line of JSON that is no object, such as a list or a number",
    "too_large": "longer than limits.document_bytes: the line of JSON, the file, or the text itself",
    "missing_text": "no text (or no messages), or null",
    "text_not_string": "the text, or a message, is of another type",
    "lone_surrogate": "half of a surrogate pair (\\ud800..\\udfff): not encodable as UTF-8",
    "nul_character": "U+0000 in a mapped field; in source trees the mark of a binary file",
    "empty_text": "nothing but white space",
}


class Record(NamedTuple):
    """One good record: mapped fields (see fields.COLUMNS), the file it came from, its offset in the decompressed stream."""

    fields: dict[str, Any]
    file: str
    byte_offset: int  # -1: unknown (Parquet)


class Bad(NamedTuple):
    """One quarantine row. `lost_bytes`: of the decompressed stream, or of the stored file for `truncated` and `unreadable`."""

    file: str
    byte_offset: int
    cause: str
    detail: str
    lost_bytes: int


class RawRow(NamedTuple):
    """One parsed record before mapping; `n_bytes` is its size in the stream (Parquet: characters of the string columns read)."""

    values: dict[str, Any]
    byte_offset: int
    n_bytes: int


class Refused(Exception):
    """A record that cannot become a document: carries the cause and a detail for its quarantine row."""

    def __init__(self, cause: str, detail: str) -> None:
        super().__init__(cause, detail)
        self.cause, self.detail = cause, detail
