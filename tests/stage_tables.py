"""The tables that components are made of, written by hand as the stages write them: documents, clusters, decisions, one signal family."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


def doc_id(name: str) -> str:
    return name.encode().hex().ljust(32, "0")


def folders_of(folder: Path, shards: dict[tuple[str, str], list[dict]]) -> dict[tuple[str, str, str], Path]:
    """(source, key) -> rows {id, head (None), size, failed [rules], extra, <columns of family f: score, kind, dup, lines, after>}."""
    found = {("clusters", "", ""): folder / "clusters", ("decide", "", ""): folder / "decide"}
    for (source, key), rows in shards.items():
        found["documents", source, ""], found["signals", source, "f"] = folder / "documents" / source, folder / "signals" / source
        ids = [doc_id(row["id"]) for row in rows]
        heads = [doc_id(row["head"]) if row.get("head") else None for row in rows]
        tables = {
            folder / "documents" / source / key / "documents.parquet": {
                "id": ids, "extra": pa.array([row.get("extra") for row in rows], pa.large_string()),
            },
            folder / "clusters" / f"{source}.{key}" / "duplicates.parquet": {
                "id": ids, "cluster_id": pa.array(heads, pa.string()),
                "cluster_size": pa.array([row.get("size", 1) for row in rows], pa.int32()),
            },
            folder / "decide" / f"{source}.{key}" / "decisions.parquet": {
                "id": ids, "failed_rules": pa.array([row.get("failed", []) for row in rows], pa.list_(pa.string())),
            },
            folder / "signals" / source / key / "f.parquet": {
                "id": ids, "tidy_score": pa.array([row.get("score") for row in rows], pa.float32()),
                "kind": pa.array([row.get("kind") for row in rows], pa.string()),
                "n_duplicate_lines": [row.get("dup", 0) for row in rows], "n_repetition_lines": [row.get("lines", 0) for row in rows],
                "after_cuts_n_words": [row.get("after", 0) for row in rows],
            },
        }  # fmt: skip
        for path, table in tables.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(pa.table(table), path)
    return found
