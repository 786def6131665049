"""The packed rows read again: length, purity, padding, row hashes, order, running stream hash, and the manifest's roots.

In: sequences/ and the token shards through memory maps, selection.parquet slice by slice. Out: findings with the sequence number.
Imports store and mixture's order, sequences, stream, verify.uses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.errors import CurateError
from curate.recipe import Recipe
from curate.store import digest, table_root
from mixture import order
from mixture.sequences import SLICE, WHAT
from mixture.stream import START, advance, hash_row, map_tokens
from mixture.verify.report import Report
from mixture.verify.uses import SELECTION, Kept, Used


def check_rows_of_tokens(
    build_dir: Path, manifest: Mapping[str, Any], arrays: Mapping[str, np.ndarray], shards: Sequence[Mapping[str, Any]],
    token_bytes: int, used: Used, report: Report,
) -> None:  # fmt: skip
    """Every packed row against its stored hash, then the stream's root and checkpoints from those recomputed hashes."""
    phase = manifest["phases"][0]
    n_train = arrays["order"].size
    ptr, chunks, stored = arrays["row_ptr"], arrays["chunks"], arrays["row_hash"]
    lengths = np.add.reduceat(chunks["length"].astype(np.int64), ptr[:-1]) if len(chunks) else np.empty(0, np.int64)
    for row in np.flatnonzero(lengths > phase["sequence_length"])[:3].tolist():
        report.add("sequences/chunks.npy", f"a row of {lengths[row]:,} tokens, longer than sequence_length", f"sequence {row}")
    report.equal(
        "manifest.json", "padding", phase["budget"]["padding"], n_train * phase["sequence_length"] - int(lengths[:n_train].sum())
    )
    first = ptr[:-1]
    pass_ends = np.repeat(used.pass_[first], np.diff(ptr))
    for chunk in np.flatnonzero(pass_ends != used.pass_)[:3].tolist():
        report.add(SELECTION, "a row holds two passes", f"row {chunk}")
    try:
        maps = [map_tokens(build_dir / s["path"], np.dtype(f"<u{token_bytes}"), s["n_tokens"]) for s in shards]
    except CurateError as error:
        report.add(error.where, error.what)
        return
    hashes = np.empty((len(ptr) - 1, 16), np.uint8)
    for row in range(len(ptr) - 1):
        own = chunks[ptr[row] : ptr[row + 1]]
        parts = [maps[int(c["shard"])][int(c["start"]) : int(c["start"]) + int(c["length"])] for c in own]
        hashes[row] = np.frombuffer(hash_row(own["length"].astype(np.int64), parts), np.uint8)
    for row in np.flatnonzero((hashes != stored).any(axis=1)).tolist():
        report.add("sequences/row_hash.npy", "it is not the hash of the tokens of this sequence", f"sequence {row}")
    report.count(sequences=len(ptr) - 1)
    _check_stream(manifest, arrays["order"], hashes, report)


def _check_stream(manifest: Mapping[str, Any], order_: np.ndarray, hashes: np.ndarray, report: Report) -> None:
    marks = {mark["stream_index"]: mark["sha256"] for mark in manifest["stream_checkpoints"]}
    running = START
    for i, sequence in enumerate(order_.tolist(), 1):
        running = advance(running, hashes[sequence].tobytes())
        if i in marks:
            report.equal("manifest.json", "stream_checkpoints", marks[i], running.hex(), f"stream index {i}")
    report.equal("manifest.json", "roots.stream", manifest["roots"]["stream"], running.hex())


def check_order(manifest: Mapping[str, Any], arrays: Mapping[str, np.ndarray], used: Used, report: Report) -> None:
    """order.npy is the specified permutation and interleave of what the selection packs."""
    n_train = arrays["order"].size
    first = arrays["row_ptr"][:-1][:n_train]
    component, pass_ = used.component[first], used.pass_[first]
    rows, keys = [], []
    stated = {(e["component"], e["pass"]): e["sequences"] for e in manifest["phases"][0]["packing"]["passes"]}
    for c, entry in enumerate(manifest["components"]):
        per_pass = np.bincount(pass_[component == c]).tolist()
        rows.append(per_pass)
        keys.append(
            [
                order.key(manifest["seed"], "sequences", manifest["phases"][0]["name"], entry["name"], str(p))
                for p in range(len(per_pass))
            ]
        )
        for p, n in enumerate(per_pass):
            report.equal("manifest.json", f"{entry['name']}: sequences of pass {p}", stated.get((entry["name"], p)), n)
    if not np.array_equal(order.stream_order(rows, keys), arrays["order"]):
        report.add("sequences/order.npy", "it is not the order that seed, components and passes give")


def check_roots(
    build_dir: Path, manifest: Mapping[str, Any], recipe: Recipe, used: Used, kept: Kept, held: np.ndarray, report: Report
) -> None:
    """roots.components, roots.selection and roots.order from the rows."""
    what, where = [], []
    for table in _slices(build_dir / SELECTION):
        what.append(table_root(table.select(list(WHAT))))
        where.append(table_root(table.select([name for name in table.column_names if name not in WHAT])))
    n_train = sum(phase["order"]["n_sequences"] for phase in manifest["phases"])
    report.equal("manifest.json", "roots.selection", manifest["roots"]["selection"], digest("selection", *what))
    report.equal("manifest.json", "roots.order", manifest["roots"]["order"], digest("order", str(n_train), *where))
    parts: list[str | bytes] = []
    for name, component in recipe.mixture.components.items():
        numbers = [kept.sources.index(source) for source in component.from_]
        own = np.concatenate([np.flatnonzero((kept.source == n) & (kept.n_tokens > 0)) for n in numbers])
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
