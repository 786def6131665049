"""A tar or zip archive in, the rows of its members out, read as files of their own formats and named `archive!/member`.

Nothing is unpacked to disk and no name is ever opened, so that `../x` or `/x` is a name like others. Links, devices and hidden files are
passed over, as are members of other formats than those asked for. Imports the other readers, by formats.
"""

from __future__ import annotations

import io
import itertools
import re
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from curate.recipe import Source
from curate.sources.formats import ARCHIVE, BY_SUFFIX, FORMATS, Asked, reader
from curate.sources.lanes import FILE, NAMED
from curate.sources.readers.local_zip import CUT, Local, LocalFile, local_members
from curate.sources.records import Bad, RawRow
from curate.sources.stream import FREE_BYTES, MAX_EXPANSION, Expansion, Member, Stream, strip_compression

BLOCK = tarfile.BLOCKSIZE
MAGIC, MAGIC_AT = b"ustar", 257  # in every header
MAX_HEADER = 1 << 20  # bytes of a long name or of extended headers; longer ones are passed over
MAX_NAME = 1000
MOST_MEMBERS = 1 << 20  # of a zip file without a directory (a guess): 30 bytes make a header
HIDDEN = ("__pycache__", "__MACOSX")
DATA_TYPES = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
ZIP_DAMAGE = (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, RuntimeError, ValueError, MemoryError)


def read_archive(path: Path, asked: Asked) -> Iterator[RawRow | Bad]:
    """Rows of every member. One Bad for an archive that ends early, for a member that cannot be read, for an archive inside."""
    if isinstance(path, Member):
        yield Bad(path.name, 0, "nested_archive", "unpack the outer archive first", path.st_size)
    elif Path(strip_compression(path.name)).suffix.lower() == ".zip":
        yield from _zip(path, asked)
    else:
        yield from _tar(path, asked)


def member_format(name: str, source: Source | None) -> str | None:
    """The format a member is read as; None for one that is passed over."""
    if any(part.startswith(".") or part in HIDDEN for part in name.split("/")):
        return None
    bare = strip_compression(name)
    own = BY_SUFFIX.get(Path(bare).suffix.lower())
    if source is not None and source.suffixes and not bare.endswith(tuple(source.suffixes)):
        return None
    if own == ARCHIVE:
        return ARCHIVE
    if source is None or source.format == "auto":
        return own
    if source.format == "tree":
        return "text"
    if source.format == "moses" and source.moses:
        return "moses" if bare.lower().endswith(f".{source.moses.languages[0].lower()}") else None
    return (
        source.format if own == source.format or not FORMATS[source.format].suffixes or source.suffixes or own is None else None
    )


def harmless(name: str) -> str:
    """A member's name that leads nowhere when it is put behind a folder: no root, no `..`, no control characters."""
    name = "".join(char if char.isprintable() else "\ufffd" for char in name[:MAX_NAME].replace("\\", "/"))
    return "/".join(part for part in name.split("/") if part not in ("", ".", "..")) or "unnamed"


def _member(member: Member, inside: str, asked: Asked) -> Iterator[RawRow | Bad]:
    source = asked.source
    kind = member_format(inside, source)
    if kind is None:
        return
    of_file = {FILE: inside} if source is not None and source.type in NAMED and FORMATS[kind].is_one else {}
    for row in reader(kind)(cast(Path, member), asked):
        if isinstance(row, RawRow):
            row.values.update(of_file)
            row = row._replace(file=member.name)
        yield row


def _zip(path: Path, asked: Asked) -> Iterator[RawRow | Bad]:
    try:
        size = path.stat().st_size
        archive = zipfile.ZipFile(path)
    except ZIP_DAMAGE as error:
        yield from _without_directory(path, asked, f"no directory at its end: {error}")
        return
    expansion = Expansion()
    with archive:
        found = _of_zip(archive)

        def opened(inside: str) -> Member:
            info = found[inside]
            open_it = lambda: cast(BinaryIO, _ZipFile(archive, info, expansion))  # noqa: E731
            return Member(f"{path.name}!/{inside}", info.file_size, open_it, expansion)

        for inside, info in found.items():
            if expansion.is_bomb:
                yield Bad(path.name, 0, "bomb", f"its members unpack to more than {expansion.n_out} bytes", size)
                return
            member = opened(inside)
            member.with_name = lambda name: opened(other) if (other := name.partition("!/")[2]) in found else None
            expansion.n_in = min(expansion.n_in + info.compress_size, size)  # members may overlap
            yield from _member(member, inside, asked)


