"""What is used, read again: every row of the selection against sequences/ and the token shards' index.

In: selection.parquet (a row group at a time), the arrays of sequences/ (memory-mapped), the index of every token shard (60 bytes
per kept document, 45 per chunk). Out: findings with the row of the selection. Imports mixture's batches, hashes, stream and verify.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.errors import CurateError
from mixture.batches import row_length
from mixture.hashes import count_learned
from mixture.stream import CHUNK, PAIR, map_tokens
from mixture.verify.documents import Found, read
from mixture.verify.files import shown
from mixture.verify.report import Report

SELECTION = "selection.parquet"
MOST_PASSES = 1 << 20
TYPES = ("i8", "i2", "i2", "i4", "i4", "i4", "i8", "i4", "i4", "?")  # of Used's columns


@dataclass(frozen=True)
class Kept:
    """Every tokenized document, numbered by source (recipe order), shard and row. Arrays (n,)."""

    sources: list[str]
    source: np.ndarray  # int32
    id: np.ndarray  # S32
    start: np.ndarray  # int64, in the token shard
    n_tokens: np.ndarray  # int64
    n_loss_tokens: np.ndarray  # int64
    shard_paths: list[Path]
    first: np.ndarray  # int64 (n_shards + 1,): documents of shard s are [first[s], first[s + 1])

    def masks(self) -> list[np.ndarray | None]:
        """The loss mask of every shard, None of one that has none."""
        files = [path.with_name(f"{path.name}.loss") for path in self.shard_paths]
        return [np.asarray(map_tokens(file, np.dtype("u1"))) if file.exists() else None for file in files]


@dataclass(frozen=True)
class Used:
    """Per chunk, in the selection's order. Arrays (n_chunks,)."""

    document: np.ndarray  # int64, number in Kept, -1 where it is none
    phase: np.ndarray  # int16, -1 where it is held out
    component: np.ndarray  # int16
    pass_: np.ndarray  # int32
    chunk: np.ndarray  # int32
    n_chunks: np.ndarray  # int32
    start: np.ndarray  # int64, from the document's first token
    length: np.ndarray  # int32
    n_loss: np.ndarray  # int32, labels that count
    is_train: np.ndarray  # bool

    def of(self, phase: int, component: int) -> np.ndarray:
        """The chunks of a component in a phase, of documents that are known."""
        return np.flatnonzero(self.is_train & (self.phase == phase) & (self.component == component) & (self.document >= 0))


def kept_documents(stages: Mapping[str, Found], report: Report, build_dir: Path) -> Kept | None:
    """None where a token shard's index cannot be read: then nothing can be counted against it."""
    parts, paths, first = [], [], [0]
    for number, stage in enumerate(stages.values()):
        for key in stage.info["keys"]:
            table = read(stage.file(key, "tokens.parquet"), report, build_dir)
            if table is None:
                return None
            ids = ids_of(table["id"])
            columns = [table[name].to_numpy() for name in ("token_start", "n_tokens", "n_loss_tokens")]
            parts.append((np.full(ids.size, number, np.int32), ids, *columns))
            paths.append((stage.folder / key / "tokens.ds").resolve())
            first.append(first[-1] + ids.size)
    source, ids, start, n_tokens, n_loss_tokens = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Kept(list(stages), source, ids, start, n_tokens, n_loss_tokens, paths, np.array(first, np.int64))


