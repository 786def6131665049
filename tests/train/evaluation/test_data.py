"""Items out of files: every form, ids, and what is said of files that are broken."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from curate.errors import CurateError
from train.evaluation.data import read
from train.evaluation.suite import Data

ROWS = [
    {"id": "p", "q": "üks\u2028kaks", "meta": {"a": [{"text": "x"}, {"text": "y"}]}},
    {"idx": 7, "q": "kolm", "meta": {"a": []}},
]


def items(path: Path, fields: dict[str, str] | None = None, **more: object) -> list[dict]:
    return read(Data(path=str(path), **more), fields or {}, Path).rows  # type: ignore[arg-type]


def test_lines_compressed_or_not(tmp_path: Path) -> None:
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS).encode()
    (tmp_path / "a.jsonl").write_bytes(lines)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(lines))
    (tmp_path / "a.jsonl.zst").write_bytes(zstandard.compress(lines))
    for name in ("a.jsonl", "a.jsonl.gz", "a.jsonl.zst"):
        found = items(tmp_path / name)
        assert [(row["id"], row["q"], row["number"]) for row in found] == [("p", "üks\u2028kaks", 1), ("7", "kolm", 2)]


def test_parquet_and_text(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(ROWS[:1]), tmp_path / "a.parquet")
    (tmp_path / "b.txt").write_text("Tere\n")
    assert items(tmp_path / "a.parquet")[0]["meta"]["a"] == [{"text": "x"}, {"text": "y"}]
    (row,) = items(tmp_path / "b.txt")
    assert (row["id"], row["text"]) == ("b.txt", "Tere\n")


def test_fields_inside_objects_and_conditions(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    first, second = items(tmp_path / "a.jsonl", {"answers": "meta.a.text", "question": "q"})
    assert (first["answers"], first["question"], second["answers"]) == (["x", "y"], "üks\u2028kaks", [])
    assert [row["id"] for row in items(tmp_path / "a.jsonl", where={"q": "kolm"})] == ["7"]
    with pytest.raises(CurateError, match="no such field") as error:
        items(tmp_path / "a.jsonl", {"answers": "meta.b"})
    assert "row 1" in error.value.where and "meta.a" in error.value.allowed
    with pytest.raises(CurateError, match="without items"):
        items(tmp_path / "a.jsonl", where={"q": "neli"})


def test_ids_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"id": "x"}\n{"id": "x"}\n{"q": 1}\n')
    assert [row["id"] for row in items(tmp_path / "a.jsonl")] == ["x #1", "x #2", "#3"]


def test_the_set_is_called_as_curate_calls_it(tmp_path: Path) -> None:
    (tmp_path / "EstQA-v1.0.jsonl.gz").write_bytes(gzip.compress(b'{"q": 1}\n'))
    assert read(Data(path=str(tmp_path / "*.gz")), {}, Path).eval_set == "EstQA-v1.0"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.jsonl", b'{"q": 1}\n{"q": \n', "a.jsonl:2: this line is not JSON"),
        ("a.jsonl", b"[1]\n", "a.jsonl:1: an item is an object"),
        ("a.jsonl", b'{"q": "\xff"}\n', "this file is not UTF-8"),
        ("a.jsonl", b"", "a task without items"),
        ("a.jsonl.zst", b"not zstd", "this file is damaged"),
        ("a.parquet", b"not parquet", "this is not a Parquet file"),
        ("a.xlsx", b"x", "items are not read from such files"),
    ],
)
def test_broken_files(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CurateError) as error:
        items(tmp_path / name)
    assert said in str(error.value)


def test_m2_files(tmp_path: Path) -> None:
    (tmp_path / "a.m2").write_text("S a b\nA 0 1|||X|||c|||-|||-|||0\n\nS d\nA -1 -1|||noop|||-NONE-|||-|||-|||0\n")
    first, second = items(tmp_path / "a.m2")
    assert (first["original"], first["m2"].split("\n")[1][:5], first["id"]) == ("a b", "A 0 1", "#1")
    assert second["original"] == "d"
