"""Rows that earlier stages of the same store already hold: a documents shard in, where equal documents were measured before out.

A row is the same where id, text_hash and every column the measurer reads are. Only complete stages with the same name, version and
settings over an older documents stage of the same source count, the newest first; damaged files are left alone. Whatever is found
here is copied byte for byte, so that no root and no file depends on it, but for the counts `measured` and `reused` of shard.json.
Imports errors and store.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.errors import CurateError
from curate.store import Stage, Store, is_whole, read_json

log = logging.getLogger(__name__)

N_OLDER = 4  # earlier stages looked at: each costs its ids and text hashes, and the newest holds nearly all (a guess)
IDENTITY = ("id", "text_hash")


@dataclass(frozen=True)
class Older:
    """An earlier, complete documents stage of a source."""

    path: Path
    root: str
    keys: tuple[str, ...]  # of its shards that hold documents


class Known(NamedTuple):
    """Rows of a new shard that lie in the shards `keys` of the stage folder `folder`, thought of one after another."""

    folder: Path
    keys: tuple[str, ...]
    row: np.ndarray  # (k,) int64 ascending, of the new shard
    place: np.ndarray  # (k,) int64, of the old shards


def older_documents(documents: Stage, *, itself: bool = False) -> list[Older]:
    """Complete documents stages of the same source in the same store, newest first; `itself`: the given one too."""
    found = []
    source = documents.settings.get("name")
    for path in (documents.store / documents.name).glob("*/stage.json") if source is not None else ():
        info = info_of(path)
        if info is None or info["settings"].get("name") != source or (path.parent == documents.path and not itself):
            continue
        keys = tuple(key for key in info["keys"] if key != "quarantine")
        found.append((-path.stat().st_mtime_ns, path.parent.name, Older(path.parent, info["root"], keys)))
    return [older for _, _, older in sorted(found, key=lambda f: f[:2])]


def info_of(path: Path) -> dict | None:
    """stage.json, None where it is damaged or gone."""
    try:
        return read_json(path)
    except (CurateError, FileNotFoundError) as error:
        log.warning("not reused: %s", error)
        return None


def sisters(stage: Stage, older: Sequence[Older]) -> list[tuple[Older, Stage]]:
    """The complete stages that are as `stage` but made of an older documents stage (its only parent), newest first."""
    found = []
    for one in older:
        sister = Store(stage.store).stage(stage.name, version=stage.version, settings=stage.settings, parents=[one.root])
        if sister.fingerprint != stage.fingerprint and sister.complete:
            found.append((one, sister))
    return found[:N_OLDER]


class Lookup:
    """Compares one documents shard with older ones; their columns are read once for all stages that ask."""

    def __init__(self, documents: Path, key: str, n_keys: int) -> None:
        """`documents`: its documents.parquet; `n_keys`: how many shards hold the documents of its stage."""
        self.documents, self.key, self.n_keys = documents, key, n_keys
        self._own: dict[str, pa.ChunkedArray] = {}
        self._old: dict[tuple[Path, str], pa.ChunkedArray | None] = {}
        self._places: dict[tuple[Path, tuple[str, ...]], tuple[tuple[str, ...], np.ndarray] | None] = {}

    def places(self, older: Older, reads: Sequence[str] = ()) -> tuple[tuple[str, ...], np.ndarray] | None:
        """(shards of `older`, int64 by row of the shard: its row in them, -1 nowhere); None where they cannot be read."""
        wanted = (older.path, tuple(sorted({*reads} - {*IDENTITY})))
        if wanted not in self._places:
            self._places[wanted] = self._compared(older, wanted[1])
        return self._places[wanted]

    def known(
        self, stage: Stage, older: Sequence[tuple[Older, Stage]], reads: Sequence[str], files: Sequence[str]
    ) -> list[Known]:
        """What the `sisters` of a stage hold of this shard, each row once. `files`: what must be whole to be copied."""
        found: list[Known] = []
        missing: np.ndarray | None = None
        for documents, sister in older:
            placed = self.places(documents, reads) if missing is None or missing.any() else None
            if placed is None:
                continue
            keys, place = placed
            missing = np.ones(len(place), bool) if missing is None else missing
            row = np.flatnonzero((place >= 0) & missing)
            if len(row) and all(is_usable(sister.path / key, files) for key in keys):
                found.append(Known(sister.path, keys, row, place[row]))
                missing[row] = False
        return found

    def _compared(self, older: Older, reads: tuple[str, ...]) -> tuple[tuple[str, ...], np.ndarray] | None:
        keys = same_range(self.key, self.n_keys, older.keys)
        ids, hashes = (self._column(older, keys, name) for name in IDENTITY)
        if ids is None or hashes is None:
            return None
        place = pc.index_in(self._mine("id"), value_set=ids.combine_chunks()).fill_null(-1).to_numpy().astype(np.int64)
        row = np.flatnonzero(place >= 0)
        equal = np.ones(len(row), bool)
        for name in ("text_hash", *reads):
            theirs = self._column(older, keys, name)
            if theirs is None:
                return None
            equal &= _equal(self._mine(name).take(pa.array(row)), theirs.take(pa.array(place[row])))
        place[row[~equal]] = -1
        return keys, place

    def _mine(self, name: str) -> pa.ChunkedArray:
        if name not in self._own:
            self._own[name] = pq.read_table(self.documents, columns=[name]).column(0)
        return self._own[name]

    def _column(self, older: Older, keys: tuple[str, ...], name: str) -> pa.ChunkedArray | None:
        wanted = (older.path, name)
        if wanted not in self._old:
            type_ = pq.read_schema(self.documents).field(name).type
            paths = [older.path / key / "documents.parquet" for key in keys]
            try:
                chunks = [chunk for path in paths for chunk in pq.read_table(path, columns=[name]).column(0).cast(type_).chunks]
                self._old[wanted] = pa.chunked_array(chunks, type_)
            except (pa.ArrowException, OSError, KeyError) as error:
                log.warning("%s is damaged and nothing is reused over it: %s", older.path, error)
                self._old[wanted] = None
        return self._old[wanted]


def same_range(key: str, n_keys: int, old: Sequence[str]) -> tuple[str, ...]:
    """The shards of an older stage with the ids of shard `key` of `n_keys`: both are cut by id prefix into a power of two."""
    n_old = len(old)
    if not key.isdigit() or any(n & (n - 1) or not n for n in (n_keys, n_old)):
        return tuple(old)
    first = int(key) * n_old // n_keys
    return tuple(old[first : max(first + 1, (int(key) + 1) * n_old // n_keys)])


def _equal(a: pa.ChunkedArray, b: pa.ChunkedArray) -> np.ndarray:
    """bool (n,): equal values, null equals null."""
    both_null = pc.and_(pc.is_null(a), pc.is_null(b))
    return np.asarray(pc.or_(pc.fill_null(pc.equal(a, b), False), both_null), bool)


def is_usable(shard: Path, files: Sequence[str] | None = None) -> bool:
    """Published, and the files are what was written: damage must not be copied into a new stage."""
    try:
        damaged = is_whole(shard, files)
    except (CurateError, FileNotFoundError) as error:
        log.warning("not reused: %s", error)
        return False
    if damaged:
        log.warning("%s is damaged and is not reused", shard / damaged)
    return not damaged


def n_rows(shard: Path) -> int:
    """Rows of a published shard."""
    return read_json(shard / "shard.json")["rows"]


def read_rows(known: Known, file: str, columns: Sequence[str]) -> pa.Table:
    """The known rows of a table that has one row per document, in the order of `known.row`."""
    tables = [pq.read_table(known.folder / key / file, columns=list(columns)) for key in known.keys]
    return pa.concat_tables(tables).take(pa.array(known.place))


def read_spans(known: Known, file: str) -> pa.Table:
    """The known rows' spans (columns row, start, end, kind, in the order of row), `row` as in the new shard."""
    tables, rows, first = [], [], 0
    for key in known.keys:
        tables.append(pq.read_table(known.folder / key / file))
        rows.append(tables[-1]["row"].to_numpy() + first)
        first += n_rows(known.folder / key)
    row = np.concatenate(rows)
    order = np.argsort(row, kind="stable")
    begin, end = (np.searchsorted(row[order], known.place, side) for side in ("left", "right"))
    index, number = ranges(begin, end)
    found = pa.concat_tables(tables).take(pa.array(order[index]))
    return found.set_column(0, "row", pa.array(known.row[number]))


def read_arrays(known: Known, file: str) -> np.ndarray:
    """The known rows of an .npy file that has one row per document."""
    arrays = [np.load(known.folder / key / file, mmap_mode="r") for key in known.keys]
    return (arrays[0] if len(arrays) == 1 else np.concatenate(arrays))[known.place]


def ranges(begin: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(every integer of the ranges begin[i]:end[i], one range after the other; the i of each), both int64."""
    sizes = (end - begin).astype(np.int64)
    number = np.repeat(np.arange(len(sizes)), sizes)
    first = np.cumsum(sizes) - sizes
    return np.arange(len(number)) - first[number] + begin[number], number
