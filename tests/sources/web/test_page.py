"""Pages to documents: what they say of themselves is kept, lists and tables stay legible, and what is hostile ends as a row in quarantine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.errors import CurateError
from curate.recipe.lanes.web import Web
from curate.signals.urls import reserved
from curate.sources import CAUSES
from curate.sources.lanes import lane_of
from curate.sources.libraries import libraries
from curate.sources.records import Refused
from curate.sources.web.page import page
from curate.sources.web.worker import Worker
from tests.sources.making import lines, pack, read_all, recipe, source
from tests.sources.web.making import answer, html, members, pages, record

PROSE = (
    "<p>"
    + "See on veski esimene ja kõige pikem lõik, mis ütleb, et kui jahu on otsas, siis ei ole ka leiba. " * 3
    + "</p>"
    + "".join(
        f"<p>Lõik number {i} räägib pikalt sellest, kuidas veski vilja jahvatab ja miks see on tähtis. Kui tuul on vaikne, siis ei ole ka jahu, aga "
        "kui see tõuseb, on tööd kõigile ning keegi ei pea enam ootama.</p>"
        for i in range(5)
    )
)


def web(**given):
    return source(type="web", web=Web(**given) if given else None)


def test_a_file_a_warc_and_rows_give_the_same_text(tmp_path):
    pack(tmp_path / "a.html", html())
    pack(tmp_path / "a.html.gz", html())
    (tmp_path / "a.warc.gz").write_bytes(members([*pages(1)[:0], record(answer(html()))]))
    pack(tmp_path / "a.jsonl", lines({"html": html().decode()}))
    pq.write_table(pa.table({"html": pa.array([html()], pa.binary())}), tmp_path / "a.parquet")
    texts = []
    for name in ("a.html", "a.html.gz", "a.warc.gz", "a.jsonl", "a.parquet"):
        good, bad = read_all(tmp_path / name, web(), 10**6)
        assert bad == []
        texts.append(good[0].fields["text"])
        assert good[0].fields["title"] == "Veski"
        assert json.loads(good[0].fields["extra"]) == {"web": {"lang": "et"}}
    assert len(set(texts)) == 1
    assert texts[0].startswith("Esimene lõik räägib")


def test_what_a_page_says_of_itself_is_kept():
    document = f"""<html lang="et-EE"><head><title>Veski - Leht</title><meta property="og:title" content="Veski">
    <meta name="robots" content="noai, noimageai"><meta name="GPTBot" content="noindex"><meta name="tdm-reservation" content="1">
    <meta name="tdm-policy" content="https://a.ee/policy.json"><link rel="canonical" href="https://a.ee/veski">
    <script type="application/ld+json">{{"@graph": [{{"datePublished": "2021-03-04T05:06:07Z"}}]}}</script></head><body>{PROSE}</body></html>"""
    row = {"html": document, "http": {"x-robots-tag": "noindex", "content-language": "en"}, "content_type": "text/html"}
    found = lane_of(web(), 10**6)(row)
    assert (found["title"], found["url"], found["date"]) == ("Veski", "https://a.ee/veski", "2021-03-04T05:06:07Z")
    said = json.loads(found["extra"])["web"]
    assert said == {
        "lang": "et-EE", "robots": "noai, noimageai; gptbot: noindex", "x_robots_tag": "noindex", "tdm_reservation": "1",
        "tdm_policy": "https://a.ee/policy.json", "published": "2021-03-04T05:06:07Z",
    }  # fmt: skip
    assert reserved(found["extra"]) == ["robots", "tdm_reservation", "x_robots_tag"]  # the signal opt_out reads it there


def test_what_the_record_says_goes_first():
    row = {"html": html(), "url": "http://b.ee", "date": "2024-01-01", "title": "Oma", "meta": {"a": 1}}
    found = lane_of(source(type="web", fields={"extra": "meta"}), 10**6)(row)
    assert (found["url"], found["date"], found["title"]) == ("http://b.ee", "2024-01-01", "Oma")
    assert json.loads(found["extra"]) == {"a": 1, "web": {"lang": "et"}}


def test_nothing_reserves_a_page_that_says_nothing():
    assert reserved(lane_of(web(), 10**6)({"html": html()})["extra"]) == []
    allowed = (
        html()
        .decode()
        .replace("<head>", "<head><meta name='robots' content='index, follow'><meta name='tdm-reservation' content='0'>")
    )
    assert reserved(lane_of(web(), 10**6)({"html": allowed})["extra"]) == []


@pytest.mark.parametrize("extractor", ["trafilatura", "resiliparse", "whole"])
def test_lists_and_tables_stay_legible(extractor):
    body = f"<article>{PROSE}<ol><li>esimene asi siin</li><li>teine asi siin</li></ol>{PROSE}<table><tr><th>Aasta</th><th>Kogus</th></tr>"
    body += f"<tr><td>1999</td><td>12 kotti</td></tr></table>{PROSE}</article>"
    text = page({"html": f"<html><body>{body}</body></html>", "extractor": extractor})["text"]
    rows = [line for line in text.split("\n") if "1999" in line]
    assert len(rows) == 1 and "12 kotti" in rows[0]
    items = [line.strip() for line in text.split("\n") if "esimene asi" in line]
    assert items in (["- esimene asi siin"], ["1. esimene asi siin"])


def test_indentation_of_the_source_is_no_text():
    body = (
        "<ul>"
        + "".join(
            f"<li>\n          <b>Pealkiri {i}</b>\n          <br>\n  Autor {i}\n     <span>   Kood </span></li>" for i in range(6)
        )
        + "</ul>"
    )
    text = page({"html": f"<html><body><article>{PROSE}{body}{PROSE}</article></body></html>", "extractor": "trafilatura"})[
        "text"
    ]
    assert "- Pealkiri 3" in text.split("\n")
    assert not any(line != line.strip() or "  " in line for line in text.split("\n"))


@pytest.mark.parametrize("extractor", ["trafilatura", "resiliparse", "justext", "datatrove", "whole"])
def test_every_extractor(extractor):
    document = f"<html lang='et'><body><nav><a href='/'>Avaleht</a> <a href='/b'>Kontakt</a></nav><article>{PROSE}</article></body></html>"
    text = page({"html": document, "extractor": extractor})["text"]
    assert "Lõik number 3 räägib pikalt" in text
    assert page({"html": document, "extractor": extractor})["text"] == text  # no memory of earlier pages


@pytest.mark.parametrize(
    ("row", "cause"),
    [
        ({}, "missing_text"), ({"html": 5}, "text_not_string"), ({"html": ""}, "empty_text"), ({"html": b" \n "}, "empty_text"),
        ({"html": "<html></html>"}, "empty_text"), ({"html": "<!-- only this -->"}, "empty_text"),
        ({"html": b"\x7fELF\0\0\0\x01" * 9}, "nul_character"),
        ({"html": "<div>" * 10_000 + "x"}, "too_deep"), ({"html": b"<p>a" * 5_100_000}, "too_large"),
    ],
)  # fmt: skip
def test_what_cannot_be_a_document(row, cause):
    with pytest.raises(Refused) as caught:
        lane_of(web(), 64 * 10**6)(row)
    assert caught.value.cause == cause


def test_a_page_of_64_mb_costs_no_memory(tmp_path):
    with open(tmp_path / "a.html", "wb") as file:
        file.write(b"<html><body>")
        for _ in range(64):
            file.write(b"<p>" + b"a" * 1_000_000 + b"</p>")
    good, bad = read_all(tmp_path / "a.html", web(), 64 * 10**6)
    assert (good, [b.cause for b in bad]) == ([], ["too_large"])


def test_text_that_is_no_page_is_taken_as_it_is(tmp_path):
    (tmp_path / "a.warc.wet").write_bytes(record(b"Tere, maailm!", kind="conversion"))
    assert [r.fields["text"] for r in read_all(tmp_path / "a.warc.wet", web())[0]] == ["Tere, maailm!"]


def test_a_tree_of_pages(tmp_path):
    pack(tmp_path / "raw" / "a.html", html())
    made = recipe(tmp_path, {"s": {"read": "raw", "format": "tree", "type": "web"}}).sources["s"]
    assert read_all(tmp_path / "raw" / "a.html", made)[0][0].fields["text"].startswith("Esimene lõik")


def test_neighbours_of_a_page_that_takes_too_long(tmp_path):
    slow = "<html><body><table>" + "<tr><td>" * 60_000 + "x"
    pack(
        tmp_path / "a.jsonl",
        lines({"id": 1, "html": html().decode()}, {"id": 2, "html": slow}, {"id": 3, "html": html().decode()}),
    )
    good, bad = read_all(tmp_path / "a.jsonl", web(time_limit=0.5), 10**7)
    assert [r.fields["source_id"] for r in good] == ["1", "3"]
    assert [b.cause for b in bad] == ["time_limit"]


HOSTILE = "tests.sources.web.hostile:"


def test_a_worker_that_loops_crashes_or_eats_memory_is_replaced():
    work = Worker(HOSTILE + "work", memory=400 << 20)
    for job, cause in (("loop", "time_limit"), ("crash", "extractor_failed"), ("memory", "extractor_failed"), ("recurse", "extractor_failed"),
                       ("raise", "extractor_failed"), ("refuse", "empty_text")):  # fmt: skip
        with pytest.raises(Refused) as caught:
            work(job, 0.5)
        assert caught.value.cause == cause, job
        assert work("print", 0.5) == "printed"
    work.close()


def test_a_worker_killed_from_outside_does_not_change_the_result():
    work = Worker(HOSTILE + "work")
    first = work("pid", 5)
    os.kill(first, signal.SIGKILL)
    time.sleep(0.05)
    assert work("pid", 5) != first
    work.close()


def test_a_worker_ends_with_its_parent():
    code = (
        "from curate.sources.web.worker import Worker; import time\n"
        f"w = Worker('{HOSTILE}work'); print(w('pid', 5), flush=True); w('loop', 600)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    for _ in range(100):
        if not _lives(child):
            return
        time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    raise AssertionError("the worker lives on")


def _lives(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


def test_a_missing_library_is_told_before_the_work(monkeypatch):
    import importlib.metadata

    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    assert list(libraries(web(extractor="resiliparse"), ["warc"])["libraries"]) == ["resiliparse"]
    assert libraries(source(), ["jsonl"]) == {}
    monkeypatch.setattr(importlib.metadata, "version", missing)
    with pytest.raises(CurateError, match=r"veski\[web\]"):
        libraries(web(), ["html"])


def test_a_recipe_of_pages(tmp_path):
    from curate.documents import ingest
    from curate.store import Store

    (tmp_path / "a.warc.gz").write_bytes(members([*pages(4), record(answer(b"<html></html>"), number=9)]))
    block = {"read": "a.warc.gz", "type": "web", "web": {"extractor": "resiliparse", "time_limit": 20}}
    made = recipe(tmp_path, {"s": block})
    stage = ingest(Store(tmp_path / "store"), made, 1)["s"]
    assert pq.read_table(stage.shard_path("00000") / "documents.parquet").num_rows == 4
    assert pq.read_table(stage.shard_path("quarantine") / "quarantine.parquet").column("cause").to_pylist() == ["empty_text"]


MARKUP = st.lists(st.sampled_from(["<p>", "</p>", "<div", ">", "<table><tr><td>", "<math><mi>x</mi>", "</math>", "<script>", "<!--", "-->", "&amp;",
                                   "&#0;", "&#xD800;", "tekst ", "\x00", "<title>", "<html lang=et>", "<meta name=robots content=noai>", "\\(", "\\)",
                                   "<svg>", "<br>", "õ", "\ud800", "]]>", "<![CDATA[",
                                   "<?xml version='1.0' encoding='utf-16'?>"]), max_size=40)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(MARKUP, st.sampled_from(["trafilatura", "resiliparse", "whole"]), st.booleans())
def test_any_markup(parts, extractor, is_bytes):
    text = "".join(parts)
    row = {"html": text.encode("utf-8", "surrogatepass") if is_bytes else text}
    try:
        found = lane_of(web(extractor=extractor), 10**6)(row)
        found["text"].encode()
    except Refused as refused:
        assert refused.cause in CAUSES


@pytest.mark.parametrize("name", ["a.html", "deep/b.htm.gz", "a.warc.gz", "a.jsonl", "a.parquet"])
def test_inspect_source_understands_pages(tmp_path, name):
    from curate.sources.propose import propose

    path = tmp_path / "raw" / name
    path.parent.mkdir(parents=True)
    if name.endswith("warc.gz"):
        path.write_bytes(members(pages(3)))
    elif name.endswith("parquet"):
        pq.write_table(pa.table({"content": pa.array([html()] * 3, pa.binary())}), path)
    else:
        pack(path, lines({"raw_html": html().decode()}) if name.endswith("jsonl") else html())
    found = propose(tmp_path / "raw")
    assert found.type == "web"
    assert found.samples[0].startswith("Esimene lõik")
    assert found.source.get("fields", {}) == ({"html": "content"} if name.endswith("parquet") else {})
