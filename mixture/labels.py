"""Which tokens are labels that count, where a budget is in loss_tokens: token shards' loss masks in, `selection.Labels` out.

A token is a label of a use if an earlier token of the same use predicts it and the loss mask, where its shard has one, lets it count:
so every token but a use's first. Imports numpy, and mixture's selection, stream.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mixture.selection import Documents, Labels
from mixture.stream import map_tokens


def labels(docs: Documents, shards: Sequence[Path]) -> Labels:
    """`shards`: the .ds files that `docs.shard` counts into, each with its .ds.loss beside it where it has one."""
    files = [shard.with_name(shard.name + ".loss") for shard in shards]
    masks = [np.asarray(map_tokens(file, np.dtype("u1"))) if file.exists() else None for file in files]
    has_mask = np.array([mask is not None for mask in masks], np.bool_)
    whole = np.maximum(docs.n_loss_tokens - 1, 0)  # without a mask all tokens are learned, and the first is no label
    masked = np.flatnonzero(has_mask[docs.shard] & (docs.n_tokens > 0)) if has_mask.any() else np.empty(0, np.int64)
    whole[masked] = docs.n_loss_tokens[masked]
    shard = docs.shard[masked]
    for number in np.unique(shard).tolist():
        own = masked[shard == number]
        mask = masks[number]
        assert mask is not None
        whole[own] -= mask[docs.token_start[own]] != 0

    def of(document: int) -> np.ndarray:
        start, n = int(docs.token_start[document]), int(docs.n_tokens[document])
        mask = masks[int(docs.shard[document])]
        return np.ones(n, np.bool_) if mask is None else mask[start : start + n] != 0

    return Labels(whole, of)
