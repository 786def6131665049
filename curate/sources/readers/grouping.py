"""Rows that are sentences or pages in, rows that are documents out: texts of one key joined in order, other fields those of the first.

A file is grouped by itself. Rows of a document stand side by side, and one document is held; or anywhere in the file (`scattered`), and
all rows pass through a temporary file in pieces that fit in memory. Imports fields, records. Holds zstandard for that file.
"""

from __future__ import annotations

import hashlib
import pickle
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import zstandard

from curate.recipe import Source
from curate.sources.fields import as_string, field_names, pick, string
from curate.sources.records import Bad, RawRow, Refused

N_PARTS = 256  # pieces of the temporary file; 100 GB make 400 MB each
PART_BYTES = 256 << 20  # of rows held; a larger piece is cut again
CHUNK_BYTES = 1 << 16  # written at a time
N_RECENT = 1 << 16
MAX_LEVEL = 3


class _Part(NamedTuple):
    """One row on its way into a document. `place`: its number in the file, `order` what it is sorted by before that."""

    key: str
    order: tuple
    place: int
    text: str
    row: RawRow


class _Group:
    """Rows of one key. `limit`: bytes of the joined text; beyond it texts are counted, not held."""

    def __init__(self, first: _Part, limit: int, n_join: int) -> None:
        self.key, self.limit, self.n_join = first.key, limit, n_join
        self.first = first
        self.texts: list[tuple[tuple, int, str]] = []
        self.n_bytes, self.n_text, self.start = 0, -n_join, first.row.byte_offset

    def add(self, part: _Part) -> None:
        self.n_bytes += part.row.n_bytes
        self.n_text += len(part.text.encode(errors="surrogatepass")) + self.n_join
        if (part.order, part.place) < (self.first.order, self.first.place):
            self.first = part
        if self.n_text <= self.limit:
            self.texts.append((part.order, part.place, part.text))
        else:
            self.texts.clear()

    def done(self, file: str, join: str, text_name: str, has_id: bool) -> RawRow | Bad:
        row = self.first.row
        if self.n_text > self.limit:
            return Bad(
                row.file or file, self.start, "too_large", f"the rows of {self.key!r} have {self.n_text} bytes", self.n_bytes
            )
        self.texts.sort()
        values = row.values | {text_name: join.join(text for _, _, text in self.texts)}
        return RawRow(values if has_id else values | {"id": self.key}, self.start, self.n_bytes, row.file)


class _Seen:
    """Keys of finished groups, by eight bytes of their hash: sorted arrays of growing size, so that ten million take 80 MB."""

    def __init__(self) -> None:
        self.recent: set[int] = set()
        self.runs: list[np.ndarray] = []  # uint64, sorted, each larger than what follows

    def has(self, key: str) -> bool:
        found = _hash(key, 0)
        if found in self.recent:
            return True
        value = np.uint64(found)
        return any(i < len(run) and run[i] == value for run in self.runs for i in (int(np.searchsorted(run, value)),))

    def add(self, key: str) -> None:
        self.recent.add(_hash(key, 0))
        if len(self.recent) < N_RECENT:
            return
        run = np.sort(np.fromiter(self.recent, np.uint64, len(self.recent)))
        self.recent = set()
        while self.runs and len(self.runs[-1]) <= len(run):
            run = np.sort(np.concatenate([self.runs.pop(), run]), kind="stable")
        self.runs.append(run)


def grouped(path: Path, rows: Iterator[RawRow | Bad], source: Source, limit: int, scratch: Path | None) -> Iterator[RawRow | Bad]:
    """`source.group` says how. A document has the key as its `id`, unless the recipe maps source_id. `scratch`: for the temporary file."""
    group = source.group
    assert group is not None
    names = field_names(source)["text"]
    text_name = names[0]
    has_id = "source_id" in source.fields
    finish = (path.name, group.join, text_name, has_id)
    parts = _parts(path, rows, source, names)
    if group.scattered:
        yield from _scattered(parts, limit, len(group.join.encode()), finish, scratch, 0)
    else:
        yield from _adjacent(path, parts, limit, len(group.join.encode()), finish)


