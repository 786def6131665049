"""Screen, stats, samples, explain and sql over the build of conftest, whose figures are counted there by hand."""

from __future__ import annotations

import json
import shutil

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.errors import CurateError
from curate.inspect import explain, samples, screen, sql, stats, tables
from tests.inspect.conftest import TEXTS, doc_id


def plain(value):
    """Everything --json prints must be JSON."""
    return json.loads(json.dumps(value, default=str))


def test_screen_figures_and_text(small):
    data = screen.screen(small.build, {"measure": 61.0, "relate": 14.0, "tokenize": 19.0, "decide": 3.0, "mixture": 3.0}, 2)
    text = screen.render(data)
    lines = text.splitlines()
    assert lines[0] == "small  built in 1 m 40 s on 2 workers (measure 61 %, relate 14 %, tokenize 19 %, other 6.0 %)"
    assert [" ".join(line.split()) for line in lines[2:6]] == [
        "source read quarantined dropped kept largest reasons (share of read)",
        "web 8 1 3 4 min_n_words 25 %, near_duplicate 12 %", "book 4 0 1 3 exact_duplicate 25 %", "sums close for all 2 sources",
    ]  # fmt: skip
    assert [" ".join(line.split()) for line in lines[7:12]] == [
        "component requested to train share unique epochs cap", "et 30 30 43 % 40 0.75 1", "en 40 40 57 % 30 1.33 2",
        "total 70 70 70 7 sequences, padding 37.500 %",
        "of that padding 18.750 % no packing of these lengths can avoid",
    ]  # fmt: skip
    assert "! web: min_n_words (>= 5) alone removes 1 document that no other rule does" in lines
    assert "held out 10 tokens   unknown licence 20 tokens" in lines
    assert f"manifest {small.build}/manifest.json  stream root 5c1e90ab  token shards 0 B" in lines
    assert all(len(line) <= 100 for line in lines if str(small.build) not in line)
    assert plain(data)["sums_close"] is True and "\x1b" not in text and "\x1b" in screen.render(data, colour=True)


def test_screen_never_claims_what_does_not_close(small, tmp_path):
    shutil.copytree(small.root, tmp_path / "copy")
    build = tmp_path / "copy" / "build" / "small"
    with duckdb.connect(str(build / "corpus.duckdb")) as connection:
        connection.execute("UPDATE sources SET sums_close = false WHERE source = 'book'")
    text = screen.render(screen.screen(build))
    assert "SUMS DO NOT CLOSE for book" in text and "sums close for" not in text


def test_screen_names_only_commands_that_exist(small):
    from typer.main import get_command

    from curate.cli import app

    known = set(get_command(app).commands)
    for command in screen.screen(small.build)["next"]:
        assert command.split()[0] == "curate" and command.split()[1] in known


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0.4 s"), (12.3, "12 s"), (100, "1 m 40 s"), (11520, "3 h 12 m")])
def test_durations(seconds, text):
    assert screen.duration(seconds) == text


def test_stats(small):
    data = stats.stats(small.build)
    words = next(s for s in data["signals"] if s["source"] == "web" and s["signal"] == "n_words")
    # web has 6 7 2 3 6 5 5 words: sorted 2 3 5 5 6 6 7
    assert (words["min"], words["p25"], words["p50"], words["p75"], words["max"]) == (2, 3, 5, 6, 7)
    assert next(s for s in data["signals"] if s["source"] == "web" and s["signal"] == "language")["values"] == {"et": 6, "en": 1}
    assert data["together"] == [{"source": "web", "rule": "language", "other": "min_n_words", "documents": 1}]
    text = stats.render(data)
    assert "sums close for all 2 sources" in text and "web  language: et 86 %, en 14 %" in text
    assert max(map(len, text.splitlines())) <= 100
    plain(data)


def test_samples_of_a_rule_with_both_sides_of_its_bound(small):
    data = samples.samples(small.build, "min_n_words", n=2)
    assert data["total"] == 2 and {d["text"] for d in data["samples"]} == {TEXTS["w3"], TEXTS["w4"]}
    [near] = data["near_bound"]
    # w4 fails this rule alone, with 3 words; w3 fails another one too. Kept: w6 and w7 have 5 words, w1 6, w2 7.
    assert [(d["id"], d["value"]) for d in near["dropped"]] == [(doc_id("w4"), 3.0)]
    assert [(d["id"], d["value"]) for d in near["kept"]] == [(doc_id("w6"), 5.0), (doc_id("w7"), 5.0)]
    text = samples.render(data)
    assert "n_words 2, bound >= 5; also failed: language" in text and "n_words 3, bound >= 5\n" in text
    assert "web: nearest to the bound min_n_words (n_words >= 5)" in text
    plain(data)


def test_samples_are_drawn_by_seed(small):
    first = [d["id"] for d in samples.samples(small.build, None, n=4, seed=1)["samples"]]
    assert first == [d["id"] for d in samples.samples(small.build, None, n=4, seed=1)["samples"]]
    assert len({tuple(d["id"] for d in samples.samples(small.build, None, n=4, seed=s)["samples"]) for s in range(5)}) > 1


def test_a_duplicate_stands_beside_its_witness(small):
    data = samples.samples(small.build, "near_duplicate")
    [found] = data["samples"]
    witness = {
        "id": doc_id("w1"),
        "source": "web",
        "text": TEXTS["w1"],
        "file": "web.jsonl",
        "byte_offset": 0,
        "standing": "kept",
    }
    assert found["witness"] == witness and found["similarity"] == 0.8
    text = samples.render(data)
    assert "similarity 0.8000" in text and "[seitse]" in text and "[kuus]" in text