def _without_directory(path: Path, asked: Asked, said: str) -> Iterator[RawRow | Bad]:
    """A zip file that lost its end: its members by their own headers, then one Bad for the bytes that nothing was made of."""
    try:
        file = path.open("rb")
    except OSError as error:
        yield Bad(path.name, 0, "unreadable", error.strerror or str(error), 0)
        return
    with file:
        is_zip = file.read(2) == b"PK"
        size = file.seek(0, io.SEEK_END)
        expansion = Expansion()
        found: dict[str, Local] = {}
        used_names: dict[str, int] = {}
        for local in itertools.islice(local_members(file, size), MOST_MEMBERS):
            found[_unlike(local.name, used_names)] = local
        opened: dict[str, LocalFile] = {}

        def member(inside: str) -> Member:
            def open_it() -> BinaryIO:
                opened[inside] = LocalFile(file, found[inside], expansion)
                return cast(BinaryIO, opened[inside])

            return Member(f"{path.name}!/{inside}", found[inside].n_bytes, open_it, expansion)

        lost_from, lost, at = size, 0, 0
        for inside, local in found.items():
            if local.at > at:
                lost_from, lost = min(lost_from, at), lost + local.at - at
            at = local.after
            if local.name.endswith("/"):
                continue
            one = member(inside)
            one.with_name = lambda name: member(other) if (other := name.partition("!/")[2]) in found else None
            expansion.n_in += local.end - local.start
            kept = 0
            for row in _member(one, inside, asked):
                if isinstance(row, Bad) and row.detail == CUT:  # the end is said once, for the whole archive
                    used = opened[inside]
                    kept = (used.at - local.start) * max(row.byte_offset, 0) // max(used.n_out, 1)
                else:
                    yield row
            if local.is_cut:
                lost_from, lost = min(lost_from, local.start + kept), lost + local.end - local.start - kept
            if expansion.is_bomb:
                yield Bad(path.name, 0, "bomb", f"its members unpack to more than {expansion.n_out} bytes", size)
                return
        yield Bad(path.name, min(lost_from, at), "truncated" if is_zip else "unreadable", said, lost + size - at)


def _unlike(name: str, used: dict[str, int]) -> str:
    """A harmless name that was not given before. `used`: name -> the number that tells the next of its kind apart."""
    found = base = harmless(name)
    folder, slash, own = base.rpartition("/")
    stem, dot, suffixes = own.partition(".")
    while found in used:  # the suffixes stay behind, for they tell the format
        found = f"{folder}{slash}{stem}~{used[base]}{dot}{suffixes}"
        used[base] += 1
    used[found] = 2
    return found


