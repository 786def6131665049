"""The stream: row i is a pure function of (manifest, i). Opens in milliseconds, reads only the chunks of the rows asked for.

In: manifest.json and the folder `sequences/` beside it, memory-mapped. Out: rows with labels, positions and document numbers, as long
as the sequences of their phase. `labels[t]` is the token after `input_ids[t]` in the same use of the same document (already shifted),
also across its chunks; -100 where there is none, where the loss mask excludes it, and on padding. No state: what has been trained is
known by a step alone. Imports numpy, errors, manifest, store and mixture.batches.

**Row.** Sequence q is the chunks [row_ptr[q], row_ptr[q + 1]) of chunks.npy: `length` tokens of file `shard` of shards.json, from token
`start`. Its hash is blake2b-128 over the number of chunks, their lengths and the tokens, each as 4 bytes little-endian.
**Stream hash.** sha256 of "veski-stream-1", then for every row sha256 of (hash so far, hash of the row), in the order of order.py.
"""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from curate.errors import CurateError
from curate.manifest import read_manifest
from curate.store import read_json
from mixture.batches import Phase, Steps, in_rows, in_tokens, phases_of

IGNORED = -100
START = hashlib.sha256(b"veski-stream-1").digest()  # hash of the empty stream
MAX_OPEN = 256  # token shards mapped at once

# One record per chunk, in the order of selection.parquet: chunk i is described by its row `document` == i.
CHUNK = np.dtype([("shard", "<u4"), ("start", "<u8"), ("length", "<u4"), ("document", "<u8"), ("more", "u1")])
# One record per sequence of a mixture of pairs: tokens of the prompt and of both completions, id of the document
PAIR = np.dtype([("n_prompt", "<u4"), ("n_chosen", "<u4"), ("n_rejected", "<u4"), ("margin", "<f8"), ("id", "S32")])


class Row(NamedTuple):
    """One sequence. A fully masked row (in a phase's last global batch) has component -1, no token and an empty hash."""

    input_ids: np.ndarray  # uint32 (L,), 0 on padding
    labels: np.ndarray  # int64 (L,)
    position_ids: np.ndarray  # int32 (L,), from 0 in every chunk, and in the padding
    document: np.ndarray  # int32 (L,), number of the chunk in the row, -1 on padding
    language: np.ndarray  # int16 (L,), index into Stream.languages, -1 on padding
    n_tokens: int
    n_loss_tokens: int  # labels that count
    component: int
    row_hash: bytes  # 16 bytes


class Batch(NamedTuple):
    """Rows of one phase, stacked: (B, L) arrays, (B,) counts."""

    input_ids: np.ndarray
    labels: np.ndarray
    position_ids: np.ndarray
    document: np.ndarray
    language: np.ndarray
    n_tokens: np.ndarray
    n_loss_tokens: np.ndarray
    component: np.ndarray
    row_hash: list[bytes]


