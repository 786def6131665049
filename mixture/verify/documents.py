"""Documents and decisions counted again: ids, text hashes, roots, one decision per document, sums per source.

In: the stage folders, a shard in memory at a time. Out: findings and the counts per source.
Imports schema, store and mixture.verify.report and files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate import schema
from curate.store import digest, table_root
from mixture.verify.files import shown
from mixture.verify.report import Report


@dataclass
class Found:
    """A stage of the build that was found sound enough to read: its folder, its stage.json, its source and family."""

    stage: str
    source: str
    family: str
    folder: Path
    info: dict[str, Any]

    def row(self, build_dir: Path) -> dict[str, Any]:
        """As the table `stages` of corpus.duckdb has it."""
        return {"stage": self.stage, "source": self.source, "family": self.family, "fingerprint": self.info["fingerprint"],
                "root": self.info["root"], "rows": self.info["rows"], "path": shown(self.folder, build_dir)}  # fmt: skip

    def file(self, key: str, name: str) -> Path:
        return self.folder / key / name

    @property
    def keys(self) -> list[str]:
        """Shards whose files are as they were written, quarantine left out."""
        return [key for key in self.info["keys"] if key != "quarantine" and key not in self.info["damaged"]]


def read(path: Path, report: Report, build_dir: Path, columns: list[str] | None = None) -> pa.Table | None:
    """A Parquet file, or a finding."""
    try:
        return pq.read_table(path, columns=columns)
    except (pa.ArrowException, OSError, KeyError) as error:
        report.add(shown(path, build_dir), f"unreadable: {str(error).splitlines()[0]}")
        return None


def check_documents(stage: Found, report: Report, build_dir: Path) -> dict[str, int]:
    """One source: {"documents", "quarantined"} counted from rows."""
    found = report.each(stage.keys, lambda key, own: _check_shard(stage, key, own, build_dir))
    counts = {"documents": sum(n for n, _, _ in found), "quarantined": 0}
    last = ""
    for key, (_, first, end) in zip(stage.keys, found, strict=True):
        if first and first <= last:
            report.add(
                shown(stage.file(key, "documents.parquet"), build_dir), "ids are not sorted and unique", f"row 0, id {first}"
            )
        last = end or last
    path = stage.file("quarantine", "quarantine.parquet")
    if (
        "quarantine" in set(stage.info["keys"]) - set(stage.info["damaged"])
        and (table := read(path, report, build_dir)) is not None
    ):
        counts["quarantined"] = table.num_rows
    return counts


def _check_shard(stage: Found, key: str, report: Report, build_dir: Path) -> tuple[int, str, str]:
    """(documents, first id, last id)."""
    path = stage.file(key, "documents.parquet")
    table = read(path, report, build_dir)
    if table is None:
        return 0, "", ""
    name = shown(path, build_dir)
    report.equal(name, "columns", schema.DOCUMENTS.names, table.column_names)
    report.equal(name, "root", stage.info["shards"][key]["root"], table_root(table, exclude=schema.ORIGIN))
    report.equal(name, "rows", stage.info["shards"][key]["rows"], table.num_rows)
    ids = table["id"].combine_chunks()
    unsorted = pc.less_equal(ids.slice(1), ids.slice(0, max(len(ids) - 1, 0)))
    for row in np.flatnonzero(unsorted.to_numpy(zero_copy_only=False))[:3].tolist():
        report.add(name, "ids are not sorted and unique", f"row {row + 1}, id {ids[row + 1]}")
    if stage.source and not pc.all(pc.equal(table["source"], stage.source)).as_py() and table.num_rows:
        report.add(name, f"documents of another source than {stage.source}")
    _check_texts(table, name, report)
    report.count(documents=table.num_rows)
    return table.num_rows, ids[0].as_py() if len(ids) else "", ids[-1].as_py() if len(ids) else ""


def _check_texts(table: pa.Table, name: str, report: Report) -> None:
    """text_hash is blake2b-128 of the text's UTF-8."""
    row = 0
    for batch in table.select(["text", "text_hash"]).to_batches(1 << 14):
        texts = batch["text"].cast(pa.large_string()).fill_null("")
        ends = np.frombuffer(texts.buffers()[1], np.int64)[texts.offset : texts.offset + len(texts) + 1].tolist()
        data = memoryview(texts.buffers()[2] or b"")
        for i, stated in enumerate(batch["text_hash"].to_pylist()):
            if hashlib.blake2b(data[ends[i] : ends[i + 1]], digest_size=16).hexdigest() != stated:
                report.add(name, "text_hash is not the hash of the text", f"row {row + i}, id {table['id'][row + i]}")
        row += len(batch)


