"""Archives of the web: every record is a row or a quarantine row, damage costs its own record, encodings are undone, digests are held."""

from __future__ import annotations

import gzip
import os
import random
import zlib
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.sources import CAUSES
from curate.sources.formats import Asked
from curate.sources.records import Bad, Refused
from curate.sources.web import http
from curate.sources.web.warc import read_warc, read_wet
from tests.sources.web.making import answer, html, members, pages, record, sha1

DATA = Path(os.environ.get("VESKI_TEST_DATA", Path(__file__).resolve().parents[4] / "shared" / "data")) / "warc"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="set VESKI_TEST_DATA to the folder with warc/")
INFO = record(b"software: veski\r\n", kind="warcinfo")


def rows(path: Path, data: bytes, limit: int = 10**6, reader=read_warc):
    path.write_bytes(data)
    found = list(reader(path, Asked(limit)))
    return [r.values for r in found if not isinstance(r, Bad)], [r for r in found if isinstance(r, Bad)]


@pytest.mark.parametrize("name", ["a.warc", "a.warc.gz", "a.warc.zst", "whole.warc.gz"])
def test_responses_are_rows_and_other_records_are_none(tmp_path, name):
    request = record(b"GET / HTTP/1.1\r\n\r\n", kind="request")
    records = [INFO, request, record(answer(html("A"), TDM_Reservation="1"), number=7), record(b"seed", kind="metadata")]
    records += [record(answer(b"", status="301 Moved")), record(answer(b"\x89PNG", content_type="image/png"))]
    data = b"".join(records)
    packed = {"a.warc": data, "a.warc.gz": members(records), "whole.warc.gz": gzip.compress(data)}
    packed["a.warc.zst"] = b"".join(zstandard.ZstdCompressor().compress(r) for r in records)
    good, bad = rows(tmp_path / name, packed[name])
    assert bad == []
    assert good == [{
        "url": "http://a.ee/7", "date": "2024-05-06T07:08:09Z", "id": "urn:uuid:00000007", "html": html("A"),
        "content_type": "text/html; charset=utf-8", "http": {"tdm-reservation": "1"},
    }]  # fmt: skip


def test_a_damaged_member_does_not_take_its_neighbours(tmp_path):
    packed = [gzip.compress(r, mtime=0) for r in pages(5)]
    broken = bytearray(packed[2])
    broken[40:60] = b"\xaa" * 20
    good, bad = rows(tmp_path / "a.warc.gz", b"".join([*packed[:2], bytes(broken), *packed[3:]]))
    assert [g["url"][-1] for g in good] == ["0", "1", "3", "4"]
    assert [(b.cause, b.lost_bytes) for b in bad] == [("unreadable", len(broken))]
    assert f"stored byte {len(packed[0]) + len(packed[1])}" in bad[0].detail


def test_a_member_cut_in_the_middle_of_the_file(tmp_path):
    packed = [gzip.compress(r, mtime=0) for r in pages(4)]
    good, bad = rows(tmp_path / "a.warc.gz", packed[0] + packed[1][:200] + packed[2] + packed[3])
    assert [g["url"][-1] for g in good] == ["0", "2", "3"]
    assert [(b.cause, b.lost_bytes) for b in bad] == [("unreadable", 200)]


@pytest.mark.parametrize("name", ["a.warc", "a.warc.gz"])
def test_a_truncated_file_is_one_row(tmp_path, name):
    whole = b"".join(pages(3)) if name == "a.warc" else members(pages(3))
    good, bad = rows(tmp_path / name, whole[:-150])
    assert [g["url"][-1] for g in good] == ["0", "1"]
    assert [b.cause for b in bad] == ["truncated"]
    assert bad[0].lost_bytes > 0


@pytest.mark.parametrize("error", [-40, -3, 7, 2000])
def test_a_wrong_length_does_not_take_its_neighbours(tmp_path, error):
    body = answer(html("B"))
    records = [
        *pages(1),
        record(body, number=5, length=len(body) + error),
        *(record(answer(html()), number=n) for n in (6, 7, 8, 9)),
    ]
    good, bad = rows(tmp_path / "a.warc", b"".join(records))
    assert [g["url"][-1] for g in good] == ["0", "6", "7", "8", "9"]
    assert [(b.cause, b.byte_offset) for b in bad] == [("bad_record", len(records[0]))]


@pytest.mark.parametrize(
    ("block", "cause"),
    [
        (b"WARC/1.0\r\nno colon here\r\n\r\nrest\r\n\r\n", "bad_record"),
        (b"WARC/1.0\r\nWARC-Type: response\r\n\r\n", "bad_record"),
        (b"WARC/1.0\r\nWARC-Type: response\r\nContent-Length: x1\r\n\r\n", "bad_record"),
        (b"WARC/1.0\r\nWARC-Type: response\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", "bad_record"),
        (b"junk between records\r\n\r\n", "bad_record"),
        (record(b"no answer at all"), "bad_record"),
        (record(answer(b"x" * 3000)), "too_large"),
        (record(answer(html()), WARC_Block_Digest=sha1(b"something else")), "bad_digest"),
        (record(answer(gzip.compress(b"a" * 10**6), Content_Encoding="gzip")), "too_large"),
        (record(answer(b"\x00\x01 not gzip", Content_Encoding="gzip")), "unreadable"),
    ],
)
def test_bad_records_between_good_ones(tmp_path, block, cause):
    good, bad = rows(tmp_path / "a.warc", b"".join([*pages(1), block, record(answer(html()), number=9)]), limit=2500)
    assert [g["url"][-1] for g in good] == ["0", "9"]
    assert [b.cause for b in bad] == [cause]


