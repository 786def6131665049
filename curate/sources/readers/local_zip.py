"""A zip file without its directory in, its members out as their own headers say, and their bytes as files. Imports stream.

A length that a header leaves to what follows the data (streamed zips), or that leads nowhere, is found by unpacking once.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from curate.sources.stream import FREE_BYTES, MAX_EXPANSION, Expansion

HEADER = struct.Struct("<4s5H3L2H")  # mark, version, flags, method, time, date, crc, stored, unpacked, lengths of name and extra
MARK, DESCRIPTOR = b"PK\x03\x04", b"PK\x07\x08"
BORDERS = (MARK, DESCRIPTOR, b"PK\x01\x02", b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x08")  # what may follow a member
DESCRIPTOR_BYTES = (16, 24, 12, 20)  # with its mark or without, with lengths of 4 or 8 bytes
STORED, DEFLATED = 0, 8
ENCRYPTED, LENGTHS_FOLLOW, UTF8 = 1, 8, 0x800
MAX_VERSION = 63  # of the format, as it is written (APPNOTE 6.3.10)
IN_64 = 0xFFFFFFFF
SCAN, FEED = 1 << 20, 1 << 14
CUT = "the archive ends inside this member"


class Local(NamedTuple):
    """A member by its own header, at byte `at`: data in [start, end), `after` it and what describes it. `n_bytes`: unpacked, as it says."""

    name: str
    at: int
    start: int
    end: int
    after: int
    n_bytes: int
    method: int
    flags: int
    crc: int
    is_cut: bool


def local_members(file: BinaryIO, size: int) -> Iterator[Local]:
    """Every header that makes sense, in the order of the file; what lies inside of a member is none."""
    at, unpacked = 0, Expansion()
    while (at := _find(file, at)) >= 0:
        if (local := _local(file, at, size, unpacked)) is None:
            at += len(MARK)
        else:
            yield local
            at = local.after


def _find(file: BinaryIO, at: int) -> int:
    """Where the next mark of a header stands; -1 for none."""
    file.seek(at)
    before = b""
    while block := file.read(SCAN):
        if (found := (before + block).find(MARK)) >= 0:
            return at - len(before) + found
        at += len(block)
        before = (before + block)[1 - len(MARK) :]
    return -1


def _local(file: BinaryIO, at: int, size: int, unpacked: Expansion) -> Local | None:
    file.seek(at)
    head = file.read(HEADER.size)
    if len(head) < HEADER.size:
        return None
    _, version, flags, method, _, _, crc, stored, n_bytes, n_name, n_extra = HEADER.unpack(head)
    rest = file.read(n_name + n_extra)
    if version & 0xFF > MAX_VERSION or not n_name or len(rest) < n_name + n_extra:
        return None
    name = rest[:n_name].decode("utf-8" if flags & UTF8 else "cp437", "replace")
    if stored == IN_64 or n_bytes == IN_64:
        n_bytes, stored = _in_64(rest[n_name:], n_bytes, stored)
    start = at + HEADER.size + len(rest)
    end, is_cut = start + stored, False
    if flags & LENGTHS_FOLLOW or not _is_border(file, end, size):
        if method != DEFLATED:
            is_cut = end > size
            end = size if is_cut else start  # a wrong length: what follows is looked at for headers
        else:
            end, is_cut = _deflated_end(file, start, unpacked)
    after = end
    if flags & LENGTHS_FOLLOW and not is_cut:
        file.seek(end)
        said = file.read(24).removeprefix(DESCRIPTOR)
        crc = int.from_bytes(said[:4], "little")
        after = next((end + n for n in DESCRIPTOR_BYTES if _is_border(file, end + n, size)), end)
    return Local(name, at, start, end, after, n_bytes, method, flags, crc, is_cut)


def _in_64(extra: bytes, n_bytes: int, stored: int) -> tuple[int, int]:
    """The lengths that stand in the extra field of kind 1."""
    while len(extra) >= 4:
        kind, n = struct.unpack_from("<2H", extra)
        if kind == 1 and n >= 16 and len(extra) >= 20:
            n_bytes, stored = struct.unpack_from("<2Q", extra, 4)
            break
        extra = extra[4 + n :]
    return n_bytes, stored


def _is_border(file: BinaryIO, at: int, size: int) -> bool:
    """Does something of a zip file begin here, or does the file end?"""
    if at >= size:
        return at == size
    file.seek(at)
    found = file.read(4)
    return any(mark.startswith(found) if len(found) < 4 else found == mark for mark in BORDERS)


def _deflated_end(file: BinaryIO, start: int, unpacked: Expansion) -> tuple[int, bool]:
    """Where a deflated stream ends, and whether it was cut off or damaged there."""
    decoder, at = zlib.decompressobj(-zlib.MAX_WBITS), start
    file.seek(start)
    while fed := file.read(FEED):
        at += len(fed)
        unpacked.n_in += len(fed)
        try:
            unpacked.n_out += len(decoder.decompress(fed))
        except zlib.error:
            return at, True
        if decoder.eof:
            return at - len(decoder.unused_data), False
        if unpacked.is_bomb:
            break
    return at, True


class LocalFile(io.RawIOBase):
    """The bytes of a member, whose damage is an OSError, and whose bytes are counted. A read gives less than asked at the end only."""

    def __init__(self, file: BinaryIO, local: Local, expansion: Expansion) -> None:
        if local.flags & ENCRYPTED or local.method not in (STORED, DEFLATED):
            raise OSError("encrypted" if local.flags & ENCRYPTED else f"compression method {local.method}")
        self.file, self.local, self.expansion = file, local, expansion
        self.at, self.crc, self.n_out = local.start, 0, 0
        self.decoder = zlib.decompressobj(-zlib.MAX_WBITS) if local.method == DEFLATED else None

    def read(self, n: int = -1) -> bytes:
        pieces: list[bytes] = []
        try:
            while n and (piece := self._next(min(n, SCAN) if n > 0 else SCAN)):
                pieces.append(piece)
                n -= len(piece) if n > 0 else 0
        except OSError:  # what is there comes first; the next read says it again
            if not pieces:
                raise
        return b"".join(pieces)

    def _next(self, n: int) -> bytes:
        """At most n bytes, at least one unless the member has ended."""
        data = b""
        while not data and not (self.decoder and self.decoder.eof):
            fed = self.decoder.unconsumed_tail if self.decoder else b""
            if not fed:
                self.file.seek(self.at)
                fed = self.file.read(min(FEED if self.decoder else n, self.local.end - self.at))
                self.at += len(fed)
            if not fed and self.decoder is None and not self.local.is_cut:
                break
            if not fed:
                raise OSError(CUT if self.local.is_cut else "it has fewer bytes than its compressed data goes on for")
            try:
                data = self.decoder.decompress(fed, n) if self.decoder else fed
            except zlib.error as error:
                raise OSError(str(error)) from None
        self.n_out += len(data)
        self.crc = zlib.crc32(data, self.crc)
        self.expansion.n_out += len(data)
        if self.expansion.is_bomb:
            raise OSError(f"unpacks to more than {MAX_EXPANSION} times its bytes, past {FREE_BYTES}")
        if not data and self.crc != self.local.crc:
            raise OSError("its bytes are not those that were packed (CRC-32)")
        return data
