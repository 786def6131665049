"""The packed rows on disk: uses of documents in, sequences/ and selection.parquet out.

Sequences are numbered by component, then pass; those of held-out documents follow the trained ones. Chunk i of chunks.npy is row
i of selection.parquet. Every file is written under a temporary name, then renamed; equal input gives equal bytes. `token_start`
in the selection counts from the first token of the document (so it does not depend on shards), `position` from that of the row.
Imports schema, store and mixture's order, pack, selection, stream.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate.schema import SELECTION
from curate.store import digest, table_root, write_json
from mixture.pack import Packed, pack
from mixture.selection import Documents, Use
from mixture.stream import CHUNK, hash_row, map_tokens

SLICE = 1 << 20  # rows of the selection made at once; part of the root's definition
# What stands in selection.parquet about who is used how often; the rest of its columns says where and when.
WHAT = ("phase", "component", "source", "id", "pass", "chunk", "n_chunks", "token_start", "n_tokens", "n_loss_tokens", "split")


@dataclass(frozen=True)
class Layout:
    """All sequences. Chunk arrays (n_chunks,), row arrays (n_rows,); `packed` per use, trained ones first."""

    uses: list[Use]
    packed: list[Packed]
    n_trained_uses: int
    row_ptr: np.ndarray  # int64 (n_rows + 1,)
    document: np.ndarray  # int64, index into Documents
    chunk: np.ndarray
    n_chunks: np.ndarray
    start: np.ndarray  # from the document's first token
    length: np.ndarray
    position: np.ndarray
    more: np.ndarray  # bool: another chunk of this use follows
    row_use: np.ndarray  # int64 (n_rows,), index into uses
    n_rows: int
    n_trained: int  # trained sequences are [0, n_trained)

    @property
    def row(self) -> np.ndarray:
        """Sequence of every chunk, int64."""
        return np.repeat(np.arange(self.n_rows), np.diff(self.row_ptr))


def lay_out(trained: Sequence[Use], held_out: Sequence[Use], sequence_length: int) -> Layout:
    """Pack every use on its own: rows are pure in one component and pass."""
    uses = [*trained, *held_out]
    packed = [pack(use.n_tokens, sequence_length) for use in uses]

    def joined(parts: Sequence[np.ndarray]) -> np.ndarray:
        return np.concatenate([np.empty(0, np.int64), *parts])

    rows = [p.n_rows for p in packed]
    ptr = np.concatenate(([0], np.cumsum(joined([np.diff(p.row_ptr) for p in packed]))))
    chunk, n_chunks = joined([p.chunk for p in packed]), joined([p.n_chunks for p in packed])
    return Layout(
        uses, packed, len(trained), ptr, joined([u.documents[p.item] for u, p in zip(uses, packed, strict=True)]),
        chunk, n_chunks, joined([p.start for p in packed]), joined([p.length for p in packed]),
        joined([p.position for p in packed]), chunk + 1 < n_chunks, np.repeat(np.arange(len(uses)), rows),
        sum(rows), sum(rows[: len(trained)]),
    )  # fmt: skip


def write_sequences(
    folder: Path, layout: Layout, docs: Documents, order: np.ndarray, shards: Sequence[Path], token_bytes: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Write the folder; returns (row hashes uint8 (n_rows, 16), labels that count per chunk int64 (n_chunks,))."""
    folder.mkdir(parents=True, exist_ok=True)
    base = folder.parent.resolve()
    losses = [shard.with_name(shard.name + ".loss") for shard in shards]
    tokens = [map_tokens(shard, np.dtype(f"<u{token_bytes}")) for shard in shards]
    masks = [map_tokens(loss, np.dtype("u1"), t.size) if loss.exists() else None for loss, t in zip(losses, tokens, strict=True)]
    listed = [
        {"path": os.path.relpath(shard.resolve(), base), "n_tokens": t.size, "has_loss": mask is not None}
        for shard, t, mask in zip(shards, tokens, masks, strict=True)
    ]
    chunks = np.zeros(layout.document.size, CHUNK)
    chunks["shard"], chunks["length"] = docs.shard[layout.document], layout.length
    chunks["start"] = docs.token_start[layout.document] + layout.start
    chunks["document"], chunks["more"] = np.arange(chunks.size), layout.more
    hashes, n_loss = _read_rows(layout, chunks, tokens, masks, progress)
    components = np.array([use.component for use in layout.uses], np.uint16)
    write_json(folder / "shards.json", {"token_bytes": token_bytes, "shards": listed})
    save(folder / "row_ptr.npy", layout.row_ptr)
    save(folder / "chunks.npy", chunks)
    save(folder / "component.npy", components[layout.row_use])
    save(folder / "order.npy", order)
    save(folder / "row_hash.npy", hashes)
    return hashes, n_loss