def chunked(body: bytes, size: int = 50) -> bytes:
    parts = [body[i : i + size] for i in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in parts) + b"0\r\n\r\n"


def brotli(body: bytes) -> bytes:
    import brotli as library

    return library.compress(body)


DEFLATE = zlib.compressobj(wbits=-15)
ENCODED = {
    "gzip": gzip.compress(html()), "x-gzip": gzip.compress(html()), "deflate": zlib.compress(html()),
    "br": brotli(html()), "zstd": zstandard.ZstdCompressor().compress(html()), "identity": html(),
}  # fmt: skip


@pytest.mark.parametrize("coding", ENCODED)
@pytest.mark.parametrize("transfer", ["", "chunked"])
def test_encodings_are_undone(tmp_path, coding, transfer):
    body, headers = ENCODED[coding], {"Content_Encoding": coding}
    if transfer:
        body, headers = chunked(body), headers | {"Transfer_Encoding": "chunked"}
    good, bad = rows(tmp_path / "a.warc", record(answer(body, **headers)))
    assert (good[0]["html"], bad) == (html(), [])


def test_what_crawlers_get_wrong_is_still_a_page():
    raw = DEFLATE.compress(html()) + DEFLATE.flush()
    assert http.decoded(raw, {"content-encoding": "deflate"}, 10**6) == html()  # without zlib's frame
    assert http.decoded(html(), {"content-encoding": "gzip"}, 10**6) == html()  # stored decoded under the old header
    assert http.decoded(html(), {"transfer-encoding": "chunked"}, 10**6) == html()
    assert http.decoded(chunked(html())[:-60], {"transfer-encoding": "chunked"}, 10**6).startswith(html()[:100])
    assert http.decoded(gzip.compress(html())[:-9], {"content-encoding": "gzip"}, 10**6) == html()  # cut behind the page


@pytest.mark.parametrize("length", [10**5, 10**12])
def test_a_length_past_the_limit_does_not_take_its_neighbours(tmp_path, length):
    """Found by the fuzz suite: what is too long to be held cannot be given back, so it is passed over up to the next header only."""
    one = record(answer(html("B")), number=1, length=length)
    good, bad = rows(tmp_path / "a.warc", b"".join([*pages(1), one, *pages(3000)]), limit=5000)
    assert [g["url"][12:] for g in good] == ["0", *(str(i) for i in range(3000))]
    assert [(b.cause, b.byte_offset, b.lost_bytes) for b in bad] == [("bad_record", len(pages(1)[0]), len(one) - 4)]


def test_bombs_stop_at_the_limit():
    for coding, body in (
        ("br", brotli(b"a" * 10**8)),
        ("gzip", gzip.compress(b"a" * 10**8)),
        ("zstd", zstandard.compress(b"a" * 10**8)),
    ):
        with pytest.raises(Refused) as caught:
            http.decoded(body, {"content-encoding": coding}, 10**6)
        assert caught.value.cause == "too_large"


def test_digests_of_payload_or_block_in_every_spelling(tmp_path):
    body, whole = html(), answer(html())
    for stated in ({"WARC_Payload_Digest": sha1(body)}, {"WARC_Block_Digest": sha1(whole)}, {"WARC_Block_Digest": "sha9:what"},
                   {"WARC_Payload_Digest": sha1(body), "WARC_Block_Digest": sha1(b"headers were rewritten")},
                   {"WARC_Payload_Digest": "sha256:" + __import__("hashlib").sha256(body).hexdigest()}):  # fmt: skip
        assert rows(tmp_path / "a.warc", record(whole, **stated))[1] == []


def test_arc_records_one_damaged(tmp_path):
    head = b"filedesc://a.arc 127.0.0.1 20140301000000 text/plain 75\n1 0 InternetArchive\n"
    head += b"URL IP-address Archive-date Content-type Archive-length\n\n"
    one = answer(html("A"))
    line = b"http://a.ee/x y 1.2.3.4 20140102030405 text/html %d\n"
    good, bad = rows(
        tmp_path / "a.arc",
        head + line % len(one) + one + b"\n" + line.replace(b"%d", b"-1") + b"\n" + line % len(one) + one + b"\n",
    )
    assert [(g["url"], g["date"], g["html"]) for g in good] == [("http://a.ee/x y", "2014-01-02T03:04:05Z", html("A"))] * 2
    assert [b.cause for b in bad] == ["bad_record"]


