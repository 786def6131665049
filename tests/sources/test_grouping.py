"""Rows that are sentences or pages become documents."""

from __future__ import annotations

import random
import tracemalloc

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.sources.readers import grouping
from tests.sources.making import lines, pack, read_all, source


def texts(path, document_bytes=1000, **group):
    good, bad = read_all(path, source(group={"by": "doc", **group}), document_bytes)
    return [(r.fields["source_id"], r.fields["text"]) for r in good], [(b.cause, b.lost_bytes) for b in bad]


ROWS = [
    {"doc": "a", "nr": 2, "text": "kaks", "id": "a2", "title": "teine"},
    {"doc": "a", "nr": 1, "text": "üks", "id": "a1", "title": "esimene"},
    {"doc": 7, "nr": "10", "text": "kümme"},
    {"doc": 7, "nr": "9", "text": "üheksa"},
]


@pytest.mark.parametrize("scattered", [False, True])
def test_rows_in_order(tmp_path, scattered):
    path = pack(tmp_path / "a.jsonl.gz", lines(*ROWS))
    found, bad = texts(path, order="nr", join=" ", scattered=scattered)
    assert (sorted(found), bad) == ([("7", "üheksa kümme"), ("a", "üks kaks")], [])
    found, _ = texts(path, scattered=scattered)
    assert sorted(found) == [("7", "kümme\nüheksa"), ("a", "kaks\nüks")]
    good, _ = read_all(path, source(group={"by": "doc", "order": "nr", "scattered": scattered}))
    assert {(r.fields["title"], r.byte_offset) for r in good} >= {("esimene", 0)}  # fields are those of the first in order


def test_from_parquet_only_what_is_asked_for_is_read(tmp_path):
    pq.write_table(
        pa.table({"doc": ["a", "a", "b"], "nr": [2, 1, 1], "text": ["2", "1", "x"], "more": ["", "", ""]}), tmp_path / "a.parquet"
    )
    assert texts(tmp_path / "a.parquet", order="nr")[0] == [("a", "1\n2"), ("b", "x")]


def test_a_group_that_comes_back_is_said(tmp_path):
    rows = [{"doc": d, "text": d + str(i)} for i, d in enumerate("aabba")]
    path = pack(tmp_path / "a.jsonl", lines(*rows))
    assert texts(path) == ([("a", "a0\na1"), ("b", "b2\nb3")], [("scattered_group", len(lines(rows[4])) - 1)])
    assert sorted(texts(path, scattered=True)[0]) == [("a", "a0\na1\na4"), ("b", "b2\nb3")]


@pytest.mark.parametrize("scattered", [False, True])
def test_bad_rows_keep_their_group(tmp_path, scattered):
    rows = [{"doc": "a", "text": "1"}, {"doc": None, "text": "x"}, {"doc": "a", "text": None}, {"doc": "a", "text": "2"}]
    data = (
        lines(*rows)
        + b"broken\n"
        + lines({"doc": "a", "text": "3"}, *[{"doc": "big", "text": "y" * 300}] * 5, {"doc": "c", "text": "c"})
    )
    found, bad = texts(pack(tmp_path / "a.jsonl", data), scattered=scattered)
    assert sorted(found) == [("a", "1\n2\n3"), ("c", "c")]
    assert sorted(cause for cause, _ in bad) == ["broken_json", "missing_text", "no_group", "too_large"]


def test_scattered_rows_that_do_not_fit_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(grouping, "PART_BYTES", 1 << 16)
    monkeypatch.setattr(grouping, "N_PARTS", 4)
    monkeypatch.setattr(grouping, "CHUNK_BYTES", 1 << 12)
    rng = random.Random(1)
    rows = [{"doc": f"d{i % 500}", "nr": i // 500, "text": f"{i} " + "x" * 200} for i in range(5000)]
    rng.shuffle(rows)
    path = pack(tmp_path / "a.jsonl", lines(*rows))
    tracemalloc.start()
    good, bad = read_all(path, source(group={"by": "doc", "order": "nr", "scattered": True}), 10_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert bad == [] and len(good) == 500 and peak < 12 << 20
    for record in good:
        n = int(record.fields["source_id"][1:])
        assert [int(line.split()[0]) for line in record.fields["text"].split("\n")] == list(range(n, 5000, 500))


def test_many_groups_are_remembered(monkeypatch):
    monkeypatch.setattr(grouping, "N_RECENT", 16)
    seen = grouping._Seen()
    for i in range(1000):
        assert not seen.has(str(i))
        seen.add(str(i))
    assert all(seen.has(str(i)) for i in range(1000)) and not seen.has("x")
    assert len(seen.runs) < 10
