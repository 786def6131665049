"""Compression, text files, trees, Parquet: damage is counted, what is whole is read."""

from __future__ import annotations

import bz2
import gzip
import lzma
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from curate.errors import CurateError
from curate.sources import CAUSES, check_source, list_files, read
from tests.sources.making import limits, lines, pack, read_all, recipe, source

ROWS = [{"id": str(i), "text": f"lause number {i} " + "sõna " * (i % 7)} for i in range(200)]


PACKED = {"gz": gzip.compress, "zst": zstandard.ZstdCompressor().compress, "bz2": bz2.compress, "xz": lzma.compress}


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl.zst", "a.jsonl.bz2", "a.jsonl.xz"])
def test_members_and_frames_are_read_to_the_last(tmp_path, name):
    packed = PACKED[name.rpartition(".")[2]]
    data = b"".join(packed(lines(row)) for row in ROWS)
    if name.endswith(("gz", "xz")):
        data += b"\0" * 512  # tape padding
    elif name.endswith("zst"):
        data = b"\x50\x2a\x4d\x18\x04\x00\x00\x00skip" + data  # a skippable frame
    (tmp_path / name).write_bytes(data)
    good, bad = read_all(tmp_path / name)
    assert ([r.fields["source_id"] for r in good], bad) == ([row["id"] for row in ROWS], [])


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl.zst", "a.jsonl.bz2", "a.jsonl.xz"])
def test_a_truncated_archive_is_one_row_with_its_bytes(tmp_path, name):
    rng = random.Random(5)
    rows = [{"text": "".join(rng.choices("abcdefghij klmnõäöü", k=400))} for _ in range(2000)]
    whole = pack(tmp_path / name, lines(*rows)).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    good, bad = read_all(tmp_path / name)
    assert (0 if name.endswith("bz2") else 700) <= len(good) < 1000  # a block of bzip2 has 900 kB
    assert [r.fields["text"] for r in good] == [row["text"] for row in rows[: len(good)]]
    assert [b.cause for b in bad] == ["truncated"]
    assert bad[0].byte_offset == len(lines(*rows[: len(good)]))
    assert 0 < bad[0].lost_bytes < (500_000 if name.endswith("bz2") else 200_000)


def test_bytes_that_cannot_be_unpacked(tmp_path):
    for name in ("a.jsonl.gz", "a.jsonl.zst", "a.jsonl.bz2", "a.jsonl.xz"):
        whole = pack(tmp_path / name, lines(*ROWS)).read_bytes()
        (tmp_path / name).write_bytes(whole + b"rest of another file")
        _, bad = read_all(tmp_path / name)
        assert [b.cause for b in bad] == ["unreadable"]
        assert 0 < bad[0].lost_bytes <= len(whole) + 20


@pytest.mark.parametrize(
    ("name", "data", "cause", "lost"),
    [
        ("a.jsonl.gz", b'{"text": "a"}\n', "unreadable", 14),
        ("a.jsonl.zst", b"<html>404</html>", "unreadable", 16),
        ("a.jsonl.bz2", b"BZh9 is no bzip2", "unreadable", 16),
        ("a.jsonl.xz", b"\xfd7zXZ", "truncated", 5),
        ("a.jsonl.gz", b"", "truncated", 0),
        ("a.jsonl.gz", b"\x1f", "truncated", 1),
        ("a.txt.zst", b"\x28\xb5\x2f\xfd\x04", "truncated", 5),
        ("a.parquet", b"", "truncated", 0),
        ("a.parquet", b"PAR1 and no footer", "truncated", 18),
        ("a.parquet", b'{"text": "a"}\n', "unreadable", 14),
        ("a.txt", b"tere \xe4", "invalid_utf8", 6),
        ("a.txt", b"\x7fELF\0\0", "nul_character", 6),
        ("a.txt", b" \n", "empty_text", 2),
        ("a.txt", b"x" * 1001, "too_large", 1001),
    ],
)
def test_files_that_are_one_bad_row(tmp_path, name, data, cause, lost):
    (tmp_path / name).write_bytes(data)
    good, bad = read_all(tmp_path / name)
    assert (good, [(b.cause, b.lost_bytes) for b in bad]) == ([], [(cause, lost)])


def test_a_missing_file_is_a_row(tmp_path):
    for name in ("a.jsonl", "a.txt", "a.parquet"):
        assert [b.cause for b in read_all(tmp_path / name)[1]] == ["unreadable"]


