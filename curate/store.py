"""Stage folders: named by fingerprint, filled shard by shard, each shard published by one exclusive rename.

store/<stage>/<fingerprint>/<key>/{files, shard.json}, and stage.json written last: without it the stage is not complete.
Imports errors only. Hashes: blake2b-128 for identities and roots, sha256 for files.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.errors import CurateError


class Digest:
    """blake2b-128 over length-prefixed parts, fed part by part."""

    def __init__(self) -> None:
        self._state = hashlib.blake2b(digest_size=16)

    def add(self, part: bytes | str) -> None:
        data = part.encode() if isinstance(part, str) else part
        self.add_blocks(len(data), (data,))

    def add_blocks(self, n_bytes: int, blocks: Iterable[bytes]) -> None:
        """One part of `n_bytes` that comes in pieces."""
        self._state.update(n_bytes.to_bytes(8, "little"))
        for block in blocks:
            self._state.update(block)

    def hexdigest(self) -> str:
        return self._state.hexdigest()


def digest(*parts: bytes | str) -> str:
    """blake2b-128 over length-prefixed parts, 32 hex digits; ("ab", "c") and ("a", "bc") differ."""
    state = Digest()
    for part in parts:
        state.add(part)
    return state.hexdigest()


def canonical_json(value: Any) -> bytes:
    """One byte string per value: sorted keys, no spaces, UTF-8, no NaN."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def file_sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def array_root(*arrays: np.ndarray) -> str:
    """Logical content of arrays: dtype, shape and little-endian values."""
    parts: list[bytes | str] = []
    for array in arrays:
        parts += [array.dtype.newbyteorder("<").str, repr(array.shape), np.ascontiguousarray(array).tobytes()]
    return digest(*parts)


def table_root(table: pa.Table, exclude: Collection[str] = (), first: Mapping[str, Callable[[Any], None]] | None = None) -> str:
    """Logical rows of a table: names, types, validity and values; not chunks, file encoding or string width.

    `first`: columns that stand before the table's and are too large to be made: each feeds the hash by itself what its values would."""
    state = hashlib.blake2b(digest_size=16)
    state.update(table.num_rows.to_bytes(8, "little"))
    for name, update in (first or {}).items():
        state.update(digest(name).encode())
        update(state)
    for name in table.column_names:
        if name in exclude:
            continue
        state.update(digest(name).encode())
        _update_column(state, table.column(name))
    return state.hexdigest()


def _update_column(state: Any, column: pa.ChunkedArray) -> None:
    array = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    if isinstance(array, pa.ChunkedArray):  # too large for one array of 32-bit offsets
        array = pa.concat_arrays([chunk.cast(pa.large_string()) for chunk in array.chunks])
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    valid = np.asarray(array.is_valid())
    state.update(np.packbits(valid).tobytes())
    if pa.types.is_list(array.type):
        lengths = np.asarray(array.value_lengths().fill_null(0), dtype=np.int64)
        state.update(lengths.tobytes())
        _update_column(state, pa.chunked_array([array.flatten()]))
    elif pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
        array = array.cast(pa.large_string())
        lengths = np.asarray(pc.binary_length(array).fill_null(0), dtype=np.int64)
        state.update(lengths.tobytes())
        if not valid.all():
            array = array.drop_null()  # bytes behind a null are undefined
        _, offsets, data = array.buffers()
        if data is not None and len(array):
            bounds = np.frombuffer(offsets, np.int64)[array.offset : array.offset + len(array) + 1]
            state.update(memoryview(data)[bounds[0] : bounds[-1]])
    elif pa.types.is_boolean(array.type):
        state.update(np.packbits(np.asarray(array.fill_null(False))).tobytes())
    elif pa.types.is_integer(array.type) or pa.types.is_floating(array.type):
        zero = pa.scalar(0, array.type)
        values = np.asarray(array.fill_null(zero) if array.null_count else array)
        state.update(array.type.__str__().encode())
        state.update(values.tobytes())
    else:
        raise TypeError(f"no logical hash for Arrow type {array.type}")


