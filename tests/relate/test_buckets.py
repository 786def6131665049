"""Grouping of equal keys, components, and the stage "buckets"."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.relate import buckets, kernels
from tests.relate.corpus import corpus


def test_equal_by_hand():
    keys = np.array([7, 5, 7, 9, 5, 7], np.uint64)[:, None] << np.uint64(40)
    assert buckets.equal(keys).tolist() == [0, 1, 0, -1, 1, 0]
    assert buckets.numbered(buckets.equal(keys)).tolist() == [0, 1, 0, -1, 1, 0]
    assert buckets.equal(np.empty((0, 1), np.uint64)).tolist() == []
    assert buckets.equal(np.empty((1, 1), np.uint64)).tolist() == [-1]


def test_a_shared_prefix_joins_nothing():
    """Keys one step apart, 128-bit keys that differ only in the second word, and a run of one prefix with two keys in it."""
    low = np.array([8, 9, 8, 10, 9], np.uint64)[:, None]
    assert buckets.equal(low).tolist() == [0, 1, 0, -1, 1]
    wide = np.array([[1, 1], [1, 2], [1, 1], [2, 1], [1, 2]], np.uint64)
    assert buckets.equal(wide).tolist() == [0, 1, 0, -1, 1]
    first = np.empty(5, np.int32)
    kernels.label_equal(np.arange(5, dtype=np.uint64), low, 3, first)
    assert first.tolist() == [0, 1, 0, -1, 1]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 3)), max_size=60), st.sampled_from([0, 20, 58]))
def test_equal_is_equality(pairs, shift):
    keys = np.array(pairs, np.uint64).reshape(-1, 2)
    keys[:, 0] <<= np.uint64(shift)
    expected = []
    for key in keys.tolist():
        same = [i for i, other in enumerate(keys.tolist()) if other == key]
        expected.append(same[0] if len(same) > 1 else -1)
    assert buckets.equal(keys).tolist() == expected


def test_components_by_hand():
    component = np.arange(6, dtype=np.int32)
    assert buckets.join(component, np.array([-1, 0, 1, 0, 1, -1], np.int32)) == 2
    assert buckets.join(component, np.array([-1, -1, -1, 0, 0, -1], np.int32)) == 1  # 1-3 and 2-4 become one
    assert kernels.number_components(component) == 3
    assert component.tolist() == [0, 1, 1, 1, 1, 2]


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


def test_shards_and_workers_change_no_root(tmp_path):
    texts = {"a": [f"{TEXT} {i // 3}" for i in range(30)], "b": [f"{TEXT} {i} {i}" for i in range(20)]}
    whole = corpus(tmp_path / "1", texts, shard_rows=1000).relate(workers=1)
    cut = corpus(tmp_path / "2", texts, shard_rows=7).relate(workers=2)
    # the roots of members differ only through the parents' fingerprints, never in content
    assert whole.buckets.info()["shards"]["all"]["root"] == cut.buckets.info()["shards"]["all"]["root"]


def _documents(made):
    import pyarrow.parquet as pq

    for stage in made.documents.values():
        for key in stage.keys:
            yield from pq.read_table(stage.shard_path(key) / "documents.parquet").to_pylist()
