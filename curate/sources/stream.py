"""A file in, its decompressed bytes out in blocks: plain, gzip, bzip2, xz (many members), zstd (many frames).

A damaged end is no exception: iteration stops and `problem` says what happened. Holds zstandard; imports nothing of ours.
"""

from __future__ import annotations

import bz2
import io
import lzma
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import zstandard

COMPRESSED_SUFFIXES = {
    ".gz": "gzip", ".gzip": "gzip", ".zst": "zstd", ".zstd": "zstd", ".bz2": "bzip2", ".bzip2": "bzip2", ".xz": "xz",
    ".tgz": "gzip", ".tzst": "zstd", ".tbz2": "bzip2", ".tbz": "bzip2", ".txz": "xz",
}  # fmt: skip
TAR_SUFFIXES = {suffix: ".tar" for suffix in (".tgz", ".tzst", ".tbz2", ".tbz", ".txz")}  # what is left when unpacked
MAGIC = {"gzip": b"\x1f\x8b", "zstd": b"\x28\xb5\x2f\xfd", "bzip2": b"BZh", "xz": b"\xfd7zXZ\0"}
BZIP2_BLOCKS = (b"1AY&SY", b"\x17rE8P\x90")  # after "BZh" and a digit: the mark of a block, or of an empty stream's end
HEAD_BYTES = 10  # that tell a compression

PLAIN_BLOCK = 1 << 18
# Compressed bytes fed at a time. They bound what one call can unpack: gzip expands at most 1032-fold (zlib's technical notes),
# a run of one byte in zstd 32 000-fold (1 GB of "a" was 32 787 bytes), so a monstrous line costs 32 MB at a time, not all of it.
# bzip2 and xz are told how much to give (OUT_BLOCK).
FEED = {"gzip": 1 << 14, "zstd": 1 << 10, "bzip2": 1 << 14, "xz": 1 << 14}
OUT_BLOCK = 1 << 20
GATHERED = (
    1 << 16
)  # unpacked bytes given on at once at least, for what a small feed makes costs a reader as much as a large block
XZ_MEMORY = 512 << 20  # xz -9 needs 65 MiB; a dictionary of 1.5 GiB is an attack, or a mistake
MARK_EVERY = 1 << 14  # stored bytes between two marks of `Blocks`: the grain of `lost_bytes`
# A bomb: more than so many times its stored bytes, past the first 4 GiB (guesses: our most compressible real file expands 40-fold).
MAX_EXPANSION, FREE_BYTES = 1000, 4 << 30
DAMAGE = (zlib.error, zstandard.ZstdError, lzma.LZMAError, OSError, EOFError)


def strip_compression(name: str) -> str:
    """`a.jsonl.gz` -> `a.jsonl`, `a.tgz` -> `a.tar`."""
    suffix = Path(name).suffix.lower()
    return name[: -len(suffix)] + TAR_SUFFIXES.get(suffix, "") if suffix in COMPRESSED_SUFFIXES else name


def compression_of(head: bytes) -> str:
    """`gzip`, `zstd`, `bzip2`, `xz` or `plain`, by the first HEAD_BYTES of the content."""
    if head.startswith(MAGIC["bzip2"]):  # three letters may begin a text too
        return "bzip2" if head[3:4] in b"123456789" and head[4:10] in BZIP2_BLOCKS else "plain"
    for kind in ("gzip", "zstd", "xz"):
        if head.startswith(MAGIC[kind]):
            return kind
    is_skippable = len(head) >= 4 and head[0] & 0xF0 == 0x50 and head[1:4] == b"\x2a\x4d\x18"
    return "zstd" if is_skippable else "plain"


class Expansion:
    """What was unpacked of what was stored; an archive and its members share one, so that many small bombs are one."""

    def __init__(self) -> None:
        self.n_in, self.n_out = 0, 0

    @property
    def is_bomb(self) -> bool:
        return self.n_out > FREE_BYTES + MAX_EXPANSION * self.n_in


class Member:
    """A file inside an archive. Answers what readers ask of a path: name, suffix, open, stat; it can be opened once in a tar file."""

    def __init__(self, name: str, size: int, opener: Callable[[], BinaryIO], expansion: Expansion) -> None:
        self.name, self.suffix = name, Path(name).suffix
        self.st_size, self.opener, self.expansion = size, opener, expansion
        self.with_name: Callable[[str], Member | None] = lambda name: None  # a member beside it, where the archive can tell

    def open(self, mode: str = "rb") -> BinaryIO:
        return self.opener()

    def stat(self) -> Member:
        return self