def load_arrays(build_dir: Path, manifest: Mapping[str, Any], report: Report) -> dict[str, np.ndarray] | None:
    """sequences/*.npy, with the shapes the manifest implies; None (and findings) otherwise."""
    n_train = sum(phase["order"]["n_sequences"] for phase in manifest["phases"])
    n_rows = n_train + manifest["held_out"]["sequences"]
    shapes = {
        "row_ptr": (n_rows + 1,),
        "chunks": None,
        "component": (n_rows,),
        "order": (n_train,),
        "row_hash": (n_rows, 16),
        "language": None,
    }
    if manifest["kind"] == "preference":
        shapes["pairs"] = (n_rows,)
    types: dict[str, Any] = {
        "pairs": PAIR,
        "row_ptr": "i8",
        "chunks": CHUNK,
        "component": "u2",
        "order": "u8",
        "row_hash": "u1",
        "language": "i2",
    }
    arrays, sound = {}, True
    for name, shape in shapes.items():
        path = build_dir / "sequences" / f"{name}.npy"
        try:
            arrays[name] = np.load(path, mmap_mode="r" if path.stat().st_size > 128 else None, allow_pickle=False)
        except (OSError, ValueError, EOFError, SyntaxError) as error:
            report.add(f"sequences/{name}.npy", f"unreadable: {' '.join(str(error).split())[:200]}")
            sound = False
            continue
        if arrays[name].dtype != np.dtype(types[name]) or (shape is not None and arrays[name].shape != shape):
            report.add(f"sequences/{name}.npy", f"{arrays[name].dtype} {arrays[name].shape}, not {np.dtype(types[name])} {shape}")
            sound = False
    if not sound:
        return None
    ptr, chunks, order = arrays["row_ptr"], arrays["chunks"], arrays["order"]
    wrong = np.flatnonzero(np.diff(ptr) < 1)
    if ptr[0] != 0 or ptr[-1] != len(chunks) or wrong.size:
        report.add(
            "sequences/row_ptr.npy", "it does not divide the chunks into rows", f"row {wrong[0] if wrong.size else len(ptr) - 1}"
        )
        return None
    if not np.array_equal(np.sort(order), np.arange(n_train, dtype=np.uint64)):
        report.add("sequences/order.npy", "it is not a permutation of the trained sequences")
        return None
    return arrays


def check_selection(
    build_dir: Path, manifest: Mapping[str, Any], arrays: Mapping[str, np.ndarray], kept: Kept,
    shards: Sequence[Mapping[str, Any]], report: Report,
) -> Used | None:  # fmt: skip
    """Row i of the selection is chunk i: same document, tokens, place. Every row is looked up in the token shards' index."""
    chunks, ptr = arrays["chunks"], arrays["row_ptr"]
    n_train = arrays["order"].size
    stream_index = np.full(len(ptr) - 1, -1, np.int64)
    stream_index[arrays["order"].astype(np.int64)] = np.arange(n_train)
    names = Names(
        [phase["name"] for phase in manifest["phases"]],
        np.cumsum([phase["order"]["n_sequences"] for phase in manifest["phases"]]),
        [component["name"] for component in manifest["components"]],
    )
    numbers = {path: number for number, path in enumerate(kept.shard_paths)}
    shard_number = np.array([numbers.get((build_dir / s["path"]).resolve(), -1) for s in shards], np.int64)
    if (shard_number < 0).any():
        report.add("sequences/shards.json", "it names token shards that are none of the build's stages")
        return None
    masks = masks_of(build_dir, shards, report)
    if masks is None:
        return None
    longest = max(row_length(phase) for phase in manifest["phases"])
    odd = np.flatnonzero((chunks["length"] < 1) | (chunks["length"] > longest))
    if odd.size:
        report.add(
            "sequences/chunks.npy", f"a chunk of {chunks['length'][odd[0]]:,} tokens; rows have {longest:,}", f"row {odd[0]}"
        )
        return None
    row = 0
    try:
        file = pq.ParquetFile(build_dir / SELECTION)
        if file.metadata.num_rows != len(chunks):
            report.add(SELECTION, f"{file.metadata.num_rows:,} rows, sequences/ has {len(chunks):,} chunks")
            return None
        parts = []
        for group in range(file.num_row_groups):
            table = file.read_row_group(group)
            here = slice(row, row + table.num_rows)
            parts.append(
                _check_rows(table, here, np.asarray(chunks[here]), arrays, stream_index, names, kept, shard_number, masks, report)
            )
            row = here.stop
    except (pa.ArrowException, OSError, KeyError) as error:
        report.add(SELECTION, f"unreadable: {str(error).splitlines()[0]}", f"from row {row}")
        return None
    found = [part for part in parts if part is not None]
    if len(found) < len(parts):
        return None
    return Used(*(np.concatenate([np.empty(0, type_), *(p[i] for p in found)]) for i, type_ in enumerate(TYPES)))


