"""Grouping of equal keys, components, and the stage "buckets"."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.relate import buckets, kernels, spill
from curate.store import Digest, array_root
from tests.relate.corpus import corpus


def test_equal_by_hand():
    keys = np.array([7, 5, 7, 9, 5, 7], np.uint64)[:, None] << np.uint64(40)
    first = spill.equal(keys)
    assert first.tolist() == [0, 1, 0, -1, 1, 0]
    assert kernels.number_groups(first) == 2 and first.tolist() == [0, 1, 0, -1, 1, 0]
    later = np.array([-1, 1, 2, 1, 4, 2, 4], np.int32)
    assert kernels.number_groups(later) == 3 and later.tolist() == [-1, 0, 1, 0, 2, 1, 2]
    assert spill.equal(np.empty((0, 1), np.uint64)).tolist() == []
    assert spill.equal(np.empty((1, 1), np.uint64)).tolist() == [-1]


def test_a_shared_prefix_joins_nothing():
    """Keys one step apart, 128-bit keys that differ only in the second word, and a run of one prefix with two keys in it."""
    low = np.array([8, 9, 8, 10, 9], np.uint64)[:, None]
    assert spill.equal(low).tolist() == [0, 1, 0, -1, 1]
    wide = np.array([[1, 1], [1, 2], [1, 1], [2, 1], [1, 2]], np.uint64)
    assert spill.equal(wide).tolist() == [0, 1, 0, -1, 1]
    first, rows = np.full(9, -1, np.int32), np.array([1, 3, 4, 6, 7], np.int32)
    kernels.label_equal(np.arange(5, dtype=np.uint64), low, rows, 3, first)
    assert first.tolist() == [-1, 1, -1, 3, 1, -1, -1, 3, -1]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 3)), max_size=60), st.sampled_from([0, 20, 58]), st.integers(0, 3),
    st.integers(1, 60),
)  # fmt: skip
def test_equal_is_equality_in_any_number_of_partitions_and_blocks(pairs, shift, bits, block):
    keys = np.array(pairs, np.uint64).reshape(-1, 2)
    keys[:, 0] <<= np.uint64(shift)
    expected = []
    for key in keys.tolist():
        same = [i for i, other in enumerate(keys.tolist()) if other == key]
        expected.append(same[0] if len(same) > 1 else -1)
    assert spill.equal(keys).tolist() == expected
    with tempfile.TemporaryDirectory() as folder:
        column = spill.Column(Path(folder), "x", 2, bits)
        for first in range(0, len(keys), block):
            rows = np.arange(first, min(len(keys), first + block), dtype=np.int32)
            column.add(keys[rows], rows)
        assert column.labels(len(keys)).tolist() == expected
        assert not list(Path(folder).iterdir())


def test_partitions_hold_about_so_many_rows():
    part = spill.PART_ROWS
    assert [spill.bits_for(n) for n in (0, part, part + 1, 2 * part, 2 * part + 1, 5 * part)] == [0, 0, 1, 1, 2, 3]


def test_a_row_file_is_the_array_and_its_root(tmp_path):
    pairs, ids = np.arange(12, dtype=np.int32).reshape(6, 2), np.array([b"a" * 32, b"b" * 32], "S32")
    files = spill.RowFile(tmp_path / "pairs.npy", np.int32, (6, 2)), spill.RowFile(tmp_path / "ids.npy", "S32", (2,))
    for i in range(0, 6, 2):
        files[0].append(pairs[i : i + 2])
    files[1].append(ids)
    root = Digest()
    files[0].add_to(root)
    files[1].add_to(root, np.dtype(np.uint8))
    assert root.hexdigest() == array_root(pairs, ids.view(np.uint8))
    assert (np.load(tmp_path / "pairs.npy") == pairs).all() and (np.load(tmp_path / "ids.npy") == ids).all()
    short = spill.RowFile(tmp_path / "short.npy", np.int32, (2,))
    short.append(pairs[0, :1])
    with pytest.raises(RuntimeError, match="1 of 2 rows"):
        short.add_to(Digest())


def test_components_by_hand():
    parent = np.arange(7, dtype=np.int32)
    kernels.union(parent, np.array([-1, 1, 2, 1, 2, -1, -1], np.int32))
    kernels.union(parent, np.array([-1, -1, -1, 3, 3, 5, 5], np.int32))  # 1-3 and 2-4 become one; 5 and 6
    shares = np.array([0, 1, 1, 1, 1, 1, 1], bool)
    assert kernels.number_components(parent, shares) == 2
    assert parent[shares].tolist() == [0, 0, 0, 0, 1, 1]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(-1, 5), min_size=8, max_size=8), max_size=4))
def test_components_are_those_of_the_graph(columns):
    parent, shares, links = np.arange(8, dtype=np.int32), np.zeros(8, bool), []
    for column in columns:
        first = spill.equal(np.array([c if c >= 0 else 100 + i for i, c in enumerate(column)], np.uint64)[:, None])
        kernels.union(parent, first)
        shares |= first >= 0
        links += [(i, int(f)) for i, f in enumerate(first) if f >= 0]
    seen = {i: {i} for i in range(8)}
    for i, j in links:
        joined = seen[i] | seen[j]
        for k in joined:
            seen[k] = joined
    groups = sorted({tuple(sorted(seen[i])) for i in range(8) if shares[i]})
    assert kernels.number_components(parent, shares) == len(groups)
    assert parent[shares].tolist() == [next(n for n, g in enumerate(groups) if i in g) for i in range(8) if shares[i]]


TEXT = "üks kaks kolm neli viis kuus seitse kaheksa üheksa kümme"


def test_only_documents_that_share_something(tmp_path):
    made = corpus(tmp_path, {"a": [TEXT, "", "!", "!!", "teine tekst hoopis muu sisuga siin"], "b": [TEXT, " ! "]}, shard_rows=2)
    folder = made.relate().buckets.shard_path("all")
    ids = [value.decode() for value in np.load(folder / "id.npy").tolist()]
    texts = {row["id"]: row["text"] for row in _documents(made)}
    assert sorted(texts[i] for i in ids) == sorted([TEXT, TEXT, "!", " ! "])  # "" has no words and no equal, "!!" is one word
    ordinal = np.load(folder / "member.npy").tolist()
    assert ordinal == sorted(ordinal)
    bucket, normalised, text = (np.load(folder / f"{name}.npy") for name in ("bucket", "normalised", "text"))
    assert bucket.shape == (4, 16) and bucket.dtype == np.int32
    for i, own in enumerate(ids):
        assert (bucket[i] >= 0).all() == (texts[own] == TEXT) and (bucket[i] == -1).all() == (texts[own] != TEXT)
        assert normalised[i] >= 0 and (text[i] >= 0) == (texts[own] == TEXT)
    assert len(set(np.load(folder / "component.npy").tolist())) == 2


def test_empty_corpus(tmp_path):
    made = corpus(tmp_path, {"a": [], "b": []})
    relations = made.relate()
    assert relations.buckets.info()["rows"] == 0 and relations.clusters.info()["rows"] == 0


def test_partitions_shards_and_workers_change_no_root(tmp_path, monkeypatch):
    texts = {"a": [f"{TEXT} {i // 3}" for i in range(30)], "b": [f"{TEXT} {i} {i}" for i in range(20)]}
    whole = corpus(tmp_path / "1", texts, shard_rows=1000).relate(workers=1)
    monkeypatch.setattr(spill, "PART_ROWS", 3)
    monkeypatch.setattr(buckets, "BLOCK_ROWS", 9)
    cut = corpus(tmp_path / "2", texts, shard_rows=7).relate(workers=2)
    # the roots of members differ only through the parents' fingerprints, never in content
    assert whole.buckets.info()["shards"]["all"]["root"] == cut.buckets.info()["shards"]["all"]["root"]


def _documents(made):
    import pyarrow.parquet as pq

    for stage in made.documents.values():
        for key in stage.keys:
            yield from pq.read_table(stage.shard_path(key) / "documents.parquet").to_pylist()