def test_compression_is_told_by_content_where_the_name_is_silent(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(gzip.compress(lines({"text": "a"})))
    assert [r.fields["text"] for r in read_all(tmp_path / "a.jsonl")[0]] == ["a"]


def test_text_files(tmp_path):
    for name in ("a.txt", "a.txt.gz", "a.txt.zst", "a.txt.bz2", "a.txt.xz"):
        good, bad = read_all(pack(tmp_path / name, b"\xef\xbb\xbfesimene\r\nteine\n"))
        assert ([(r.fields["text"], r.byte_offset) for r in good], bad) == ([("esimene\r\nteine\n", 0)], [])


def test_a_tree_skips_hidden_folders_and_caches(tmp_path):
    for name in ("src/a.py", "src/deep/b.py.gz", "src/c.txt", "src/.git/d.py", "src/__pycache__/e.py", "src/.hidden.py"):
        pack(tmp_path / name, b"x = 1\n")
    tree = recipe(tmp_path, {"s": {"read": "src", "format": "tree", "suffixes": [".py"], "type": "code"}})
    assert [f.name for f in list_files(tree, tree.sources["s"])] == ["a.py", "deep/b.py.gz"]
    every = recipe(tmp_path, {"s": {"read": "src/**/*", "format": "tree"}})
    assert [f.name for f in list_files(every, every.sources["s"])] == ["a.py", "c.txt", "deep/b.py.gz"]


def test_names_start_at_the_fixed_part_of_the_pattern(tmp_path):
    for name in ("x/1/p.jsonl", "x/2/p.jsonl", "y/1/p.jsonl"):
        pack(tmp_path / name, lines({"text": name}))
    one = recipe(tmp_path, {"s": {"read": "x/*/p.jsonl"}})
    assert [f.name for f in list_files(one, one.sources["s"])] == ["1/p.jsonl", "2/p.jsonl"]
    two = recipe(tmp_path, {"s": {"read": ["x/*/p.jsonl", "y/*/p.jsonl"]}})
    assert [f.name for f in list_files(two, two.sources["s"])] == ["x/1/p.jsonl", "x/2/p.jsonl", "y/1/p.jsonl"]


def parquet(path, columns, **options):
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table(columns), path, **options)
    return path


def test_parquet_rows(tmp_path):
    path = parquet(tmp_path / "a.parquet", {
        "id": pa.array([1, 2, 3, 4], pa.int64()), "text": pa.array(["a", None, "", "õ"]),
        "url": pa.array([None, None, None, b"http://a"], pa.binary()), "score": pa.array([1.0, 2.0, 3.0, 4.0]),
    })  # fmt: skip
    good, bad = read_all(path)
    assert [(r.fields["source_id"], r.fields["text"], r.fields["url"], r.byte_offset) for r in good] == [
        ("1", "a", None, -1), ("4", "õ", "http://a", -1)]  # fmt: skip
    assert [b.cause for b in bad] == ["missing_text", "empty_text"]


@pytest.mark.parametrize("kind", [pa.binary(), pa.string(), pa.large_string(), pa.string_view()])
def test_parquet_does_not_check_utf8_so_we_do(tmp_path, kind):
    raw = pa.array([b"hea", b"paha \xff", b"k\xc3\xb5ik"], pa.binary())
    values = raw if kind == pa.binary() else pa.Array.from_buffers(pa.string(), 3, raw.buffers())
    values = values.cast(pa.large_binary()).view(pa.large_string()) if kind == pa.large_string() else values
    good, bad = read_all(parquet(tmp_path / "a.parquet", {"text": values}))
    assert [r.fields["text"] for r in good] == ["hea", "kõik"]
    assert [b.cause for b in bad] == ["invalid_utf8"]


def test_a_parquet_file_of_other_columns_is_all_missing_text(tmp_path):
    assert [b.cause for b in read_all(parquet(tmp_path / "a.parquet", {"body": ["a", "b"]}))[1]] == ["missing_text"] * 2


def test_a_damaged_row_group_does_not_take_its_neighbours(tmp_path):
    rng = random.Random(1)
    texts = ["".join(rng.choices("abcdefghijklmnop", k=500)) for _ in range(300)]
    path = parquet(tmp_path / "a.parquet", {"text": texts}, row_group_size=100, use_dictionary=False, compression="zstd")
    column = pq.read_metadata(path).row_group(1).column(0)
    data = bytearray(path.read_bytes())
    start = column.data_page_offset
    data[start : start + 2000] = b"\xaa" * 2000
    path.write_bytes(data)
    good, bad = read_all(path)
    assert [b.cause for b in bad] == ["unreadable"]
    assert bad[0].lost_bytes == pq.read_metadata(path).row_group(1).total_byte_size
    assert {r.fields["text"] for r in good} >= set(texts[:100]) | set(texts[200:])