def _read_rows(
    layout: Layout, chunks: np.ndarray, tokens: Sequence[np.ndarray], masks: Sequence[np.ndarray | None],
    progress: Callable[[int, int], None],
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Every token once, through memory maps: row hashes, and the labels that count per chunk."""
    hashes = np.empty((layout.n_rows, 16), np.uint8)
    n_loss = layout.length - 1 + layout.more
    shard, start = chunks["shard"].tolist(), chunks["start"].tolist()
    for i in np.flatnonzero(np.array([mask is not None for mask in masks], np.bool_)[chunks["shard"]]).tolist():
        mask = masks[shard[i]]
        assert mask is not None
        n_loss[i] = np.count_nonzero(mask[start[i] + 1 : start[i] + 1 + n_loss[i]])
    length, ptr = layout.length.tolist(), layout.row_ptr.tolist()
    for row in range(layout.n_rows):
        own = range(ptr[row], ptr[row + 1])
        parts = [tokens[shard[i]][start[i] : start[i] + length[i]] for i in own]
        hashes[row] = np.frombuffer(hash_row(layout.length[own.start : own.stop], parts), np.uint8)
        if row % 4096 == 0:
            progress(row, layout.n_rows)
    progress(layout.n_rows, layout.n_rows)
    return hashes, n_loss


def write_selection(
    path: Path, layout: Layout, docs: Documents, n_loss: np.ndarray, order: np.ndarray, phase: str
) -> tuple[str, str]:
    """Write selection.parquet; returns (root of what is selected, root of where and when it stands)."""
    stream_index = np.empty(layout.n_trained, np.int64)
    stream_index[order.astype(np.int64)] = np.arange(layout.n_trained)
    row = layout.row
    what: list[str] = []
    where: list[str] = []
    temporary = path.with_name(f".{path.name}.tmp")
    with pq.ParquetWriter(temporary, SELECTION, compression="zstd", compression_level=3, version="2.6") as writer:
        for first in range(0, row.size, SLICE):
            at = slice(first, first + SLICE)
            table = _slice(layout, docs, n_loss[at], stream_index, row[at], at, phase)
            what.append(table_root(table.select(list(WHAT))))
            where.append(table_root(table.select([n for n in table.column_names if n not in WHAT])))
            writer.write_table(table, row_group_size=1 << 17)
    _publish(temporary, path)
    return digest("selection", *what), digest("order", str(layout.n_trained), *where)


def _slice(
    layout: Layout, docs: Documents, n_loss: np.ndarray, stream_index: np.ndarray, row: np.ndarray, at: slice, phase: str
) -> pa.Table:
    document, use = layout.document[at], layout.row_use[row]
    held = row >= layout.n_trained
    pass_ = np.array([u.pass_ for u in layout.uses], np.int32)[use]
    component = np.array([u.component for u in layout.uses], np.int64)[use]
    index = np.where(held, 0, stream_index[np.where(held, 0, row)]) if layout.n_trained else np.zeros(row.size, np.int64)
    columns: dict[str, Any] = {
        "phase": _words([phase], np.zeros(row.size, np.int64), held),
        "component": _words(docs.components, component), "source": _words(docs.sources, docs.source[document]),
        "id": docs.id.take(pa.array(document)), "pass": pass_, "chunk": layout.chunk[at], "n_chunks": layout.n_chunks[at],
        "token_start": layout.start[at], "n_tokens": layout.length[at], "n_loss_tokens": n_loss,
        "split": _words(["train", "held_out"], held.astype(np.int64)), "sequence": row, "position": layout.position[at],
        "stream_index": pa.array(index, mask=held),
    }  # fmt: skip
    return pa.table(columns).cast(SELECTION)


def _words(names: Sequence[str], index: np.ndarray, null: np.ndarray | None = None) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(index, mask=null), pa.array(list(names), pa.string())).cast(pa.string())


def save(path: Path, array: np.ndarray) -> None:
    """One .npy file, visible only when it is whole."""
    temporary = path.with_name(f".{path.name}.tmp")
    with open(temporary, "wb") as file:
        np.save(file, array)
    _publish(temporary, path)


def _publish(temporary: Path, path: Path) -> None:
    with open(temporary, "rb") as file:
        os.fsync(file.fileno())
    os.replace(temporary, path)
