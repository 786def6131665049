"""Cuts counted again: they are where the asked spans are and nowhere else, and the texts after them have the bytes that were measured.

In: documents, cuts, span families and after_cuts_length of one source, shard by shard. Out: findings with file and row. What a cut
makes of the tokens is verify.tokens' business. Imports schema, store and mixture's verify.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate import schema
from curate.store import table_root
from mixture.verify.documents import Found, read
from mixture.verify.files import shown
from mixture.verify.report import Report

AFTER = "after_cuts_length"
Intervals = tuple[np.ndarray, np.ndarray, np.ndarray]  # row, start, end, each (n,) int64


def check_cuts(stage: Found, documents: Found, signals: Mapping[str, Found], report: Report, build_dir: Path) -> None:
    """One source; `signals` by family. Families whose shard is damaged are left out: that was said."""
    asked = {(kind, text) for _, pairs, *_ in stage.info["settings"]["entries"] for kind, text in pairs}
    for key in stage.keys:
        path = stage.file(key, "cuts.parquet")
        name = shown(path, build_dir)
        table = read(path, report, build_dir)
        if table is None or key not in documents.keys:
            continue
        if not report.equal(name, "columns", schema.CUTS.names, table.column_names):
            continue
        report.equal(name, "root", stage.info["shards"][key]["root"], table_root(table))
        report.equal(name, "counts", stage.info["shards"][key]["counts"], _counts(table, asked))
        cuts: Intervals = tuple(table[column].to_numpy() for column in ("row", "start", "end"))
        sizes = _check_places(documents.file(key, "documents.parquet"), cuts, report, name)
        for i, pair in enumerate(zip(table["kind"].to_pylist(), table["replacement"].to_pylist(), strict=True)):
            if pair not in asked:
                report.add(name, f"the recipe asks for no cut of {pair[0]} with {pair[1]!r} in its place", f"row {i}")
        asked_spans = _asked_spans(stage, key, signals, report, build_dir)
        if asked_spans is not None:
            spans, n_documents, kind = asked_spans
            if not _equal(_joined(cuts), _joined(spans)):
                report.add(name, "the bytes it cuts are not those of the spans that the recipe asks for", _first_row(cuts, spans))
            else:
                _check_counts(table, cuts, spans, n_documents, kind, report, name)
        if AFTER in signals and key in signals[AFTER].keys and sizes is not None:
            _check_sizes(signals[AFTER].file(key, f"{AFTER}.parquet"), table, sizes, report, build_dir)
        report.count(cuts=table.num_rows)


def _counts(table: pa.Table, asked: set[tuple[str, str]]) -> dict[str, int]:
    found: dict[str, int] = {}
    sizes = pc.subtract(table["end"], table["start"])
    for kind in sorted({kind for kind, _ in asked}):
        own = pc.equal(table["kind"], kind)
        found |= {f"cuts {kind}": pc.sum(own).as_py() or 0, f"bytes {kind}": pc.sum(sizes.filter(own)).as_py() or 0}
    return found


def _check_places(path: Path, cuts: Intervals, report: Report, name: str) -> np.ndarray | None:
    """Bytes of every text of the shard; findings where cuts are not in order, overlap, leave their text or divide a character."""
    row, start, end = cuts
    order = (row[1:] > row[:-1]) | ((row[1:] == row[:-1]) & (start[1:] >= end[:-1]))
    for i in np.flatnonzero(~order)[:3].tolist():
        report.add(name, "cuts are not in order, or overlap", f"row {i + 1}")
    file, first, sizes = pq.ParquetFile(path), 0, []
    for batch in file.iter_batches(512, columns=["text"]):
        texts = pc.cast(batch["text"], pa.large_string())
        sizes.append(pc.binary_length(texts).to_numpy())
        for i in np.flatnonzero((row >= first) & (row < first + len(texts))).tolist():
            data = texts[int(row[i]) - first].as_buffer()
            edges = [bytes(data[at : at + 1]) for at in (int(start[i]), int(end[i])) if 0 <= at < data.size]
            if not 0 <= start[i] < end[i] <= data.size or any(0x80 <= edge[0] < 0xC0 for edge in edges):
                report.add(name, "a cut is empty, leaves its text or divides a character", f"row {i}")
        first += len(texts)
    if len(row) and (row.min() < 0 or row.max() >= first):
        report.add(name, f"it cuts rows that the {first:,} documents do not have")
        return None
    return np.concatenate([np.empty(0, np.int64), *sizes])


def _asked_spans(
    stage: Found, key: str, signals: Mapping[str, Found], report: Report, build_dir: Path
) -> tuple[Intervals, np.ndarray, np.ndarray] | None:
    """The spans that the entries cut, in how many documents each stands (0: not counted), and its kind."""
    none = np.empty(0, np.int64)
    parts: list[tuple[np.ndarray, ...]] = [(none, none, none, none, np.empty(0, object))]
    for family, pairs, *repeats in stage.info["settings"]["entries"]:
        if family not in signals or key not in signals[family].keys:
            return None
        table = read(signals[family].file(key, f"{family}.spans.parquet"), report, build_dir)
        if table is None:
            return None
        table = table.filter(pc.is_in(table["kind"], value_set=pa.array([kind for kind, _ in pairs], pa.string())))
        n_documents = np.zeros(table.num_rows, np.int64)
        for per, least, keep_first in repeats:
            is_first = table[f"is_first_in_{per}"].to_numpy()
            table = table.filter(pa.array((table[f"n_{per}_documents"].to_numpy() >= least) & ~(keep_first & is_first)))
            n_documents = table[f"n_{per}_documents"].to_numpy()
        kinds = np.array(table["kind"].to_pylist(), object)
        parts.append((*(table[column].to_numpy() for column in ("row", "start", "end")), n_documents, kinds))
    row, start, end, counts, kind = (np.concatenate(column) for column in zip(*parts, strict=True))
    return (row, start, end), counts, kind


def _check_counts(
    table: pa.Table, cuts: Intervals, spans: Intervals, n_documents: np.ndarray, kind: np.ndarray, report: Report, name: str
) -> None:
    """A cut states the largest count of the spans of its kind inside it, null without any. The bytes of both are known to be equal."""
    step = max(int(cuts[2].max(initial=0)), int(spans[2].max(initial=0))) + 1
    most = np.zeros(table.num_rows, np.int64)
    of_cut = np.searchsorted(cuts[0] * step + cuts[1], spans[0] * step + spans[1], side="right") - 1
    own = kind == np.array(table["kind"].to_pylist(), object)[of_cut]
    np.maximum.at(most, of_cut[own], n_documents[own])
    stated = table["n_documents"].fill_null(0).to_numpy()
    for i in np.flatnonzero(stated != most)[:3].tolist():
        report.equal(name, "n_documents", int(stated[i]), int(most[i]), f"row {i}")


def _joined(found: Intervals) -> Intervals:
    """The same bytes with the fewest intervals, in order."""
    row, start, end = found
    step = int(end.max(initial=0)) + 2  # 2: the end of one text and the start of the next do not touch
    start, end = row * step + start, row * step + end
    order = np.argsort(start, kind="stable")
    start, end = start[order], np.maximum.accumulate(end[order])
    first = np.flatnonzero(start > np.concatenate([[-1], end[:-1]])) if len(start) else np.empty(0, np.int64)
    until = np.concatenate([end[first[1:] - 1], end[-1:]]) if len(first) else first
    rows = start[first] // step
    return rows, start[first] - rows * step, until - rows * step


def _equal(a: Intervals, b: Intervals) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def _first_row(cuts: Intervals, spans: Intervals) -> str:
    mine, theirs = (
        set(zip(*map(np.ndarray.tolist, _joined(cuts)), strict=True)),
        set(zip(*map(np.ndarray.tolist, _joined(spans)), strict=True)),
    )
    row, start, end = min(mine ^ theirs)
    return f"document {row}, bytes {start}..{end}"


def _check_sizes(path: Path, cuts: pa.Table, sizes: np.ndarray, report: Report, build_dir: Path) -> None:
    """after_cuts_n_bytes is the text's bytes, less the cut ones, and the replacements'."""
    table = read(path, report, build_dir, ["after_cuts_n_bytes"])
    if table is None:
        return
    row, gone = cuts["row"].to_numpy(), cuts["end"].to_numpy() - cuts["start"].to_numpy()
    put = pc.binary_length(cuts["replacement"]).to_numpy().astype(np.int64)
    after = sizes.copy()
    np.add.at(after, row, put - gone)
    stated = table["after_cuts_n_bytes"].to_numpy()
    if len(stated) != len(after):
        report.add(shown(path, build_dir), f"{len(stated):,} rows, the source's shard has {len(after):,} documents")
        return
    for i in np.flatnonzero(stated != after)[:3].tolist():
        report.equal(shown(path, build_dir), "after_cuts_n_bytes", int(stated[i]), int(after[i]), f"row {i}")
