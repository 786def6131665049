"""JSON lines: every cause made by hand, offsets, neighbours that survive, lines that are too long."""

from __future__ import annotations

import tracemalloc

import pytest
import zstandard

from curate.sources.fields import COLUMNS
from tests.sources.making import lines, pack, read_all, source


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        (b'{"text": "tere \xff"}', "invalid_utf8"),
        (b'{"text": "tere"', "broken_json"),
        (b"hello", "broken_json"),
        (b'{"text": "a", "text"}', "broken_json"),
        (b"\x00\x00\x00", "broken_json"),
        (b"[" * 3000 + b"]" * 3000, "broken_json"),
        (b'{"text": "a", "text": "b"}', "duplicate_key"),
        (b'{"text": "a", "meta": {"x": 1, "y": {}, "x": 1}}', "duplicate_key"),
        (b'{"text": "a \\":", "tags": [{"k": 1, "k" : 2}]}', "duplicate_key"),
        (b'{"a\\\\":1, "text": "a", "b":2, "b":3}', "duplicate_key"),
        (b'{"text": "a", "\\u0074ext": "b"}', "duplicate_key"),
        (b'["text"]', "not_an_object"),
        (b"7", "not_an_object"),
        (b"null", "not_an_object"),
        (b'{"title": "no text"}', "missing_text"),
        (b'{"text": null}', "missing_text"),
        (b'{"text": 7}', "text_not_string"),
        (b'{"text": ["a"]}', "text_not_string"),
        (b'{"text": "half \\ud83d pair"}', "lone_surrogate"),
        (b'{"text": "ok", "title": "\\udc00"}', "lone_surrogate"),
        (b'{"text": "ok", "title": ["\\udc00"]}', "lone_surrogate"),
        (b'{"text": "nul \\u0000 inside"}', "nul_character"),
        (b'{"text": " \\n\\t\\u00a0"}', "empty_text"),
        (b'{"text": ""}', "empty_text"),
        (b'{"text": "' + b"x" * 8000 + b'"}', "too_large"),
    ],
)
def test_one_bad_line_is_one_row_and_its_neighbours_live(tmp_path, line, cause):
    data = b'{"text": "enne"}\n' + line + b'\n{"text": "p\xc3\xa4rast"}\n'
    good, bad = read_all(pack(tmp_path / "a.jsonl", data), document_bytes=7000)
    assert [(r.fields["text"], r.byte_offset) for r in good] == [("enne", 0), ("pärast", 17 + len(line) + 1)]
    assert [(b.file, b.byte_offset, b.cause, b.lost_bytes) for b in bad] == [("a.jsonl", 17, cause, len(line))]


@pytest.mark.parametrize(
    ("data", "texts"),
    [
        (b"", []),
        (b"\n\n  \n\t\r\n", []),
        (b'{"text": "a"}', ["a"]),
        (b'{"text": "a"}\r\n{"text": "b"}\r\n', ["a", "b"]),
        (b'\xef\xbb\xbf{"text": "a"}\n{"text": "b"}', ["a", "b"]),
        (b'\n\n{"text": "a"}\n\n\n{"text": "b"}\n\n', ["a", "b"]),
        ('{"text": "a\u2028b\x85c"}\n'.encode(), ["a\u2028b\x85c"]),
        (b'{"text": "\\ud83d\\ude00"}\n', ["\N{GRINNING FACE}"]),
        (b'{"text": "a", "score": NaN}\n', ["a"]),
        (b'{"text": "a", "unread": "\\ud800"}\n', ["a"]),
        (b'{"content": "b", "raw_content": "c"}\n{"raw_content": "c"}\n{"text": null, "content": "d"}\n', ["b", "c", "d"]),
    ],
)
def test_what_a_line_is(tmp_path, data, texts):
    for name in ("a.jsonl", "a.jsonl.gz", "a.jsonl.zst"):
        good, bad = read_all(pack(tmp_path / name, data))
        assert ([r.fields["text"] for r in good], bad) == (texts, [])


def test_offsets_count_bytes_of_the_decompressed_stream(tmp_path):
    data = lines({"text": "õäöü"}, {"text": "b"}) + b"\n" + lines({"text": "c"})
    good, _ = read_all(pack(tmp_path / "a.jsonl.zst", data))
    assert [r.byte_offset for r in good] == [0, 21, 36]  # the first line has 20 bytes, the second 13, then a blank one


def test_a_plain_file_that_ends_inside_a_record_is_truncated(tmp_path):
    good, bad = read_all(pack(tmp_path / "a.jsonl", b'{"text": "a"}\n{"text": "b'))
    assert len(good) == 1
    assert [(b.cause, b.byte_offset, b.lost_bytes) for b in bad] == [("truncated", 14, 11)]


def test_a_last_line_that_is_no_json_is_broken(tmp_path):
    _, bad = read_all(pack(tmp_path / "a.jsonl", b'{"text": "a"}\nend of file'))
    assert [b.cause for b in bad] == ["broken_json"]


