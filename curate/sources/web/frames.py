"""A file in, its decompressed bytes out line by line and block by block; a damaged gzip member costs itself, not what follows.

Archives of the web are gzip files of one member per record, so the next member is the next record. Holds about what is asked for.
Imports stream.
"""

from __future__ import annotations

import contextlib
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from curate.sources.stream import FEED, HEAD_BYTES, Blocks, Member, compression_of

GZIP = b"\x1f\x8b\x08"
STARTS = (b"WARC/", b"http", b"filedesc", b"dns:")  # what a member begins with, after a damaged one
BLANK_BYTES = 1 << 16  # of blank lines looked past
MOST_TRIES = 100_000  # places that look like a gzip header tried after a damaged member
PEEK_BYTES = 1 << 20  # of a line that is only looked at
OVERLAP = 1 << 12  # bytes looked at again with the piece that follows: longer than what `take` is told to stop at


class Cut(Exception):
    """The stream breaks off here; what follows, if anything does, is read on. Offsets as in `Bad`."""

    def __init__(self, byte_offset: int, cause: str, detail: str, lost_bytes: int) -> None:
        super().__init__(cause, detail)
        self.byte_offset, self.cause, self.detail, self.lost_bytes = byte_offset, cause, detail, lost_bytes


class Block(NamedTuple):
    data: bytes | None  # None where more was to be passed over than held
    n: int  # bytes that were there
    is_stopped: bool = False  # before what it was told to stop at


class Break(NamedTuple):
    cause: str
    detail: str
    lost_bytes: int


class Frames:
    """The decompressed bytes of one file. `at`: offset of the next byte."""

    def __init__(self, path: Path | Member) -> None:
        self.at = 0
        self._pieces = _pieces(path)
        self._held = bytearray()
        self._from = 0  # of _held
        self._break: Break | None = None  # behind what is held
        self._is_ended = False

    def _more(self, n: int) -> bool:
        """Is there as much as `n` bytes before the end or a break?"""
        while len(self._held) - self._from < n and self._break is None and not self._is_ended:
            piece = next(self._pieces, None)
            if piece is None:
                self._is_ended = True
            elif isinstance(piece, Break):
                self._break = piece
            else:
                if self._from > 1 << 20:
                    del self._held[: self._from]
                    self._from = 0
                self._held += piece
        return len(self._held) - self._from >= n

    def _pop(self, n: int) -> bytes:
        data = bytes(self._held[self._from : self._from + n])
        self._from += len(data)
        self.at += len(data)
        return data

    def line(self, most: int) -> bytes:
        """The next line with its end, or `most` bytes of it; b"" at the end of the file. Raises Cut at a break."""
        if not self._more(1):
            if (broken := self.broken()) is not None:
                raise Cut(self.at, *broken)
            return b""
        return self._pop(self._line_length(most))

    def _line_length(self, most: int, skipped: int = 0) -> int:
        """Of the line that begins `skipped` bytes on, at most `most`."""
        looked = 0
        while True:
            end = self._held.find(b"\n", self._from + skipped + looked)
            if end >= 0:
                return min(end + 1 - self._from - skipped, most)
            looked = len(self._held) - self._from - skipped
            if looked >= most or not self._more(skipped + looked + 1):
                return min(looked, most)

    def peek(self, n: int) -> bytes:
        """The next `n` bytes or as many as there are; they stay to be read."""
        self._more(n)
        return bytes(self._held[self._from : self._from + n])

    def peek_line(self) -> bytes | None:
        """The next line that is not blank; everything stays to be read. None at the end and before a break; b"" behind many blank lines."""
        skipped = 0
        while self._more(skipped + 1):
            if skipped > BLANK_BYTES:
                return b""
            n = self._line_length(PEEK_BYTES, skipped)
            line = bytes(self._held[self._from + skipped : self._from + skipped + n])
            if line.strip():
                return line
            skipped += n
        return None

    def skip_blank(self) -> None:
        """Go on to a line that is not blank."""
        while self._more(1) and not self._held[self._from : self._from + (n := self._line_length(PEEK_BYTES))].strip():
            self._pop(n)

    def take(self, n: int, hold: int, stop: re.Pattern[bytes]) -> Block:
        """The next `n` bytes, or as many as there are. Held whole if `hold` >= n; else passed over in pieces, up to where `stop` begins."""
        if hold >= n:
            self._more(n)
            data = self._pop(n)
            return Block(data, len(data))
        left = n
        while left and (self._more(OVERLAP + 1) or self._more(1)):
            there = len(self._held) - self._from
            found = stop.search(self._held, self._from)
            if found and found.start() < self._from + left:
                left -= len(self._pop(found.start() - self._from))
                return Block(None, n - left, True)
            left -= len(self._pop(min(left, there - OVERLAP if there > OVERLAP else there)))
        return Block(None, n - left)

    def give_back(self, data: bytes) -> None:
        """`data` is the end of what was taken last; it is read again."""
        self._held = bytearray(data) + self._held[self._from :]
        self._from = 0
        self.at -= len(data)

    @property
    def is_broken(self) -> bool:
        """Did a break end what was taken last?"""
        return self._break is not None and len(self._held) == self._from

    def broken(self) -> Break | None:
        """The break that ended what was taken last, if one did."""
        found = self._break if self.is_broken else None
        self._break = None if found else self._break
        return found


