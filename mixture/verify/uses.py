"""What is trained on, counted again: selection against sequences against tokens, budgets, copies, held-out clusters.

In: selection.parquet (a row group at a time), the arrays of sequences/ (memory-mapped), the index of every token shard (60 bytes
per kept document, 50 per chunk). Out: findings with the row of the selection. Imports recipe, store, mixture's rooms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.recipe import Quantity, Recipe
from mixture import budget
from mixture.stream import CHUNK, map_tokens
from mixture.verify.documents import Found, read
from mixture.verify.files import shown
from mixture.verify.report import Report

SELECTION = "selection.parquet"


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


@dataclass(frozen=True)
class Used:
    """Per chunk, in the selection's order. Arrays (n_chunks,)."""

    document: np.ndarray  # int64, number in Kept, -1 where it is none
    component: np.ndarray  # int64
    pass_: np.ndarray  # int64
    chunk: np.ndarray  # int64
    n_chunks: np.ndarray  # int64
    start: np.ndarray  # int64, from the document's first token
    length: np.ndarray  # int64
    is_train: np.ndarray  # bool


def kept_documents(stages: Mapping[str, Found], report: Report, build_dir: Path) -> Kept | None:
    """None where a token shard's index cannot be read: then nothing can be counted against it."""
    parts, paths, first = [], [], [0]
    for number, stage in enumerate(stages.values()):
        for key in stage.info["keys"]:
            table = read(stage.file(key, "tokens.parquet"), report, build_dir)
            if table is None:
                return None
            ids = np.asarray(table["id"].to_pylist(), "S32").reshape(-1)
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
    shapes = {"row_ptr": (n_rows + 1,), "chunks": None, "component": (n_rows,), "order": (n_train,), "row_hash": (n_rows, 16)}
    types: dict[str, Any] = {"row_ptr": "i8", "chunks": CHUNK, "component": "u2", "order": "u8", "row_hash": "u1"}
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
    names = [component["name"] for component in manifest["components"]]
    numbers = {path: number for number, path in enumerate(kept.shard_paths)}
    shard_number = np.array([numbers.get((build_dir / s["path"]).resolve(), -1) for s in shards], np.int64)
    if (shard_number < 0).any():
        report.add("sequences/shards.json", "it names token shards that are none of the build's stages")
        return None
    losses = [(build_dir / s["path"]).with_name("tokens.ds.loss") if s["has_loss"] else None for s in shards]
    masks = [map_tokens(loss, np.dtype("u1"), s["n_tokens"]) if loss else None for loss, s in zip(losses, shards, strict=True)]
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
    columns = [np.concatenate([p[i] for p in parts]) for i in range(8)] if parts else [np.empty(0, np.int64)] * 8
    return Used(*columns)


def _check_rows(
    table: pa.Table, here: slice, chunks: np.ndarray, arrays: Mapping[str, np.ndarray], stream_index: np.ndarray,
    names: list[str], kept: Kept, shard_number: np.ndarray, masks: Sequence[np.ndarray | None], report: Report,
) -> tuple:  # fmt: skip
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
    component = np.asarray(arrays["component"][sequence], np.int64)
    shard = np.minimum(chunks["shard"].astype(np.int64), shard_number.size - 1)
    document = _find(kept, shard_number[shard], chunks["start"].astype(np.int64) - value["token_start"])
    own = np.maximum(document, 0)
    indexes = np.asarray(table["stream_index"].fill_null(-1).to_numpy(), np.int64)
    source = np.asarray(kept.sources)[kept.source[own]]
    target = chunks["length"].astype(np.int64) - 1 + chunks["more"]
    n_loss = target.copy()
    for i in np.flatnonzero([masks[s] is not None for s in shard.tolist()]).tolist():
        mask, start = masks[shard[i]], int(chunks["start"][i])
        assert mask is not None
        n_loss[i] = np.count_nonzero(mask[start + 1 : start + 1 + int(target[i])])
    checks = {
        "document": chunks["document"].astype(np.int64) == at,
        "shard": chunks["shard"] < shard_number.size,
        "id": (document >= 0) & (kept.id[own] == np.asarray(table["id"].to_pylist(), "S32")),
        "source": source == np.asarray(table["source"].to_pylist()),
        "component": np.asarray([*names, ""])[np.minimum(component, len(names))] == np.asarray(table["component"].to_pylist()),
        "split": np.where(is_train, "train", "held_out") == np.asarray(table["split"].to_pylist()),
        "n_tokens": chunks["length"] == value["n_tokens"],
        "token_start": (value["token_start"] >= 0) & (value["token_start"] + value["n_tokens"] <= kept.n_tokens[own]),
        "n_chunks": (chunks["more"] == 1) == (value["chunk"] + 1 < value["n_chunks"]),
        "n_loss_tokens": n_loss == value["n_loss_tokens"],
        "sequence": sequence == value["sequence"],
        "position": position == value["position"],
        "stream_index": stream_index[sequence] == indexes,
    }
    for name, same in checks.items():
        for row in np.flatnonzero(~same)[:2].tolist():
            report.add(SELECTION, f"{name} is not that of sequences/chunks.npy and the token shards", f"row {here.start + row}")
    report.count(chunks=at.size)
    columns = (component, value["pass"], value["chunk"], value["n_chunks"], value["token_start"], value["n_tokens"])
    return (document, *(c.astype(np.int64) for c in columns), is_train)


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