def row_hash(input_ids: np.ndarray, document: np.ndarray) -> bytes:
    """Hash of a row, padding left out; `document` numbers its chunks."""
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
        self.path, self.verify = Path(manifest_path).absolute(), verify
        self.manifest = read_manifest(Path(manifest_path))
        self.phases: tuple[Phase, ...] = phases_of(self.manifest)
        self.components: list[str] = [c["name"] for c in self.manifest["components"]]
        self.n_sequences: int = sum(phase.n_rows for phase in self.phases)
        self.n_held_out: int = self.manifest["held_out"]["sequences"]
        self.held_out_length: int = self.manifest["held_out"].get("sequence_length", self.phases[0].sequence_length)
        if self.manifest["held_out"].get("row_length"):
            self.held_out_length = self.manifest["held_out"]["row_length"]
        base = Path(manifest_path).parent
        folder = base / "sequences"
        names = ("row_ptr", "chunks", "component", "language", "order", "row_hash")
        self._row_ptr, self._chunks, self._component, self._language, self._order, self._hashes = (
            _array(folder / f"{name}.npy") for name in names
        )
        expect_leaps(self._row_ptr, self._chunks, self._component, self._language, self._hashes)
        if self._row_ptr.size != self.n_sequences + self.n_held_out + 1 or self._order.size != self.n_sequences:
            raise CurateError(
                "sequences and manifest do not belong together", where=str(folder), next="curate verify", exit_code=1
            )
        listed = _json(folder / "shards.json")
        self.languages: list[str] = listed["languages"]
        self._dtype = np.dtype(f"<u{listed['token_bytes']}")
        self._shards = [(base / s["path"], s["n_tokens"], s["has_loss"]) for s in listed["shards"]]
        self._open: dict[int, tuple[np.ndarray, np.ndarray | None]] = {}

    def __reduce__(self) -> tuple:
        """A worker process gets the path and maps the files itself; a pickled map would be a copy of them."""
        return Stream, (self.path, self.verify)

    def steps(self, tokens: int | None = None, rows: int | None = None) -> Steps:
        """The steps of a run with global batches of so many tokens, or of so many rows in every phase."""
        if (tokens is None) == (rows is None):
            raise ValueError("a global batch is given in tokens or in rows")
        return in_tokens(self.phases, tokens) if tokens is not None else in_rows(self.phases, rows or 0)

    def batch(
        self, step: int, tokens: int | None = None, rank: int = 0, world_size: int = 1, *, rows: int | None = None
    ) -> Batch:
        """What a rank trains in global batch `step` (from 0) of `tokens`, or of `rows` rows: a function of its arguments alone."""
        share = self.steps(tokens, rows).share(step, rank, world_size)
        return self.read(share.rows, share.n_empty, share.phase)

    def read(self, indices: Sequence[int], n_empty: int = 0, phase: int | None = None) -> Batch:
        """Rows of one phase by stream index, then `n_empty` masked rows of it; `phase` may be left out where there is a row."""
        at = np.asarray(indices, np.int64)
        if at.size and not (at.min() >= 0 and at.max() < self.n_sequences):
            raise IndexError(f"stream indices {at.min()} to {at.max()} are not in [0, {self.n_sequences})")
        own = self.phases[self.phase_of(int(at[0])) if phase is None else phase]
        if at.size and not (at.min() >= own.first_index and at.max() < own.end):
            raise ValueError(f"a batch is rows of one phase; {own.name} is [{own.first_index}, {own.end})")
        return self._sequences(self._order[at].astype(np.int64), own.sequence_length, n_empty)

    def row(self, i: int) -> Row:
        """Row `i` of the stream, 0 <= i < n_sequences."""
        return _only(self.read([i]))

    def held_out(self, j: int) -> Row:
        """Held-out row `j`, 0 <= j < n_held_out, in the order of the components."""
        if not 0 <= j < self.n_held_out:
            raise IndexError(f"held-out row {j} is not in [0, {self.n_held_out})")
        return _only(self._sequences(np.array([self.n_sequences + j]), self.held_out_length))

    def masked_row(self, length: int) -> Row:
        """What fills the last global batch of a phase: no token, no label."""
        return _only(self._sequences(np.empty(0, np.int64), length, 1))

    def phase_of(self, i: int) -> int:
        """Number of the phase of row `i`."""
        return next(number for number, phase in enumerate(self.phases) if i < phase.end)

    def chunks(self, sequence: int) -> np.ndarray:
        """Records (CHUNK) of a sequence; its `document` fields are rows of selection.parquet."""
        return np.array(self._chunks[self._row_ptr[sequence] : self._row_ptr[sequence + 1]])

    def sequence_of(self, i: int) -> int:
        """Sequence number of stream index `i`."""
        return int(self._order[i])

    def row_hash_of(self, i: int) -> bytes:
        """The stored hash of row `i` of the stream."""
        return self._hashes[int(self._order[i])].tobytes()

    def hash_of_sequence(self, sequence: int) -> bytes:
        """The stored hash of a sequence."""
        return self._hashes[sequence].tobytes()

    def labels_of(self, sequence: int) -> tuple[int, int]:
        """Component of a sequence, and language of its first chunk."""
        return int(self._component[sequence]), int(self._language[self._row_ptr[sequence]])

    def tokens_of(self, chunk: np.void) -> np.ndarray:
        """uint32: the tokens of one record of `chunks`."""
        tokens, _ = self._shard(int(chunk["shard"]))
        start = int(chunk["start"])
        return tokens[start : start + int(chunk["length"])].astype(np.uint32)

    def _sequences(self, sequences: np.ndarray, length: int, n_empty: int = 0) -> Batch:
        """Sequences by number, in rows of `length`, then empty rows."""
        n, shape = sequences.size, (sequences.size + n_empty, length)
        ids, labels = np.empty(shape, np.uint32), np.empty(shape, np.int64)
        positions, document, language = np.empty(shape, np.int32), np.empty(shape, np.int32), np.empty(shape, np.int16)
        counts = np.zeros((2, n + n_empty), np.int64)  # tokens, labels
        ramp = np.arange(length, dtype=np.int32)
        first, stop = (self._row_ptr[sequences + k].tolist() for k in (0, 1))
        for i in range(n + n_empty):
            own = self._chunks[first[i] : stop[i]].tolist() if i < n else []
            counts[:, i] = self._fill(own, ramp, ids[i], labels[i], positions[i], document[i])
            spoken = self._language[first[i] : stop[i]] if i < n else np.empty(0, np.int16)
            language[i] = np.append(spoken, -1)[document[i]]  # -1, the padding, takes the last
        component = np.full(n + n_empty, -1)
        component[:n] = self._component[sequences]
        hashes = [known.tobytes() for known in self._hashes[sequences]] + [b""] * n_empty
        if self.verify:
            self._check(sequences, ids, document, hashes)
        return Batch(ids, labels, positions, document, language, counts[0], counts[1], component, hashes)

    def _fill(
        self,
        chunks: list[tuple],
        ramp: np.ndarray,
        ids: np.ndarray,
        labels: np.ndarray,
        positions: np.ndarray,
        document: np.ndarray,
    ) -> tuple[int, int]:
        """Write one row; returns (tokens, labels that count). A dozen slices a chunk and no kernel: the first batch waits for none."""
        at = n_loss = 0
        if (n := sum(size for _, _, size, _, _ in chunks)) > ids.size:
            raise CurateError(
                "sequences and manifest do not belong together", where=str(self.path), found=f"a sequence of {n} tokens",
                allowed=f"at most {ids.size}", next="curate verify", exit_code=1,
            )  # fmt: skip
        for number, (shard, start, size, _, more) in enumerate(chunks):
            tokens, loss = self._shard(shard)
            end, after = at + size, start + size + more
            ids[at:end] = tokens[start : start + size]
            labels[end - 1] = IGNORED
            own = labels[at : end - 1 + more]
            own[:] = tokens[start + 1 : after]
            n_loss += own.size
            if loss is not None:
                left_out = loss[start + 1 : after] == 0
                own[left_out] = IGNORED
                n_loss -= int(np.count_nonzero(left_out))
            positions[at:end], document[at:end] = ramp[:size], number
            at = end
        ids[at:], labels[at:], positions[at:], document[at:] = 0, IGNORED, ramp[: ids.size - at], -1
        return at, n_loss

    def _check(self, sequences: np.ndarray, ids: np.ndarray, document: np.ndarray, hashes: list[bytes]) -> None:
        for k, sequence in enumerate(sequences.tolist()):
            if row_hash(ids[k], document[k]) != hashes[k]:
                raise CurateError(
                    f"the tokens of sequence {sequence} are not those of the manifest", next="curate verify", exit_code=1
                )

    def _shard(self, number: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Tokens and loss flags of a shard, mapped; of more than MAX_OPEN shards those used last."""
        if number in self._open:
            self._open[number] = found = self._open.pop(number)
            return found
        path, n_tokens, has_loss = self._shards[number]
        loss = map_tokens(path.with_name(path.name + ".loss"), np.dtype("u1"), n_tokens) if has_loss else None
        if len(self._open) >= MAX_OPEN:
            del self._open[next(iter(self._open))]
        self._open[number] = map_tokens(path, self._dtype, n_tokens), loss
        return self._open[number]


def _only(batch: Batch) -> Row:
    """The row of a batch of one."""
    arrays = (batch.input_ids[0], batch.labels[0], batch.position_ids[0], batch.document[0], batch.language[0])
    return Row(*arrays, int(batch.n_tokens[0]), int(batch.n_loss_tokens[0]), int(batch.component[0]), batch.row_hash[0])


def map_tokens(path: Path, dtype: np.dtype, n_tokens: int | None = None) -> np.ndarray:
    """A flat file of token ids (or loss flags), memory-mapped; CurateError when it is absent or has another length."""
    try:
        size = path.stat().st_size
        # asarray: the same map without memmap's own slicing, which costs five times a plain array's
        tokens = np.asarray(np.memmap(path, dtype, "r")) if size else np.empty(0, dtype)
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


def expect_leaps(*maps: np.ndarray) -> None:
    """Tell the system that mapped arrays are read here and there: no more of a file than is asked for (else 128 kB or more each time)."""
    for array in maps:
        base: object = array
        while isinstance(base, np.ndarray):
            base = base.base
        if isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_RANDOM"):
            base.madvise(mmap.MADV_RANDOM)


def _array(path: Path) -> np.ndarray:
    try:
        return np.asarray(np.load(path, mmap_mode="r"))
    except FileNotFoundError:
        raise CurateError("the packed rows are missing", where=str(path), next="curate build-mixture RECIPE") from None
    except ValueError as error:
        raise CurateError("this file is damaged", where=str(path), found=str(error), exit_code=1) from error


def _json(path: Path) -> dict:
    try:
        return read_json(path)
    except FileNotFoundError:
        raise CurateError("the packed rows are missing", where=str(path), next="curate build-mixture RECIPE") from None