def test_columns_that_change_between_files(tmp_path):
    """`text` is all null (of type null) in the first file, a string in the second, absent from the third, a list in the fourth."""
    parquet(tmp_path / "p/0.parquet", {"id": [1, 2], "text": pa.array([None, None], pa.null())})
    parquet(tmp_path / "p/1.parquet", {"id": ["3", "4"], "text": ["c", None], "more": [1.5, 2.5]})
    parquet(tmp_path / "p/2.parquet", {"id": [5], "content": ["e"]})
    parquet(tmp_path / "p/3.parquet", {"id": [6, 2**60 + 1], "text": [["f"], ["g"]]})
    changed = recipe(tmp_path, {"s": {"read": "p/*.parquet"}})
    of = changed.sources["s"]
    files = list_files(changed, of)
    check_source(of, files, changed.limits)
    items = [read_all(file.path, of) for file in files]
    assert [[(r.fields["source_id"], r.fields["text"]) for r in good] for good, _ in items] == [
        [],
        [("3", "c")],
        [("5", "e")],
        [],
    ]
    assert [[b.cause for b in bad] for _, bad in items] == [["missing_text"] * 2, ["missing_text"], [], ["text_not_string"] * 2]


def test_conversations_are_equal_from_parquet_and_json(tmp_path):
    rows = [{"id": 7, "messages": [{"role": "user", "content": "a", "name": None}, {"role": "assistant", "content": "b"}]}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    chat = source(type="conversation")
    assert (
        read_all(tmp_path / "a.parquet", chat)[0][0].fields
        == read_all(pack(tmp_path / "a.jsonl", lines(*rows)), chat)[0][0].fields
    )


@pytest.mark.parametrize(
    ("fields", "more", "said"),
    [
        ({"text": "txt"}, {}, "'text'"),
        ({}, {"license": {"from_field": "licence"}}, "'license'"),
        ({"source_id": "idd"}, {}, "'id'"),
        ({"titel": "text"}, {}, "title"),
        ({"messages": "text"}, {}, "type: conversation"),
        ({"license": "license"}, {}, "from_field"),
    ],
)
def test_a_wrong_mapping_is_told_before_the_work(tmp_path, fields, more, said):
    pack(tmp_path / "a.jsonl.gz", lines({"id": 1, "text": "tere", "license": "MIT"}))
    wrong = recipe(tmp_path, {"s": {"read": "a.jsonl.gz", "fields": fields, **more}})
    with pytest.raises(CurateError) as caught:
        check_source(wrong.sources["s"], list_files(wrong, wrong.sources["s"]), wrong.limits)
    assert said in str(caught.value)


def test_patterns_and_formats_that_cannot_be(tmp_path):
    pack(tmp_path / "d/a.xyz", b"a,b\n")
    for block in (
        {"read": "nothing/*.jsonl"},
        {"read": "d/*.xyz"},
        {"read": "d"},
        {"read": "d", "format": "tree", "suffixes": [".py"]},
    ):
        broken = recipe(tmp_path, {"s": block})
        with pytest.raises(CurateError, match=r"sources\.s"):
            list_files(broken, broken.sources["s"])


def damaged(data: bytes, rng: random.Random) -> bytes:
    data = bytearray(data)
    for _ in range(rng.randrange(4)):
        if data:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data[: rng.randrange(len(data) + 1)] if rng.random() < 0.5 else data)


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.jsonl.zst", "a.parquet", "a.txt.gz"])
def test_damage_never_crashes_and_every_row_has_a_known_cause(tmp_path, name):
    path = tmp_path / name
    if name == "a.parquet":
        parquet(path, {"id": [r["id"] for r in ROWS], "text": [r["text"] for r in ROWS]}, row_group_size=50)
    else:
        pack(path, lines(*ROWS))
    whole, rng = path.read_bytes(), random.Random(7)
    for _ in range(120):
        path.write_bytes(damaged(whole, rng))
        for item in read(path, source(), limits(100_000)):
            if hasattr(item, "cause"):
                assert item.cause in CAUSES and item.lost_bytes >= 0 and isinstance(item.detail, str)
            else:
                item.fields["text"].encode()


def test_a_bomb_is_one_row(tmp_path, monkeypatch):
    monkeypatch.setattr("curate.sources.stream.FREE_BYTES", 1 << 20)
    monkeypatch.setattr("curate.sources.stream.MAX_EXPANSION", 100)
    for name in ("a.jsonl.zst", "a.txt.bz2", "a.jsonl.xz", "a.jsonl.gz"):
        good, bad = read_all(pack(tmp_path / name, lines({"text": "a"}) + b"x" * (50 << 20)))
        assert len(good) <= 1 and [b.cause for b in bad] == ["bomb"]


def test_a_dictionary_that_needs_too_much_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("curate.sources.stream.XZ_MEMORY", 1 << 20)
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 64 << 20}]
    (tmp_path / "a.jsonl.xz").write_bytes(lzma.compress(lines({"text": "a"}), filters=filters))
    assert [(b.cause, "emory" in b.detail) for b in read_all(tmp_path / "a.jsonl.xz")[1]] == [("unreadable", True)]