class Blocks:
    """Iterates over the decompressed blocks of one file (or `Member` of an archive).

    After the loop `problem` is None or (cause, detail). `settled` is set by the reader to the offset up to which the stream has
    become records; `lost_bytes()` counts the stored bytes behind it, from the last mark on (an upper bound by 16 KiB).
    """

    def __init__(self, path: Path | Member) -> None:
        self.path = path
        self.problem: tuple[str, str] | None = None
        self.settled = 0
        self.n_stored = 0  # bytes of the file read so far
        self._size = 0
        self._marks: deque[tuple[int, int]] = deque()  # (decompressed, stored) offsets
        self.expansion = path.expansion if isinstance(path, Member) else Expansion()

    def __iter__(self) -> Iterator[bytes]:
        try:
            self._size = self.path.stat().st_size
            with self.path.open("rb") as file:
                head = file.read(HEAD_BYTES)
                kind = compression_of(head)
                claimed = COMPRESSED_SUFFIXES.get(self.path.suffix.lower(), kind)
                if claimed != kind:
                    is_cut = len(head) < HEAD_BYTES and (MAGIC[claimed].startswith(head) or head.startswith(MAGIC[claimed]))
                    self.problem = ("truncated", "the file ends in its first bytes") if is_cut else (
                        "unreadable", f"the name says {claimed}, the content is not")  # fmt: skip
                    return
                yield from self._plain(file, head) if kind == "plain" else _gathered(self._unpack(file, head, kind))
        except OSError as error:
            self.problem = ("unreadable", error.strerror or str(error))

    def lost_bytes(self) -> int:
        """Stored bytes that did not become records, from the last mark before `settled` to the end of the file."""
        self._forget()
        return max(self._size - (self._marks[0][1] if self._marks else 0), 0)

    def _forget(self) -> None:
        while len(self._marks) > 1 and self._marks[1][0] <= self.settled:
            self._marks.popleft()

    def _plain(self, file: BinaryIO, head: bytes) -> Iterator[bytes]:
        while block := head + file.read(PLAIN_BLOCK - len(head)):
            head = b""
            self._marks.append((self.n_stored, self.n_stored))
            self._forget()
            self.n_stored += len(block)
            if not isinstance(self.path, Member):
                self.expansion.n_in += len(block)
            yield block

    def _unpack(self, file: BinaryIO, head: bytes, kind: str) -> Iterator[bytes]:
        decoder, n_out = _decoder(kind), 0
        try:
            while fed := head + file.read(FEED[kind] - len(head)):
                head = b""
                if not self._marks or self.n_stored - self._marks[-1][1] >= MARK_EVERY:
                    self._marks.append((n_out, self.n_stored))
                    self._forget()
                self.n_stored += len(fed)
                if not isinstance(self.path, Member):
                    self.expansion.n_in += len(fed)
                while fed:
                    if decoder.eof:  # the next member or frame; gzip and xz may be padded with zeros
                        fed = fed.lstrip(b"\0") if kind in ("gzip", "xz") else fed
                        if not fed:
                            break
                        decoder = _decoder(kind)
                    for block in _unpacked(decoder, fed, kind):
                        n_out += len(block)
                        self.expansion.n_out += len(block)
                        if self.expansion.is_bomb:
                            self.problem = ("bomb", f"{self.n_stored} stored bytes unpack to more than {n_out}")
                            return
                        yield block
                    fed = decoder.unused_data if decoder.eof else b""
        except DAMAGE as error:
            self.problem = ("unreadable", f"{kind} stream damaged after {n_out} decompressed bytes: {error}")
            return
        if not decoder.eof:
            self.problem = ("truncated", f"the {kind} stream ends early, after {n_out} decompressed bytes")


class Stream(io.RawIOBase):
    """`Blocks` as a file that is read forwards, for libraries and formats that ask for so many bytes.

    A read gives less than it was asked for at the end only, and takes no more memory than there is to give.
    """

    def __init__(self, path: Path | Member) -> None:
        self.blocks = Blocks(path)
        self._next = iter(self.blocks)
        self._held = memoryview(b"")
        self.n_read = 0

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.n_read

    def read(self, n: int = -1) -> bytes:
        pieces = []
        while n and (piece := self.read1(n)):
            pieces.append(piece)
            n -= len(piece) if n > 0 else 0
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def read1(self, n: int = -1) -> bytes:
        """What is at hand, or the next block: at most n bytes, at least one unless the file has ended."""
        if not self._held:
            self._held = memoryview(next(self._next, b""))
        piece = bytes(self._held[:n] if n >= 0 else self._held)
        self._held = self._held[len(piece) :]
        self.n_read += len(piece)
        return piece

    def unread(self, data: bytes) -> None:
        """Put back what was just read."""
        self._held = memoryview(data + bytes(self._held))
        self.n_read -= len(data)


def held(path: Path | Member, most: int) -> bytes | None:
    """The whole file, unpacked, for formats that are read from their end; None where it has more than `most` bytes."""
    blocks: list[bytes] = []
    n = 0
    for block in (found := Blocks(path)):
        n += len(block)
        if n > most:
            return None
        blocks.append(block)
    if found.problem:
        raise OSError(found.problem[1])
    return b"".join(blocks)


def _gathered(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes in blocks of at least GATHERED, but the last."""
    pieces: list[bytes] = []
    n = 0
    for block in blocks:
        pieces.append(block)
        n += len(block)
        if n >= GATHERED:
            joined = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            pieces, n = [], 0
            yield joined
    if pieces:
        yield b"".join(pieces)


def _decoder(kind: str) -> Any:
    if kind == "gzip":
        return zlib.decompressobj(wbits=31)
    if kind == "bzip2":
        return bz2.BZ2Decompressor()
    if kind == "xz":
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY)
    return zstandard.ZstdDecompressor(max_window_size=2**31).decompressobj()  # 2 GiB: files made by `zstd --long=31`


def _unpacked(decoder: Any, fed: bytes, kind: str) -> Iterator[bytes]:
    """What a decoder makes of `fed`, up to the end of its stream."""
    if kind in ("gzip", "zstd"):
        if block := decoder.decompress(fed):
            yield block
        return
    while True:
        if block := decoder.decompress(fed, OUT_BLOCK):
            yield block
        fed = b""
        if decoder.eof or decoder.needs_input:
            return