def _parts(path: Path, rows: Iterator[RawRow | Bad], source: Source, names: tuple[str, ...]) -> Iterator[_Part | Bad]:
    group = source.group
    assert group is not None
    for place, row in enumerate(rows):
        if isinstance(row, Bad):
            yield row
            continue
        try:
            key = as_string(pick(row.values, (group.by,)))
            if key is None:
                raise Refused("no_group", f"no {group.by}")
            text = string(pick(row.values, names), "text")
            order = _order(pick(row.values, (group.order,))) if group.order is not None else ()
            yield _Part(key, order, place, text, row)
        except Refused as refused:
            yield Bad(row.file or path.name, row.byte_offset, refused.cause, refused.detail, row.n_bytes)


def _order(value: Any) -> tuple:
    """Numbers by size, also where they are written as text, before other text; nothing comes last."""
    if isinstance(value, int | float) and value == value:
        return 0, value
    if isinstance(value, str):
        try:
            return 0, int(value)
        except ValueError:
            return 1, value
    text = as_string(value)
    return (2, "") if text is None else (1, text)


def _adjacent(path: Path, parts: Iterator[_Part | Bad], limit: int, n_join: int, finish: tuple) -> Iterator[RawRow | Bad]:
    open_group: _Group | None = None
    returned: _Group | None = None  # of a key that was finished before
    seen = _Seen()

    def closed() -> Iterator[RawRow | Bad]:
        if returned is not None:
            detail = f"{returned.key!r} stood before other groups already"
            yield Bad(returned.first.row.file or path.name, returned.start, "scattered_group", detail, returned.n_bytes)
        elif open_group is not None:
            seen.add(open_group.key)
            yield open_group.done(*finish)

    for part in parts:
        if isinstance(part, Bad):
            yield part
            continue
        if open_group is None or open_group.key != part.key:
            yield from closed()
            open_group = _Group(part, limit, n_join)
            returned = open_group if seen.has(part.key) else None
        open_group.add(part)
    yield from closed()


def _scattered(
    parts: Iterator[_Part | Bad], limit: int, n_join: int, finish: tuple, scratch: Path | None, level: int
) -> Iterator[RawRow | Bad]:
    """Rows of one key go to one piece of the file; a piece is gathered in memory, or cut again where it is too large."""
    packer = zstandard.ZstdCompressor(level=1)
    waiting: list[list[_Part]] = [[] for _ in range(N_PARTS)]
    n_waiting, n_bytes = [0] * N_PARTS, [0] * N_PARTS
    places: list[list[tuple[int, int]]] = [[] for _ in range(N_PARTS)]
    with tempfile.TemporaryFile(dir=scratch) as file:

        def flush(i: int) -> None:
            data = packer.compress(pickle.dumps([tuple(part) for part in waiting[i]]))
            places[i].append((file.tell(), len(data)))
            file.write(data)
            waiting[i], n_waiting[i] = [], 0

        def read(i: int) -> Iterator[_Part]:
            for start, length in places[i]:
                file.seek(start)
                for part in pickle.loads(zstandard.ZstdDecompressor().decompress(file.read(length))):
                    yield _Part(*part)

        for part in parts:
            if isinstance(part, Bad):
                yield part
                continue
            i = _hash(part.key, level) % N_PARTS
            waiting[i].append(part)
            size = part.row.n_bytes + len(part.text) + 200
            n_waiting[i] += size
            n_bytes[i] += size
            if n_waiting[i] >= CHUNK_BYTES:
                flush(i)
        for i in range(N_PARTS):
            if waiting[i]:
                flush(i)
        for i in range(N_PARTS):
            if n_bytes[i] > PART_BYTES and level < MAX_LEVEL:
                yield from _scattered(read(i), limit, n_join, finish, scratch, level + 1)
                continue
            groups: dict[str, _Group] = {}
            for part in read(i):
                groups.setdefault(part.key, _Group(part, limit, n_join)).add(part)
            for group in groups.values():
                yield group.done(*finish)


def _hash(key: str, level: int) -> int:
    return int.from_bytes(hashlib.blake2b(key.encode(errors="surrogatepass"), digest_size=8, salt=bytes([level])).digest(), "big")
