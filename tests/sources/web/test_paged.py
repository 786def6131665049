"""PDF, EPUB and DOCX: a file is a document; lines are joined again; what is hostile ends as one row."""

from __future__ import annotations

import io
import json
import random
import zipfile
import zlib

import docx
import pytest
from docx.oxml import parse_xml

from curate.recipe.lanes.paged import Paged
from curate.sources import CAUSES
from curate.sources.paged.lines import joined
from tests.sources.making import read_all, source

CONTAINER = "<container xmlns='urn:oasis:names:tc:opendocument:xmlns:container'><rootfiles><rootfile full-path='O/c.opf'/></rootfiles></container>"
PACKAGE = """<package xmlns="http://www.idpf.org/2007/opf" xmlns:dc="http://purl.org/dc/elements/1.1/">
<metadata><dc:title>Raamat</dc:title><dc:language>et</dc:language><dc:date>2020-02-03</dc:date><dc:identifier>isbn:1</dc:identifier></metadata>
<manifest><item id="n" href="nav.xhtml" properties="nav" media-type="application/xhtml+xml"/><item id="a" href="a%20b.xhtml"
 media-type="application/xhtml+xml"/><item id="b" href="b.xhtml" media-type="application/xhtml+xml"/><item id="x" href="gone.xhtml"
 media-type="application/xhtml+xml"/></manifest><spine><itemref idref="n"/><itemref idref="b"/><itemref idref="a"/>{more}</spine></package>"""
CHAPTER = """<?xml version="1.0" encoding="utf-8"?><html xmlns="http://www.w3.org/1999/xhtml"><head><title>t</title></head><body><h1>Esimene</h1>
<p>Valem <math xmlns="http://www.w3.org/1998/Math/MathML"><mfrac><mi>a</mi><mn>2</mn></mfrac></math> on siin.</p><ul><li>üks</li><li>kaks</li></ul>
<table><tr><td>a</td><td>b</td></tr></table></body></html>"""


def epub(more: str = "", **parts: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as book:
        files = {"META-INF/container.xml": CONTAINER, "O/c.opf": PACKAGE.format(more=more), "O/b.xhtml": CHAPTER,
                 "O/nav.xhtml": "<html>sisukord</html>",
                 "O/a b.xhtml": "<html xmlns='http://www.w3.org/1999/xhtml'><body><p>Teine  peatükk</p></body></html>"}  # fmt: skip
        for name, text in (files | parts).items():
            book.writestr(name, text)
    return out.getvalue()


def office() -> bytes:
    document = docx.Document()
    document.core_properties.title = "Näide"
    document.add_heading("Pealkiri", 1)
    document.add_paragraph("Esimene lõik.")
    document.add_paragraph("punkt üks", style="List Bullet")
    table = document.add_table(2, 2)
    for i, row in enumerate((("a", "b"), ("1", "2"))):
        for j, text in enumerate(row):
            table.cell(i, j).text = text
    formula = document.add_paragraph("Valem ")
    m = 'xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math"'
    formula._p.append(parse_xml(
        f"<m:oMath {m}><m:f><m:num><m:r><m:t>α</m:t></m:r></m:num><m:den><m:sSup><m:e><m:r><m:t>x</m:t></m:r></m:e>"
        "<m:sup><m:r><m:t>2</m:t></m:r></m:sup></m:sSup></m:den></m:f></m:oMath>"))  # fmt: skip
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


def pdf(*pages: list[str]) -> bytes:
    """A PDF of lines in Helvetica, written by hand."""
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"",
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
    ]
    kids = []
    for lines in pages:
        said = b"BT /F1 11 Tf 14 TL 50 780 Td " + b" ".join(
            b"(" + line.encode("cp1252").replace(b"(", b"\\(").replace(b")", b"\\)") + b") Tj T*" for line in lines) + b" ET"  # fmt: skip
        objects.append(
            b"<< /Length %d /Filter /FlateDecode >> stream\n" % len(zlib.compress(said)) + zlib.compress(said) + b"\nendstream"
        )
        objects.append(
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents %d 0 R /Resources << /Font << /F1 3 0 R >> >> >>"
            % len(objects)
        )
        kids.append(b"%d 0 R" % len(objects))
    objects[1] = b"<< /Type /Pages /Kids [" + b" ".join(kids) + b"] /Count %d >>" % len(kids)
    objects.append(b"<< /Title (Veski) /CreationDate (D:20240131120000+02'00') >>")
    out, places = bytearray(b"%PDF-1.4\n"), []
    for i, body in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n" % i + body + b"\nendobj\n"
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1) + b"".join(b"%010d 00000 n \n" % p for p in places)
    out += b"trailer << /Size %d /Root 1 0 R /Info %d 0 R >>\nstartxref\n%d\n%%%%EOF" % (len(objects) + 1, len(objects), start)
    return bytes(out)


PRINTED = [
    ["Veski ajalugu", "", f"{name} peatükk", "Jahu on valge, ja kui tuul puhub, siis jahva-", "tab veski kogu päeva ning keegi ei seisa sel ajal",
     "niisama. Tallinna-", f"Tartu maanteel sõidab {name.lower()} vanker.", f"{i}"]
    for i, name in enumerate(["Esimene", "Teine", "Kolmas", "Neljas"], 1)
]  # fmt: skip