def write_json(path: Path, value: dict) -> None:
    """Pretty JSON with `self`, the digest of everything else, so that a flipped byte is seen; atomic."""
    body = {key: item for key, item in value.items() if key != "self"}
    body["self"] = digest(canonical_json(body))
    write_atomic(path, (json.dumps(body, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> dict:
    """A file of `write_json`, checked. Raises CurateError naming the file when it is damaged."""
    try:
        value = json.loads(path.read_bytes())
        body = {key: item for key, item in value.items() if key != "self"}
        ok = value["self"] == digest(canonical_json(body))
    except FileNotFoundError:
        raise
    except (ValueError, KeyError, AttributeError) as error:
        raise CurateError("this file is damaged", where=str(path), found=str(error), exit_code=1) from error
    if not ok:
        raise CurateError("this file is damaged: its content does not match its own hash", where=str(path), exit_code=1)
    return body


def write_atomic(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    with open(temporary, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


class Store:
    """A folder of stage folders, shared by all recipes."""

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    def stage(self, name: str, *, version: int, settings: dict, parents: Sequence[str] = (), raw: Sequence[str] = ()) -> Stage:
        """The stage with these settings over these parents' roots (and raw files' sha256, order-free)."""
        settings = json.loads(canonical_json(settings))
        key = {"name": name, "version": version, "settings": settings, "parents": list(parents), "raw": sorted(raw)}
        return Stage(self.root, name, digest(canonical_json(key)), version, settings, tuple(parents))


@dataclass(frozen=True)
class Stage:
    """One stage folder. Picklable: a name, a fingerprint and paths."""

    store: Path
    name: str
    fingerprint: str
    version: int
    settings: dict
    parents: tuple[str, ...]

    @property
    def path(self) -> Path:
        return self.store / self.name / self.fingerprint

    @property
    def complete(self) -> bool:
        return (self.path / "stage.json").exists()

    def published(self, key: str) -> bool:
        return (self.path / key / "shard.json").exists()

    def shard_path(self, key: str) -> Path:
        return self.path / key

    @contextlib.contextmanager
    def shard(self, key: str) -> Iterator[ShardWriter]:
        """Write one shard: files go to `.path`, `.done(...)` states rows and root, leaving the block publishes."""
        temporary = self.store / ".tmp" / f"{self.name}-{self.fingerprint[:8]}-{key}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        temporary.mkdir(parents=True)
        try:
            writer = ShardWriter(temporary)
            yield writer
            writer.publish(self.path / key)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def finish(self, keys: Sequence[str], extra: dict | None = None) -> dict:
        """Check that every shard of `keys` is published and write stage.json; returns its content."""
        if self.complete:
            return self.info()
        shards = {key: read_json(self.path / key / "shard.json") for key in sorted(keys)}
        counts: dict[str, int] = {}
        for shard in shards.values():
            for name, value in shard["counts"].items():
                counts[name] = counts.get(name, 0) + value
        info = {
            "name": self.name, "version": self.version, "fingerprint": self.fingerprint, "settings": self.settings,
            "parents": list(self.parents), "root": digest(*(part for key, s in shards.items() for part in (key, s["root"]))),
            "keys": sorted(keys), "rows": sum(s["rows"] for s in shards.values()), "counts": counts, "shards": shards,
            "extra": extra or {},
        }  # fmt: skip
        write_json(self.path / "stage.json", info)
        return self.info()

    def info(self) -> dict:
        return read_json(self.path / "stage.json")

    @property
    def root(self) -> str:
        return self.info()["root"]

    @property
    def keys(self) -> list[str]:
        return self.info()["keys"]


class ShardWriter:
    """A shard being written in its own temporary folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._done: dict | None = None

    def done(self, rows: int, root: str, counts: dict[str, int] | None = None) -> None:
        self._done = {"rows": int(rows), "root": root, "counts": {k: int(v) for k, v in (counts or {}).items()}}

    def publish(self, target: Path) -> None:
        if self._done is None:
            raise RuntimeError(f"shard {target} was left without done()")
        files = sorted(p for p in self.path.iterdir() if p.is_file())
        listed = [{"name": p.name, "bytes": p.stat().st_size, "sha256": file_sha256(p)} for p in files]
        for path in files:  # data reaches the disk before the rename makes it visible
            with open(path, "rb") as file:
                os.fsync(file.fileno())
        write_json(self.path / "shard.json", {**self._done, "files": listed})
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.rename(self.path, target)  # fails where a non-empty folder stands: the exclusive step
        except OSError:
            theirs = read_json(target / "shard.json")
            if theirs["root"] != self._done["root"]:
                raise RuntimeError(f"{target} was published with another content: {theirs['root']}") from None


def is_whole(shard: Path, names: Collection[str] | None = None) -> str:
    """ "" where the files of a published shard (or those of `names`) are what was written, else the first that is not.

    Raises FileNotFoundError where nothing is published, CurateError where shard.json is damaged.
    """
    for file in read_json(shard / "shard.json")["files"]:
        if names is None or file["name"] in names:
            path = shard / file["name"]
            if not path.exists() or file_sha256(path) != file["sha256"]:
                return file["name"]
    return ""


def folder_bytes(path: Path) -> int:
    """Bytes below a folder."""
    return sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
