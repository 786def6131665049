"""Kept documents with their tokens, per source: the tables that selection and packing start from.

Documents, clusters and token stages in, `selection.KEPT` tables and the list of token shards out. Nothing is read but short
columns, and what rows say of the model that wrote them. Imports curate's store, pair_tokens, provenance, refused and selection.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.store import Stage
from mixture import pair_tokens, provenance, refused
from mixture.selection import KEPT, OF_PAIRS, PROVENANCE, REFUSED


def kept_tables(
    documents: Mapping[str, Stage],
    clusters: Stage,
    tokens: Mapping[str, Stage],
    pattern: Callable[[str, str], np.ndarray],
    written: Collection[str] = (),
) -> tuple[dict[str, pa.Table], list[Path]]:
    """{source: table of KEPT, by id} and the .ds files `shard` counts into. `clusters` has keys "<source>.<key>".

    `written`: sources whose rows may say which model wrote them (provenance.sources_of). `pattern(source, key)`: int64 by row of the documents
    shard, the components that a document matches (curate/membership.py).
    """
    tables: dict[str, pa.Table] = {}
    shards: list[Path] = []
    for source, stage in documents.items():
        parts = []
        for key in tokens[source].keys:
            index = pq.read_table(tokens[source].shard_path(key) / "tokens.parquet")
            rows = _row_aligned(stage.shard_path(key), clusters.shard_path(f"{source}.{key}"), source in written)
            rows = rows.append_column("pattern", pa.array(pattern(source, key), pa.int64()))
            at = pc.index_in(index["id"].cast(pa.string()), value_set=rows["id"].cast(pa.string()).combine_chunks())
            if at.null_count:
                raise AssertionError(f"{tokens[source].shard_path(key)} holds tokens of documents that are not in the source")
            rows = rows.take(at)
            part = pa.table({
                "id": rows["id"], "cluster_id": rows["cluster_id"], "n_tokens": index["n_tokens"],
                "n_loss_tokens": index["n_loss_tokens"], "shard": pa.array(np.full(len(index), len(shards), np.int64)),
                "token_start": index["token_start"], "language": rows["language"], "license": rows["license"],
                "pattern": rows["pattern"],
            }).cast(KEPT)  # fmt: skip
            parts.append(_with_pairs(part.append_column("provenance", rows["provenance"]), tokens[source].shard_path(key)))
            shards.append(tokens[source].shard_path(key) / "tokens.ds")
        whole = pa.concat_tables(parts) if parts else KEPT.empty_table()
        if parts:
            said = provenance.without_many_seeds(whole["provenance"]).cast(PROVENANCE.type)
            whole = whole.set_column(whole.column_names.index(PROVENANCE.name), PROVENANCE, said)
        tables[source] = whole
    return tables, shards


def _with_pairs(part: pa.Table, shard: Path) -> pa.Table:
    """With the columns of OF_PAIRS, where the shard holds pairs: its rows are those of its documents; and with the reasons of what is
    refused."""
    if not (shard / pair_tokens.NAME).exists():
        why = refused.reasons(shard, part["id"])
        return part if why is None else part.append_column(REFUSED, why)
    pairs = pq.read_table(shard / pair_tokens.NAME)
    if not pairs["id"].cast(pa.large_string()).equals(part["id"]):
        raise AssertionError(f"{shard / pair_tokens.NAME} does not stand in the order of its tokens")
    for field in (*OF_PAIRS, REFUSED):
        part = part.append_column(field, pairs[field.name])
    return part


def _row_aligned(documents: Path, clusters: Path, is_written: bool) -> pa.Table:
    """id, language, license, provenance and cluster_id of a documents shard; the two files stand in the same order, which is checked."""
    columns = ["id", "language", "license", *(["extra"] if is_written else [])]
    left = pq.read_table(documents / "documents.parquet", columns=columns)
    said = provenance.of_rows(left["extra"]) if is_written else pa.nulls(len(left), pa.string())
    left = left.select(columns[:3]).append_column("provenance", said)
    right = pq.read_table(clusters / "duplicates.parquet", columns=["id", "cluster_id"])
    if not left["id"].equals(right["id"].cast(left["id"].type)):
        raise AssertionError(f"{clusters} does not stand in the order of {documents}")
    return left.append_column("cluster_id", right["cluster_id"])
