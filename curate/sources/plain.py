"""A text file in, one `RawRow` with the key `text` (or one `Bad`) out: for `format: text` and for the files of a source tree."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from pathlib import Path

from curate.sources.formats import Asked
from curate.sources.records import Bad, RawRow
from curate.sources.stream import Blocks


def read_plain(path: Path, asked: Asked) -> Iterator[RawRow | Bad]:
    """The whole file is one document of at most `asked.limit` bytes; a byte order mark is no part of it, line ends stay."""
    blocks, limit = Blocks(path), asked.limit
    held: list[bytes] = []
    n = 0
    for block in blocks:
        n += len(block)
        if n <= limit:
            held.append(block)
        else:
            held = []
    if blocks.problem:
        yield Bad(path.name, 0, *blocks.problem, blocks.lost_bytes())
        return
    if n > limit:
        yield Bad(path.name, 0, "too_large", f"a file of {n} bytes", n)
        return
    data = b"".join(held)
    if b"\0" in data:
        yield Bad(path.name, 0, "nul_character", f"U+0000 at byte {data.index(0)}: a binary file?", n)
        return
    try:
        yield RawRow({"text": data.removeprefix(codecs.BOM_UTF8).decode()}, 0, n)
    except UnicodeDecodeError as error:
        yield Bad(path.name, 0, "invalid_utf8", f"byte {error.object[error.start]:#04x} at byte {error.start}", n)
