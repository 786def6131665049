"""Markdown with front matter, XML by path: what is taken, what is refused, what survives damage."""

from __future__ import annotations

import json

import pytest

from tests.sources.making import pack, read_all, source


@pytest.mark.parametrize(
    ("data", "text", "title", "date", "extra"),
    [
        (
            "---\ntitle: Üks\ndate: 2020-01-02\ntags: [a, b]\n---\n\n# Pealkiri\n",
            "# Pealkiri\n",
            "Üks",
            "2020-01-02",
            {"tags": ["a", "b"]},
        ),
        ("\ufeff---\r\ntitle: Üks\r\n---\r\ntekst", "tekst", "Üks", None, None),
        ('+++\ntitle = "Kaks"\npublished = 2021-03-04\n+++\ntekst', "tekst", "Kaks", "2021-03-04", None),
        ("---\n\nParagrahv, siis joon.\n\n---\ntekst", None, None, None, None),
        ("---\na: &x [1]\nb: *x\n---\ntekst", None, None, None, None),
        ("---\ntitle: [broken\n---\ntekst", None, None, None, None),
        ("tekst\n---\ntitle: hiljem\n---\n", None, None, None, None),
        ("---\ntitle: ei lõpe", None, None, None, None),
        ("--- \ndate: 99999999999999999999-01-01\n---\ntekst", "tekst", None, "99999999999999999999-01-01", None),
    ],
)
def test_front_matter(tmp_path, data, text, title, date, extra):
    good, bad = read_all(pack(tmp_path / "a.md", data.encode()))
    fields = good[0].fields
    assert bad == [] and fields["text"] == (data if text is None else text)
    assert (fields["title"], fields["date"], fields["extra"] and json.loads(fields["extra"])) == (title, date, extra)


def test_fields_of_front_matter_can_be_mapped(tmp_path):
    path = pack(tmp_path / "a.md", b"---\nlang: et\nslug: x\n---\ntekst")
    good, _ = read_all(path, source(fields={"language": "front.lang", "source_id": "front.slug"}))
    assert (good[0].fields["language"], good[0].fields["source_id"]) == ("et", "x")


LAW = """<?xml version="1.0" encoding="UTF-8"?>
<act xmlns="urn:x" xmlns:x="urn:y"><head><title>Seadus</title></head>
<body><x:par id="p1"><nr>1</nr><show>§ 1.</show>
  <item><show>(1)</show> <p>Üks &amp; <i>kaks</i><br/>kolm.</p></item></x:par>
<x:par id="p2"><show>§ 2.</show><item><![CDATA[<neli>]]></item></x:par></body></act>""".encode()


def test_records_by_path(tmp_path):
    xml = {
        "record": "body/par",
        "fields": {"id": "@id", "text": ".", "title": "item/show"},
        "skip": ["nr"],
        "inline": ["show", "p"],
    }
    for name in ("a.xml", "a.xml.xz"):
        good, bad = read_all(pack(tmp_path / name, LAW), source(xml=xml))
        assert [(r.fields["source_id"], r.fields["text"], r.fields["title"]) for r in good] == [
            ("p1", "§ 1.\n(1) Üks & kaks\nkolm.", "(1)"), ("p2", "§ 2.\n<neli>", None)]  # fmt: skip
        assert bad == [] and LAW[good[1].byte_offset :].startswith(b'<x:par id="p2">')


def test_without_options_the_file_is_the_document(tmp_path):
    good, bad = read_all(pack(tmp_path / "a.xml", LAW), source(xml={"fields": {"text": "body", "title": "head/title"}}))
    assert bad == [] and [(r.fields["title"], r.fields["text"].split("\n")[0]) for r in good] == [("Seadus", "1")]
    assert len(read_all(tmp_path / "a.xml")[0]) == 1


RECORD = source(xml={"record": "r", "fields": {"text": "."}})


@pytest.mark.parametrize(
    "broken",
    [
        b"<r>no end",
        b"<r><a>crossed</r></a>",
        b"<r>&unknown;</r>",
        b"<r a=1>x</r>",
        b"<r>\xff</r>",
        b"<r>\x01</r>",
        b"<r><a><b></r>",
        b"<r " + b"a" * 5000 + b">x</r>",
        b"<r>" + b"x" * 5000 + b"</r>",
        b"<r>" + b"<a>" * 600 + b"</r>",
    ],
)
def test_one_broken_record_keeps_its_neighbours(tmp_path, broken):
    around = [b"<r>%d</r>" % i for i in range(6)]
    data = b"<all><part>" + b"\n".join([*around[:3], broken, *around[3:]]) + b"</part></all>"
    good, bad = read_all(pack(tmp_path / "a.xml", data), RECORD, 4000)
    found = [r.fields["text"] for r in good]
    assert found[:3] == ["0", "1", "2"] and found[-2:] == ["4", "5"]
    assert bad and bad[0].cause in ("broken_xml", "too_large") and all(b.lost_bytes >= 0 for b in bad)
    assert (b"no end" in broken) or found == [str(i) for i in range(6)] or b"a" * 5000 in broken


@pytest.mark.parametrize(
    "doctype",
    [
        b'<!DOCTYPE a [<!ENTITY x "' + b"y" * 100 + b'">]>',
        b'<!DOCTYPE a [<!ENTITY x "lol"><!ENTITY y "&x;&x;">]>',
        b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
        b'<!DOCTYPE a [<!ENTITY % x SYSTEM "http://example.org/x.dtd"> %x;]>',
    ],
)
def test_entities_that_grow_or_lead_outside(tmp_path, doctype):
    data = doctype + b"<a><r>&x;</r></a>"
    good, bad = read_all(pack(tmp_path / "a.xml", data), RECORD)
    assert ([r.fields["text"] for r in good], [(b.cause, b.lost_bytes) for b in bad]) == ([], [("xml_entities", len(data))])


def test_entities_that_are_characters(tmp_path):
    data = b'<!DOCTYPE a SYSTEM "x.dtd" [<!ENTITY ouml "&#246;">]><a><r>&ouml;&nbsp;&eacute;&other;</r></a>'
    good, bad = read_all(pack(tmp_path / "a.xml", data), RECORD)
    assert ([r.fields["text"] for r in good], bad) == (["ö é&other;"], [])


@pytest.mark.parametrize("encoding", ["utf-16", "iso-8859-1", "windows-1252"])
def test_encodings_that_xml_declares(tmp_path, encoding):
    data = f'<?xml version="1.0" encoding="{encoding}"?><a><r>õäöü</r><r>teine</r></a>'.encode(encoding)
    good, bad = read_all(pack(tmp_path / "a.xml", data), RECORD)
    assert ([r.fields["text"] for r in good], bad) == (["õäöü", "teine"], [])


def test_a_cut_file_and_no_xml_at_all(tmp_path):
    good, bad = read_all(pack(tmp_path / "a.xml", b"<a><r>1</r><r>2</r><r>3"), RECORD)
    assert ([r.fields["text"] for r in good], [(b.cause, b.byte_offset, b.lost_bytes) for b in bad]) == (
        ["1", "2"],
        [("truncated", 19, 4)],
    )
    for data in (b"{}", b"<", b"\xff\xfe\xfd", b"<a><b>"):
        assert len(read_all(pack(tmp_path / "b.xml", data), RECORD)[1]) == 1
    assert read_all(pack(tmp_path / "c.xml", b""), RECORD) == ([], [])
