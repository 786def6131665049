"""The tables and views of corpus.duckdb, counted by hand in conftest's docstring."""

from __future__ import annotations

import shutil

import duckdb
import pytest

from curate.errors import CurateError
from curate.inspect import corpus as room
from curate.inspect.corpus import differences, open_corpus, rows, setup, stage_rows, write_corpus


@pytest.fixture
def corpus(small):
    with open_corpus(small.build) as connection:
        yield connection


def test_every_term_of_every_source(corpus):
    found = {row["source"]: row for row in rows(corpus, "FROM sources")}
    web = {"records": 8, "documents": 7, "quarantined": 1, "lost_bytes": 31, "repaired": 1, "kept": 4, "dropped": 3,
           "selected": 3, "held_out": 1, "over_budget": 0, "no_component": 0, "tokens": 50, "unknown_license_tokens": 0,
           "sums_close": True}  # fmt: skip
    book = {"records": 4, "documents": 4, "quarantined": 0, "kept": 3, "dropped": 1, "selected": 2, "held_out": 0,
            "over_budget": 1, "no_component": 0, "tokens": 30, "unknown_license_tokens": 20, "sums_close": True}  # fmt: skip
    assert {key: found["web"][key] for key in web} == web
    assert {key: found["book"][key] for key in book} == book
    assert [row["source"] for row in rows(corpus, "FROM sources")] == ["web", "book"]


def test_reasons_alone_and_together(corpus):
    found = [(r["source"], r["reason"], r["dropped"], r["failed"], r["alone"]) for r in rows(corpus, "FROM reasons")]
    assert found == [
        ("web", "min_n_words", 2, 2, 1), ("web", "near_duplicate", 1, 1, 1), ("web", "language", 0, 1, 0),
        ("book", "exact_duplicate", 1, 1, 1),
    ]  # fmt: skip


def test_components(corpus):
    et, en = rows(corpus, "FROM components")
    assert (et["component"], et["train_tokens"], et["documents"], et["unique_tokens"], et["epochs"]) == ("et", 30, 3, 40, 0.75)
    assert (et["held_out_documents"], et["held_out_tokens"], et["over_budget_tokens"]) == (1, 10, 10)
    assert (en["train_tokens"], en["documents"], en["unique_tokens"], en["max_copies"], en["over_budget_tokens"]) == (
        40,
        2,
        30,
        2,
        10,
    )


def test_domains(corpus):
    found = [(r["domain"], r["documents"], r["kept"], r["dropped"], r["kept_tokens"]) for r in rows(corpus, "FROM domains")]
    assert found == [("example.co.uk", 5, 2, 3, 30), ("err.ee", 2, 2, 0, 20)]
    ratios = [(r["dropped_ratio"], r["reasons"]) for r in rows(corpus, "FROM domains")]
    assert ratios == [(0.6, {"min_n_words": 0.4, "near_duplicate": 0.2}), (0.0, None)]


def test_views_join(corpus):
    assert rows(corpus, "SELECT count(*) AS n FROM documents") == [{"n": 11}]
    assert "text" not in [c[0] for c in corpus.execute("FROM documents").description]
    [row] = rows(corpus, "SELECT * FROM signals WHERE id = 'a1000000000000000000000000000000'")
    assert row["source"] == "web" and row["n_words"] == 6 and row["language"] == "et" and row["bullet_line_ratio"] == 0.0
    assert rows(corpus, "SELECT count(*) AS n FROM duplicates") == [{"n": 3}]
    assert rows(corpus, "SELECT cause, byte_offset FROM quarantine") == [{"cause": "broken_json", "byte_offset": 700}]


def test_views_answer_in_the_build_folder_and_after_set(small, monkeypatch, tmp_path):
    monkeypatch.chdir(small.build)
    with duckdb.connect("corpus.duckdb", read_only=True) as bare:
        assert bare.execute("SELECT count(*) FROM documents").fetchone() == (11,)
    monkeypatch.chdir(tmp_path)
    with duckdb.connect(str(small.build / "corpus.duckdb"), read_only=True) as bare:
        with pytest.raises(duckdb.IOException):
            bare.execute("SELECT count(*) FROM documents")
        bare.execute(setup(small.build))
        assert bare.execute("SELECT count(*) FROM selection").fetchone() == (8,)


