"""The bytes of a zip in, its members out, bounded: a small file that unpacks to a huge one is refused. Nothing is written."""

from __future__ import annotations

import io
import zipfile
import zlib

from curate.sources.records import Refused


class Zip:
    """`limit`: bytes all members may have unpacked, as their headers say and as they do."""

    def __init__(self, data: bytes, limit: int) -> None:
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(data))
        except (zipfile.BadZipFile, ValueError, OSError) as error:
            raise Refused("unreadable", f"no zip file: {error}") from None
        self.names = frozenset(self._zip.namelist())
        said = sum(info.file_size for info in self._zip.infolist())
        if said > limit:
            raise Refused("bomb", f"{len(data)} bytes that unpack to {said}")
        self._left = limit

    def __enter__(self) -> Zip:
        return self

    def __exit__(self, *_: object) -> None:
        self._zip.close()

    def read(self, name: str) -> bytes:
        """One member. zipfile reads no more than the header says."""
        if name not in self.names:
            raise Refused("unreadable", f"{name[:80]} is not in the file")
        try:
            data = self._zip.read(name)
        except (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError, EOFError, OSError) as error:
            raise Refused("unreadable", f"{name[:80]}: {error}"[:180]) from None
        self._left -= len(data)
        if self._left < 0:
            raise Refused("bomb", "members read again and again")
        return data
