"""The packed rows read again: their hashes, which documents a changed token may be in, the running stream hash, the manifest's roots.

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
from mixture.verify.report import MOST, Report
from mixture.verify.uses import SELECTION, Kept, Used

BLOCK = 4096  # rows hashed at once by a thread
NAMED = 5  # documents named for a row


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
    paths = {number: path for number, s in enumerate(shards) if (path := (build_dir / s["path"]).resolve()) in damaged}
    _name(wrong, arrays, used, kept, paths, report, build_dir)
    report.count(sequences=len(ptr) - 1)
    _check_stream(manifest, arrays["order"], hashes, report)


def _name(
    wrong: np.ndarray, arrays: Mapping[str, np.ndarray], used: Used, kept: Kept, damaged: Mapping[int, Path], report: Report,
    build_dir: Path,
) -> None:  # fmt: skip
    """Findings for rows whose tokens do not have their hash: the shard that is damaged there, or else the hash.

    A token that changed is in every row that uses it, so of a document's tokens those are cleared that stand in a row that matches."""
    ptr, chunks = arrays["row_ptr"], arrays["chunks"]
    is_wrong = np.zeros(len(ptr) - 1, np.bool_)
    is_wrong[wrong] = True
    stream_index = np.full(len(ptr) - 1, -1, np.int64)
    stream_index[arrays["order"].astype(np.int64)] = np.arange(arrays["order"].size)
    for row in wrong[: MOST + 1].tolist():
        own = np.arange(ptr[row], ptr[row + 1])
        suspects = [i for i in own.tolist() if int(chunks["shard"][i]) in damaged]
        if not suspects:
            report.add("sequences/row_hash.npy", "it is not the hash of the tokens of this sequence", f"sequence {row}")
            continue
        named = [f"{_document(kept, used, i)}, tokens {a}..{b - 1}" for i in suspects for a, b in _left(i, is_wrong, ptr, used)]
        more = f" and {len(named) - NAMED} more" if len(named) > NAMED else ""
        where = f"stream index {stream_index[row]}" if stream_index[row] >= 0 else "held out"
        says = f": the change is in {' or '.join(named[:NAMED])}{more}" if named else ""
        file = shown(damaged[int(chunks["shard"][suspects[0]])], build_dir)
        report.add(file, f"the tokens of a sequence are not those that were packed{says}", f"sequence {row}, {where}")
    for row in wrong[MOST + 1 :].tolist():
        report.add("sequences/row_hash.npy", "its tokens do not have this hash", f"sequence {row}")


def _document(kept: Kept, used: Used, chunk: int) -> str:
    number = int(used.document[chunk])
    return f"{kept.sources[kept.source[number]]} {kept.id[number].decode()}" if number >= 0 else "an unknown document"


def _left(chunk: int, is_wrong: np.ndarray, ptr: np.ndarray, used: Used) -> list[tuple[int, int]]:
    """Of the tokens of a chunk, counted in its document, the stretches that no matching row has."""
    others = np.flatnonzero(used.document == used.document[chunk]) if used.document[chunk] >= 0 else np.array([chunk])
    good = others[~is_wrong[np.searchsorted(ptr, others, side="right") - 1]]
    at, end = int(used.start[chunk]), int(used.start[chunk] + used.length[chunk])
    found = []
    for i in good[np.argsort(used.start[good], kind="stable")].tolist():
        begin, stop = int(used.start[i]), int(used.start[i] + used.length[i])
        if at < min(begin, end):
            found.append((at, min(begin, end)))
        at = max(at, stop)
    return [*found, *([(at, end)] if at < end else [])]


def _check_stream(manifest: Mapping[str, Any], order_: np.ndarray, hashes: np.ndarray, report: Report) -> None:
    marks = {mark["stream_index"]: mark["sha256"] for mark in manifest["stream_checkpoints"]}
    running = START
    in_order = hashes[order_.astype(np.int64)].tobytes()
    for i in range(1, order_.size + 1):
        running = advance(running, in_order[16 * (i - 1) : 16 * i])
        if i in marks:
            report.equal("manifest.json", "stream_checkpoints", marks[i], running.hex(), f"stream index {i}")
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
