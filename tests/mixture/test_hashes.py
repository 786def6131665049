"""Hashes side by side are those of hashlib, whatever the lengths."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mixture import hashes
from mixture.stream import CHUNK, hash_row


@settings(deadline=None, max_examples=40)
@given(st.lists(st.lists(st.integers(1, 300), min_size=1, max_size=5), max_size=90), st.sampled_from(["<u2", "<u4"]))
def test_rows_of_chunks(rows, dtype):
    """Rows of chunks from two shards against stream.hash_row."""
    rng = np.random.default_rng(len(rows))
    tokens = [rng.integers(0, 60_000, 1000).astype(dtype) for _ in range(2)]
    ptr = np.concatenate(([0], np.cumsum([len(row) for row in rows]))).astype(np.int64)
    chunks = np.zeros(int(ptr[-1]), CHUNK)
    chunks["length"] = [n for row in rows for n in row]
    chunks["shard"], chunks["start"] = rng.integers(0, 2, len(chunks)), rng.integers(0, 700, len(chunks))
    found = hashes.row_hashes(ptr, chunks, tokens)
    for r in range(len(rows)):
        own = chunks[ptr[r] : ptr[r + 1]]
        parts = [tokens[c["shard"]][c["start"] : c["start"] + c["length"]] for c in own]
        assert found[r].tobytes() == hash_row(own["length"].astype(np.int64), parts)


def test_marks_are_counted():
    mask = np.array([1, 0, 1, 1, 0, 2], np.uint8)
    assert hashes.count_learned(mask, np.array([0, 1, 3]), np.array([6, 0, 3])).tolist() == [4, 0, 2]