def _pieces(path: Path | Member) -> Iterator[bytes | Break]:
    if isinstance(path, Path) and _is_gzip(path):  # in an archive there is no going back to a member's start
        yield from _members(path)
        return
    blocks = Blocks(path)
    n = 0
    for block in blocks:
        n += len(block)
        blocks.settled = n
        yield block
    if blocks.problem:
        yield Break(*blocks.problem, blocks.lost_bytes())


def _is_gzip(path: Path) -> bool:
    with contextlib.suppress(OSError), open(path, "rb") as file:
        return compression_of(file.read(HEAD_BYTES)) == "gzip"
    return False


def _members(path: Path) -> Iterator[bytes | Break]:
    """Member by member. After a damaged one the next begins at a gzip header whose content begins like a record."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        start = 0
        while start < size:
            file.seek(start)
            decoder, at, problem = zlib.decompressobj(wbits=31), start, ""
            while not decoder.eof and not problem:
                fed = file.read(FEED["gzip"])
                at += len(fed)
                try:
                    if out := decoder.decompress(fed):
                        yield out
                except zlib.error as error:
                    problem = f"is damaged ({error})"
                if not fed and not decoder.eof:
                    problem = "ends early"
            if not problem:
                start = _after_padding(file, at - len(decoder.unused_data))
                continue
            after = _next_member(file, start + 1, size)
            cause = "truncated" if problem == "ends early" and after == size else "unreadable"
            yield Break(cause, f"the gzip member at stored byte {start} {problem}", after - start)
            start = after


def _after_padding(file: BinaryIO, start: int) -> int:
    """Zeros between members are padding."""
    file.seek(start)
    while data := file.read(1 << 16):
        if rest := data.lstrip(b"\0"):
            return start + len(data) - len(rest)
        start += len(data)
    return start


def _next_member(file: BinaryIO, start: int, size: int) -> int:
    """Offset of the next member from `start` on that holds a record; `size` if there is none."""
    for _ in range(MOST_TRIES):
        start = _find(file, start)
        if start < 0:
            break
        file.seek(start)
        with contextlib.suppress(zlib.error):
            if zlib.decompressobj(wbits=31).decompress(file.read(1 << 12), 64).startswith(STARTS):
                return start
        start += 1
    return size


def _find(file: BinaryIO, start: int) -> int:
    """Offset of the next gzip header from `start` on; -1 if there is none."""
    file.seek(start)
    kept = b""
    while data := file.read(1 << 16):
        found = (kept + data).find(GZIP)
        if found >= 0:
            return start - len(kept) + found
        start += len(data)
        kept = data[-2:]
    return -1
