"""CSV and TSV: delimiters, headers, quotes that go wrong."""

from __future__ import annotations

import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curate.sources import lines, stream
from curate.sources.formats import Asked
from curate.sources.readers import csv
from tests.sources.making import pack, read_all, source


def texts(path, document_bytes=10_000, **csv):
    good, bad = read_all(path, source(csv=csv or None), document_bytes)
    return [r.fields["text"] for r in good], [(b.byte_offset, b.cause, b.lost_bytes) for b in bad]


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.csv.bz2", "a.csv.xz"])
def test_fields_lines_and_quotes(tmp_path, name):
    data = b'\xef\xbb\xbfid,text\r\n1,tere\r\n2,"kaks, ""jutum\xc3\xa4rki"" ja\nuus rida"\r\n\r\n3,5" toru\n'
    good, bad = read_all(pack(tmp_path / name, data))
    assert [(r.fields["source_id"], r.fields["text"], r.byte_offset) for r in good] == [
        ("1", "tere", 12), ("2", 'kaks, "jutumärki" ja\nuus rida', 20), ("3", '5" toru', data.index(b"3,5"))]  # fmt: skip
    assert bad == []


@pytest.mark.parametrize(
    ("name", "data", "csv"),
    [
        ("a.tsv", b"id\ttext\n1\ta, b; c\n", {}),
        ("a.csv", b"id;text\n1;a, b; c\n".replace(b"; c", b", c"), {}),
        ("a.csv", b"id|text\n1|a, b; c\n", {}),
        ("a.csv", b"1#a, b; c\n", {"delimiter": "#", "header": False, "columns": ["id", "text"]}),
        ("a.csv", b"nr,sisu\n1,'a, b; c'\n", {"quote": "'", "columns": ["id", "text"]}),
    ],
)
def test_how_a_table_is_cut(tmp_path, name, data, csv):
    found, bad = texts(pack(tmp_path / name, data), **csv)
    assert ([text.replace(", c", "; c") for text in found], bad) == (["a, b; c"], [])


def test_without_quotes_everything_is_text(tmp_path):
    path = pack(tmp_path / "a.tsv", b'text\tmore\n"Tere" ta \xc3\xbctles\tx\n"\ty\n')
    assert texts(path, quote="") == (['"Tere" ta ütles', '"'], [])
    assert [cause for _, cause, _ in texts(path)[1]] == ["broken_csv", "broken_csv"]


@pytest.mark.parametrize(
    "broken",
    [
        b'2,"a quote that never closes',
        b'2,"closed" and goes on',
        b'2,"he said "so" and left"',
        b"2,b,c",
        b"2",
        b"2,\xff\xfe",
        b'2,"' + b"x" * 20_000 + b'"',
        b"2,old\rmac",
    ],
)
def test_one_broken_record_keeps_its_neighbours(tmp_path, broken):
    data = b"id,text\n1,one\n" + broken + b'\n3,three\n4,"fo""ur"\n5,five\n'
    found, bad = texts(pack(tmp_path / "a.csv", data))
    assert found == ["one", "three", 'fo"ur', "five"]
    (offset, cause, lost) = bad[0]
    assert (len(bad), offset, lost) == (1, 14, len(broken))
    expected = "wrong_columns" if broken in (b"2,b,c", b"2") else "invalid_utf8" if b"\xff" in broken else "too_large"
    assert cause == (expected if len(broken) > 15_000 or expected != "too_large" else "broken_csv")


def test_a_quote_that_opens_does_not_swallow_the_file(tmp_path):
    rows = [f"{i},row {i}" for i in range(50_000)]
    rows[100] = '100,"row 100'
    found, bad = texts(pack(tmp_path / "a.csv", ("id,text\n" + "\n".join(rows)).encode()), 1 << 30)
    assert len(found) == 49_999 and found[100] == "row 101"
    assert [cause for _, cause, _ in bad] == ["broken_csv"]


def test_quotes_in_every_line_cost_no_square(tmp_path):
    """Each line goes on in the next one whether it is read from its start or from inside a quote."""
    data = b"text,b\n" + b'x","y\n' * 20_000
    started = time.process_time()
    found, bad = texts(pack(tmp_path / "a.csv", data), 1 << 20)
    assert time.process_time() - started < 20
    assert len(found) + len(bad) > 10


def test_header_names(tmp_path):
    data = b"text,,text, a \nx,1,y,2\n"
    good, _ = read_all(pack(tmp_path / "a.csv", data), source(fields={"source_id": "text_2", "title": "a", "url": "column_2"}))
    assert [(r.fields["text"], r.fields["source_id"], r.fields["title"], r.fields["url"]) for r in good] == [("x", "y", "2", "1")]


def test_a_broken_header_is_the_whole_table(tmp_path):
    data = b'id,"te\nxt\n1,a\n'
    assert texts(pack(tmp_path / "a.csv", data)) == ([], [(0, "broken_csv", 11)])
    assert texts(pack(tmp_path / "b.csv", data), columns=["id", "text"]) == (
        ["a"],
        [(0, "broken_csv", 6), (7, "wrong_columns", 2)],
    )


def test_a_truncated_archive(tmp_path):
    whole = pack(tmp_path / "a.csv.gz", b"id,text\n" + b"".join(b"%d,row %d\n" % (i, i * i) for i in range(20_000))).read_bytes()
    (tmp_path / "a.csv.gz").write_bytes(whole[: len(whole) // 2])
    found, bad = texts(tmp_path / "a.csv.gz")
    assert 5000 < len(found) < 15_000 and [cause for _, cause, _ in bad] == ["truncated"]


PIECES = st.lists(
    st.sampled_from([b"a", b"b,", b",", b"\n", b"\n\n", b'"', b'""', b"\r\n", "õ".encode(), b"\xff", b'"x\ny",z\n', b"p,q\n", b"p,q\n",
                     b'"l\n\nm",k\n', b"\xef\xbb\xbf", b"\0", b";"]), max_size=60)  # fmt: skip
HOW = st.sampled_from([{}, {"quote": ""}, {"header": False}, {"header": False, "columns": ["a", "b"]}, {"columns": ["a", "b"]}])


@settings(max_examples=400, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    pieces=PIECES,
    how=HOW,
    limit=st.sampled_from([5, 20, 10**6]),
    block=st.sampled_from([10, 50, 1 << 18]),
    run=st.sampled_from([1, 40, 1 << 18]),
)
def test_lines_parsed_together_are_those_parsed_one_by_one(pieces, how, limit, block, run, tmp_path_factory):
    """Rows, offsets, sizes and quarantine are equal, wherever blocks and runs end."""
    path = tmp_path_factory.getbasetemp() / "together.csv"
    path.write_bytes(b"h,i\n" + b"".join(pieces))
    asked = Asked(limit, None, source(csv=how))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv, "AGAIN", -1)
        one_by_one = list(csv.read_csv(path, asked))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream, "PLAIN_BLOCK", block)
        patch.setattr(lines, "RUN_BYTES", run)
        assert list(csv.read_csv(path, asked)) == one_by_one
