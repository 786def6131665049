"""JSON lines in, `RawRow | Bad` out, one per line that is not blank.

Lines end at `\\n` only (texts hold U+2028 and U+0085). A line longer than the limit is skipped as it streams by. Holds orjson.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from curate.sources.formats import Asked
from curate.sources.records import Bad, RawRow, Refused
from curate.sources.stream import Blocks

BLANK = b" \t\r\v\f"


class Line(NamedTuple):
    """One line; `data` is None where it is longer than the limit; `is_ended` is False for a last line without its newline."""

    byte_offset: int
    data: bytes | None
    n_bytes: int
    is_ended: bool


def read_jsonl(path: Path, asked: Asked) -> Iterator[RawRow | Bad]:
    """The records of one file. `asked.limit`: bytes of a line. A compressed file that ends early gives one last Bad."""
    blocks = Blocks(path)
    for line in _lines(blocks, asked.limit):
        if line.data is None:
            yield Bad(path.name, line.byte_offset, "too_large", f"a line of {line.n_bytes} bytes", line.n_bytes)
        elif data := (line.data if line.byte_offset else line.data.removeprefix(codecs.BOM_UTF8)).strip(BLANK):
            try:
                yield RawRow(_parse(data, line.is_ended), line.byte_offset, line.n_bytes)
            except Refused as refused:
                yield Bad(path.name, line.byte_offset, refused.cause, refused.detail, line.n_bytes)
    if blocks.problem:
        yield Bad(path.name, blocks.settled, *blocks.problem, blocks.lost_bytes())


def _lines(blocks: Blocks, limit: int) -> Iterator[Line]:
    start = 0
    held: list[bytes] = []  # pieces of the line that goes on in the next block, while it is within the limit
    n_held = 0
    for block in blocks:
        *ended, rest = block.split(b"\n") if b"\n" in block else [block]  # split would copy it
        for piece in ended:
            n = n_held + len(piece)
            data = None if n > limit else b"".join([*held, piece]) if held else piece
            if n_held:
                held, n_held = [], 0
            yield Line(start, data, n, True)
            start += n + 1
            blocks.settled = start
        n_held += len(rest)
        if n_held > limit:
            held = []
        elif rest:
            held.append(rest)
    if n_held and not blocks.problem:
        yield Line(start, None if n_held > limit else b"".join(held), n_held, False)


def _parse(data: bytes, is_ended: bool) -> dict[str, Any]:
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        value = _parse_slowly(data, is_ended, str(error))
    if not isinstance(value, dict):
        raise Refused("not_an_object", f"a {type(value).__name__}")
    return value


def _parse_slowly(data: bytes, is_ended: bool, said: str) -> Any:
    """The standard library takes what orjson refuses but a record may hold where nobody looks: NaN, half a surrogate pair."""
    try:
        return json.loads(data.decode())
    except UnicodeDecodeError as error:
        raise Refused("invalid_utf8", f"byte {data[error.start]:#04x} at byte {error.start} of the line") from None
    except (ValueError, RecursionError):
        is_cut = not is_ended and data.startswith(b"{") and not data.endswith(b"}")
        raise Refused("truncated" if is_cut else "broken_json", said) from None
