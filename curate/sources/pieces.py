"""One huge file in, the pieces out that workers read side by side: together the same records, offsets and quarantine as the whole file.

Lines: ranges of bytes that end where a line ends, known by their own content and place, so that a file which only grew is read again
from its last piece on. Parquet: runs of row groups, known by the content of the whole file. Imports formats, parquet, stream.
"""

from __future__ import annotations

import codecs
import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from curate.sources.formats import Asked, reader
from curate.sources.parquet import group_bytes
from curate.sources.records import Bad, RawRow
from curate.sources.stream import HEAD_BYTES, Expansion, Member, compression_of, strip_compression

SPLIT_BYTES = 128 << 20  # of a piece, stored or (Parquet) unpacked: about one part of a run (ingest.PART_TEXT_BYTES)
BLOCK_BYTES = 4 << 20
LINES = ("jsonl",)  # formats whose records are lines, each read without a look at its neighbours


class Piece(NamedTuple):
    """Part [start, end) of a file, in bytes or in row groups. `content`: hash that decides its records, with `start`."""

    start: int
    end: int
    n_bytes: int
    content: str


class Hashed(NamedTuple):
    """sha256 of a file, and its pieces; none where it is read in one go."""

    sha256: str
    pieces: tuple[Piece, ...] = ()


def may_split(kind: str, size: int) -> bool:
    """Whether a file of this format and so many stored bytes can have pieces (Parquet may unpack to several times its size)."""
    return (kind in LINES and size >= SPLIT_BYTES) or (kind == "parquet" and size >= SPLIT_BYTES // 8)


def hashed(path: Path, kind: str, size: int) -> Hashed:
    """The sha256 of a file and where it is cut, in one pass."""
    with open(path, "rb") as file:
        if not may_split(kind, size) or (kind in LINES and not _is_plain(path, file)):
            return Hashed(hashlib.file_digest(file, "sha256").hexdigest())
        if kind in LINES:
            return _lines(file)
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    pieces = tuple(Piece(*cut, sha256) for cut in _row_groups(path, size))
    return Hashed(sha256, pieces if len(pieces) > 1 else ())


def piece_rows(path: Path, kind: str, asked: Asked, piece: Piece) -> Iterator[RawRow | Bad]:
    """What the reader of the whole file yields for this piece."""
    if kind not in LINES:
        yield from reader(kind)(path, asked._replace(groups=range(piece.start, piece.end)))
        return
    part: Any = Member(path.name, piece.n_bytes, lambda: io.BufferedReader(_Range(path, piece)), Expansion())
    for row in reader(kind)(part, asked):
        yield row._replace(byte_offset=row.byte_offset + piece.start) if row.byte_offset >= 0 else row


class _Range(io.RawIOBase):
    """The bytes of one piece of a file."""

    def __init__(self, path: Path, piece: Piece) -> None:
        self._file, self._left = open(path, "rb"), piece.n_bytes
        self._file.seek(piece.start)

    def close(self) -> None:
        self._file.close()
        super().close()

    def readable(self) -> bool:
        return True

    def readinto(self, into: Any) -> int:
        n = self._file.readinto(memoryview(into)[: self._left])
        self._left -= n
        return int(n)


def _is_plain(path: Path, file: BinaryIO) -> bool:
    head = file.read(HEAD_BYTES)
    file.seek(0)
    return strip_compression(path.name) == path.name and compression_of(head) == "plain"


def _lines(file: BinaryIO) -> Hashed:
    """Cut behind the first line that ends at or past each multiple of SPLIT_BYTES, whatever follows, so that growth moves no cut."""
    whole, own = hashlib.sha256(), hashlib.sha256()
    pieces: list[Piece] = []
    start = at = 0  # of the piece, of the block
    while block := file.read(BLOCK_BYTES):
        whole.update(block)
        begin = 0
        look = max((start // SPLIT_BYTES + 1) * SPLIT_BYTES - 1 - at, 0)  # the newline may stand here first
        while (found := block.find(b"\n", look)) >= 0:
            end, look = found + 1, found + 1
            if not _may_begin(file, at + end, block[end : end + HEAD_BYTES]):
                continue
            own.update(memoryview(block)[begin:end])
            pieces.append(Piece(start, at + end, at + end - start, own.hexdigest()))
            start, begin, own = at + end, end, hashlib.sha256()
            look = max((start // SPLIT_BYTES + 1) * SPLIT_BYTES - 1 - at, end)
        own.update(memoryview(block)[begin:])
        at += len(block)
    if at > start:
        pieces.append(Piece(start, at, at - start, own.hexdigest()))
    return Hashed(whole.hexdigest(), tuple(pieces))


def _may_begin(file: BinaryIO, at: int, head: bytes) -> bool:
    """A reader takes the first bytes of a file for a byte order mark or a compression, which they are not amid the lines."""
    if len(head) < HEAD_BYTES:
        here = file.tell()
        file.seek(at)
        head = file.read(HEAD_BYTES)
        file.seek(here)
    return not head.startswith(codecs.BOM_UTF8) and compression_of(head) == "plain"


def _row_groups(path: Path, size: int) -> Iterator[tuple[int, int, int]]:
    """(first row group, past the last, about how many stored bytes) of runs that unpack to SPLIT_BYTES or more."""
    start, unpacked = 0, 0
    sizes = group_bytes(path)
    for i, n_bytes in enumerate(sizes):
        unpacked += n_bytes
        if unpacked >= SPLIT_BYTES or i == len(sizes) - 1:
            yield start, i + 1, size * unpacked // max(sum(sizes), 1)
            start, unpacked = i + 1, 0
