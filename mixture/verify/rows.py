"""The packed rows read again: their hashes, the running stream hash, the manifest's roots.

In: sequences/ and the token shards through memory maps, selection.parquet slice by slice. Out: findings with the sequence number.
Imports store and mixture's hashes, sequences, stream, verify.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.errors import CurateError
from curate.recipe import Recipe
from curate.store import digest, table_root
from mixture.hashes import row_hashes
from mixture.sequences import SLICE, WHAT
from mixture.stream import START, advance, map_tokens
from mixture.verify.copies import Members, phases_of
from mixture.verify.files import shown
from mixture.verify.report import Report
from mixture.verify.suspects import Chunks, name_rows
from mixture.verify.uses import SELECTION, Kept, Used

BLOCK = 4096  # rows hashed at once by a thread
CHECKPOINTS = 64  # of the stream, at most


def check_hashes(
    build_dir: Path, manifest: Mapping[str, Any], arrays: Mapping[str, np.ndarray], shards: Sequence[Mapping[str, Any]],
    token_bytes: int, used: Used, kept: Kept, damaged: Collection[Path], report: Report,
) -> None:  # fmt: skip
    """Every packed row against its stored hash, then the stream's root and checkpoints from those recomputed hashes.

    `damaged`: token shards whose bytes are not those that were written; what does not match in them is no fault of the hash."""
    ptr, chunks, stored = arrays["row_ptr"], arrays["chunks"], arrays["row_hash"]
    try:
        maps = [np.asarray(map_tokens(build_dir / s["path"], np.dtype(f"<u{token_bytes}"), s["n_tokens"])) for s in shards]
    except CurateError as error:
        report.add(shown(Path(error.where), build_dir), error.what)
        return
    sizes = np.array([*(tokens.size for tokens in maps), 0], np.uint64)
    end = chunks["start"] + chunks["length"]
    outside = np.flatnonzero((chunks["shard"] >= len(maps)) | (end > sizes[np.minimum(chunks["shard"], len(maps))]))
    if outside.size:
        report.add("sequences/chunks.npy", "a chunk that lies in no token shard", f"row {outside[0]}")
        return
    hashes = np.empty((len(ptr) - 1, 16), np.uint8)

    def hash_block(first: int) -> None:
        last = min(first + BLOCK, len(ptr) - 1)
        own = ptr[first : last + 1]
        hashes[first:last] = row_hashes(np.asarray(own - own[0]), chunks[own[0] : own[-1]], maps)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(hash_block, range(0, len(hashes), BLOCK)))
    wrong = np.flatnonzero((hashes != stored).any(axis=1))
    paths = [(build_dir / s["path"]).resolve() for s in shards]
    names = {number: shown(path, build_dir) for number, path in enumerate(paths) if path in damaged}
    parts = Chunks(np.asarray(ptr), np.asarray(chunks["shard"]), used.document, used.start, used.length)
    name_rows(wrong, parts, arrays["order"], names, lambda chunk: _document(kept, int(used.document[chunk])), report)
    report.count(sequences=len(ptr) - 1)
    _check_stream(manifest, arrays["order"], hashes, report)


def _document(kept: Kept, number: int) -> str:
    return f"{kept.sources[kept.source[number]]} {kept.id[number].decode()}" if number >= 0 else "an unknown document"


def _check_stream(manifest: Mapping[str, Any], order_: np.ndarray, hashes: np.ndarray, report: Report) -> None:
    """The running hash at every mark, and that the marks stand where they have to: evenly spaced, the end included."""
    marks = [mark["stream_index"] for mark in manifest["stream_checkpoints"]]
    right = sorted({order_.size * k // CHECKPOINTS for k in range(1, CHECKPOINTS + 1)} - {0})
    report.equal("manifest.json", "stream indices of stream_checkpoints", marks, right)
    stated = {mark["stream_index"]: mark["sha256"] for mark in manifest["stream_checkpoints"]}
    running, in_order = START, hashes[order_.astype(np.int64)].tobytes()
    for i in range(1, order_.size + 1):
        running = advance(running, in_order[16 * (i - 1) : 16 * i])
        if i in stated:
            report.equal("manifest.json", "stream_checkpoints", stated[i], running.hex(), f"stream index {i}")
    report.equal("manifest.json", "roots.stream", manifest["roots"]["stream"], running.hex())


def check_roots(
    build_dir: Path, manifest: Mapping[str, Any], recipe: Recipe, used: Used, kept: Kept, members: Members, held: np.ndarray,
    report: Report,
) -> None:  # fmt: skip
    """roots.components, roots.selection and roots.order from the rows."""
    what, where = [], []
    for table in _slices(build_dir / SELECTION):
        what.append(table_root(table.select(list(WHAT))))
        where.append(table_root(table.select([name for name in table.column_names if name not in WHAT])))
    n_train = sum(phase["order"]["n_sequences"] for phase in manifest["phases"])
    report.equal("manifest.json", "roots.selection", manifest["roots"]["selection"], digest("selection", *what))
    report.equal("manifest.json", "roots.order", manifest["roots"]["order"], digest("order", str(n_train), *where))
    parts: list[str | bytes] = []
    for c, (name, component) in enumerate(recipe.mixture.leaves.items()):
        ever = members.ever(c, phases_of(recipe))
        rank = np.array([component.from_.index(source) if source in component.from_ else -1 for source in kept.sources])
        own = ever[np.argsort(rank[kept.source[ever]], kind="stable")]  # sources in `from` order, then id
        own = own[kept.n_tokens[own] > 0]
        table = pa.table({
            "id": pc.cast(pa.array(kept.id[own], pa.binary()), pa.string()), "n_tokens": kept.n_tokens[own],
            "n_loss_tokens": kept.n_loss_tokens[own], "held_out": held[own],
        })  # fmt: skip
        parts += [name, table_root(table)]
    report.equal("manifest.json", "roots.components", manifest["roots"]["components"], digest(*parts))


def _slices(path: Path) -> Any:
    """The selection in tables of SLICE rows (the last one shorter); row groups never straddle a slice."""
    file = pq.ParquetFile(path)
    groups: list[int] = []
    rows = 0
    for group in range(file.num_row_groups):
        groups.append(group)
        rows += file.metadata.row_group(group).num_rows
        if rows >= SLICE or group == file.num_row_groups - 1:
            yield file.read_row_groups(groups)
            groups, rows = [], 0
