"""Names of 32 hex digits as two numbers each: back and forth, ordered alike, hashed alike, and nothing else taken for one."""

import hashlib

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.store import table_root
from mixture import names
from mixture.names import Names, read

NAMES = st.lists(st.text("0123456789abcdef", min_size=32, max_size=32), max_size=20)


@given(NAMES)
@settings(deadline=None)
def test_back_and_forth(texts):
    found = read(pa.array(texts, pa.string()))
    pairs = list(zip(found.high.tolist(), found.low.tolist(), strict=True))
    assert pairs == [(int(t[:16], 16), int(t[16:], 16)) for t in texts]
    assert found.text().to_pylist() == texts and found.text().type == pa.large_string()
    assert sorted(range(len(texts)), key=lambda i: texts[i]) == sorted(range(len(texts)), key=lambda i: pairs[i])


@given(NAMES, NAMES)
@settings(deadline=None)
def test_pieces_and_slices(a, b):
    column = pa.chunked_array([pa.array(a, pa.large_string()), pa.array(b, pa.large_string())])
    assert read(column).text().to_pylist() == a + b
    assert read(column.slice(min(1, len(a)))).text().to_pylist() == (a + b)[min(1, len(a)) :]
    assert read(pa.array(a, pa.string()).slice(len(a) // 2)).text().to_pylist() == a[len(a) // 2 :]
    assert Names.joined([read(pa.array(a, pa.string())), read(pa.array(b, pa.string()))]).text().to_pylist() == a + b


@given(NAMES)
@settings(deadline=None)
def test_hashed_as_the_column_of_texts(texts):
    found, numbers = read(pa.array(texts, pa.string())), list(range(len(texts)))
    whole = pa.table({"id": pa.array(texts, pa.string()), "n": pa.array(numbers, pa.int64())})
    assert table_root(pa.table({"n": pa.array(numbers, pa.int64())}), first={"id": found.update}) == table_root(whole)


def test_hashed_block_by_block(monkeypatch):
    monkeypatch.setattr(names, "BLOCK", 7)
    texts = [hashlib.md5(bytes([i])).hexdigest() for i in range(50)]
    rest = pa.table({"n": np.arange(50)})
    assert table_root(rest, first={"id": read(pa.array(texts)).update}) == table_root(pa.table({"id": texts, "n": np.arange(50)}))


@pytest.mark.parametrize(
    "wrong", ["A" * 32, "0" * 31, "0" * 33, "0" * 31 + "g", "/" + "0" * 31, ":" * 32, "`" * 32, "", "0" * 30 + "õ"]
)
def test_anything_else_is_refused(wrong):
    with pytest.raises(AssertionError, match="32 hex digits"):
        read(pa.array(["0" * 32, wrong]))


def test_no_name_is_refused():
    with pytest.raises(AssertionError, match="32 hex digits"):
        read(pa.array(["0" * 32, None]))


def test_every_byte_but_sixteen_is_refused():
    for byte in range(256):
        text = pa.array([b"0" * 17 + bytes([byte]) + b"0" * 14], pa.binary())
        column = pa.Array.from_buffers(pa.string(), 1, text.buffers())
        if chr(byte) in "0123456789abcdef":
            assert read(column).low.tolist() == [int(chr(byte), 16) << 56]
        else:
            with pytest.raises(AssertionError):
                read(column)
