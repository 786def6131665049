"""What earlier runs consumed, for a mixture that goes on from them: old manifests and receipts in, a State to begin with out.

A use of a document counts as begun when any of its chunks was consumed; its other chunks are lost: they are counted, not trained on
later. Documents held out before stay held out, documents trained on are never held out. What lies where in the old selection.parquet
is checked against the old manifest's hash of it. Imports errors, manifest, recipe, store, and mixture's kernels, names, selection.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.errors import CurateError
from curate.manifest import read_manifest, rows_consumed
from curate.recipe import Continue, Recipe
from curate.store import file_sha256
from mixture import kernels
from mixture.names import read
from mixture.selection import Documents, State

CODES = ["phase", "component", "source", "split"]
COLUMNS = [*CODES, "id", "pass", "chunk", "n_chunks", "token_start", "n_tokens", "n_loss_tokens", "stream_index"]


@dataclass(frozen=True)
class Before:
    """What the recipe's `continues` consumed of the documents there are now."""

    state: State
    held: np.ndarray  # bool (n,): held out before
    stated: list[dict[str, Any]]  # for the manifest; [] where the recipe continues nothing


def check(recipe: Recipe, tokenizer: dict[str, Any], out: Path) -> None:
    """Everything about `continues` that can be known before the first document. `out`: where the new build will be."""
    for old, (folder, _, _) in zip(recipe.mixture.continues, _olds(recipe, tokenizer), strict=True):
        if folder.resolve() == out.resolve():
            raise CurateError(
                "a build cannot go on from the one it replaces", where="mixture.continues", found=old.manifest,
                next="--out another folder, or another name: in the recipe",
            )  # fmt: skip


def consumed(recipe: Recipe, docs: Documents, tokenizer: dict[str, Any], with_labels: bool) -> Before:
    """Raises CurateError: a manifest or receipt that is not there, damaged, of another tokenizer, or does not belong to the other."""
    before = Before(State.fresh(docs.n, with_labels), np.zeros(docs.n, np.bool_), [])
    olds = _olds(recipe, tokenizer)
    find = _Finder(docs) if olds else None
    for folder, manifest, n_rows in olds:
        assert find is not None
        before.stated.append(_take(folder, manifest, n_rows, docs, find, before))
    return before


def _olds(recipe: Recipe, tokenizer: dict[str, Any]) -> list[tuple[Path, dict[str, Any], int]]:
    """Of each build that the recipe continues the folder, the manifest, and how many rows of its stream were consumed."""
    olds = [_read(old, f"mixture.continues.{i}", recipe, tokenizer) for i, old in enumerate(recipe.mixture.continues)]
    _complete([manifest for _, manifest, _ in olds])
    return olds


def _read(old: Continue, where: str, recipe: Recipe, tokenizer: dict[str, Any]) -> tuple[Path, dict[str, Any], int]:
    path = recipe.path(old.manifest, f"{where}.manifest")
    manifest = read_manifest(path)
    mine, theirs = tokenizer.get("sha256"), manifest["tokenizer"].get("sha256")
    if mine != theirs:
        raise CurateError(
            "a mixture goes on with the tokenizer it began with", where=f"{where}.manifest", found=f"sha256 {str(mine)[:16]}",
            allowed=f"{manifest['tokenizer'].get('name', '')} sha256 {str(theirs)[:16]}",
        )  # fmt: skip
    planned = sum(phase["order"]["n_sequences"] for phase in manifest["phases"])
    n_rows = old.rows if old.rows is not None else _rows_of(recipe.path(old.receipt or "", f"{where}.receipt"), manifest, where)
    if not 0 <= n_rows <= planned:
        raise CurateError("the old stream has no so many rows", where=where, found=f"{n_rows} rows", allowed=f"0 to {planned}")
    (listed,) = [output for output in manifest["outputs"] if output["path"] == "selection.parquet"]
    selection = path.parent / "selection.parquet"
    if not selection.exists():
        raise CurateError(
            "which documents were consumed is not known without the old selection", where=str(selection),
            next="the manifest needs its build folder, or an export of it, beside it",
        )  # fmt: skip
    if (selection.stat().st_size, file_sha256(selection)) != (listed["bytes"], listed["sha256"]):
        what = "this file is not the one that its manifest lists"
        raise CurateError(what, where=str(selection), next="curate verify", exit_code=1)
    return path.parent, manifest, n_rows


def _rows_of(path: Path, manifest: dict[str, Any], where: str) -> int:
    """Rows that a receipt says entered the model."""
    try:
        receipt = json.loads(path.read_bytes())
        streams = [of["manifest"]["stream"] for of in receipt["streams"]]
    except FileNotFoundError:
        raise CurateError(
            "there is no such receipt", where=f"{where}.receipt", found=str(path),
            next="rows: N says how far the old stream was read",
        ) from None  # fmt: skip
    except (ValueError, KeyError, TypeError) as error:
        raise CurateError("this is no receipt of a run", where=str(path), found=repr(error)) from error
    if manifest["roots"]["stream"] not in streams:
        raise CurateError(
            "this receipt is of another stream than the manifest", where=f"{where}.receipt",
            found=f"stream root {', '.join(stream[:8] for stream in streams)}",
            allowed=f"stream root {manifest['roots']['stream'][:8]}",
        )  # fmt: skip
    if receipt.get("differences"):
        raise CurateError(
            "what this run consumed is not what its manifest planned", where=str(path), found="; ".join(receipt["differences"])[:200],
            next="rows: N, as far as the receipt agrees",
        )  # fmt: skip
    return rows_consumed(receipt, manifest)


