"""Pairs read again: each kept preference rendered and encoded anew, and the records of sequences/pairs.npy against pairs.parquet.

In: a token shard of pairs with its rows of pairs.parquet; the arrays of sequences/. Out: findings with source and id. Imports mixture's
pair_render, pair_tokens and verify.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mixture.pair_render import encode_pair
from mixture.pair_tokens import BATCH_ROWS, COLUMNS, NAME, described, margin_of
from mixture.verify.report import Report
from mixture.verify.texts import SAMPLE, Again, Shard
from mixture.verify.uses import Kept, Used

PARTS = ("prompt", "chosen", "rejected")


def check_pairs(shard: Shard, again: Again, pairs: pa.Table, name: str, report: Report, *, fast: bool) -> None:
    """Every kept pair of a shard, with `fast` one in a hundred: its tokens, its loss mask, and where it parts."""
    assert again.template is not None
    if not pairs["id"].combine_chunks().equals(shard.index["id"].combine_chunks()):
        report.add(name, "its rows are not those of tokens.parquet")
        return
    starts, sizes = shard.index["token_start"].to_numpy(), shard.index["n_tokens"].to_numpy()
    row = number = 0
    for batch in pq.ParquetFile(shard.documents).iter_batches(BATCH_ROWS, columns=["id", *COLUMNS]):
        kept = batch.take(pa.array(np.flatnonzero(shard.keep[row : row + len(batch)]))).to_pylist()
        row += len(batch)
        for i, one in enumerate(kept, start=number):
            if not fast or int(one["id"][8:14], 16) % SAMPLE == 0:
                here = slice(int(starts[i]), int(starts[i] + sizes[i]))
                _check_one(one, here, pairs.slice(i, 1).to_pylist()[0], shard, again, name, report)
                report.count(decoded=1)
        number += len(kept)


def _check_one(
    one: Mapping[str, Any], here: slice, stated: dict[str, Any], shard: Shard, again: Again, name: str, report: Report
) -> None:
    assert again.template is not None
    pair = encode_pair(again.template, json.loads(one["prompt"]), (one["chosen"], one["rejected"]), again.bos, again.eos)
    place = f"source {shard.source}, id {one['id']}"
    right = {"id": one["id"], **described(pair, margin_of(one["parts"]))}
    for what, value in right.items():
        report.equal(name, f"{what} of a pair", stated[what], value, place)
    stored, mask = shard.tokens[here], None if shard.loss is None else shard.loss[here]
    if not np.array_equal(stored, pair.tokens):
        report.add(shard.name, f"the {stored.size:,} tokens are not those that the pair gives", place)
    elif mask is None or not np.array_equal(mask, pair.mask):
        report.add(f"{shard.name}.loss", "the marks are not those of both completions", place)


def check_records(arrays: Mapping[str, np.ndarray], used: Used, kept: Kept, report: Report) -> None:
    """sequences/pairs.npy says of every sequence what pairs.parquet says of its document."""
    tables = [pq.read_table(path.with_name(NAME)) if path.with_name(NAME).exists() else None for path in kept.shard_paths]
    records = arrays["pairs"]
    shard = np.searchsorted(kept.first, used.document, side="right") - 1
    for number, table in enumerate(tables):
        mine = np.flatnonzero((shard == number) & (used.document >= 0))
        if table is None or not mine.size or mine.max() >= records.size:
            continue
        of = used.document[mine] - kept.first[number]
        wrong = records["id"][mine] != kept.id[used.document[mine]]
        for part in PARTS:
            wrong |= records[f"n_{part}"][mine] != table[f"n_{part}_tokens"].to_numpy()[of]
        margin = table["margin"].fill_null(float("nan")).to_numpy()[of]
        wrong |= ~((records["margin"][mine] == margin) | (np.isnan(records["margin"][mine]) & np.isnan(margin)))
        for i in np.flatnonzero(wrong)[:3].tolist():
            report.add("sequences/pairs.npy", "a record is not that of its pair", f"sequence {mine[i]}")
