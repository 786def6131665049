"""Hashes side by side are those of hashlib, whatever the lengths."""

from __future__ import annotations

import hashlib

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mixture import hashes
from mixture.stream import CHUNK, hash_row

EDGES = [0, 1, 7, 8, 127, 128, 129, 255, 256, 257, 1000]


def reference(data: np.ndarray, start: int, n: int) -> bytes:
    return hashlib.blake2b(data[start : start + n].tobytes(), digest_size=16).digest()


def test_known_answer():
    """blake2b-128 of nothing and of "abc", from hashlib's C code."""
    data = np.frombuffer(b"abc", np.uint8)
    found = hashes.byte_hashes(data, np.array([0, 0]), np.array([0, 3]))
    assert found[0].tobytes().hex() == "cae66941d9efbd404e4d88758ea67670"
    assert found[1].tobytes().hex() == "cf4ab791c62b8d2b2109c90275287816"


@settings(deadline=None, max_examples=60)
@given(st.lists(st.sampled_from(EDGES) | st.integers(0, 3000), max_size=150), st.integers(0, 2**32 - 1))
def test_bytes_of_any_length(lengths, seed):
    rng = np.random.default_rng(seed)
    data = rng.integers(0, 256, 6000).astype(np.uint8)
    n_bytes = np.array(lengths, np.int64)
    start = rng.integers(0, 3000, n_bytes.size)
    found = hashes.byte_hashes(data, start, n_bytes)
    assert [row.tobytes() for row in found] == [reference(data, s, n) for s, n in zip(start, n_bytes, strict=True)]


def test_a_message_too_long_for_company(monkeypatch):
    monkeypatch.setattr(hashes, "ALONE_BYTES", 100)
    monkeypatch.setattr(hashes, "ROUND_BYTES", 200)  # and many rounds
    data = np.arange(5000, dtype=np.int64).astype(np.uint8)
    n_bytes = np.array([4000, 10, 99, 100, 101, 0, 60, 60, 60], np.int64)
    found = hashes.byte_hashes(data, np.arange(9), n_bytes)
    assert [row.tobytes() for row in found] == [reference(data, i, n) for i, n in enumerate(n_bytes)]


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
