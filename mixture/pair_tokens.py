"""Preferences of one documents shard to pairs of ids, and pairs.parquet (schema.PAIRS): where in its tokens each pair parts.

Rows of documents in, `PairIds` and a row for each out; those whose tokens an earlier stage has are copied with their rows. Imports
schema, store and mixture's pair_render, render, token_reuse.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.schema import PAIRS
from curate.store import table_root
from mixture.pair_render import PairIds, encode_pair
from mixture.render import ChatTemplate
from mixture.token_reuse import Known

VERSION = 1  # of how pairs are rendered; beside the VERSION of tokens
NAME = "pairs.parquet"
COLUMNS = ["prompt", "chosen", "rejected", "parts"]
BATCH_ROWS = 512


class PairRows:
    """The rows of pairs.parquet of one shard, in the order in which they are made."""

    def __init__(self, kept_ids: pa.Array, known: Known) -> None:
        self._ids, self._copied = kept_ids, _copied(kept_ids, known)
        self._made: list[dict[str, Any]] = []

    def fresh(
        self, source: pq.ParquetFile, wanted: np.ndarray, template: ChatTemplate, bos: int | None, eos: int | None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Tokens and loss mask of the documents that `wanted` (n_documents,) marks, in order."""
        row = 0
        for batch in source.iter_batches(BATCH_ROWS, columns=COLUMNS):
            chosen = batch.take(pa.array(np.flatnonzero(wanted[row : row + len(batch)])))
            row += len(batch)
            for one in chosen.to_pylist():
                pair = encode_pair(template, json.loads(one["prompt"]), (one["chosen"], one["rejected"]), bos, eos)
                self._made.append(described(pair, margin_of(one["parts"])))
                yield pair.tokens, pair.mask

    def write(self, folder: Path) -> str:
        """Write pairs.parquet; returns its root."""
        made = iter(self._made)
        rows = [self._copied.get(i) or next(made) for i in range(len(self._ids))]
        columns = [self._ids, *(pa.array([row[field.name] for row in rows], field.type) for field in list(PAIRS)[1:])]
        table = pa.table(columns, schema=PAIRS)
        pq.write_table(table, folder / NAME, compression="zstd")
        return table_root(table)


def described(pair: PairIds, margin: float | None) -> dict[str, Any]:
    """A pair as a row of pairs.parquet, but for its id."""
    sizes = {f"n_{part}_tokens": getattr(pair, part).size for part in ("prompt", "chosen", "rejected")}
    return {**sizes, "margin": margin, "refused": pair.refused}


def margin_of(parts: str | None) -> float | None:
    """The margin of a preference, from the column `parts` of its document."""
    margin = json.loads(parts).get("margin") if parts else None
    return None if margin is None else float(margin)


def _copied(kept_ids: pa.Array, known: Known) -> dict[int, dict[str, Any]]:
    """Kept document -> its row in an earlier stage."""
    found: dict[int, dict[str, Any]] = {}
    for number in np.unique(known.shard[known.is_known]).tolist():
        table = pq.read_table(known.shards.folders[number] / NAME, schema=PAIRS)
        mine = np.flatnonzero(known.shard == number)
        at = pc.index_in(kept_ids.take(pa.array(mine)), value_set=table["id"].combine_chunks())
        found |= dict(zip(mine.tolist(), table.take(at).to_pylist(), strict=True))
    return found