def _complete(manifests: list[dict[str, Any]]) -> None:
    """A manifest that itself goes on from others brings them along: their uses count too."""
    listed = {manifest["roots"]["stream"] for manifest in manifests}
    for manifest in manifests:
        for earlier in manifest.get("continues", []):
            if earlier["stream"] not in listed:
                raise CurateError(
                    f"{manifest['name']} itself goes on from {earlier['name']}, which is not listed", where="mixture.continues",
                    found=f"stream root {manifest['roots']['stream'][:8]}",
                    next=f"list {earlier['name']} (stream root {earlier['stream'][:8]}, {earlier['rows']} rows) beside it",
                )  # fmt: skip


def _take(folder: Path, manifest: dict[str, Any], n_rows: int, docs: Documents, find: _Finder, before: Before) -> dict[str, Any]:
    """Count one old selection into `before`; what the new manifest says of it."""
    table = pq.read_table(folder / "selection.parquet", columns=COLUMNS, read_dictionary=CODES)
    is_train = _codes(table["split"], ["train"]) == 0
    is_consumed = is_train & (pc.fill_null(table["stream_index"], n_rows).to_numpy() < n_rows)
    document = find(_codes(table["source"], docs.sources), table["id"])
    before.held[document[~is_train & (document >= 0)]] = True
    n_tokens, n_loss = table["n_tokens"].to_numpy(), table["n_loss_tokens"].to_numpy()
    here = is_consumed & (document >= 0)
    kernels.add(document[here], n_tokens[here], before.state.tokens)
    if before.state.labels.size:
        kernels.add(document[here], n_loss[here], before.state.labels)
    begun, is_lost = _uses(table, is_consumed, is_train)
    known = begun[document[begun] >= 0]
    kernels.add(document[known], np.ones(known.size, np.int64), before.state.used)
    names = [component["name"] for component in manifest["components"]]
    of = _codes(table["component"], names)
    by_component = np.zeros(len(names), np.int64)
    kernels.add(of[is_consumed], n_tokens[is_consumed], by_component)
    gone = is_consumed & (document < 0)
    return {
        "name": manifest["name"], "stream": manifest["roots"]["stream"], "rows": n_rows,
        "tokens": dict(zip(names, by_component.tolist(), strict=True)), "uses": int(begun.size),
        "lost": {"chunks": int(is_lost.sum()), "tokens": int(n_tokens[is_lost].sum())},
        "gone": {"documents": len(pc.unique(table["id"].filter(pa.array(gone)))), "tokens": int(n_tokens[gone].sum())},
    }  # fmt: skip


def _uses(table: pa.Table, is_consumed: np.ndarray, is_train: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(a row for every use begun, bool (n,): chunks that were not consumed though others of their use were).

    A use that a later phase of the old manifest went on with (its first token is not the document's) is that of the earlier phase:
    rows of an earlier phase come first in the stream."""
    n_chunks, chunk, start = (table[name].to_numpy() for name in ("n_chunks", "chunk", "token_start"))
    whole = np.flatnonzero(is_consumed & (n_chunks == 1) & (start == 0))
    many = np.flatnonzero(is_train & (n_chunks > 1))
    is_lost = np.zeros(table.num_rows, np.bool_)
    if not many.size:
        return whole, is_lost
    # A use has its id once in its phase, component and pass, by which the selection is sorted: in this order its chunks are a run
    ids = read(table["id"].take(pa.array(many)))
    by_use = many[np.lexsort((chunk[many], _runs(table)[many], ids.low, ids.high))]
    number = np.cumsum(chunk[by_use] == 0) - 1
    first = by_use[chunk[by_use] == 0]
    if not np.array_equal(np.bincount(number), n_chunks[first]):
        raise AssertionError("the old selection lists a use without all of its chunks")
    is_begun = np.zeros(first.size, np.bool_)
    is_begun[number[is_consumed[by_use]]] = True
    is_lost[by_use] = is_begun[number] & ~is_consumed[by_use]
    return np.concatenate((whole, first[is_begun & (start[first] == 0)])), is_lost


def _runs(table: pa.Table) -> np.ndarray:
    """int64 (n,): the number of the run of one phase, component and pass that a row stands in."""
    changes = np.zeros(table.num_rows, np.bool_)
    for values in (_codes(table["phase"]), _codes(table["component"]), table["pass"].to_numpy()):
        changes[1:] |= values[1:] != values[:-1]
    return np.cumsum(changes)


def _codes(column: pa.ChunkedArray, values: Sequence[str] | None = None) -> np.ndarray:
    """int64 (n,): index into `values` (None: some numbering of them), -1 for null and for any other."""
    whole = column.unify_dictionaries().combine_chunks()
    named = whole.dictionary.to_pylist()
    place = {name: i for i, name in enumerate(named if values is None else values)}
    return np.array([*(place.get(name, -1) for name in named), -1], np.int64)[whole.indices.fill_null(len(named)).to_numpy()]


class _Finder:
    """Documents by source and id; those there are now lie by source, then id."""

    def __init__(self, docs: Documents) -> None:
        self.ids = docs.id
        self.first = np.searchsorted(docs.source, np.arange(len(docs.sources) + 1))

    def __call__(self, source: np.ndarray, ids: pa.ChunkedArray) -> np.ndarray:
        """int64 (n,): number of each document, -1 where there is none. `source`: index into the sources there are now, or -1."""
        found = np.full(len(ids), -1, np.int64)
        names = read(ids)
        for s in range(len(self.first) - 1):
            own = np.flatnonzero(source == s)
            a, b = int(self.first[s]), int(self.first[s + 1])
            at = kernels.find(names.high[own], names.low[own], self.ids.high[a:b], self.ids.low[a:b])
            found[own] = np.where(at < 0, -1, a + at)
        return found