def test_wet_has_the_conversions_only(tmp_path):
    text = record(b"Tere, maailm!", kind="conversion", WARC_Identified_Content_Language="est,eng")
    data = b"".join([INFO, text, record(b"\xff\xfe", kind="conversion"), record(answer(html()))])
    good, bad = rows(tmp_path / "a.warc.wet", data, reader=read_wet)
    assert [(g["text"], g["language"]) for g in good] == [("Tere, maailm!", "est")]
    assert [b.cause for b in bad] == ["invalid_utf8"]


@needs_data
def test_warcio_files_whose_names_say_what_is_broken():
    found = {}
    for path in sorted((DATA / "warcio").iterdir()):
        items = list(read_warc(path, Asked(10**7)))
        found[path.name] = (sum(not isinstance(i, Bad) for i in items), [i.cause for i in items if isinstance(i, Bad)])
    assert found == {
        "bad.arc": (0, ["bad_record", "bad_record"]),  # lengths of -1 and abc
        "example-bad-non-chunked.warc.gz": (1, []),  # one member around many records: read all the same
        "example-bad.warc.gz.bad": (1, []),
        "example-digest.warc": (0, []),  # requests only
        "example-resource.warc.gz": (1, []),
        "example-space-in-target-uri.warc.gz": (0, []),
        "example-space-in-url.arc": (1, []),
        "example-trunc.warc": (0, ["bad_record"]),  # two bytes shorter than they are
        "example-wget-bad-target-uri.warc.gz": (1, []),
        "example-wrong-chunks.warc.gz": (1, []),
        "example.arc": (1, []), "example.arc.gz": (1, []), "example.warc": (1, []), "example.warc.gz": (1, []),
    }  # fmt: skip


@needs_data
def test_the_same_pages_as_warcio_reads():
    from warcio.archiveiterator import ArchiveIterator

    path = DATA / "sample-0000.warc.gz"
    with open(path, "rb") as file:
        theirs = [
            (r.rec_headers["WARC-Target-URI"], r.content_stream().read()) for r in ArchiveIterator(file) if r.rec_type == "response"
        ]  # fmt: skip
    ours = [(r.values["url"], r.values["html"]) for r in read_warc(path, Asked(10**7))]
    assert len(ours) == 22
    assert ours == theirs


SEED = {"plain": b"".join([INFO, *pages(6)]), "gz": members([INFO, *pages(6)])}


@pytest.mark.parametrize("name", ["plain", "gz"])
def test_damage_never_crashes_and_whole_members_are_read(tmp_path, name):
    rng, whole = random.Random(11), SEED[name]
    path = tmp_path / ("a.warc" if name == "plain" else "a.warc.gz")
    for _ in range(150):
        data = bytearray(whole)
        for _ in range(rng.randrange(1, 5)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        if rng.random() < 0.3:
            del data[rng.randrange(len(data)) :]
        good, bad = rows(path, bytes(data), limit=10**5)
        assert all(b.cause in CAUSES and b.lost_bytes >= 0 for b in bad)
        assert len(good) >= 1 or len(data) < len(whole)


@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=300), st.sampled_from([b"", b"WARC/1.0\r\n", b"WARC/1.0\r\nContent-Length: 5\r\n\r\n", b"\x1f\x8b\x08"])
)
def test_any_bytes(tmp_path_factory, data, head):
    path = tmp_path_factory.mktemp("any") / "a.warc"
    path.write_bytes(head + data)
    for item in read_warc(path, Asked(1000)):
        assert not isinstance(item, Bad) or item.cause in CAUSES


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.sampled_from(["gzip", "deflate", "br", "zstd", "gzip, br", "br,br"]), st.booleans())
def test_any_body(body, coding, is_chunked):
    headers = {"content-encoding": coding} | ({"transfer-encoding": "chunked"} if is_chunked else {})
    try:
        assert isinstance(http.decoded(body, headers, 10**5), bytes)
    except Refused as refused:
        assert refused.cause in CAUSES


def test_memory_stays_below_a_large_record(tmp_path):
    """A record of 200 MB that nobody wants, and one that is too large, are passed over."""
    import tracemalloc

    path = tmp_path / "a.warc.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        for kind in ("request", "response"):
            head = record(b"", kind=kind, length=200_000_000)[:-4]
            file.write(head)
            for _ in range(200):
                file.write(b"a" * 1_000_000)
            file.write(b"\r\n\r\n")
        file.write(pages(1)[0])
    tracemalloc.start()
    found = list(read_warc(path, Asked(10**6)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [type(f).__name__ for f in found] == ["Bad", "RawRow"]
    assert found[0].cause == "too_large"
    assert peak < 60_000_000, peak


def test_endless_blank_lines_and_false_members_end(tmp_path):
    import time

    started = time.monotonic()
    good, bad = rows(
        tmp_path / "a.warc", pages(1)[0] + b"junk\n" + b"\r\n" * 500_000 + b"more junk" + b"\n" * 500_000 + pages(2)[1]
    )
    assert ([g["url"][-1] for g in good], {b.cause for b in bad}) == (["0", "1"], {"bad_record"})
    good, bad = rows(tmp_path / "a.warc.gz", members(pages(1)) + b"\x1f\x8b\x08" * 300_000)
    assert ([g["url"][-1] for g in good], len(bad)) == (["0"], 1)
    assert time.monotonic() - started < 60