def test_a_moved_build_still_answers(small, tmp_path):
    shutil.copytree(small.root, tmp_path / "elsewhere")
    with open_corpus(tmp_path / "elsewhere" / "build" / "small") as corpus:
        assert rows(corpus, "SELECT count(*) AS n FROM texts") == [{"n": 11}]


def test_a_file_the_released_command_line_opens(small):
    with duckdb.connect() as connection:
        connection.execute(f"ATTACH '{small.build / 'corpus.duckdb'}' AS c (READ_ONLY)")
        tags = connection.execute("SELECT tags FROM duckdb_databases() WHERE database_name = 'c'").fetchone()[0]
    assert tags["storage_version"].startswith("v1.5")


def test_without_a_mixture(small, tmp_path):
    stages = {key: value for key, value in small.stages.items() if key != "tokens"}
    write_corpus(tmp_path / "b", stages, None)
    with open_corpus(tmp_path / "b") as corpus:
        assert rows(corpus, "SELECT selected, sums_close FROM sources") == [{"selected": None, "sums_close": True}] * 2
        assert (
            rows(corpus, "FROM selection") == [] and rows(corpus, "FROM components") == [] and rows(corpus, "FROM tokens") == []
        )
    assert not list((tmp_path / "b").glob(".corpus*"))


def test_differences_none_then_a_changed_count(small, tmp_path):
    shutil.copytree(small.root, tmp_path / "copy")
    build = tmp_path / "copy" / "build" / "small"
    stages = stage_rows(small.build, small.stages)
    assert differences(build, stages, small.manifest) == []
    with duckdb.connect(str(build / "corpus.duckdb")) as connection:
        connection.execute("UPDATE sources SET kept = 5 WHERE source = 'web'")
    found = differences(build, stages, small.manifest)
    assert any("table sources, row" in what and "'kept': (5, 4)" in what for what in found)


def test_a_flipped_byte_anywhere_in_the_file_is_seen(small, tmp_path):
    build = tmp_path / "b"
    data = bytearray((small.build / "corpus.duckdb").read_bytes())
    for at in (10, 5000, 9000, 13000, len(data) // 2, len(data) - 5):
        shutil.rmtree(tmp_path, ignore_errors=True)
        shutil.copytree(small.root, tmp_path)
        build = tmp_path / "build" / "small"
        broken = bytearray(data)
        broken[at] ^= 1
        (build / "corpus.duckdb").write_bytes(broken)
        assert differences(build, stage_rows(small.build, small.stages), small.manifest) != [], at


def test_no_corpus_is_an_error_with_the_command_that_makes_it(tmp_path):
    with pytest.raises(CurateError, match="not a build") as caught:
        open_corpus(tmp_path)
    assert "curate build-mixture" in caught.value.next


def test_signals_of_two_families_are_one_row(small):
    found = stage_rows(small.build, small.stages)
    assert ("signals", "web", "length") in {(r["stage"], r["source"], r["family"]) for r in found}
    assert all(not r["path"].startswith("/") for r in found)
    assert {"sources", "reasons", "components", "component_phases", "phases", "stages", "domains"} <= set(room.STORED)


def test_components_by_phase(corpus):
    et, en = rows(corpus, "FROM component_phases")
    assert (et["phase"], et["component"], et["train_tokens"], et["documents"], et["examples"], et["last_pass"]) == (
        "main",
        "et",
        30,
        3,
        3,
        0,
    )
    assert (en["train_tokens"], en["documents"], en["examples"], en["last_pass"], en["max_epochs"]) == (40, 2, 4, 1, 2.0)
    [phase] = rows(corpus, "FROM phases")
    assert (phase["phase"], phase["realised"], phase["padding"], phase["unavoidable_padding"]) == ("main", 70, 42, 21)


def test_by_origin(corpus):
    """web w1 w2 w6 w7 are kept under CC-BY, book b1 too; b2 and b3 say no licence. b3 and w6 are not trained on."""
    kept = [(r["source"], r["language"], r["license"], r["documents"], r["tokens"]) for r in rows(corpus, "FROM kept_by_origin")]
    assert kept == [("book", "en", "CC-BY-4.0", 1, 10), ("book", "en", "unknown", 2, 20), ("web", "et", "CC-BY-4.0", 4, 50)]
    trained = [(r["component"], r["license"], r["documents"], r["tokens"]) for r in rows(corpus, "FROM trained_by_origin")]
    assert trained == [("en", "CC-BY-4.0", 1, 20), ("en", "unknown", 1, 20), ("et", "CC-BY-4.0", 3, 30)]