def test_an_unknown_reason_names_the_nearest(small):
    with pytest.raises(CurateError) as caught:
        samples.samples(small.build, "min_words")
    assert "min_n_words" in caught.value.allowed
    with pytest.raises(CurateError) as caught:
        samples.samples(small.build, "near_duplicate", source="wep")
    assert caught.value.allowed == "web"


def test_explain_a_kept_document(small):
    data = explain.explain(small.build, "a7")
    text = explain.render(data)
    assert data["document"]["id"] == doc_id("w7") and data["tokens"]["n_tokens"] == 20
    assert "from      web.jsonl, byte 300" in text and "decision  kept" in text
    assert "tokens    20, trained on 100 %" in text
    [use] = data["uses"]
    assert (use["component"], use["pass"], use["sequence"], use["position"], use["stream_index"]) == ("et", 0, 2, 0, 2)
    assert [(r["rule"], r["passes"]) for s in data["signals"] for r in s["rules"]] == [("min_n_words", True), ("language", True)]
    plain(data)


def test_explain_a_dropped_document(small):
    text = explain.render(explain.explain(small.build, doc_id("w3")))
    assert "dropped for min_n_words  n_words 2, bound >= 5; also failed: language" in text
    assert [" ".join(line.split()) for line in text.splitlines() if line.startswith("  FAILS")] == [
        "FAILS n_words 2 >= 5 min_n_words recipe", "FAILS language en in et language recipe",
    ]  # fmt: skip
    assert "tokens    none: only kept documents are tokenized" in text


def test_explain_a_duplicate_and_a_source_without_rules(small):
    text = explain.render(explain.explain(small.build, "b4"))
    assert (
        "no rule judges it" in text
        and "one of 3 in cluster" in text
        and f"witness   similarity 1.0000 to web {doc_id('w1')}" in text
    )
    assert "license   unknown" in text


@pytest.mark.parametrize(
    ("prefix", "what"), [("a", "more than one"), ("c", "no document"), ("xyz", "not an id"), ("' OR 1=1", "not an id")]
)
def test_explain_says_what_is_wrong_with_an_id(small, prefix, what):
    with pytest.raises(CurateError, match=what):
        explain.explain(small.build, prefix)


def test_sql_rows_table_and_csv(small):
    data = sql.sql(small.build, "select source, reason, count(*) as n from decisions where not keep group by all order by all")
    assert data["rows"] == [["book", "exact_duplicate", 1], ["web", "min_n_words", 2], ["web", "near_duplicate", 1]]
    assert sql.render(data).splitlines()[2] == "book    exact_duplicate  1"
    assert sql.render_csv(data) == "source,reason,n\nbook,exact_duplicate,1\nweb,min_n_words,2\nweb,near_duplicate,1"


def test_sql_wrong_names(small):
    for query, close in [
        ("select reson from decisions", "'reason'"), ("select d.reson from decisions d", "'reason'"),
        ("from decision", "'decisions'"),
    ]:  # fmt: skip
        with pytest.raises(CurateError) as caught:
            sql.sql(small.build, query)
        assert close in caught.value.next, query
    with pytest.raises(CurateError, match="syntax error"):
        sql.sql(small.build, "selekt 1")
    with pytest.raises(CurateError):
        sql.sql(small.build, "delete from sources")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1.000 k"),
        (45210, "45.21 k"),
        (8_600_000_000, "8.600 B"),
        (7_310_000_000, "7.310 B"),
        (None, "-"),
    ],
)
def test_short_numbers(value, text):
    assert tables.short(value) == text


def test_bars_and_shares():
    assert (
        tables.bar(1, 2, 4) == "██" and tables.bar(0, 2) == "" and tables.bar(1, 10**9) == "▏" and tables.bar(5, 2, 4) == "████"
    )
    assert [tables.percent(n, 1000) for n in (0, 0.4, 61, 310)] == ["0 %", "0.04 %", "6.1 %", "31 %"] and tables.percent(
        1, 0
    ) == "-"


def test_changed_words_are_marked():
    assert tables.changed_words("a b c d", "a x c d e") == ("a [b] c d", "a [x] c d [e]")
    same = " ".join(f"w{i}" for i in range(40))
    left, right = tables.changed_words(same + " x", same + " y")
    assert left.count(" ") == 15 and "…" in left and left.endswith("[x]") and right.endswith("[y]")
    far = " ".join(f"w{i}" for i in range(3000))
    assert tables.changed_words(f"{far} x {far}", f"{far} y {far}")[1].split()[15] == "[y]"


def test_items_flow_without_breaking():
    lines = tables.flowed(["a" * 60, "b" * 30, "c" * 50], "next: ", "      ")
    assert lines == ["next: " + "a" * 60 + "   " + "b" * 30, "      " + "c" * 50]


@given(st.text(), st.integers(2, 60), st.integers(1, 5))
def test_wrapped_text_stays_in_its_column(text, width, max_lines):
    lines = tables.wrapped(text, width, max_lines)
    assert len(lines) <= max_lines and all(len(line) <= width for line in lines)
    assert not any(ord(char) < 32 or ord(char) == 127 for line in lines for char in line)


def test_stats_says_what_the_stages_take_on_disk(small):
    found = {one["stage"]: one for one in stats.stats(small.build)["disk"]}
    stage = small.stages["clusters"]
    expected = sum(p.stat().st_size for key in stage.keys for p in stage.shard_path(key).iterdir() if p.name != "shard.json")
    assert found["clusters"] == {
        "stage": "clusters",
        "bytes": expected,
        "per_text_byte": None,
    }  # this build counts no bytes of text
    assert next(iter(found)) == "documents"
