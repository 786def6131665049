"""The quickstart build against planted.yaml: every planted record meets the mechanism it was planted for, and nothing else is dropped."""

from __future__ import annotations

import io
import json
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
import zstandard

from tests import command
from tests.command import curate

TOP = Path(__file__).resolve().parents[2]
QUICKSTART = TOP / "recipes" / "quickstart"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    top = tmp_path_factory.mktemp("quickstart")
    return top, command.build(TOP / "recipes" / "quickstart.yaml", top)


@pytest.fixture(scope="module")
def documents(built) -> list[dict]:
    """Documents with their decisions, one dict each."""
    store = built[0] / "store"
    columns = ["id", "source", "source_id", "text", "is_repaired"]
    texts = pa.concat_tables(pq.read_table(p, columns=columns) for p in sorted(store.glob("documents/*/*/documents.parquet")))
    decisions = pa.concat_tables(pq.read_table(p) for p in sorted(store.glob("decide/*/*/decisions.parquet")))
    of = {row["id"]: row for row in decisions.to_pylist()}
    return [{**row, **of[row["id"]]} for row in texts.to_pylist()]


@pytest.fixture(scope="module")
def planted() -> dict:
    return yaml.safe_load((QUICKSTART / "planted.yaml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def find(documents):
    """A member of planted.yaml -> its document: by id, by the record's number, or by the text where a source has no ids."""
    by_id = {row["source_id"]: row for row in documents if row["source_id"]}
    by_text = {row["text"]: row for row in documents if row["source"] == "et_books"}
    books = pq.read_table(QUICKSTART / "raw" / "et_books.parquet").to_pylist()
    stream = zstandard.ZstdDecompressor().stream_reader(open(QUICKSTART / "raw" / "en_replay.jsonl.zst", "rb"))
    english = [json.loads(line)["number"] for line in io.TextIOWrapper(stream, encoding="utf-8", newline="\n")]

    def found(member: dict) -> dict:
        if "id" in member:
            return by_id[member["id"]]
        if member["file"].startswith("en_replay"):
            return by_id[str(english[member["record"]])]
        return by_text[books[member["record"]]["text"]]

    return found


def test_planted_records_meet_their_mechanism(planted, find):
    wrong = []
    for record in planted["records"]:
        row = find(record)
        missing = set(record.get("failed_rules", [])) - set(row["failed_rules"])
        unexpected = not record.get("failed_rules") and row["failed_rules"]
        if missing or unexpected or bool(record.get("is_repaired")) != row["is_repaired"]:
            wrong.append((record, row["failed_rules"], row["is_repaired"]))
    assert wrong == []


def test_of_every_planted_group_the_right_member_stays(planted, find):
    wrong = []
    for group in planted["groups"]:
        members = [find(member) for member in group["members"]]
        kept = [i for i, row in enumerate(members) if row["keep"]]
        ids = {row["id"] for row in members if row["keep"]}
        if group["how"] == "chain":
            is_right = kept == [0, len(members) - 1]
        else:
            is_right = len(kept) == 1 and group["kept"] in (None, kept[0])
        if not is_right or any(
            row["reason"] != group["kind"] or row["witness_id"] not in ids for row in members if not row["keep"]
        ):
            wrong.append((group, kept, [(row["reason"], row["failed_rules"]) for row in members]))
    assert wrong == []


def test_nothing_else_is_dropped(planted, find, documents):
    known = {find(record)["id"] for record in planted["records"]}
    known |= {find(member)["id"] for group in planted["groups"] for member in group["members"]}
    others = [row for row in documents if not row["keep"] and row["source"] != "code" and row["id"] not in known]
    assert [(row["source_id"], row["reason"], row["value"]) for row in others] == []


def test_quarantine_holds_the_broken_records(planted, built):
    rows = pa.concat_tables(
        pq.read_table(p) for p in sorted(built[0].glob("store/documents/*/quarantine/quarantine.parquet"))
    ).to_pylist()
    rows = [row for row in rows if row["source"] == "et_web"]
    want = Counter((Path(q["file"]).name, q["cause"]) for q in planted["quarantine"])
    assert Counter((Path(row["file"]).name, row["cause"]) for row in rows) == want
    offsets = {(Path(q["file"]).name, q["byte_offset"]) for q in planted["quarantine"] if "byte_offset" in q}
    assert offsets <= {(Path(row["file"]).name, row["byte_offset"]) for row in rows}


def test_every_command_a_newcomer_is_told_to_run(built):
    top, done = built
    build = str(top / "build")
    assert "sums close for all 6 sources" in done.stdout
    found = curate("sql", build, "select id from decisions where reason = 'near_duplicate' order by id limit 1", "--json")
    some_id = json.loads(found.stdout)[0]["id"]
    for args, said in (
        (("stats", build), "sums close"),
        (("samples", build, "--reason", "near_duplicate"), "similarity"),
        (("samples", build, "--reason", "min_n_non_symbol_words"), "nearest to the bound"),
        (("explain", build, some_id), "near_duplicate"),
        (("sql", build, "select source, reason, count(*) from decisions group by all"), "et_web"),
        (("what-if", build, "min_n_non_symbol_words=30"), "to keep it, in the recipe"),
        (("verify", build), "everything counts up"),
        (("gc", "--store", str(top / "store"), "--builds", str(top)), "stages are in use"),
    ):
        shown = curate(*args)
        assert shown.returncode == 0 and said in shown.stdout, (args, shown.stdout[-2000:], shown.stderr[-2000:])


def test_bad_input_is_one_message_and_exit_code_2(built, tmp_path):
    build = str(built[0] / "build")
    for args, said in (
        (("stats", str(tmp_path)), "not a build"),
        (("samples", build, "--reason", "near_duplicates"), "near_duplicate"),
        (("sql", build, "select sorce from decisions"), "source"),
        (("explain", build, "ffffffffffff"), "no document"),
        (("build-mixture", "recipes/nothing.yaml"), "no such file"),
        (("build-mixture", "recipes/quickstart.yaml", "--set", "mixture.total=5"), "needs its unit"),
        (("build-mixture", "recipes/quickstart.yaml", "--set", "mixture.total=5M tokens"), "mixture.total"),
        (("build-mixture", "recipes/quickstart.yaml", "--until", "meazure"), "no such stage"),
        (("what-if", build, "min_n_wrods=3"), "min_n_words"),
    ):
        shown = curate(*args)
        assert shown.returncode == 2, (args, shown.stdout, shown.stderr)
        assert said in shown.stderr and "Traceback" not in shown.stderr, (args, shown.stderr)


def test_infeasible_names_the_change_that_helps_and_leaves_the_statistics(built, tmp_path):
    top, _ = built
    out = str(tmp_path / "build")
    args = ("build-mixture", "recipes/quickstart.yaml", "--out", out, "--store", str(top / "store"))
    short = curate(*args, "--set", "mixture.components.et.max_epochs=1")
    assert short.returncode == 2 and "et" in short.stderr + short.stdout
    assert not (tmp_path / "build" / "manifest.json").exists()
    assert curate("stats", out).returncode == 0


def test_plan_says_what_the_build_states_and_what_another_mixture_would(built):
    """From the manifest; over the documents, which are packed to see; of the recipe, over the build. Nothing is written."""
    top, _ = built
    build = str(top / "build")
    before = sorted((p, p.stat().st_mtime_ns) for p in top.rglob("*"))
    manifest = json.loads((top / "build" / "manifest.json").read_text())
    seen = [
        json.loads(curate("plan", *args, "--json", "--global-batch", "8 sequences").stdout)
        for args in (
            (build,),
            (build, "--set", "mixture.components.et.max_epochs=4"),
            ("recipes/quickstart.yaml", "--build", build),
        )
    ]
    for data in seen:
        assert data["exact"] and data["feasible"] and data["phases"] == seen[0]["phases"]
        assert [c["realised"] for c in data["components"]] == [c["phases"][0]["realised"] for c in manifest["components"]]
        assert [c["unique"] for c in data["components"]] == [c["unique_tokens"] for c in manifest["components"]]
        assert data["phases"][0]["sequences"] == manifest["phases"][0]["order"]["n_sequences"]
        assert data["phases"][0]["steps"] == -(-data["phases"][0]["sequences"] // 8)
    short = curate("plan", build, "--set", "mixture.components.et.max_epochs=2")
    lines = short.stdout.splitlines()
    (most,) = [line.strip() for line in lines if line.startswith("      et: {max_epochs")]
    assert short.returncode == 1 and "et asks 153,000 tokens" in short.stdout
    helped = curate("plan", build, "--set", f"mixture.components.et.max_epochs={most[len('et: {max_epochs: ') : -1]}")
    assert helped.returncode == 0, helped.stdout
    assert sorted((p, p.stat().st_mtime_ns) for p in top.rglob("*")) == before
    for args, said in (
        ((build, "--set", "min_n_words=3"), "curate what-if"), (("recipes/minimal.yaml",), "--stats FILE"),
        ((build, "--set", "mixture.components.et.budgit=3"), "did you mean 'budget'"),
    ):  # fmt: skip
        shown = curate("plan", *args)
        assert shown.returncode == 2 and said in shown.stderr and "Traceback" not in shown.stderr, shown.stderr