def test_a_pdf(tmp_path):
    (tmp_path / "a.pdf").write_bytes(pdf(*PRINTED))
    good, bad = read_all(tmp_path / "a.pdf", document_bytes=10**6)
    assert bad == []
    assert good[0].fields["text"].split("\n")[:3] == [
        "Esimene peatükk", "Jahu on valge, ja kui tuul puhub, siis jahvatab veski kogu päeva ning keegi ei seisa sel ajal niisama. "
        "Tallinna-Tartu maanteel sõidab esimene vanker.", "Teine peatükk"]  # fmt: skip
    assert (good[0].fields["title"], good[0].fields["date"]) == ("Veski", "2024-01-31")
    assert json.loads(good[0].fields["extra"]) == {"paged": {"n_pages": 4, "n_running_lines": 8}}


def test_lines_as_they_are(tmp_path):
    (tmp_path / "a.pdf").write_bytes(pdf(*PRINTED))
    good, _ = read_all(tmp_path / "a.pdf", source(paged=Paged(join_lines=False)), 10**6)
    assert "siis jahva-\ntab veski" in good[0].fields["text"]


def test_an_epub(tmp_path):
    (tmp_path / "a.epub").write_bytes(epub())
    good, bad = read_all(tmp_path / "a.epub", document_bytes=10**5)
    assert bad == []
    assert good[0].fields["text"] == "Esimene\n\nValem $\\frac{a}{2}$ on siin.\n\n- üks\n- kaks\n\na | b\n\nTeine peatükk"
    assert (good[0].fields["title"], good[0].fields["date"]) == ("Raamat", "2020-02-03")


def test_a_chapter_that_is_gone_is_counted(tmp_path):
    (tmp_path / "a.epub").write_bytes(epub('<itemref idref="x"/>'))
    good, _ = read_all(tmp_path / "a.epub", document_bytes=10**5)
    assert json.loads(good[0].fields["extra"])["paged"] == {"identifier": "isbn:1", "n_chapters": 2, "n_unreadable_chapters": 1}


def test_a_docx(tmp_path):
    (tmp_path / "a.docx").write_bytes(office())
    good, bad = read_all(tmp_path / "a.docx", document_bytes=10**6)
    assert bad == []
    assert good[0].fields["text"] == "Pealkiri\nEsimene lõik.\n- punkt üks\n\na | b\n1 | 2\n\nValem $\\frac{\\alpha}{x^{2}}$"
    assert good[0].fields["title"] == "Näide"


LOCKED = "<encryption xmlns:e='x'><e:CipherReference URI='O/b.xhtml'/></encryption>"


@pytest.mark.parametrize(
    ("name", "data", "cause"),
    [
        ("a.pdf", b"%PDF-1.4 and nothing", "unreadable"), ("a.pdf", b"", "unreadable"), ("a.epub", b"PK\x03\x04", "unreadable"),
        ("a.epub", office(), "unreadable"), ("a.docx", epub(), "unreadable"), ("a.docx", b"<html>", "unreadable"), ("a.pdf", pdf([""]), "empty_text"),
        ("a.epub", epub(**{"META-INF/encryption.xml": LOCKED}), "unreadable"), ("a.epub", epub(**{"O/b.xhtml": "<p>" + "a" * 90_000}), "too_large"),
        ("a.epub", epub(**{"META-INF/container.xml": "<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><a>&b;</a>"}), "unreadable"),
        ("a.pdf", b"x" * 60_000, "too_large"),
    ],
)  # fmt: skip
def test_files_that_are_one_bad_row(tmp_path, name, data, cause):
    (tmp_path / name).write_bytes(data)
    good, bad = read_all(tmp_path / name, document_bytes=50_000)
    assert (good, [b.cause for b in bad]) == ([], [cause])


def test_a_zip_that_unpacks_to_too_much(tmp_path):
    out = io.BytesIO(office())
    with zipfile.ZipFile(out, "a", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("word/media/a.png", b"\0" * 50_000_000)
    (tmp_path / "a.docx").write_bytes(out.getvalue())
    _, bad = read_all(tmp_path / "a.docx", source(paged=Paged(unpacked_bytes="20 MB")), 10**6)
    assert [b.cause for b in bad] == ["bomb"]


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        (["jahva-", "tab"], "jahvatab"), (["jahva\u00ad", "tab"], "jahvatab"), (["jahva¬", "tab"], "jahvatab"),
        (["e-kiri on, e-", "kiri"], "e-kiri on, e-kiri"),
        (["Tallinna-", "Tartu"], "Tallinna-Tartu"), (["aastal 1990-", "1995"], "aastal 1990-\n1995"), (["Õun.", "pirn"], "Õun.\npirn"),
        (["lühike rida", "jätkub"], "lühike rida\njätkub"), (["see on nii pikk rida, et see ei lõpe siin", "vaid jätkub"],
                                                           "see on nii pikk rida, et see ei lõpe siin vaid jätkub"),
        (["Sisu . . . . . . . . . . . . . . . . 4", "sõnad . . . . 5"], "Sisu . . . . . . . . . . . . . . . . 4\nsõnad . . . . 5"),
        (["мельни-", "ца"], "мельница"),
    ],
)  # fmt: skip
def test_joined(lines, text):
    assert joined([["Pealkiri", "Alapealkiri", "", *lines, "", "Peaaegu", "Lõpp"]])[0].split("\n\n")[1:-1] == [text]


@pytest.mark.parametrize(("name", "whole"), [("a.pdf", pdf(*PRINTED)), ("a.epub", epub()), ("a.docx", office())])
def test_damage_never_crashes(tmp_path, name, whole):
    rng = random.Random(3)
    for _ in range(60):
        data = bytearray(whole)
        for _ in range(rng.randrange(1, 20)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        if rng.random() < 0.3:
            del data[rng.randrange(len(data)) :]
        (tmp_path / name).write_bytes(data)
        good, bad = read_all(tmp_path / name, document_bytes=10**6)
        assert len(good) + len(bad) == 1
        assert all(b.cause in CAUSES for b in bad)
