"""The packed rows on disk: uses of documents in, sequences/ and selection.parquet out.

Sequences are numbered by phase, component, pass; those of held-out documents follow the trained ones. Chunk i of chunks.npy is row
i of selection.parquet. Every file is written under a temporary name, then renamed; equal input gives equal bytes. `token_start`
in the selection counts from the first token of the document (so it does not depend on shards), `position` from that of the row.
Imports schema, store and mixture's hashes, pack, selection, stream.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate.schema import SELECTION
from curate.store import digest, table_root, write_json
from mixture.hashes import count_learned, row_hashes
from mixture.pack import PACKING, Packed
from mixture.selection import UNKNOWN, Coded, Documents, Use
from mixture.stream import CHUNK, PAIR, expect_leaps, map_tokens

T = TypeVar("T")
SLICE = 1 << 20  # rows of the selection made at once; part of the root's definition
READ = 1 << 22  # tokens read and hashed at once by a thread
# What stands in selection.parquet about who is used how often; the rest of its columns says where and when.
WHAT = ("phase", "component", "source", "id", "pass", "chunk", "n_chunks", "token_start", "n_tokens", "n_loss_tokens", "split")


@dataclass(frozen=True)
class Filled:
    """What packing made of one use (one pass of one component in one phase, or held-out documents)."""

    n_rows: int
    n_tokens: int
    padding: int  # tokens
    unavoidable: int  # tokens of padding that no packing can do without
    cut_that_fit: int  # documents no longer than a row that stand in two
    overlong: int  # documents longer than a row


@dataclass(frozen=True)
class Layout:
    """All sequences. Chunk arrays (n_chunks,), row arrays (n_rows,); `filled` per use, trained ones first."""

    uses: list[Use]
    filled: list[Filled]
    row_lengths: list[int]  # tokens of a row, by phase
    first_row: list[int]  # sequences of phase f are [first_row[f], first_row[f + 1]), held-out ones begin at the last
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

    @property
    def n_trained(self) -> int:
        """Trained sequences are [0, n_trained)."""
        return self.first_row[-1]

    @property
    def row(self) -> np.ndarray:
        """Sequence of every chunk, int64."""
        return np.repeat(np.arange(self.n_rows), np.diff(self.row_ptr))

    def of_phase(self, phase: int) -> list[tuple[Use, Filled]]:
        """A phase's passes, by component, then pass; -1: the held-out documents."""
        return [(use, filled) for use, filled in zip(self.uses, self.filled, strict=True) if use.phase == phase]


def lay_out(trained: Sequence[Use], held_out: Sequence[Use], phases: Sequence[tuple[int, str]]) -> Layout:
    """Pack every use on its own: rows are pure in one phase, component and pass. `phases`: length of a row and packing of each.

    `trained` stands by phase, component, pass. Held-out documents are packed into rows of the first phase's length, best-fit, pairs singly."""
    uses = [*trained, *held_out]
    packed, filled = [], []
    for use in uses:
        length, how = phases[max(use.phase, 0)]
        packed.append(PACKING["best_fit" if use.phase < 0 and how == "concat" else how](use.n_tokens, length))
        filled.append(_filled(packed[-1], use, length))

    def joined(parts: Sequence[np.ndarray]) -> np.ndarray:
        return np.concatenate([np.empty(0, np.int64), *parts])

    rows = [p.n_rows for p in packed]
    in_phase = [sum(n for n, use in zip(rows, uses, strict=True) if use.phase == f) for f in range(len(phases))]
    ptr = np.concatenate(([0], np.cumsum(joined([np.diff(p.row_ptr) for p in packed]))))
    chunk, n_chunks = joined([p.chunk for p in packed]), joined([p.n_chunks for p in packed])
    pairs = list(zip(uses, packed, strict=True))
    return Layout(
        uses, filled, [length for length, _ in phases], [0, *np.cumsum(in_phase).tolist()], ptr,
        joined([u.documents[p.item] for u, p in pairs]), chunk, n_chunks, joined([u.start[p.item] + p.start for u, p in pairs]),
        joined([p.length for p in packed]), joined([p.position for p in packed]), chunk + 1 < n_chunks,
        np.repeat(np.arange(len(uses)), rows), sum(rows),
    )  # fmt: skip


