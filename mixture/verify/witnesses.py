"""Witnesses looked at again: each one is kept in this decision table or in the reference it lies in, and is as similar as stated.

In: decisions, documents, the stages of dedup.against; a function of the caller that compares two texts anew. Out: findings with file
and row. Memory: 33 bytes per named witness; MOST_PAIRS pairs of texts, at most TEXT_BYTES of them. Imports recipe, store and
mixture's verify.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.errors import CurateError
from curate.recipe import Recipe
from mixture.verify.documents import Found, read
from mixture.verify.files import shown
from mixture.verify.report import Report

MOST_PAIRS = 2000
TEXT_BYTES = 256 << 20
NEAR, URL, PROMPT = "near_duplicate", "url_duplicate", "prompt_duplicate"
# (recipe, source, text, witness_source, witness_text) -> exact Jaccard of their shingles; None where neither has any
Again = Callable[[Recipe, str, str, str, str], float | None]


class Pair(NamedTuple):
    """A decision with a witness; in the order of a hash of the ids, so that a sample is the same every time."""

    order: bytes
    document: tuple[str, str]  # source, id
    witness: tuple[str, str]
    reason: str
    similarity: float | None
    file: Path
    row: int


def references_of(found: list[Found]) -> dict[str, dict[str, Found]]:
    """name -> {reference_documents, reference_decide: stage} of dedup.against."""
    result: dict[str, dict[str, Found]] = {}
    for stage in found:
        if stage.stage.startswith("reference_"):
            result.setdefault(stage.source, {})[stage.stage] = stage
    return result


def check_kept(
    decide: Found, references: Mapping[str, Mapping[str, Found]], drops_heads: bool, report: Report, build_dir: Path
) -> None:
    """Every witness is a kept document, of the recipe or of a reference. `drops_heads` (near.keep: none): or one that was dropped as a
    near duplicate itself."""
    columns = ["id", "keep", "reason", "witness_source", "witness_id"]
    parts = [np.empty(0, "S")]
    for _, path, table in _tables(decide, columns, report, build_dir):
        parts.append(_keys(table["witness_source"], table["witness_id"]))
        halves = [pc.is_valid(table[name]).to_numpy(zero_copy_only=False) for name in ("witness_source", "witness_id")]
        for row in np.flatnonzero(halves[0] != halves[1])[:3].tolist():
            report.add(shown(path, build_dir), "a witness has a source and an id", f"row {row}, id {table['id'][row]}")
    named = np.unique(np.concatenate(parts))
    is_kept = np.zeros(named.size, bool)
    for key, _, table in _tables(decide, columns, report, build_dir):
        keep = table["keep"]
        if drops_heads:
            keep = pc.or_(keep, pc.fill_null(pc.equal(table["reason"], NEAR), False))
        _mark(named, is_kept, key.rpartition(".")[0], table.filter(keep)["id"])
    for name, stages in references.items():
        for ids in _kept_ids(name, stages, report, build_dir):
            _mark(named, is_kept, name, ids)
    missing = pa.array([key.decode() for key in named[~is_kept].tolist()], pa.string())
    for _, path, table in _tables(decide, columns, report, build_dir) if len(missing) else ():
        keys = pc.binary_join_element_wise(table["witness_source"], table["witness_id"], "\0")
        for row in np.flatnonzero(pc.fill_null(pc.is_in(keys, missing), False).to_numpy(zero_copy_only=False))[:3].tolist():
            says = f"the witness {table['witness_source'][row]} {table['witness_id'][row]} is not kept"
            report.add(shown(path, build_dir), says, f"row {row}, id {table['id'][row]}")


def check_similar(
    decide: Found, documents: Mapping[str, Found], references: Mapping[str, Mapping[str, Found]], recipe: Recipe, again: Again,
    report: Report, build_dir: Path,
) -> None:  # fmt: skip
    """The similarity that decisions state, against that of the texts, compared anew: of all pairs, or of a seeded sample of them."""
    pairs, n_pairs = _sample(decide, recipe.seed, report, build_dir)
    stages = {**documents, **{name: of["reference_documents"] for name, of in references.items() if "reference_documents" in of}}
    texts, n_read = _texts(pairs, stages, report, build_dir)
    least = recipe.dedup.near.jaccard if recipe.dedup.near else 0.0
    n_compared = 0
    for pair in pairs[:n_read]:
        if pair.document not in texts or pair.witness not in texts:
            continue  # damaged or missing, which is said elsewhere; a witness that is nowhere is not kept
        name, place = shown(pair.file, build_dir), f"row {pair.row}, id {pair.document[1]}"
        try:
            found = again(recipe, pair.document[0], texts[pair.document], pair.witness[0], texts[pair.witness])
        except CurateError as error:
            report.add(error.where or name, f"texts cannot be compared again: {error.what}")
            return
        n_compared += 1
        if pair.similarity != found:
            report.add(name, f"similarity {pair.similarity} is stated, the texts give {found}", place)
        elif pair.reason == NEAR and (found is None or found < least):
            report.add(name, f"similarity {found} is below dedup.near.jaccard {least:g}", place)
    report.count(similar_pairs=n_pairs, similar_pairs_compared_again=n_compared)


def _tables(stage: Found, columns: list[str], report: Report, build_dir: Path) -> Iterator[tuple[str, Path, pa.Table]]:
    for key in stage.keys:
        path = stage.file(key, "decisions.parquet")
        table = read(path, report, build_dir, columns)
        if table is not None:
            yield key, path, table


def _keys(source: pa.ChunkedArray, id_: pa.ChunkedArray) -> np.ndarray:
    """S (n,): source and id of those that are not null."""
    joined = pc.binary_join_element_wise(source, id_, "\0").drop_null()
    return np.unique(np.asarray(joined.to_pylist(), "S").reshape(-1))


def _mark(named: np.ndarray, is_kept: np.ndarray, source: str, ids: pa.ChunkedArray) -> None:
    if not named.size or not len(ids):
        return
    keys = np.asarray([f"{source}\0{id_}".encode() for id_ in ids.to_pylist()], "S")
    at = np.minimum(np.searchsorted(named, keys), named.size - 1)
    is_kept[at[named[at] == keys]] = True


def _kept_ids(name: str, stages: Mapping[str, Found], report: Report, build_dir: Path) -> Iterator[pa.ChunkedArray]:
    """Of a build what it kept, of files every document."""
    decide = stages.get("reference_decide")
    if decide is None:
        documents = stages.get("reference_documents")
        for key in documents.keys if documents else ():
            assert documents is not None
            if (table := read(documents.file(key, "documents.parquet"), report, build_dir, ["id"])) is not None:
                yield table["id"]
        return
    source = name.partition(":")[2]
    for key, _, table in _tables(decide, ["id", "keep"], report, build_dir):
        if key.rpartition(".")[0] == source:
            yield table.filter(table["keep"])["id"]


def _sample(decide: Found, seed: int, report: Report, build_dir: Path) -> tuple[list[Pair], int]:
    """(the pairs that come first in the order of a keyed hash, how many there are)."""
    columns = ["id", "source", "reason", "witness_source", "witness_id", "similarity"]
    chosen: list[Pair] = []
    n = 0
    for _, path, table in _tables(decide, columns, report, build_dir):
        asked = pc.and_(pc.is_in(table["reason"], pa.array([NEAR, URL, PROMPT])), pc.is_valid(table["witness_id"]))
        rows = np.flatnonzero(pc.fill_null(asked, False).to_numpy(zero_copy_only=False))
        n += len(rows)
        mine = []
        for row, one in zip(rows.tolist(), table.take(pa.array(rows)).to_pylist(), strict=True):
            order = hashlib.blake2b(f"{one['source']}\0{one['id']}".encode(), digest_size=8, key=str(seed).encode()).digest()
            ids = ((one["source"], one["id"]), (one["witness_source"], one["witness_id"]))
            mine.append(Pair(order, *ids, one["reason"], one["similarity"], path, row))
        chosen = heapq.nsmallest(MOST_PAIRS, [*chosen, *mine], key=lambda pair: pair[:2])
    return chosen, n


def _texts(
    pairs: list[Pair], stages: Mapping[str, Found], report: Report, build_dir: Path
) -> tuple[dict[tuple[str, str], str], int]:
    """Texts of the first pairs, as many as fit TEXT_BYTES; and how many pairs these are."""
    first: dict[tuple[str, str], int] = {}  # document -> the first pair that asks for it
    for i, pair in enumerate(pairs):
        for key in (pair.document, pair.witness):
            first.setdefault(key, i)
    wanted: dict[str, set[str]] = {}
    for source, id_ in first:
        wanted.setdefault(source, set()).add(id_)
    texts: dict[tuple[str, str], str] = {}
    limit, held = len(pairs), 0
    for source, ids in wanted.items():
        for id_, text in _read_texts(stages[source], ids, report, build_dir) if source in stages else ():
            if first[source, id_] < limit:
                texts[source, id_] = text
                held += len(text)
            while held > TEXT_BYTES and limit > 1:
                limit //= 2
                texts = {key: text for key, text in texts.items() if first[key] < limit}
                held = sum(map(len, texts.values()))
    return texts, limit


def _read_texts(stage: Found, ids: set[str], report: Report, build_dir: Path) -> Iterator[tuple[str, str]]:
    values = pa.array(sorted(ids), pa.string())
    for key in stage.keys:
        path = stage.file(key, "documents.parquet")
        table = read(path, report, build_dir, ["id"])
        if table is None:
            continue
        rows = np.flatnonzero(pc.is_in(table["id"], values).to_numpy(zero_copy_only=False))
        file, begin = pq.ParquetFile(path), 0
        for group in range(file.num_row_groups):
            n = file.metadata.row_group(group).num_rows
            own = rows[(rows >= begin) & (rows < begin + n)] - begin
            begin += n
            if len(own):
                chosen = file.read_row_group(group, columns=["id", "text"]).take(pa.array(own))
                yield from zip(chosen["id"].to_pylist(), chosen["text"].to_pylist(), strict=True)
