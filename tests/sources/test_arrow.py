"""Arrow IPC: files and streams, damaged batches, cut ends."""

from __future__ import annotations

import gzip
import random

import pyarrow as pa
import pytest

from tests.sources.making import read_all, source

RNG = random.Random(3)
TEXTS = ["".join(RNG.choices("abcdefghijklmnõäöü ", k=300)) for _ in range(300)]


def write(path, form="file", codec=None, batch=100):
    table = pa.table({"id": list(range(300)), "text": TEXTS, "more": [{"a": 1}] * 300})
    new = pa.ipc.new_file if form == "file" else pa.ipc.new_stream
    with new(path, table.schema, options=pa.ipc.IpcWriteOptions(compression=codec)) as writer:
        writer.write_table(table, max_chunksize=batch)
    return path


@pytest.mark.parametrize("form", ["file", "stream"])
@pytest.mark.parametrize("codec", [None, "zstd", "lz4"])
def test_rows(tmp_path, form, codec):
    path = write(tmp_path / "a.arrow", form, codec)
    packed = tmp_path / "b.feather.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    for file in (path, packed):
        good, bad = read_all(file, source(fields={"extra": "more"}))
        assert ([r.fields["text"] for r in good], bad) == (TEXTS, [])
        assert (good[7].fields["source_id"], good[7].fields["extra"]) == ("7", '{"a":1}')


def test_a_damaged_batch_does_not_take_its_neighbours(tmp_path):
    path = write(tmp_path / "a.arrow", codec="zstd")
    data = bytearray(path.read_bytes())
    start = len(data) // 2 - 500
    data[start : start + 1000] = b"\xaa" * 1000
    path.write_bytes(data)
    good, bad = read_all(path)
    found = [r.fields["text"] for r in good]
    assert bad and found[:100] == TEXTS[:100] and found[-100:] == TEXTS[200:]


@pytest.mark.parametrize("form", ["file", "stream"])
def test_a_file_without_its_end(tmp_path, form):
    path = write(tmp_path / "a.arrow", form)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    good, bad = read_all(path)
    assert ([r.fields["text"] for r in good], [b.cause for b in bad]) == (TEXTS[:100], ["truncated"])
    assert path.stat().st_size // 4 < bad[0].lost_bytes <= path.stat().st_size


def test_bytes_that_are_no_utf8_cost_their_row(tmp_path):
    raw = pa.array([b"hea", b"paha \xff", b"k\xc3\xb5ik"], pa.binary())
    column = pa.Array.from_buffers(pa.string(), 3, raw.buffers())
    with pa.ipc.new_file(tmp_path / "a.arrow", pa.schema([("text", pa.string())])) as writer:
        writer.write_batch(pa.record_batch([column], ["text"]))
    good, bad = read_all(tmp_path / "a.arrow")
    assert ([r.fields["text"] for r in good], [b.cause for b in bad]) == (["hea", "kõik"], ["invalid_utf8"])


@pytest.mark.parametrize(
    "data", [b"", b"ARROW1", b"ARROW1\0\0", b"\xff\xff\xff\xff\xff\xff\xff\x7f" + b"x" * 100, b"not arrow at all"]
)
def test_what_is_no_arrow(tmp_path, data):
    (tmp_path / "a.arrow").write_bytes(data)
    good, bad = read_all(tmp_path / "a.arrow")
    assert good == [] and len(bad) == 1 and bad[0].cause in ("unreadable", "truncated")


def test_damage_never_crashes(tmp_path):
    rng = random.Random(5)
    for form in ("file", "stream"):
        whole = write(tmp_path / "w.arrow", form, batch=50).read_bytes()
        for _ in range(60):
            data = bytearray(whole)
            for _ in range(rng.randrange(1, 20)):
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            (tmp_path / "a.arrow").write_bytes(data)
            good, _ = read_all(tmp_path / "a.arrow")
            assert len(good) <= 300
