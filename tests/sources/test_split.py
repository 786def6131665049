"""One huge file is cut into pieces that workers read side by side: the same records, roots and quarantine as in one go, and a file that
grew is read again from its last piece on."""

from __future__ import annotations

import json
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate import documents, engine, ingest
from curate.sources import pieces, read
from curate.sources.pieces import Piece, hashed
from curate.store import Store, file_sha256
from tests.sources.making import limits, lines, pack, recipe, source


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(pieces, "SPLIT_BYTES", 1000)


def cut(path):
    return hashed(path, "jsonl", path.stat().st_size).pieces


def read_in_pieces(path, kind="jsonl", document_bytes=1000):
    one = source(format=kind)
    found = hashed(path, kind, path.stat().st_size).pieces
    return [item for piece in found for item in read(path, one, limits(document_bytes), piece=piece)]


def read_whole(path, kind="jsonl", document_bytes=1000):
    return list(read(path, source(format=kind), limits(document_bytes)))


def test_pieces_end_behind_the_first_line_past_each_multiple(tmp_path, small):
    line = lines({"text": "x" * 387})  # 400 bytes
    assert len(line) == 400
    path = pack(tmp_path / "a.jsonl", line * 7)
    assert [(p.start, p.end, p.n_bytes) for p in cut(path)] == [(0, 1200, 1200), (1200, 2000, 800), (2000, 2800, 800)]
    assert hashed(path, "jsonl", 2800).sha256 == file_sha256(path)
    exact = pack(tmp_path / "b.jsonl", lines({"text": "x" * 487}) * 4)  # 500 bytes: a line ends exactly at each multiple
    assert [(p.start, p.end) for p in cut(exact)] == [(0, 1000), (1000, 2000)]


def test_a_line_longer_than_pieces_is_read_once_and_its_neighbours_stay(tmp_path, small):
    path = pack(
        tmp_path / "a.jsonl", lines({"text": "a"}, {"text": "y" * 5000}, {"text": "b"}, {"text": "z" * 900}, {"text": "c"})
    )
    assert [(p.start, p.end) for p in cut(path)] == [(0, 5027), (5027, 5968)]  # lines of 14, 5013, 14, 913, 14 bytes
    assert read_in_pieces(path) == read_whole(path)
    assert [item.fields["text"][0] if hasattr(item, "fields") else item.cause for item in read_whole(path)] == [
        *list("a"),
        "too_large",
        *"bzc",
    ]


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl.zst"])
def test_compressed_files_are_read_in_one_go(tmp_path, small, name):
    path = pack(tmp_path / name, b"".join(lines({"text": str(random.Random(i).random()) * 3}) for i in range(300)))
    assert path.stat().st_size > 1000
    assert hashed(path, "jsonl", path.stat().st_size) == (file_sha256(path), ())


