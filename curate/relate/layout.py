"""Which document has which ordinal: sources in recipe order, then shard, then row.

In: the documents stages. Out: a list of `Shard`. Used by relate and decide; imports store.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from curate.errors import CurateError
from curate.store import Stage


@dataclass(frozen=True)
class Shard:
    """One shard of documents: `rows` documents with the ordinals `first`, `first` + 1, ..."""

    source: str
    key: str
    folder: Path
    rows: int
    first: int

    @property
    def name(self) -> str:
        """Its key in the global stages."""
        return f"{self.source}.{self.key}"

    @property
    def documents(self) -> Path:
        return self.folder / "documents.parquet"


def layout(sources: Sequence[str], documents: Mapping[str, Stage]) -> list[Shard]:
    shards: list[Shard] = []
    first = 0
    for source in sources:
        info = documents[source].info()
        for key in info["keys"]:
            if key == "quarantine":
                continue
            rows = info["shards"][key]["rows"]
            shards.append(Shard(source, key, documents[source].shard_path(key), rows, first))
            first += rows
    if first >= 2**31:
        raise CurateError("relate numbers documents with 31 bits", found=f"{first} documents", allowed=f"{2**31 - 1}")
    return shards


def bounds(shards: Sequence[Shard], ordinals: np.ndarray) -> np.ndarray:
    """int64 (n_shards + 1,): which of the sorted `ordinals` lie in which shard."""
    ends = [shard.first + shard.rows for shard in shards]
    return np.concatenate([[0], np.searchsorted(ordinals, ends)]).astype(np.int64)


def n_documents(shards: Sequence[Shard]) -> int:
    return sum(shard.rows for shard in shards)