def _filled(packed: Packed, use: Use, length: int) -> Filled:
    cut = (packed.chunk == 0) & (packed.n_chunks > 1)
    long = use.n_tokens[packed.item[cut]] > length
    return Filled(
        packed.n_rows, int(packed.length.sum()), packed.padding(length), packed.unavoidable(length), int((~long).sum()),
        int(long.sum()),
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
    if 2 * sum(t.nbytes for t in tokens) > os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"):
        # documents stand in a pass in any order: what is read around one is thrown out again before it is wanted
        expect_leaps(*tokens, *(mask for mask in masks if mask is not None))
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
    languages, of_document = named_languages(docs.language)
    write_json(folder / "shards.json", {"token_bytes": token_bytes, "languages": languages, "shards": listed})
    save(folder / "row_ptr.npy", layout.row_ptr)
    save(folder / "chunks.npy", chunks)
    save(folder / "component.npy", components[layout.row_use])
    save(folder / "language.npy", of_document[layout.document])
    save(folder / "order.npy", order)
    save(folder / "row_hash.npy", hashes)
    if docs.pairs is None:
        (folder / "pairs.npy").unlink(missing_ok=True)
    else:
        save(folder / "pairs.npy", pair_records(docs, layout.document))
    return hashes, n_loss


def pair_records(docs: Documents, documents: np.ndarray) -> np.ndarray:
    """PAIR (n,) of these documents: in a mixture of pairs a sequence is one document."""
    assert docs.pairs is not None
    found = np.zeros(documents.size, PAIR)
    for name in ("n_prompt", "n_chosen", "n_rejected", "margin"):
        found[name] = getattr(docs.pairs, name)[documents]
    found["id"] = np.asarray(docs.id[documents].text().to_pylist(), "S32")
    return found


def named_languages(column: Coded) -> tuple[list[str], np.ndarray]:
    """(names, sorted; int16 (n,) place of every document's in them). A document of no language has UNKNOWN."""
    spoken = [*column.values, UNKNOWN]
    names = sorted(set(spoken))
    return names, np.array([names.index(name) for name in spoken], np.int16)[column.code]


def _read_rows(
    layout: Layout, chunks: np.ndarray, tokens: Sequence[np.ndarray], masks: Sequence[np.ndarray | None],
    progress: Callable[[int, int], None],
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Every token once, through memory maps: row hashes, and the labels that count per chunk. Rows are read in blocks, by threads."""
    ptr, n_rows = layout.row_ptr, layout.n_rows
    before = np.concatenate(([0], np.cumsum(layout.length)))[ptr]  # tokens before every row
    hashes, n_loss = np.empty((n_rows, 16), np.uint8), layout.length - 1 + layout.more

    def read(first: int, stop: int) -> int:
        a, b = int(ptr[first]), int(ptr[stop])
        hashes[first:stop] = row_hashes(ptr[first : stop + 1] - a, chunks[a:b], tokens)
        _count_labels(chunks["shard"][a:b], chunks["start"][a:b], n_loss[a:b], masks)
        return stop

    # whole rows of about READ tokens together, one row at least
    starts = np.unique(np.searchsorted(before[:-1], np.arange(0, max(int(before[-1]), 1), READ))).tolist() if n_rows else []
    blocks = zip(starts, [*starts[1:], n_rows], strict=True)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for done in pool.map(lambda block: read(*block), blocks):
            progress(done, n_rows)
    progress(n_rows, n_rows)
    return hashes, n_loss


def _count_labels(shard: np.ndarray, start: np.ndarray, n_loss: np.ndarray, masks: Sequence[np.ndarray | None]) -> None:
    """n_loss of the chunks whose shard has a loss mask, from what it would be without."""
    for s in np.unique(shard).tolist():
        if (mask := masks[s]) is not None:
            own = np.flatnonzero(shard == s)
            n_loss[own] = count_learned(mask, start[own].astype(np.int64) + 1, n_loss[own])


def write_selection(
    path: Path, layout: Layout, docs: Documents, n_loss: np.ndarray, order: np.ndarray, phases: Sequence[str]
) -> tuple[str, str]:
    """Write selection.parquet (`phases`: their names); returns (root of what is selected, root of where and when it stands)."""
    stream_index = np.empty(layout.n_trained, np.int64)
    stream_index[order.astype(np.int64)] = np.arange(layout.n_trained)
    row = layout.row
    what: list[str] = []
    where: list[str] = []

    def made(first: int) -> tuple[pa.Table, str, str]:
        at = slice(first, first + SLICE)
        table = _slice(layout, docs, n_loss[at], stream_index, row[at], at, phases)
        rest = [name for name in table.column_names if name not in WHAT]
        return table, table_root(table.select(list(WHAT))), table_root(table.select(rest))

    temporary = path.with_name(f".{path.name}.tmp")
    with (
        pq.ParquetWriter(temporary, SELECTION, compression="zstd", compression_level=3, version="2.6") as writer,
        ThreadPoolExecutor(1) as pool,
    ):
        for table, of_what, of_where in _ahead(pool, made, range(0, row.size, SLICE)):
            what.append(of_what)
            where.append(of_where)
            writer.write_table(table, row_group_size=1 << 17)
    _publish(temporary, path)
    return digest("selection", *what), digest("order", str(layout.n_trained), *where)


def _ahead(pool: ThreadPoolExecutor, make: Callable[[int], T], of: Iterable[int]) -> Iterator[T]:
    """make(x) for every x, in order, each made while the one before is used."""
    coming: Future[T] | None = None
    for x in of:
        after = pool.submit(make, x)
        if coming is not None:
            yield coming.result()
        coming = after
    if coming is not None:
        yield coming.result()


def _slice(
    layout: Layout, docs: Documents, n_loss: np.ndarray, stream_index: np.ndarray, row: np.ndarray, at: slice,
    phases: Sequence[str],
) -> pa.Table:  # fmt: skip
    document, use = layout.document[at], layout.row_use[row]
    held = row >= layout.n_trained
    phase, component, pass_ = (
        np.array([getattr(u, what) for u in layout.uses], np.int64)[use] for what in ("phase", "component", "pass_")
    )
    index = np.where(held, 0, stream_index[np.where(held, 0, row)]) if layout.n_trained else np.zeros(row.size, np.int64)
    columns: dict[str, Any] = {
        "phase": _words(phases, np.where(held, 0, phase), held),
        "component": _words(docs.components, component), "source": _words(docs.sources, docs.source[document].astype(np.int64)),
        "id": docs.id[document].text(), "pass": pass_, "chunk": layout.chunk[at], "n_chunks": layout.n_chunks[at],
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