def check_rows(stage: Found, file: str, documents: Mapping[str, Found], report: Report, build_dir: Path) -> None:
    """A table that has one row per document, in the documents' order: ids, and the root where it is of the rows alone."""
    for key in stage.keys:
        path = stage.file(key, file)
        source, _, shard = key.rpartition(".") if stage.source == "" else (stage.source, "", key)
        table = read(path, report, build_dir)
        if table is None or source not in documents or shard not in documents[source].keys:
            continue
        ids = read(documents[source].file(shard, "documents.parquet"), report, build_dir, ["id"])
        if ids is not None and not table["id"].combine_chunks().equals(ids["id"].combine_chunks()):
            report.add(
                shown(path, build_dir), "its rows are not those of the documents", _first_difference(table["id"], ids["id"])
            )
        if stage.stage == "decide" or stage.family:
            root = table_root(table)
            beside = [stage.file(key, f"{stage.family}.{name}.parquet") for name in ("spans", "hits")]
            tables = [found for p in beside if p.exists() and (found := read(p, report, build_dir)) is not None]
            root = digest(root, *map(table_root, tables)) if tables else root
            report.equal(shown(path, build_dir), "root", stage.info["shards"][key]["root"], root)


def _first_difference(mine: pa.ChunkedArray, theirs: pa.ChunkedArray) -> str:
    a, b = mine.to_pylist(), theirs.to_pylist()
    row = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    return f"row {row}; {len(a)} rows, {len(b)} documents"


def check_decisions(stage: Found, report: Report, build_dir: Path) -> dict[str, dict[str, int]]:
    """Keep or a reason, never both. Returns {source: {kept, dropped, <reason>: n}}."""
    counts: dict[str, dict[str, int]] = {}
    for key in stage.keys:
        path = stage.file(key, "decisions.parquet")
        table = read(path, report, build_dir)
        if table is None:
            continue
        keep = table["keep"].to_numpy()
        name, own = shown(path, build_dir), counts.setdefault(key.rpartition(".")[0], {"kept": 0, "dropped": 0})
        has_reason = pc.is_valid(table["reason"]).to_numpy()
        for row in np.flatnonzero(keep == has_reason)[:3].tolist():
            report.add(name, "a document is either kept or dropped for a reason", f"row {row}, id {table['id'][row]}")
        own["kept"] += int(keep.sum())
        own["dropped"] += int((~keep).sum())
        for value in pc.value_counts(table["reason"].drop_null()).to_pylist():
            own[value["values"]] = own.get(value["values"], 0) + value["counts"]
    return counts


def check_sums(
    documents: Mapping[str, Found], counted: Mapping[str, Mapping[str, int]], decided: Mapping[str, Mapping[str, int]],
    again: Mapping[str, Mapping[str, int]], report: Report, build_dir: Path,
) -> None:  # fmt: skip
    """Term by term: what ingest stated, what the rows say, what the raw input says when it is read again (`again`)."""
    for source, stage in documents.items():
        if stage.info["damaged"]:
            continue
        name = shown(stage.folder / "stage.json", build_dir)
        rows = {"n_documents": counted[source]["documents"], "n_quarantined": counted[source]["quarantined"]}
        rows["n_read"] = rows["n_documents"] + rows["n_quarantined"]
        for term, n in rows.items():
            report.equal(name, f"{source}: {term}", stage.info["counts"].get(term), n)
            if term in again.get(source, {}):
                report.equal(name, f"{source}: {term} of the raw input, read again", n, again[source][term])
        if source in decided:
            own = decided[source]
            reasons = sum(n for reason, n in own.items() if reason not in ("kept", "dropped"))
            report.equal(name, f"{source}: documents = kept + dropped", rows["n_documents"], own["kept"] + own["dropped"])
            report.equal(name, f"{source}: dropped by reason", own["dropped"], reasons)
