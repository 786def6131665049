"""Moses pairs and translation memories."""

from __future__ import annotations

import zipfile

import pytest

from curate.documents import ingest
from curate.sources import list_files, raw_rows
from curate.sources.records import Bad
from curate.store import Store
from tests.sources.making import pack, recipe, source

ET = "Tere.\r\nKuidas läheb?\n\nHästi.\n".encode()
EN = b"Hello.\nHow are you?\nEmpty.\nWell.\n"


def rows(path, of, limit=1000):
    kind = "archive" if path.suffix == ".zip" else of.format
    items = list(raw_rows(path, kind, limit, None, of))
    return [i.values for i in items if not isinstance(i, Bad)], [(b.cause, b.lost_bytes) for b in items if isinstance(b, Bad)]


MOSES = source(format="moses", moses={"languages": ["et", "en"]})


@pytest.mark.parametrize("names", [("c.et-en.et", "c.et-en.en"), ("c.et.gz", "c.en.gz"), ("c.et", "c.en.xz")])
def test_lines_pair_up(tmp_path, names):
    pack(tmp_path / names[1], EN)
    found, bad = rows(pack(tmp_path / names[0], ET), MOSES)
    assert found == [
        {"line": 1, "et": "Tere.", "en": "Hello."}, {"line": 2, "et": "Kuidas läheb?", "en": "How are you?"},
        {"line": 3, "et": "", "en": "Empty."}, {"line": 4, "et": "Hästi.", "en": "Well."}]  # fmt: skip
    assert bad == []


def test_pairs_inside_a_zip(tmp_path):
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as archive:
        archive.writestr("README", "x")
        archive.writestr("c.et-en.en", EN)
        archive.writestr("c.et-en.et", ET)
    found, bad = rows(tmp_path / "c.zip", MOSES)
    assert len(found) == 4 and found[3]["en"] == "Well." and bad == []


def test_lines_that_do_not_pair_up(tmp_path):
    path = pack(tmp_path / "c.et", ET)
    assert rows(path, MOSES) == ([], [("misaligned", len(ET))])
    pack(tmp_path / "c.en", EN + b"More.\n")
    assert rows(path, MOSES) == ([], [("misaligned", len(ET))])


def test_a_side_that_is_cut(tmp_path):
    many = [b"%d lause %d\n" % (i, i * i * 7919) for i in range(20_000)]
    pack(tmp_path / "c.en", b"".join(many))
    whole = pack(tmp_path / "c.et.gz", b"".join(many)).read_bytes()
    (tmp_path / "c.et.gz").write_bytes(whole[: len(whole) // 2])
    found, bad = rows(tmp_path / "c.et.gz", MOSES)
    assert 5000 < len(found) < 15_000 and all(row["et"] == row["en"] for row in found)
    assert [cause for cause, _ in bad] == ["truncated"]


def test_one_bad_line_keeps_its_neighbours(tmp_path):
    pack(tmp_path / "c.en", b"a\nb\xff\n" + b"c" * 2000 + b"\nd\n")
    found, bad = rows(pack(tmp_path / "c.et", b"1\n2\n3\n4\n"), MOSES)
    assert [row["et"] for row in found] == ["1", "4"] and [cause for cause, _ in bad] == ["invalid_utf8", "too_large"]


def test_the_other_side_is_part_of_the_content(tmp_path):
    """Only the files of the first language are listed; a change in the other file is read again."""
    block = {"read": "d/*", "format": "moses", "moses": {"languages": ["et", "en"]}, "fields": {"text": "en"}}
    made = recipe(tmp_path, {"s": block})
    pack(tmp_path / "d/c.et", ET)
    pack(tmp_path / "d/c.en", EN)
    files = list_files(made, made.sources["s"])
    assert [f.name for f in files] == ["c.et"] and files[0].partner.name == "c.en"
    store = Store(tmp_path / "store")
    roots = []
    for data in (EN, EN, EN.replace(b"Well", b"Good")):
        pack(tmp_path / "d/c.en", data)
        roots.append(ingest(store, made, 1)["s"].root)
    assert roots[0] == roots[1] != roots[2]


TMX = """<?xml version="1.0"?><tmx version="1.4"><header srclang="en"/><body>
<tu tuid="u1" creationdate="20200101T000000Z"><prop type="domain">seadus</prop>
<tuv xml:lang="EN-US"><seg>Hello <bpt i="1">&lt;b></bpt>world<ept i="1">&lt;/b></ept>.</seg></tuv>
<tuv xml:lang="et"><seg>Tere, <hi>maailm</hi>.</seg></tuv><tuv lang="et_EE"><seg>Tere maailmale.</seg></tuv></tu>
<tu><tuv xml:lang="en"><seg>Second</seg></tuv><tuv xml:lang="et"><seg/></tuv></tu>
<tu><tuv xml:lang="en"><seg>broken</tuv></tu>
<tu tuid="4"><tuv xml:lang="en"><seg>Fourth</seg></tuv></tu>
</body></tmx>"""


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_translation_memories(tmp_path, encoding):
    text = TMX if encoding == "utf-8" else TMX.replace("<seg>broken</tuv>", "<seg>broken</seg></tuv>")
    found, bad = rows(pack(tmp_path / "a.tmx", text.encode(encoding)), source(format="tmx"), 10_000)
    assert found[0] == {"id": "u1", "date": "20200101T000000Z", "props": {"domain": "seadus"}, "en": "Hello world.", "et": "Tere, maailm.",
                        "et-ee": "Tere maailmale."}  # fmt: skip
    assert found[1] == {"en": "Second", "et": ""} and found[-1] == {"id": "4", "en": "Fourth"}
    assert [cause for cause, _ in bad] == (["broken_xml"] if encoding == "utf-8" else [])