def masks_of(build_dir: Path, shards: Sequence[Mapping[str, Any]], report: Report) -> list[np.ndarray | None] | None:
    """The loss mask of every token shard, None of one that has none; None (and a finding) where one cannot be mapped."""
    losses = [(build_dir / s["path"]).with_name("tokens.ds.loss") if s["has_loss"] else None for s in shards]
    try:
        return [
            np.asarray(map_tokens(loss, np.dtype("u1"), s["n_tokens"])) if loss else None
            for loss, s in zip(losses, shards, strict=True)
        ]
    except CurateError as error:
        report.add(shown(Path(error.where), build_dir), error.what)
        return None


class Names(NamedTuple):
    """What a sequence's number says in the words of the selection."""

    phases: list[str]
    phase_ends: np.ndarray  # int64: sequences of phase f end before phase_ends[f]
    components: list[str]


def ids_of(column: pa.ChunkedArray) -> np.ndarray:
    """Ids as S32 (n,); one that has not 32 bytes is cut or filled, so that it is like none."""
    ids = column.combine_chunks().cast(pa.large_string())
    if isinstance(ids, pa.ChunkedArray):
        ids = pa.concat_arrays(ids.chunks) if ids.num_chunks else pa.array([], pa.large_string())
    if ids.null_count or not pc.all(pc.equal(pc.binary_length(ids), 32)).as_py():
        return np.asarray(ids.fill_null("").to_pylist(), "S32").reshape(-1)
    offsets = np.frombuffer(ids.buffers()[1], np.int64)
    return np.frombuffer(ids.buffers()[2], "S32", len(ids), int(offsets[ids.offset]))


def _numbers(column: pa.ChunkedArray, names: Sequence[str]) -> np.ndarray:
    """int64: the number of each name, -1 where it is none of them."""
    found = pc.index_in(column, value_set=pa.array(list(names), pa.string()))
    return found.fill_null(-1).to_numpy().astype(np.int64)


def _is_null(column: pa.ChunkedArray) -> np.ndarray:
    return column.is_null().to_numpy()


