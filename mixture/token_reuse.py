"""Tokens that an earlier stage of the same store already holds: a stage and document ids in, where to copy them from out.

Only stages with the same `reuse_key` count: the same documents, tokenizer and settings, other decisions. Damaged files are left
alone. Imports store and mixture.token_files.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.store import Stage, is_whole, read_json
from mixture.token_files import TokenShards

log = logging.getLogger(__name__)


@dataclass
class Known:
    """Where the tokens of kept documents already lie. All arrays (n_kept,) int64; shard -1: nowhere."""

    shards: TokenShards
    shard: np.ndarray
    start: np.ndarray
    n_tokens: np.ndarray

    @property
    def is_known(self) -> np.ndarray:
        return self.shard >= 0

    def copy(self, i: int) -> tuple[np.ndarray, np.ndarray | None] | None:
        """Ids and loss mask of kept document `i`, or None where they must be made."""
        shard = int(self.shard[i])
        if shard < 0:
            return None
        span = slice(int(self.start[i]), int(self.start[i] + self.n_tokens[i]))
        loss = self.shards.loss(shard)
        return self.shards.tokens(shard)[span], None if loss is None else loss[span]


def find_known(stage: Stage, key: str, kept_ids: pa.Array, reuse_key: str) -> Known:
    """What the shards `key` of `stage`'s complete sisters hold of `kept_ids`."""
    shards = TokenShards(_sister_shards(stage, key, reuse_key))
    known = Known(shards, *(np.full(len(kept_ids), fill, np.int64) for fill in (-1, 0, 0)))
    for number, folder in enumerate(shards.folders):
        index = shards.index(number)
        place = pc.index_in(kept_ids, value_set=index["id"].combine_chunks()).fill_null(-1).to_numpy()
        new = (known.shard < 0) & (place >= 0)
        if new.any() and _is_whole(folder):
            known.shard[new] = number
            known.start[new] = index["token_start"].to_numpy()[place[new]]
            known.n_tokens[new] = index["n_tokens"].to_numpy()[place[new]]
    return known


def _sister_shards(stage: Stage, key: str, reuse_key: str) -> list[Path]:
    infos = sorted((stage.store / stage.name).glob("*/stage.json"))
    same = [path.parent for path in infos if read_json(path)["settings"].get("reuse_key") == reuse_key]
    return [folder / key for folder in same if folder != stage.path and (folder / key / "shard.json").exists()]


def _is_whole(shard: Path) -> bool:
    """False, and a word in the log, where damage would be copied into a new stage."""
    if damaged := is_whole(shard):
        log.warning("%s is damaged and is not reused", shard / damaged)
    return not damaged