LINES = st.lists(
    st.one_of(
        st.text(max_size=300).map(lambda t: json.dumps({"text": t}).encode()),
        st.binary(max_size=80).map(lambda b: b.replace(b"\n", b"")),
        st.sampled_from([b"", b"{", b"[1]", b"\xef\xbb\xbf{\"text\": \"bom\"}", b"\x1f\x8b\x08", b"BZh91AY&SY", b"\x28\xb5\x2f\xfd", b"\xff" * 40,
                         b'{"text": "' + b"l" * 1500 + b'"}']),
    ),
    max_size=40,
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(LINES, st.booleans(), st.integers(20, 700))
def test_pieces_hold_what_the_whole_file_holds(tmp_path_factory, rows, ended, size):
    """Whatever the lines: records, offsets, quarantine rows, and what looks like a byte order mark or a compression amid them."""
    path = tmp_path_factory.mktemp("split") / "a.jsonl"
    path.write_bytes(b"\n".join(rows) + (b"\n" if ended else b""))
    whole = read_whole(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "SPLIT_BYTES", size)
        found = hashed(path, "jsonl", path.stat().st_size)
        assert found.sha256 == file_sha256(path)
        if found.pieces:
            assert [p.start for p in found.pieces] == [0, *(p.end for p in found.pieces[:-1])]
            assert found.pieces[-1].end == path.stat().st_size
            assert read_in_pieces(path) == whole


def test_parquet_is_cut_at_row_groups_and_rows_keep_their_numbers(tmp_path, small):
    table = pa.table({"text": [f"text {i} " + "w" * 50 for i in range(200)]})
    path = tmp_path / "a.parquet"
    pq.write_table(table, path, row_group_size=10, use_dictionary=False, compression="none")
    cuts = hashed(path, "parquet", path.stat().st_size).pieces
    assert len(cuts) == 10 and [(p.start, p.end) for p in cuts[:2]] == [(0, 2), (2, 4)]
    assert sum(p.n_bytes for p in cuts) == pytest.approx(path.stat().st_size, abs=10)
    data = path.read_bytes()
    place = data.index(b"text 77 ")
    path.write_bytes(data[:place] + b"\xff\xfe" + data[place + 2 :])  # row 77 is no UTF-8 any more
    whole = read_whole(path, "parquet")
    assert [item.detail for item in whole if hasattr(item, "cause")] == ["row 77"]
    assert read_in_pieces(path, "parquet") == whole


def documents_of(folder, store, workers, **block):
    made = recipe(folder, {"s": {"read": "raw/*", **block}})
    stage = documents.ingest(Store(store), made, workers)["s"]
    info = stage.info()
    return info["root"], info["counts"], pq.read_table(stage.path / "quarantine" / "quarantine.parquet").to_pylist(), stage


def rows(n, seed=0):
    chance = random.Random(seed)
    made = [lines({"text": f"document {i} " + "word " * chance.randrange(30), "id": f"{i}"}) for i in range(n)]
    for i in range(0, n, 17):
        made[i] = b"{broken\n"
    return b"".join(made)


@pytest.mark.parametrize("workers", [1, 3])
def test_same_documents_and_roots_in_one_piece_and_in_many(tmp_path, monkeypatch, workers):
    pack(tmp_path / "raw/a.jsonl", rows(400))
    whole = documents_of(tmp_path, tmp_path / "one", 1)
    monkeypatch.setattr(pieces, "SPLIT_BYTES", 3000)
    monkeypatch.setattr(ingest, "GROUP_BYTES", 1000)  # a file that is cut stands alone
    monkeypatch.setattr(engine, "BYTES_PER_WORKER", 1)
    parts = documents_of(tmp_path, tmp_path / f"many-{workers}", workers)
    runs = list((tmp_path / f"many-{workers}/ingest_runs").glob("*/*/shard.json"))
    assert len(runs) == len(cut(tmp_path / "raw/a.jsonl")) > 8
    assert parts[:3] == whole[:3]
    assert len(whole[2]) == 24 and {bad["cause"] for bad in whole[2]} == {"broken_json"}


def test_a_file_that_grew_is_read_again_from_its_last_piece_on(tmp_path, monkeypatch):
    monkeypatch.setattr(pieces, "SPLIT_BYTES", 3000)
    monkeypatch.setattr(ingest, "GROUP_BYTES", 1000)
    data = rows(400)
    path = pack(tmp_path / "raw/a.jsonl", data)
    before = cut(path)
    documents_of(tmp_path, tmp_path / "store", 1)
    read_now = []
    monkeypatch.setattr(
        ingest, "read", lambda *a, **k: read_now.append(next(x for x in a if isinstance(x, Piece))) or read(*a, **k)
    )
    pack(path, data + rows(60, seed=5))
    grown = documents_of(tmp_path, tmp_path / "store", 1)
    assert {piece.start for piece in read_now} == {p.start for p in cut(path)} - {p.start for p in before[:-1]}
    assert min(piece.start for piece in read_now) == before[-1].start
    assert grown[:3] == documents_of(tmp_path, tmp_path / "new", 1)[:3]
    read_now.clear()
    pack(tmp_path / "raw/b.jsonl", rows(200, seed=9))  # a new file beside it: nothing of the old one is read
    documents_of(tmp_path, tmp_path / "store", 1)
    assert {piece.content for piece in read_now} == {p.content for p in cut(tmp_path / "raw/b.jsonl")}
    read_now.clear()
    pack(path, b"\n" + path.read_bytes())  # changed from the front: everything moved
    documents_of(tmp_path, tmp_path / "store", 1)
    assert len(read_now) == len(cut(path))


def test_rows_that_are_grouped_into_documents_are_not_cut(tmp_path, small, monkeypatch):
    monkeypatch.setattr(ingest, "GROUP_BYTES", 1000)
    pack(tmp_path / "raw/a.jsonl", b"".join(lines({"text": f"sentence {i}", "doc": f"d{i // 7}"}) for i in range(200)))
    made = recipe(tmp_path, {"s": {"read": "raw/*", "group": {"by": "doc"}}})
    stage = documents.ingest(Store(tmp_path / "store"), made, 1)["s"]
    assert stage.info()["counts"]["n_documents"] == 29
    assert len(list((tmp_path / "store/ingest_runs").glob("*/*/shard.json"))) == 1
