"""Kept documents with their tokens, per source: the tables that selection and packing start from.

Documents, clusters and token stages in, `selection.KEPT` tables and the list of token shards out. Nothing is read but short
columns. Imports curate's schema and store, and selection.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.store import Stage
from mixture.selection import KEPT


def kept_tables(
    documents: Mapping[str, Stage], clusters: Stage, tokens: Mapping[str, Stage], pattern: Callable[[str, str], np.ndarray]
) -> tuple[dict[str, pa.Table], list[Path]]:
    """{source: table of KEPT, by id} and the .ds files `shard` counts into. `clusters` has keys "<source>.<key>".

    `pattern(source, key)`: int64 by row of the documents shard, the components that a document matches (curate/membership.py).
    """
    tables: dict[str, pa.Table] = {}
    shards: list[Path] = []
    for source, stage in documents.items():
        parts = []
        for key in tokens[source].keys:
            index = pq.read_table(tokens[source].shard_path(key) / "tokens.parquet")
            rows = _row_aligned(stage.shard_path(key), clusters.shard_path(f"{source}.{key}"))
            rows = rows.append_column("pattern", pa.array(pattern(source, key), pa.int64()))
            at = pc.index_in(index["id"].cast(pa.string()), value_set=rows["id"].cast(pa.string()).combine_chunks())
            if at.null_count:
                raise AssertionError(f"{tokens[source].shard_path(key)} holds tokens of documents that are not in the source")
            rows = rows.take(at)
            parts.append(
                pa.table(
                    {
                        "id": rows["id"], "cluster_id": rows["cluster_id"], "n_tokens": index["n_tokens"],
                        "n_loss_tokens": index["n_loss_tokens"], "shard": pa.array(np.full(len(index), len(shards), np.int64)),
                        "token_start": index["token_start"], "language": rows["language"], "license": rows["license"],
                        "pattern": rows["pattern"],
                    }
                ).cast(KEPT)
            )  # fmt: skip
            shards.append(tokens[source].shard_path(key) / "tokens.ds")
        tables[source] = pa.concat_tables(parts) if parts else KEPT.empty_table()
    return tables, shards


def _row_aligned(documents: Path, clusters: Path) -> pa.Table:
    """id, language, license and cluster_id of a documents shard; the two files stand in the same order, which is checked."""
    left = pq.read_table(documents / "documents.parquet", columns=["id", "language", "license"])
    right = pq.read_table(clusters / "duplicates.parquet", columns=["id", "cluster_id"])
    if not left["id"].equals(right["id"].cast(left["id"].type)):
        raise AssertionError(f"{clusters} does not stand in the order of {documents}")
    return left.append_column("cluster_id", right["cluster_id"])