def check_budgets(manifest: Mapping[str, Any], recipe: Recipe, used: Used, kept: Kept, held: np.ndarray, report: Report) -> None:
    """Tokens per component and pass = manifest = recipe; copies k or k + 1, never more than ceil(cap); at most one part use."""
    for c, component in enumerate(manifest["components"]):
        asked = recipe.mixture.components[component["name"]]
        stated = component["phases"][0]
        mine = np.flatnonzero(used.is_train & (used.component == c) & (used.document >= 0))
        own = np.flatnonzero(np.isin(kept.source, [kept.sources.index(s) for s in asked.from_]) & (kept.n_tokens > 0) & ~held)
        unique = int(kept.n_tokens[own].sum())
        where = "manifest.json"
        name = component["name"]
        trained = int(used.length[mine].sum())
        report.equal(where, f"{name}: tokens to train", stated["realised"], trained)
        report.equal(where, f"{name}: documents", component["documents"], int(own.size))
        report.equal(where, f"{name}: unique tokens", component["unique_tokens"], unique)
        report.equal(where, f"{name}: unique loss tokens", component["unique_loss_tokens"], int(kept.n_loss_tokens[own].sum()))
        if trained > int(budget.exact(asked.max_epochs) * unique // 1):
            report.add(where, f"{name}: {trained:,} tokens pass the cap of {asked.max_epochs:g} epochs of {unique:,}")
        copies = _check_passes(name, mine, own, used, kept, report)
        report.equal(
            where,
            f"{name}: copies",
            stated["copies"],
            {str(k): int(n) for k, n in enumerate(np.bincount(copies)) if n} if own.size else {},
        )
        if copies.max(initial=0) > -(-budget.exact(asked.max_epochs) // 1):
            report.add(SELECTION, f"{name}: a document is used {copies.max()} times, its cap is {asked.max_epochs:g}")
        for entry in manifest["phases"][0]["packing"]["passes"]:
            if entry["component"] == name:
                tokens = int(used.length[mine[used.pass_[mine] == entry["pass"]]].sum())
                report.equal(where, f"{name}: tokens of pass {entry['pass']}", entry["tokens"], tokens)
        asked_for: Quantity = asked.budget
        if asked_for.unit == "tokens" and recipe.mixture.on_shortage == "fail":
            report.equal("recipe.yaml", f"{name}: tokens of the budget", asked_for.count, trained)
    total = int(used.length[used.is_train].sum())
    report.equal("manifest.json", "tokens to train", manifest["phases"][0]["budget"]["realised"], total)
    asked_total: Quantity = recipe.mixture.total
    if recipe.mixture.on_shortage != "shrink_total":
        report.equal("recipe.yaml", "mixture.total", asked_total.count, total)


def _check_passes(name: str, mine: np.ndarray, own: np.ndarray, used: Used, kept: Kept, report: Report) -> np.ndarray:
    """Uses of each of the component's documents (n_own,), after checking that each use is whole, but for one."""
    copies = np.zeros(kept.id.size, np.int64)
    in_part, last = 0, int(used.pass_[mine].max(initial=-1))
    for number in range(last + 1):
        rows = mine[used.pass_[mine] == number]
        rows = rows[np.lexsort((used.chunk[rows], used.document[rows]))]
        documents, first, n_chunks = np.unique(used.document[rows], return_index=True, return_counts=True)
        tokens = np.zeros(documents.size, np.int64)
        np.add.at(tokens, np.repeat(np.arange(documents.size), n_chunks), used.length[rows])
        expected = np.arange(rows.size) - np.repeat(first, n_chunks)
        ends = np.cumsum(used.length[rows])
        begins = ends - used.length[rows] - np.repeat((ends - used.length[rows])[first], n_chunks)
        wrong = (
            (used.chunk[rows] != expected) | (used.n_chunks[rows] != np.repeat(n_chunks, n_chunks)) | (used.start[rows] != begins)
        )
        for row in rows[wrong][:3].tolist():
            report.add(SELECTION, f"{name}, pass {number}: a document's chunks do not follow each other", f"row {row}")
        copies[documents] += 1
        in_part += int((tokens < kept.n_tokens[documents]).sum())
        missing = np.setdiff1d(own, documents)
        if number < last and missing.size:
            report.add(
                SELECTION, f"{name}: pass {number} leaves {missing.size:,} documents out", f"id {kept.id[missing[0]].decode()}"
            )
        if number < last and (tokens < kept.n_tokens[documents]).any():
            report.add(SELECTION, f"{name}: pass {number} is not the last, yet uses a document in part")
        stray = np.setdiff1d(documents, own)
        if stray.size:
            report.add(SELECTION, f"{name}: a document of another component or held out", f"id {kept.id[stray[0]].decode()}")
    if in_part > 1:
        report.add(SELECTION, f"{name}: {in_part:,} documents are used in part, at most one may be")
    return copies[own]


def held_out(used: Used, kept: Kept) -> np.ndarray:
    """bool (n_kept,): documents in held-out rows."""
    held = np.zeros(kept.id.size, np.bool_)
    held[used.document[~used.is_train & (used.document >= 0)]] = True
    return held


def check_held_out(
    manifest: Mapping[str, Any], used: Used, kept: Kept, held: np.ndarray, clusters: Found, report: Report, build_dir: Path
) -> None:
    """Whole, once, and no member of a held-out document's cluster is trained on."""
    for c, component in enumerate(manifest["components"]):
        mine = ~used.is_train & (used.component == c)
        report.equal(
            "manifest.json",
            f"{component['name']}: held-out tokens",
            manifest["held_out"]["tokens"][component["name"]],
            int(used.length[mine].sum()),
        )
    tokens = np.zeros(kept.id.size, np.int64)
    out = ~used.is_train & (used.document >= 0)
    np.add.at(tokens, used.document[out], used.length[out])
    for number in np.flatnonzero(held & (tokens != kept.n_tokens))[:3].tolist():
        report.add(SELECTION, "a held-out document is not held out whole, once", f"id {kept.id[number].decode()}")
    trained = np.zeros(kept.id.size, np.bool_)
    trained[used.document[used.is_train & (used.document >= 0)]] = True
    ids = pa.array([name.decode() for name in kept.id[held].tolist()], pa.string())
    own: set[str] = set()
    tables = {}
    for key in clusters.keys:
        table = read(clusters.file(key, "duplicates.parquet"), report, build_dir, ["id", "cluster_id"])
        if table is not None:
            tables[key] = table.filter(pc.is_valid(table["cluster_id"]))
            own.update(tables[key].filter(pc.is_in(tables[key]["id"], ids))["cluster_id"].to_pylist())
    wanted = pa.array(sorted(own), pa.string())
    members = [i for table in tables.values() for i in table.filter(pc.is_in(table["cluster_id"], wanted))["id"].to_pylist()]
    both = np.flatnonzero((np.isin(kept.id, np.asarray(members, "S32").reshape(-1)) | held) & trained)
    for number in both[:3].tolist():
        report.add(SELECTION, "trained on, though its duplicate cluster is held out", f"id {kept.id[number].decode()}")


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
