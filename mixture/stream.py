"""The stream: row i is a pure function of (manifest, i). Opens in milliseconds, reads only the chunks of the rows asked for.

In: manifest.json and the folder `sequences/` beside it, memory-mapped. Out: rows of L tokens with labels, positions and document
numbers. `labels[t]` is the token after `input_ids[t]` in the same use of the same document (already shifted), also across its
chunks; -100 where there is none, where the loss mask excludes it, and on padding. Imports numpy, errors, manifest, store.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from curate.errors import CurateError
from curate.manifest import read_manifest
from curate.store import read_json

IGNORED = -100
START = hashlib.sha256(b"veski-stream-1").digest()  # hash of the empty stream
MAX_OPEN = 256  # token shards mapped at once

# One record per chunk, in the order of selection.parquet: chunk i is described by its row `document` == i.
CHUNK = np.dtype([("shard", "<u4"), ("start", "<u8"), ("length", "<u4"), ("document", "<u8"), ("more", "u1")])


class Row(NamedTuple):
    """One sequence. A fully masked row (after the end of the stream) has component -1, no token and an empty hash."""

    input_ids: np.ndarray  # uint32 (L,), 0 on padding
    labels: np.ndarray  # int64 (L,)
    position_ids: np.ndarray  # int32 (L,), from 0 in every chunk, and in the padding
    document: np.ndarray  # int32 (L,), number of the chunk in the row, -1 on padding
    n_tokens: int
    n_loss_tokens: int  # labels that count
    component: int
    row_hash: bytes  # 16 bytes


class Batch(NamedTuple):
    """Rows stacked: (B, L) arrays, (B,) counts."""

    input_ids: np.ndarray
    labels: np.ndarray
    position_ids: np.ndarray
    document: np.ndarray
    n_tokens: np.ndarray
    n_loss_tokens: np.ndarray
    component: np.ndarray
    row_hash: list[bytes]


def row_hash(input_ids: np.ndarray, document: np.ndarray) -> bytes:
    """blake2b-128 over uint32 number of chunks, uint32 chunk lengths, uint32 ids, little-endian, padding left out."""
    inside = document >= 0
    lengths = np.bincount(document[inside]) if inside.any() else np.empty(0, np.int64)
    return hash_row(lengths, [input_ids[inside]])


def hash_row(lengths: np.ndarray, parts: Sequence[np.ndarray]) -> bytes:
    """The same from chunk lengths and the tokens in order."""
    state = hashlib.blake2b(np.concatenate(([len(lengths)], lengths)).astype("<u4").tobytes(), digest_size=16)
    for part in parts:
        state.update(part.astype("<u4").tobytes())
    return state.digest()


def advance(stream_hash: bytes, row_hash: bytes) -> bytes:
    """Hash of the stream one row later; `START` before the first. Masked rows do not advance it."""
    return hashlib.sha256(stream_hash + row_hash).digest()


class Stream:
    """The rows of a manifest, by stream index. With `verify`, every row read is checked against its stored hash."""

    def __init__(self, manifest_path: Path | str, verify: bool = False) -> None:
        path = Path(manifest_path)
        self.manifest = read_manifest(path)
        self.verify = verify
        self.phases: list[dict] = self.manifest["phases"]
        self.components: list[str] = [c["name"] for c in self.manifest["components"]]
        self.n_sequences: int = sum(phase["order"]["n_sequences"] for phase in self.phases)
        self.n_held_out: int = self.manifest["held_out"]["sequences"]
        self.sequence_length: int = self.phases[0]["sequence_length"]
        folder = path.parent / "sequences"
        self._row_ptr, self._chunks, self._component, self._order, self._hashes = (
            _array(folder / name) for name in ("row_ptr.npy", "chunks.npy", "component.npy", "order.npy", "row_hash.npy")
        )
        if self._row_ptr.size != self.n_sequences + self.n_held_out + 1 or self._order.size != self.n_sequences:
            raise CurateError(
                "sequences and manifest do not belong together", where=str(folder), next="curate verify", exit_code=1
            )
        listed = _json(folder / "shards.json")
        self._dtype = np.dtype(f"<u{listed['token_bytes']}")
        self._shards = [(path.parent / s["path"], s["n_tokens"], s["has_loss"]) for s in listed["shards"]]
        self._open: dict[int, tuple[np.ndarray, np.ndarray | None]] = {}

    def row(self, i: int) -> Row:
        """Row `i` of the stream, 0 <= i < n_sequences."""
        if not 0 <= i < self.n_sequences:
            raise IndexError(f"stream index {i} is not in [0, {self.n_sequences})")
        return self._sequence(int(self._order[i]))

    def held_out(self, j: int) -> Row:
        """Held-out row `j`, 0 <= j < n_held_out, in the order of the components."""
        if not 0 <= j < self.n_held_out:
            raise IndexError(f"held-out row {j} is not in [0, {self.n_held_out})")
        return self._sequence(self.n_sequences + j)

    def masked_row(self) -> Row:
        """What fills the last global batch after the end of the stream: no token, no label."""
        shape = self.sequence_length
        ids, labels = np.zeros(shape, np.uint32), np.full(shape, IGNORED, np.int64)
        return Row(ids, labels, np.arange(shape, dtype=np.int32), np.full(shape, -1, np.int32), 0, 0, -1, b"")

    def batch(self, start: int | Sequence[int], n: int | None = None) -> Batch:
        """Rows [start, start + n), or the rows of the given stream indices; masked rows past the end of the stream."""
        indices = range(start, start + (1 if n is None else n)) if isinstance(start, int) else start
        rows = [self.row(i) if i < self.n_sequences else self.masked_row() for i in indices]
        ids, labels, positions, document, n_tokens, n_loss, component, hashes = zip(*rows, strict=True)
        arrays = (np.stack(ids), np.stack(labels), np.stack(positions), np.stack(document))
        return Batch(*arrays, np.array(n_tokens), np.array(n_loss), np.array(component), list(hashes))

    def chunks(self, sequence: int) -> np.ndarray:
        """Records (CHUNK) of a sequence; its `document` fields are rows of selection.parquet."""
        return np.array(self._chunks[self._row_ptr[sequence] : self._row_ptr[sequence + 1]])

    def sequence_of(self, i: int) -> int:
        """Sequence number of stream index `i`."""
        return int(self._order[i])

    def _sequence(self, sequence: int) -> Row:
        row = self.masked_row()
        at = 0
        for number, chunk in enumerate(self.chunks(sequence)):
            length, more, start = int(chunk["length"]), int(chunk["more"]), int(chunk["start"])
            tokens, loss = self._tokens(int(chunk["shard"]))
            here = slice(at, at + length)
            row.input_ids[here] = tokens[start : start + length]
            row.document[here] = number
            row.position_ids[here] = np.arange(length)
            targets = tokens[start + 1 : start + length + more].astype(np.int64)
            if loss is not None:
                targets[loss[start + 1 : start + length + more] == 0] = IGNORED
            row.labels[at : at + targets.size] = targets
            at += length
        row.position_ids[at:] = np.arange(self.sequence_length - at)
        known = self._hashes[sequence].tobytes()
        if self.verify and row_hash(row.input_ids, row.document) != known:
            raise CurateError(
                f"the tokens of sequence {sequence} are not those of the manifest", next="curate verify", exit_code=1
            )
        n_loss = int((row.labels != IGNORED).sum())
        return row._replace(n_tokens=at, n_loss_tokens=n_loss, component=int(self._component[sequence]), row_hash=known)

    def _tokens(self, shard: int) -> tuple[np.ndarray, np.ndarray | None]:
        if shard not in self._open:
            path, n_tokens, has_loss = self._shards[shard]
            loss = map_tokens(path.with_name(path.name + ".loss"), np.dtype("u1"), n_tokens) if has_loss else None
            if len(self._open) >= MAX_OPEN:
                del self._open[next(iter(self._open))]
            self._open[shard] = map_tokens(path, self._dtype, n_tokens), loss
        return self._open[shard]


def map_tokens(path: Path, dtype: np.dtype, n_tokens: int | None = None) -> np.ndarray:
    """A flat file of token ids (or loss flags), memory-mapped; CurateError when it is absent or has another length."""
    try:
        size = path.stat().st_size
        tokens = np.memmap(path, dtype, "r") if size else np.empty(0, dtype)
    except FileNotFoundError:
        raise CurateError(
            "a token shard is missing", where=str(path), next="curate build-mixture RECIPE makes it again"
        ) from None
    if size % dtype.itemsize or (n_tokens is not None and tokens.size != n_tokens):
        raise CurateError(
            "a token shard has another length", where=str(path), found=f"{size:,} bytes",
            allowed=f"{n_tokens} tokens of {dtype.itemsize} bytes", next="curate verify", exit_code=1,
        )  # fmt: skip
    return tokens


def _array(path: Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r")
    except FileNotFoundError:
        raise CurateError("the packed rows are missing", where=str(path), next="curate build-mixture RECIPE") from None
    except ValueError as error:
        raise CurateError("this file is damaged", where=str(path), found=str(error), exit_code=1) from error


def _json(path: Path) -> dict:
    try:
        return read_json(path)
    except FileNotFoundError:
        raise CurateError("the packed rows are missing", where=str(path), next="curate build-mixture RECIPE") from None