def _check_rows(
    table: pa.Table, here: slice, chunks: np.ndarray, arrays: Mapping[str, np.ndarray], stream_index: np.ndarray,
    names: Names, kept: Kept, shard_number: np.ndarray, masks: Sequence[np.ndarray | None], report: Report,
) -> tuple | None:  # fmt: skip
    """Columns of Used; None where some number is none that can be counted with."""
    value = {
        name: table[name].to_numpy()
        for name in ("pass", "chunk", "n_chunks", "token_start", "n_tokens", "n_loss_tokens", "sequence", "position")
    }
    at = np.arange(here.start, here.stop)
    ptr = arrays["row_ptr"]
    sequence = np.searchsorted(ptr, at, side="right") - 1
    before = np.concatenate(([0], np.cumsum(chunks["length"].astype(np.int64))))[:-1]
    row_first = np.maximum(ptr[sequence], here.start)
    carried = 0  # tokens of the row before this row group
    if ptr[sequence[0]] < here.start:
        carried = int(np.asarray(arrays["chunks"][ptr[sequence[0]] : here.start]["length"], np.int64).sum())
    position = before - before[row_first - here.start] + np.where(sequence == sequence[0], carried, 0)
    is_train = sequence < arrays["order"].size
    phase = np.where(is_train, np.searchsorted(names.phase_ends, sequence, side="right"), -1)
    component = np.asarray(arrays["component"][sequence], np.int64)
    shard = np.minimum(chunks["shard"].astype(np.int64), shard_number.size - 1)
    start = chunks["start"].astype(np.int64)
    document = _find(kept, shard_number[shard], start - value["token_start"])
    own = np.maximum(document, 0)
    n_loss = chunks["length"].astype(np.int64) - 1 + chunks["more"]
    for number in np.unique(shard).tolist():
        if (mask := masks[number]) is not None:
            mine = np.flatnonzero(shard == number)
            inside = mine[start[mine] + 1 + n_loss[mine] <= mask.size]
            n_loss[inside] = count_learned(mask, start[inside] + 1, n_loss[inside])
    checks = {
        "document": chunks["document"].astype(np.int64) == at,
        "shard": chunks["shard"] < shard_number.size,
        "id": (document >= 0) & (kept.id[own] == ids_of(table["id"])),
        "source": kept.source[own] == _numbers(table["source"], kept.sources),
        "phase": (phase == _numbers(table["phase"], names.phases)) & (is_train != _is_null(table["phase"])),
        "component": component == _numbers(table["component"], names.components),
        "split": np.where(is_train, 0, 1) == _numbers(table["split"], ("train", "held_out")),
        "pass": (value["pass"] >= 0) & (value["pass"] < MOST_PASSES),
        "chunk": (value["chunk"] >= 0) & (value["chunk"] < value["n_chunks"]),
        "n_tokens": chunks["length"] == value["n_tokens"],
        "token_start": (value["token_start"] >= 0) & (value["token_start"] + value["n_tokens"] <= kept.n_tokens[own]),
        "n_chunks": (chunks["more"] == 1) == (value["chunk"] + 1 < value["n_chunks"]),
        "n_loss_tokens": n_loss == value["n_loss_tokens"],
        "sequence": sequence == value["sequence"],
        "position": position == value["position"],
        "stream_index": (stream_index[sequence] == table["stream_index"].fill_null(-1).to_numpy())
        & (is_train != _is_null(table["stream_index"])),
    }
    for name, same in checks.items():
        for row in np.flatnonzero(~same)[:2].tolist():
            report.add(SELECTION, f"{name} is not that of sequences/chunks.npy and the token shards", f"row {here.start + row}")
    report.count(chunks=at.size)
    countable = checks["pass"] & checks["chunk"] & (component < len(names.components)) & (value["token_start"] >= 0)
    if not countable.all():
        return None
    numbers = [value[name] for name in ("pass", "chunk", "n_chunks", "token_start")]
    columns = (document, phase, component, *numbers, chunks["length"], n_loss, is_train)
    return tuple(column.astype(type_) for column, type_ in zip(columns, TYPES, strict=True))


def _find(kept: Kept, shard: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Number of the document that begins at token `start` of `shard`; -1 where none does."""
    found = np.full(shard.size, -1, np.int64)
    for number in np.unique(shard).tolist():
        first, last = int(kept.first[number]), int(kept.first[number + 1])
        mine = np.flatnonzero(shard == number)
        starts = kept.start[first:last]
        place = (
            np.searchsorted(starts, start[mine], side="right") - 1
        )  # of equal starts (documents of no token) the last: it has tokens
        good = (place >= 0) & (last > first)
        good[good] = starts[place[good]] == start[mine[good]]
        found[mine[good]] = first + place[good]
    return found


def shards_of(tokens: Mapping[str, Found], shards: Sequence[Mapping[str, Any]], build_dir: Path, report: Report) -> None:
    """sequences/shards.json against the token stages: paths, lengths, masks."""
    known = {
        (stage.folder / key / "tokens.ds").resolve(): (stage, key) for stage in tokens.values() for key in stage.info["keys"]
    }
    for number, listed in enumerate(shards):
        path = (build_dir / listed["path"]).resolve()
        if path not in known:
            report.add("sequences/shards.json", f"{listed['path']} is no token shard of this build", f"shard {number}")
            continue
        stage, key = known[path]
        stated = stage.info["shards"][key]["counts"]["n_tokens"]
        report.equal(
            "sequences/shards.json", f"tokens of {shown(path, build_dir)}", listed["n_tokens"], stated, f"shard {number}"
        )
