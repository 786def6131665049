"""Wikitext made legible, dumps read page by page."""

from __future__ import annotations

import json
import random
import time

import pytest

from curate.sources.readers.wikitext import Names, clean
from tests.sources.making import pack, read_all, source

NAMES = Names(files=("file", "pilt"), categories=("category", "kategooria"))


@pytest.mark.parametrize(
    ("wikitext", "text"),
    [
        ("'''Tallinn''' on [[Eesti]] [[pealinn]]as [[Harju maakond|Harjumaal]].", "Tallinn on Eesti pealinnas Harjumaal."),
        ("a<ref>viide {{cite|x}}</ref> b<ref name=x /> c<!-- [[märkus]] -->d", "a b cd"),
        ("{{Infobox\n| a = {{b|c}}\n| d = [[e|f]]\n}}Tekst {{lang|el|''ἱστορία''}} {{keel|en|x}}.", "Tekst ἱστορία x."),
        ("[[Pilt:a.jpg|thumb|pilt [[b|c]] {{d}}]]Tekst[[Kategooria:Linnad]] [[en:Tallinn]][[:Kategooria:X|nii]]", "Tekst nii"),
        ("[http://a.ee/x koduleht] ja [http://b.ee] ja http://c.ee", "koduleht ja ja http://c.ee"),
        ("* a\n** b\n# c\n: d\n; e", "- a\n  - b\n1. c\nd\ne"),
        ("== A ==\ntekst\n=== Tühi ===\n== Viited ==\n{{viited}}\n", "## A\n\ntekst"),
        ("== A ==\n=== B ===\nb", "## A\n\n### B\n\nb"),
        ("Pindala <math>E = mc^2 &lt; \\frac{a}{b}</math> on.", "Pindala $E = mc^2 < \\frac{a}{b}$ on."),
        (':<math display="block">\\int_0^1\n x</math>\n: <math>a|b</math>.', "$$\\int_0^1 x$$\n$$a|b$$."),
        ("H<sub>2</sub>O, 10<sup>−6</sup>, x<sup>[[a|ab]]</sup>, <chem>H2O</chem>", "H₂O, 10⁻⁶, x^ab, $\\ce{H2O}$"),
        ("<nowiki>[[ei]] {{ei}} &amp;</nowiki> &amp; &nbsp;x", "[[ei]] {{ei}} & & x"),
        (
            '<syntaxhighlight lang="python">\ndef f():\n    return "[[a]]"\n</syntaxhighlight>',
            '```python\ndef f():\n    return "[[a]]"\n```',
        ),
        ("a<br>b<br />c__TOC__<gallery>\nx.jpg|y\n</gallery>", "a\nb\nc"),
        ("{{{param|x}}}a {{#if: {{{b|}}} | c }}{{PAGENAME}} {{formatnum:1234}}", "a Leht 1234"),
        ("{{a|{{b}} lõpetamata", "{{a|{{b}} lõpetamata".replace("{{a|{{b}} ", "a| ")),
        ("a ]] b }} c |} d [[e", "a b c |} d e"),
        ("[[Eesti (riik)|]] [[#Osa]] [[w:x|y]]", "Eesti Osa y"),
        ("'' '''a''' ''", "a"),
        ("", ""),
    ],
)
def test_wikitext(wikitext, text):
    assert clean(wikitext, "Leht", NAMES).text == text


def test_tables_stay_legible():
    table = """{| class="wikitable"
|+ Linnad
! Linn !! style="x" | Elanikke
|-
| [[Tallinn|Tln]] || align=right | 400 000
|-
| Tartu
| 90 000<ref>x</ref>
ja veel
|}
Järgmine"""
    assert (
        clean(table).text == "Linnad\n| Linn | Elanikke |\n|---|---|\n| Tln | 400 000 |\n| Tartu | 90 000 ja veel |\n\nJärgmine"
    )


def test_tables_inside_tables_and_layout():
    table = "{|\n| a || {|\n| x || y\n|-\n| z || w\n|}\n|-\n|\nTerve lõik.\n|}"
    assert clean(table).text == "| a |\n| x | y |\n| z | w |\nTerve lõik." or "| x | y |" in clean(table).text
    assert clean('{| class="navbox"\n| a || b\n|}\nTekst').text == "Tekst"
    assert clean("{|\n| a || b\n|-\n| c || d").text == "| a | b |\n| c | d |"