def test_the_limit_is_exact(tmp_path):
    line = b'{"text": "abc"}'
    path = pack(tmp_path / "a.jsonl", line + b"\n")
    assert len(read_all(path, document_bytes=len(line))[0]) == 1
    assert [b.cause for b in read_all(path, document_bytes=len(line) - 1)[1]] == ["too_large"]


def test_a_monstrous_line_is_skipped_without_being_held(tmp_path):
    n = 300 << 20
    compressor = zstandard.ZstdCompressor().compressobj()
    with open(tmp_path / "a.jsonl.zst", "wb") as file:
        file.write(compressor.compress(b'{"text": "a"}\n{"text": "'))
        for _ in range(300):
            file.write(compressor.compress(b"x" * (1 << 20)))
        file.write(compressor.compress(b'"}\n{"text": "b"}\n') + compressor.flush())
    tracemalloc.start()
    good, bad = read_all(tmp_path / "a.jsonl.zst", document_bytes=1 << 20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [r.fields["text"] for r in good] == ["a", "b"]
    assert [(b.cause, b.lost_bytes) for b in bad] == [("too_large", n + 12)]
    assert peak < 100 << 20


def test_fields_are_mapped_and_spelled_one_way(tmp_path):
    data = lines(
        {
            "body": {"et": "tere"},
            "nr": 5.0,
            "www": "http://a.ee",
            "meta.lang": "et",
            "lic": "MIT",
            "y": 2020,
            "more": {"b": 1.0, "a": None},
        }
    )
    mapping = {"text": "body.et", "source_id": "nr", "url": "www", "language": "meta.lang", "date": "y", "extra": "more"}
    good, _ = read_all(pack(tmp_path / "a.jsonl", data), source(fields=mapping, license={"from_field": "lic"}))
    assert {name: value for name, value in good[0].fields.items() if value is not None} == {
        "text": "tere", "source_id": "5", "url": "http://a.ee", "language": "et", "license": "MIT", "date": "2020", "extra": '{"b":1}',
    }  # fmt: skip
    assert set(good[0].fields) == set(COLUMNS)


@pytest.mark.parametrize(
    ("row", "fields"),
    [
        ({"messages": [{"role": "user", "content": "Kes?"}, {"role": "assistant", "content": "Mina."}]}, {}),
        ({"conversations": [{"from": "human", "value": "Kes?"}, {"from": "gpt", "value": "Mina."}]}, {}),
        ({"messages": '[{"role": "User", "content": "Kes?"}, {"role": "assistant", "content": "Mina."}]'}, {}),
        (
            {"chat": [{"role": "user", "content": [{"type": "text", "text": "Kes?"}]}, {"role": "model", "content": "Mina."}]},
            {"messages": "chat"},
        ),
        ({"q": "Kes?", "more": "", "a": "Mina."}, {"prompt": "q", "input": "more", "completion": "a"}),
    ],
)
def test_shapes_of_conversations(tmp_path, row, fields):
    good, bad = read_all(pack(tmp_path / "a.jsonl", lines(row)), source(type="conversation", fields=fields))
    assert bad == []
    assert good[0].fields["messages"] == [{"role": "user", "content": "Kes?"}, {"role": "assistant", "content": "Mina."}]
    assert good[0].fields["text"] == "Kes?\n\nMina."


@pytest.mark.parametrize(
    ("row", "cause"),
    [
        ({"text": "no messages"}, "missing_text"),
        ({"messages": "not a list"}, "text_not_string"),
        ({"messages": ["a"]}, "text_not_string"),
        ({"messages": [{"role": "user"}]}, "missing_text"),
        ({"messages": [{"content": "a"}]}, "missing_text"),
        ({"messages": [{"role": "user", "content": 5}]}, "text_not_string"),
        ({"messages": [{"role": "user", "content": "a\0b"}]}, "nul_character"),
        ({"messages": []}, "empty_text"),
        ({"messages": [{"role": "user", "content": " "}]}, "empty_text"),
    ],
)
def test_broken_conversations(tmp_path, row, cause):
    good, bad = read_all(pack(tmp_path / "a.jsonl", lines(row)), source(type="conversation"))
    assert (good, [b.cause for b in bad]) == ([], [cause])


@pytest.mark.parametrize(
    ("line", "id_"),
    [
        (b'{"id": 9007199254740993, "text": "a"}', "9007199254740993"),
        (b'{"id": 18446744073709551615, "text": "a"}', "18446744073709551615"),
        (b'{"id": 123456789012345678901234567890, "text": "a"}', "123456789012345678901234567890"),
        (b'{"id": -9223372036854775809, "text": "a"}', "-9223372036854775809"),
        (b'{"id": {"of": [18446744073709551617]}, "text": "a"}', '{"of":[18446744073709551617]}'),
        (b'{"id": "a", "score": 1e300, "text": "\\":\\": :"}', "a"),
    ],
)
def test_integers_of_any_size_are_exact(tmp_path, line, id_):
    good, bad = read_all(pack(tmp_path / "a.jsonl", line + b"\n"))
    assert ([r.fields["source_id"] for r in good], bad) == ([id_], [])
