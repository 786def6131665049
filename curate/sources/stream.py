"""A file in, its decompressed bytes out in blocks: plain, gzip (many members), zstd (many frames).

A damaged end is no exception: iteration stops and `problem` says what happened. Holds zstandard; imports nothing of ours.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import zstandard

COMPRESSED_SUFFIXES = {".gz": "gzip", ".gzip": "gzip", ".zst": "zstd", ".zstd": "zstd"}
MAGIC = {"gzip": b"\x1f\x8b", "zstd": b"\x28\xb5\x2f\xfd"}

PLAIN_BLOCK = 1 << 18
# Compressed bytes fed at a time. They bound what one call can unpack: gzip expands at most 1032-fold (zlib's technical notes),
# a run of one byte in zstd 32 000-fold (1 GB of "a" was 32 787 bytes), so a monstrous line costs 32 MB at a time, not all of it.
FEED = {"gzip": 1 << 14, "zstd": 1 << 10}
MARK_EVERY = 1 << 14  # stored bytes between two marks of `Blocks`: the grain of `lost_bytes`


def strip_compression(name: str) -> str:
    """`a.jsonl.gz` -> `a.jsonl`."""
    suffix = Path(name).suffix.lower()
    return name[: -len(suffix)] if suffix in COMPRESSED_SUFFIXES else name


def compression_of(head: bytes) -> str:
    """`gzip`, `zstd` or `plain`, by the first bytes of the content."""
    if head.startswith(MAGIC["gzip"]):
        return "gzip"
    is_skippable = len(head) >= 4 and head[0] & 0xF0 == 0x50 and head[1:4] == b"\x2a\x4d\x18"
    return "zstd" if head.startswith(MAGIC["zstd"]) or is_skippable else "plain"


class Blocks:
    """Iterates over the decompressed blocks of one file.

    After the loop `problem` is None or (cause, detail). `settled` is set by the reader to the offset up to which the stream has
    become records; `lost_bytes()` counts the stored bytes behind it, from the last mark on (an upper bound by 16 KiB).
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problem: tuple[str, str] | None = None
        self.settled = 0
        self.n_stored = 0  # bytes of the file read so far
        self._size = 0
        self._marks: deque[tuple[int, int]] = deque()  # (decompressed, stored) offsets

    def __iter__(self) -> Iterator[bytes]:
        try:
            self._size = self.path.stat().st_size
            with open(self.path, "rb") as file:
                head = file.read(4)
                file.seek(0)
                kind = compression_of(head)
                claimed = COMPRESSED_SUFFIXES.get(self.path.suffix.lower(), kind)
                if claimed != kind:
                    is_cut = len(head) < 4 and MAGIC[claimed].startswith(head)
                    self.problem = ("truncated", "the file ends in its first bytes") if is_cut else (
                        "unreadable", f"the name says {claimed}, the content is not")  # fmt: skip
                    return
                yield from self._plain(file) if kind == "plain" else self._unpack(file, kind)
        except OSError as error:
            self.problem = ("unreadable", error.strerror or str(error))

    def lost_bytes(self) -> int:
        """Stored bytes that did not become records, from the last mark before `settled` to the end of the file."""
        self._forget()
        return max(self._size - (self._marks[0][1] if self._marks else 0), 0)

    def _forget(self) -> None:
        while len(self._marks) > 1 and self._marks[1][0] <= self.settled:
            self._marks.popleft()

    def _plain(self, file: BinaryIO) -> Iterator[bytes]:
        while block := file.read(PLAIN_BLOCK):
            self._marks.append((self.n_stored, self.n_stored))
            self._forget()
            self.n_stored += len(block)
            yield block

    def _unpack(self, file: BinaryIO, kind: str) -> Iterator[bytes]:
        decoder, n_out = _decoder(kind), 0
        try:
            while fed := file.read(FEED[kind]):
                if not self._marks or self.n_stored - self._marks[-1][1] >= MARK_EVERY:
                    self._marks.append((n_out, self.n_stored))
                    self._forget()
                self.n_stored += len(fed)
                while fed:
                    if decoder.eof:  # the next member or frame; gzip may be padded with zeros
                        fed = fed.lstrip(b"\0") if kind == "gzip" else fed
                        if not fed:
                            break
                        decoder = _decoder(kind)
                    block = decoder.decompress(fed)
                    fed = decoder.unused_data if decoder.eof else b""
                    if block:
                        n_out += len(block)
                        yield block
        except (zlib.error, zstandard.ZstdError) as error:
            self.problem = ("unreadable", f"{kind} stream damaged after {n_out} decompressed bytes: {error}")
            return
        if not decoder.eof:
            self.problem = ("truncated", f"the {kind} stream ends early, after {n_out} decompressed bytes")


def _decoder(kind: str) -> Any:
    if kind == "gzip":
        return zlib.decompressobj(wbits=31)
    return zstandard.ZstdDecompressor(max_window_size=2**31).decompressobj()  # 2 GiB: files made by `zstd --long=31`