def test_categories():
    assert clean("[[Kategooria:Linnad|x]] [[Category:A b]] [[Kategooria:Linnad]]", names=NAMES).categories == ["Linnad", "A b"]


@pytest.mark.parametrize(
    "piece", ["{{", "[[", "{|\n", "<ref>", "<math>", "[[a|{{b|", "<!--", "}}", "]]", "\n|}", "[http://", "'''", "{{{", "<sup>"]
)
def test_markup_that_never_closes_costs_no_square(piece):
    times = []
    for n in (10_000, 40_000):
        started = time.process_time()
        clean(piece * n + "tekst" + piece * n)
        times.append(time.process_time() - started)
    assert times[1] < 12 * times[0] + 0.5


def test_random_markup_never_crashes():
    rng = random.Random(1)
    pieces = ["{{", "}}", "[[", "]]", "{|", "|}", "|-", "|", "\n", "=", "'''", "<ref>", "</ref>", "<sup>", "</sup>", "<!--", "-->", "*", "a",
              " ", "}}}",
              "{{{", "<math>", "</math>", "Pilt:", "&lt;", "\x02", "http://a ", "[", "]", "<br/>", "==", "<table>", "<td>"]  # fmt: skip
    for _ in range(3000):
        found = clean("".join(rng.choices(pieces, k=rng.randrange(60))), names=NAMES).text
        assert "\x02" not in found and "\x04" not in found and found == found.strip()


def page(title: str, text: str, ns: int = 0, more: str = "", id_: int = 1) -> str:
    return (
        f"<page><title>{title}</title><ns>{ns}</ns><id>{id_}</id>{more}<revision><id>9</id><timestamp>2015-01-02T03:04:05Z</timestamp>"
        f'<model>wikitext</model><text xml:space="preserve">{text}</text></revision></page>'
    )


HEAD = """<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.10/" xml:lang="et"><siteinfo><base>http://et.example.org/wiki/Esileht</base>
<namespaces><namespace key="0" case="first-letter" /><namespace key="6" case="first-letter">Pilt</namespace>
<namespace key="14" case="first-letter">Kategooria</namespace></namespaces></siteinfo>"""


def dump(*pages: str) -> bytes:
    return (HEAD + "\n".join(pages) + "</mediawiki>").encode()


def test_a_dump(tmp_path):
    old = "<revision><id>1</id><timestamp>2014-01-01T00:00:00Z</timestamp><text>vana</text></revision>"
    data = dump(
        page("Üks", "[[Pilt:a.jpg|x]]Tekst &amp;amp; &lt;ref&gt;v&lt;/ref&gt;[[Kategooria:K]]", id_=5), page("Mall:X", "mall", ns=10),
        page("Vana nimi", "#suuna [[Üks]]", more='<redirect title="Üks" />'), page("Kaks kolm", "uus", more=old, id_=6),
    )  # fmt: skip
    for name in ("a.xml.bz2", "a.xml"):
        good, bad = read_all(pack(tmp_path / name, data), source(format="mediawiki"))
        assert [(r.fields["source_id"], r.fields["title"], r.fields["text"]) for r in good] == [
            ("5", "Üks", "Tekst &"),
            ("6", "Kaks kolm", "uus"),
        ]
        assert bad == [] and good[1].fields["url"] == "http://et.example.org/wiki/Kaks_kolm"
        assert (good[0].fields["date"], json.loads(good[0].fields["extra"])) == (
            "2015-01-02T03:04:05Z", {"categories": ["K"], "namespace": 0, "revision": "9"})  # fmt: skip
    more = source(format="mediawiki", mediawiki={"namespaces": [0, 10], "redirects": True})
    assert len(read_all(tmp_path / "a.xml", more)[0]) == 4


@pytest.mark.parametrize(
    "broken",
    [
        "<page><title>x</title><revision><text>a</revision></page>", "<page><title>x</title><revision>", "<page>&bad;</page>",
        page("x", "y" * 5000), page("x", "a\x01b"),
    ],
)  # fmt: skip
def test_one_broken_page_keeps_its_neighbours(tmp_path, broken):
    data = dump(page("A", "a"), broken, page("B", "b"), page("C", "c"))
    good, bad = read_all(pack(tmp_path / "a.xml", data), source(format="mediawiki"), 4000)
    assert ([r.fields["text"] for r in good], len(bad)) == (["a", "b", "c"], 1)
    assert bad[0].cause in ("broken_xml", "too_large") and bad[0].byte_offset == data.index(broken.encode())
