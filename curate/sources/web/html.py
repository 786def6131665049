"""An HTML file in, one `RawRow` {html: bytes} (or one `Bad`) out: a file is a page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from curate.sources.formats import Asked
from curate.sources.records import Bad, RawRow
from curate.sources.stream import Blocks


def whole(path: Path, limit: int) -> bytes | Bad:
    """The unpacked bytes of one file, or why it cannot be had: damaged, or of more than `limit` bytes."""
    blocks, n = Blocks(path), 0
    held: list[bytes] = []
    for block in blocks:
        n += len(block)
        if n <= limit:
            held.append(block)
        else:
            held.clear()
    if blocks.problem:
        return Bad(path.name, 0, *blocks.problem, blocks.lost_bytes())
    if n > limit:
        return Bad(path.name, 0, "too_large", f"a file of {n} bytes", n)
    return b"".join(held)


def read_html(path: Path, asked: Asked) -> Iterator[RawRow | Bad]:
    """The page as it lies there, at most `asked.limit` bytes; its encoding is the lane's business."""
    data = whole(path, asked.limit)
    yield data if isinstance(data, Bad) else RawRow({"html": data}, 0, len(data))
