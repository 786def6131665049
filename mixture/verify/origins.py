"""Languages, licences and generators of what is trained on, counted again from the documents. Imports curate.recipe, provenance, verify.

In: documents stages, `Kept` and `Used`. Out: findings on the manifest's `languages`, `licences` and `generators`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.recipe import Recipe
from curate.recipe.licenses import UNKNOWN_SAYS, refusal
from curate.store import read_json
from mixture import provenance
from mixture.selection import UNKNOWN
from mixture.verify.documents import Found, read
from mixture.verify.report import Report
from mixture.verify.uses import Kept, Used, ids_of

COLUMNS = {"language": "languages", "license": "licences", "extra": "generators"}  # of documents -> of the manifest


def check_origins(
    manifest: Mapping[str, Any],
    recipe: Recipe,
    documents: Mapping[str, Found],
    kept: Kept,
    used: Used,
    report: Report,
    build_dir: Path,
) -> None:
    """Tokens trained on by language, by licence and by generator, per component, most first."""
    written = provenance.sources_of(recipe)
    codes = {name: np.zeros(kept.id.size, np.int32) for name in COLUMNS}
    names: dict[str, list[str]] = {name: [provenance.NONE if name == "extra" else UNKNOWN] for name in COLUMNS}
    shards = [(source, path.parent.name) for source, path in zip(_sources(kept), kept.shard_paths, strict=True)]
    for s, (source, key) in enumerate(shards):
        own = slice(int(kept.first[s]), int(kept.first[s + 1]))
        table = read(
            documents[source].file(key, "documents.parquet"),
            report,
            build_dir,
            ["id", *(name for name in COLUMNS if name != "extra" or source in written)],
        )
        if table is None:
            return
        at = np.searchsorted(ids_of(table["id"]), kept.id[own])
        for name in COLUMNS:
            if name in table.column_names:
                column = _generators(table[name]) if name == "extra" else table[name]
                codes[name][own] = _codes(column, names[name])[at]
    for c, component in enumerate(manifest["components"]):
        rows = np.flatnonzero(used.is_train & (used.component == c) & (used.document >= 0))
        for name, stated in COLUMNS.items():
            sums = np.bincount(codes[name][used.document[rows]], used.length[rows], len(names[name]))  # exact below 2^53
            found = sorted(((-int(n), value) for value, n in zip(names[name], sums, strict=True) if n))
            right = [(value, -n) for n, value in found]
            report.equal("manifest.json", f"{component['name']}: {stated}", list(component[stated].items()), right)
    _check_chunks(np.array(names["language"]), codes["language"], used, report, build_dir)


def _check_chunks(names: np.ndarray, code: np.ndarray, used: Used, report: Report, build_dir: Path) -> None:
    """sequences/language.npy: what the trainer counts by."""
    folder = build_dir / "sequences"
    listed, stated = read_json(folder / "shards.json")["languages"], np.load(folder / "language.npy")
    if stated.shape != used.document.shape or (stated.size and not 0 <= stated.min() <= stated.max() < len(listed)):
        report.add("sequences/language.npy", "it does not belong to the chunks", f"{stated.size} of {used.document.size}")
        return
    known = np.flatnonzero(used.document >= 0)
    wrong = known[np.array(listed)[stated[known]] != names[code[used.document[known]]]]
    if wrong.size:
        row = int(wrong[0])
        right = str(names[code[used.document[row]]])
        report.equal("sequences/language.npy", "the language of a chunk", listed[stated[row]], right, f"row {row}")


def _generators(extra: pa.ChunkedArray) -> pa.ChunkedArray:
    said = [json.loads(value) if value is not None else {} for value in provenance.of_rows(extra).to_pylist()]
    return pa.chunked_array([pa.array([one.get("generator") for one in said], pa.string())])


def check_allowed(manifest: Mapping[str, Any], recipe: Recipe, report: Report) -> None:
    """Nothing is trained on that the recipe's `licenses:` does not allow; the manifest's tokens by licence are counted again elsewhere."""
    if recipe.licenses is None:
        return
    for component in manifest["components"]:
        for name, tokens in component["licences"].items():
            why = refusal(name, tuple(recipe.licenses.allow))
            if why and not (why == UNKNOWN_SAYS and recipe.licenses.unknown == "flag"):
                report.add("manifest.json", f"{component['name']}: trains on {tokens:,} tokens of {name}: {why}")


def _sources(kept: Kept) -> list[str]:
    """The source of every shard; an empty one has that of its neighbours in the folder's name."""
    of_stage: dict[Path, str] = {}
    for s, path in enumerate(kept.shard_paths):
        if kept.first[s] < kept.first[s + 1]:
            of_stage[path.parent.parent] = kept.sources[kept.source[kept.first[s]]]
    return [of_stage.get(path.parent.parent, "") for path in kept.shard_paths]


def _codes(column: pa.ChunkedArray, names: list[str]) -> np.ndarray:
    """int32: place in `names`, which grows by the values that are new."""
    encoded = pc.fill_null(column, names[0]).combine_chunks().dictionary_encode()
    values = encoded.dictionary.to_pylist()
    names += [value for value in values if value not in names]
    return np.array([names.index(value) for value in values], np.int32)[encoded.indices.to_numpy()]