def _of_zip(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Harmless name -> member; equal names are told apart, folders and links left out."""
    found: dict[str, zipfile.ZipInfo] = {}
    used: dict[str, int] = {}
    for info in archive.infolist():
        if not info.filename.endswith("/") and info.external_attr >> 28 != 0xA:  # an empty name has no is_dir()
            found[_unlike(info.filename, used)] = info
    return found


class _ZipFile(io.RawIOBase):
    """A member of a zip file, whose damage is an OSError, and whose bytes are counted."""

    def __init__(self, archive: zipfile.ZipFile, info: zipfile.ZipInfo, expansion: Expansion) -> None:
        try:
            self.file = archive.open(info)
        except ZIP_DAMAGE as error:
            raise OSError(f"{error}") from None
        self.expansion = expansion

    def read(self, n: int = -1) -> bytes:
        try:
            data = self.file.read(n)
        except ZIP_DAMAGE as error:
            raise OSError(f"{error}") from None
        self.expansion.n_out += len(data)
        if self.expansion.is_bomb:
            raise OSError(f"unpacks to more than {MAX_EXPANSION} times its bytes, past {FREE_BYTES}")
        return data

    def close(self) -> None:
        self.file.close()
        super().close()


def _tar(path: Path, asked: Asked) -> Iterator[RawRow | Bad]:
    """Headers one after another. What is no header is passed over until one is, so that damage costs its members only."""
    stream = Stream(path)
    expansion = stream.blocks.expansion
    extended: dict[str, str] = {}
    damage_from = -1
    n_zero = 0
    before = b""  # the block before, while headers are looked for
    while len(block := stream.read(BLOCK)) == BLOCK:
        start = stream.n_read - BLOCK
        stream.blocks.settled = start if damage_from < 0 else damage_from
        if not block.strip(b"\0"):
            n_zero += 1
            continue
        info = _header(block)
        if info is None and n_zero >= 2 and damage_from < 0:
            break  # after the end of the archive; what follows is not ours
        if info is None and before:
            info, n_left = _shifted(before + block)
            start -= n_left
            stream.unread(block[BLOCK - n_left :])
        if info is None:
            before, extended = block, {}
            damage_from = start if damage_from < 0 else damage_from
            continue
        if damage_from >= 0:
            yield Bad(path.name, damage_from, "unreadable", "bytes that are no header of a tar file", start - damage_from)
            damage_from = -1
        n_zero, before = 0, b""
        if info.type in (
            tarfile.GNUTYPE_LONGNAME,
            tarfile.GNUTYPE_LONGLINK,
            tarfile.XHDTYPE,
            tarfile.XGLTYPE,
            tarfile.SOLARIS_XHDTYPE,
        ):
            data = _Part(stream, max(info.size, 0))
            text = b"" if (n := min(data.left, MAX_HEADER)) == 0 else stream.read(n)
            data.left -= len(text)
            data.skip()
            if info.type == tarfile.GNUTYPE_LONGNAME:
                extended["path"] = text.rstrip(b"\0").decode(errors="replace")
            elif info.type in (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE):
                extended |= _extended(text)
            continue
        size = int(extended["size"]) if re.fullmatch(r"[0-9]{1,18}", extended.get("size", "")) else max(info.size, 0)
        inside = harmless(extended.get("path", info.name))
        is_sparse = info.type == tarfile.GNUTYPE_SPARSE or any(key.startswith("GNU.sparse") for key in extended)
        extended = {}
        data = _Part(stream, size if info.type in (*DATA_TYPES, tarfile.GNUTYPE_SPARSE) else 0)
        if is_sparse:
            yield Bad(f"{path.name}!/{inside}", start, "unreadable", "a sparse file", size)
        elif info.type in DATA_TYPES and not info.name.endswith("/"):
            member = Member(f"{path.name}!/{inside}", size, lambda data=data: cast(BinaryIO, data), expansion)  # type: ignore[misc]
            for row in _member(member, inside, asked):
                if isinstance(row, RawRow) or not data.is_cut:  # the end is said once, for the whole archive
                    yield row
        data.skip()
        if data.is_cut:
            break
        stream.blocks.settled = stream.n_read
    yield from _tar_end(path, stream, n_zero, damage_from)


def _header(block: bytes) -> tarfile.TarInfo | None:
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "replace")
    except tarfile.HeaderError:
        return None


def _shifted(two: bytes) -> tuple[tarfile.TarInfo | None, int]:
    """A header that begins inside the first of two blocks, where bytes were lost or came in, and how many bytes stand behind it."""
    at = two.find(MAGIC)
    while at >= 0:
        start = at - MAGIC_AT
        if 0 < start < BLOCK and (info := _header(two[start : start + BLOCK])) is not None:
            return info, BLOCK - start
        at = two.find(MAGIC, at + 1)
    return None, 0


def _tar_end(path: Path, stream: Stream, n_zero: int, damage_from: int) -> Iterator[Bad]:
    blocks = stream.blocks
    if blocks.problem:
        yield Bad(path.name, blocks.settled, *blocks.problem, blocks.lost_bytes())
    elif damage_from >= 0:
        yield Bad(path.name, damage_from, "unreadable", "bytes that are no header of a tar file", stream.n_read - damage_from)
    elif not n_zero:
        yield Bad(path.name, blocks.settled, "truncated", "the archive ends without its mark", blocks.lost_bytes())


def _extended(text: bytes) -> dict[str, str]:
    """Records `length key=value\\n` of an extended header; what is damaged ends them."""
    found: dict[str, str] = {}
    while text:
        length, _, _ = text.partition(b" ")
        if not length.isdigit() or not len(length) < int(length[:9]) <= len(text):
            break
        key, _, value = text[len(length) + 1 : int(length)].rstrip(b"\n").partition(b"=")
        found[key.decode(errors="replace")] = value.decode(errors="replace")
        text = text[int(length) :]
    return found


class _Part(io.RawIOBase):
    """The bytes of one member in the stream of its archive; an OSError where that ends before them.

    Closing it changes nothing: what is left is skipped afterwards.
    """

    def __init__(self, stream: Stream, size: int) -> None:
        self.stream, self.left, self.size = stream, size, size
        self.is_cut = False

    def read(self, n: int = -1) -> bytes:
        wanted = self.left if n < 0 else min(n, self.left)
        data = b"" if self.is_cut else self.stream.read(wanted)
        self.is_cut = self.is_cut or len(data) < wanted
        if wanted and not data:
            raise OSError("the archive ends inside this member")
        self.left -= len(data)
        return data

    def skip(self) -> None:
        """To the end of the last block of this member."""
        self.left += -self.size % BLOCK
        while self.left and (piece := self.stream.read1(min(self.left, 1 << 20))):
            self.left -= len(piece)
        self.is_cut = self.is_cut or self.left > 0

    def close(self) -> None:
        pass
