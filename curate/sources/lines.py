"""The blocks of a file in, its lines out: they end at `\\n` only (texts hold U+2028 and U+0085). Imports stream."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from curate.sources.stream import Blocks

RUN_BYTES = 1 << 18  # of a `Run`


class Line(NamedTuple):
    """One line; `data` is None where it is longer than the limit; `is_ended` is False for a last line without its newline."""

    byte_offset: int
    data: bytes | None
    n_bytes: int
    is_ended: bool


class Run(NamedTuple):
    """Neighbouring lines that lie in one block, each with its `\\n`."""

    byte_offset: int
    data: bytes


def runs(blocks: Blocks, limit: int) -> Iterator[Line | Run]:
    """The same lines as those of `lines`, with those that lie whole in a block together, about RUN_BYTES at a time."""
    start = 0
    held: list[bytes] = []
    n_held = 0
    for block in blocks:
        at = block.find(b"\n") + 1
        if not at:
            at = 0
        elif n_held:  # the end of a line that began before
            n = n_held + at - 1
            yield Line(start, None if n > limit else b"".join([*held, block[: at - 1]]), n, True)
            start, held, n_held = start + n + 1, [], 0
        else:
            at = 0
        last = block.rfind(b"\n") + 1
        while at < last:
            end = last if last - at <= RUN_BYTES else block.rfind(b"\n", at, at + RUN_BYTES) + 1 or block.index(b"\n", at) + 1
            yield Run(start, block[at:end])
            start, at = start + end - at, end
        n_held += len(block) - at
        if n_held > limit:
            held = []
        elif at < len(block):
            held.append(block[at:])
    if n_held and not blocks.problem:
        yield Line(start, None if n_held > limit else b"".join(held), n_held, False)


def lines(blocks: Blocks, limit: int, settles: bool = True) -> Iterator[Line]:
    """Every line of at most `limit` bytes; a longer one is skipped as it streams by. `settles`: a line read is a record made."""
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
            if settles:
                blocks.settled = start
        n_held += len(rest)
        if n_held > limit:
            held = []
        elif rest:
            held.append(rest)
    if n_held and not blocks.problem:
        yield Line(start, None if n_held > limit else b"".join(held), n_held, False)
