"""Corpus files: prevert and vertical, glue, attributes, documents that do not close."""

from __future__ import annotations

import json

import pytest

from tests.sources.making import pack, read_all, source

PREVERT = """<doc id="12" src="Web 2019" genre="ajakirjandus" url="http://a.ee/?a=1&amp;b=2" title="Üks &quot;kaks&quot;">
<p heading="1">
Pealkiri
</p>
<p>
Esimene lõik &lt;3.
jätkub
</p>
</doc>
<doc id="13" src="Web 2019">
<p>
Teine dokument.
</p>
</doc>
""".encode()

VERTICAL = b"""<doc id="7" src='Doaj'>
<p>
<s>
Tere\ttere\tI
<g/>
,\t,\tZ
maailm\tmaailm\tS.sg.n
<g/>
!\t!\tZ
</s>
<s>
<\t<\tZ
3\t3\tN
</s>
</p>
<p>
&lt;x&gt;\tx\tY
</p>
</doc>
"""


@pytest.mark.parametrize("name", ["a.prevert", "a.prevert.gz", "a.prevert.xz"])
def test_prevert(tmp_path, name):
    good, bad = read_all(pack(tmp_path / name, PREVERT))
    assert [(r.fields["source_id"], r.fields["text"]) for r in good] == [
        ("12", "Pealkiri\n\nEsimene lõik <3.\njätkub"), ("13", "Teine dokument.")]  # fmt: skip
    assert (good[0].fields["url"], good[0].fields["title"]) == ("http://a.ee/?a=1&b=2", 'Üks "kaks"')
    assert json.loads(good[1].fields["extra"]) == {"id": "13", "src": "Web 2019"} and bad == []
    assert PREVERT[good[1].byte_offset :].startswith(b'<doc id="13"')


def test_vertical(tmp_path):
    good, bad = read_all(pack(tmp_path / "a.vert", VERTICAL))
    assert ([r.fields["text"] for r in good], bad) == (["Tere, maailm! < 3\n\n<x>"], [])


def test_punctuation_without_glue(tmp_path):
    tokens = ["Tema", "(", "siis", ")", "ütles", ":", "„", "Jah", ",", "tule", "!", "“", "Ja", "läks", "."]
    data = ("<doc id='1'>\n<s>\n" + "\n".join(f"{t}\tx" for t in tokens) + "\n</s>\n</doc>\n").encode()
    good, _ = read_all(pack(tmp_path / "a.vert", data))
    assert good[0].fields["text"] == "Tema (siis) ütles: „Jah, tule! “ Ja läks."


def test_what_a_source_may_map(tmp_path):
    good, _ = read_all(pack(tmp_path / "a.prevert", PREVERT), source(fields={"extra": "genre", "source_id": "src"}))
    assert [(r.fields["extra"], r.fields["source_id"]) for r in good] == [('"ajakirjandus"', "Web 2019"), (None, "Web 2019")]


def test_damage_stays_in_its_document(tmp_path):
    data = b'<corpus>\nstray\n<doc id="1">\n<p>\na\n</p>\n<doc id="2">\nb\xff\n</doc>\n<doc id="3">\n' + b"x" * 3000
    data += b'\n</doc>\nbetween\nlines\n<doc id="4">\nd\n</doc>\n</corpus>\n<doc id="5">\ncut'
    good, bad = read_all(pack(tmp_path / "a.prevert", data))
    assert [(r.fields["source_id"], r.fields["text"]) for r in good] == [("1", "a"), ("4", "d")]
    assert [(b.cause, b.lost_bytes) for b in bad] == [
        ("outside_documents", 6), ("invalid_utf8", 16), ("too_large", 3014), ("outside_documents", 14), ("truncated", 16)]  # fmt: skip


def test_a_cut_archive(tmp_path):
    whole = pack(
        tmp_path / "a.prevert.gz", b"".join(b'<doc id="%d">\n%d\n</doc>\n' % (i, i * i) for i in range(20_000))
    ).read_bytes()
    (tmp_path / "a.prevert.gz").write_bytes(whole[: len(whole) // 2])
    good, bad = read_all(tmp_path / "a.prevert.gz")
    assert 5000 < len(good) < 15_000 and [b.cause for b in bad] == ["truncated"]
    assert [r.fields["text"] for r in good] == [str(i * i) for i in range(len(good))]
