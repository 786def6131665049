"""Components as queries, from the command line: two bins of length and a group over the quickstart's texts, every document accounted for."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate import schema
from curate.manifest import read_manifest
from curate.membership import membership
from tests import command
from tests.mixture import verified

RECIPE = f"""
kind: cpt
name: bins
roots: {{raw: {command.TOP}/recipes/quickstart/raw}}
tokenizer: {{model: {command.TOP}/recipes/quickstart/tokenizer}}
seed: 7
sources:
  et_books: {{read: "{{raw}}/et_books.parquet", language: et, license: {{declared: CC0-1.0}}}}
  et_web: {{read: "{{raw}}/et_web.jsonl.gz", language: et, license: {{declared: CC0-1.0}}}}
  en: {{read: "{{raw}}/en_replay.jsonl.zst", language: en, license: {{declared: CC0-1.0}}, fields: {{text: page.body, source_id: number}}}}
  math: {{read: "{{raw}}/math.jsonl", type: math, language: en, license: {{declared: CC0-1.0}}}}
language_id: [{{backend: py3langid, candidates: [et, en, fi, lv, ru]}}]
rules: [{{signal: n_words, min: 20}}]
held_out: {{per_component: 500 tokens, at_most: 5 % of tokens}}
mixture:
  total: 20k tokens
  sequence_length: 512
  on_shortage: shrink_total
  components:
    long:
      from: [et_web, et_books]
      where: {{n_words: {{min: 300}}, language: {{equals: et}}}}
      role: target
      budget: 40 % of tokens
      max_epochs: 2
    short:
      from: [et_web]
      where: {{n_words: {{min: 100, below: 300}}, cluster_size: {{max: 1}}, n_emails: {{max: 0}}}}
      role: target
      budget: 30 % of tokens
    english:
      budget: 30 % of tokens
      components:
        essays: {{from: [en, math], where: {{n_words: {{min: 110}}}}, role: replay, budget: 50 % of tokens}}
        math: {{from: [math], role: math, budget: 50 % of tokens}}
"""


# --- by hand --------------------------------------------------------------------------------------------------------------

SMALL = """
mixture:
  total: 130 tokens
  sequence_length: 64
  components:
    long: {from: [web, spare], where: {n_bytes: {min: 20}}, role: target, budget: 100 tokens}
    short: {from: [web], where: {n_bytes: {below: 15}}, role: target, budget: 10 tokens}
    chat: {from: [chat], role: instruction, budget: 20 tokens}
"""


def test_members_of_sources_with_conditions_by_hand(tmp_path):
    where = verified.build(tmp_path, SMALL)
    table = pq.read_table(where.build / "members.parquet")
    assert table.schema.equals(schema.MEMBERS)
    sizes = {(source, verified.doc_id(source, i)): len(verified.document(source, i)["text"].encode())
             for source in ("web", "spare") for i in range(verified.SIZES[source][0])}  # fmt: skip
    rows = table.to_pylist()
    assert [(row["source"], row["id"]) for row in rows] == sorted(
        ((r["source"], r["id"]) for r in rows), key=lambda k: (k[0] != "web", k[1])
    )
    for row in rows:
        n = sizes[row["source"], row["id"]]
        assert row["components"] == (["long"] if n >= 20 else ["short"] if n < 15 and row["source"] == "web" else [])
    assert {tuple(row["components"]) for row in rows} == {("long",), ("short",), ()}
    assert len(rows) == 19 + 3  # web's third document is dropped
    assert verified.check(where).ok, verified.check(where).text()
    listed = [output["path"] for output in read_manifest(where.build / "manifest.json")["outputs"]]
    assert "members.parquet" in listed
    plain = SMALL.replace("where: {n_bytes: {min: 20}}, ", "").replace("from: [web, spare]", "from: [spare]").replace(
        "where: {n_bytes: {below: 15}}, ", "").replace("budget: 100 tokens", "budget: 10 tokens").replace("total: 130", "total: 40")  # fmt: skip
    verified.build(tmp_path, plain)
    assert not (where.build / "members.parquet").exists()


def test_a_build_that_puts_a_document_elsewhere_is_found(tmp_path, monkeypatch):
    """All sums of this build close and every file is as it was written; but one document of `short` was trained on as one of `long`."""

    def other(recipe, folders):
        found = membership(recipe, folders)

        def pattern(source, key):
            own = found.pattern(source, key).copy()
            short = [i for i, pattern in enumerate(found.patterns) if pattern == ((1, -1),)]
            if (source, key) == ("web", "00000") and short:
                own[np.flatnonzero(own == short[0])[-1]] = found.patterns.index(((0, -1),))
            return own

        return replace(found, pattern=pattern)

    monkeypatch.setattr(verified, "membership", other)
    where = verified.build(tmp_path, SMALL)
    monkeypatch.undo()
    said = verified.check(where).text()
    assert "components: ['long'] stated, ['short'] counted" in said and "members.parquet [row" in said
    assert "long: unique_tokens" in said


# --- from the command line, on the quickstart's texts -------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("members")
    (root / "recipe.yaml").write_text(RECIPE)
    done = command.build(root / "recipe.yaml", root)
    return SimpleNamespace(root=root, build=root / "build", screen=done.stdout)


@pytest.fixture(scope="module")
def documents(made) -> dict[str, dict]:
    """Kept documents by id, with the values that the conditions name, read from the stages."""
    store = made.root / "store"
    found: dict[str, dict] = {}
    for pattern in ("documents/*/*/documents", "decide/*/*/decisions", "clusters/*/*/duplicates", "tokens/*/*/tokens",
                    *(f"signals/*/*/{family}" for family in ("length", "pii", "language"))):  # fmt: skip
        for path in sorted(store.glob(f"{pattern}.parquet")):
            for row in pq.read_table(path).to_pylist():
                found.setdefault(row["id"], {}).update(row)
    return {id_: row for id_, row in found.items() if row["keep"]}


def matches(row: dict) -> list[str]:
    """The recipe's conditions, written again."""
    long = row["source"] in ("et_web", "et_books") and row["n_words"] >= 300 and row["signal_language"] == "et"
    short = row["source"] == "et_web" and 100 <= row["n_words"] < 300 and row["cluster_size"] <= 1 and row["n_emails"] == 0
    essays = row["source"] in ("en", "math") and row["n_words"] >= 110
    asked = {"long": long, "short": short, "english/essays": essays, "english/math": row["source"] == "math"}
    return [name for name, holds in asked.items() if holds]


def asked(made, query: str) -> list[dict]:
    return json.loads(command.curate("sql", made.build, query, "--json").stdout)


@pytest.mark.slow
def test_every_document_is_where_its_values_put_it(made, documents):
    languages = {row["id"]: row["language"] for row in asked(made, "select id, language from signals")}
    right = {id_: matches({**row, "signal_language": languages[id_]}) for id_, row in documents.items()}
    stated = {row["id"]: row["components"] for row in asked(made, "from members")}
    assert stated == right
    assert {tuple(of) for of in right.values()} == {
        (), ("long",), ("short",), ("english/essays",), ("english/math",), ("english/essays", "english/math")
    }  # fmt: skip
    selection = pq.read_table(made.build / "selection.parquet").to_pylist()
    assert all(right[row["id"]][0] == row["component"] for row in selection)
    n_tokens: Counter = Counter()
    for id_, of in right.items():
        n_tokens[of[0] if of else ""] += documents[id_]["n_tokens"]
    held = {row["id"]: documents[row["id"]]["n_tokens"] for row in selection if row["split"] == "held_out"}
    manifest = read_manifest(made.build / "manifest.json")
    for component in manifest["components"]:
        mine = sum(n for id_, n in held.items() if right[id_][0] == component["name"])
        assert component["unique_tokens"] == n_tokens[component["name"]] - mine
    assert [c["group"] for c in manifest["components"]] == ["", "", "english", "english"]


@pytest.mark.slow
def test_kept_is_selected_and_over_budget_and_held_out_and_in_no_component(made, documents):
    left_out = Counter(row["source"] for row in asked(made, "select source from members where len(components) = 0"))
    sources = {row["source"]: row for row in asked(made, "from sources")}
    assert all(row["sums_close"] for row in sources.values())
    assert {name: row["no_component"] for name, row in sources.items()} == {name: left_out[name] for name in sources}
    assert 0 < left_out["et_books"] < 56 and left_out["et_web"] > 0 and left_out["en"] == left_out["math"] == 0
    kept = Counter(row["source"] for row in documents.values())
    assert f"et_web: {left_out['et_web']} of {kept['et_web']} documents kept are in no component" in made.screen
    over = {row["component"]: row for row in asked(made, "from components")}
    for name, row in over.items():
        assert row["over_budget_tokens"] == row["unique_tokens"] - row["train_tokens"], name  # less than an epoch of each


@pytest.mark.slow
def test_what_is_said_of_one_document(made, documents):
    [out] = asked(made, "select id from members where source = 'et_web' and len(components) = 0 limit 1")
    [both] = asked(made, "select id from members where len(components) = 2 limit 1")
    assert "uses      none: in no component" in command.curate("explain", made.build, out["id"]).stdout
    said = command.curate("when", made.build, out["id"])
    assert json.loads(command.curate("when", made.build, out["id"], "--json").stdout)["fate"] == "no_component", said.stderr
    assert (
        "component english/essays, english/math, in each phase the first"
        in command.curate("explain", made.build, both["id"]).stdout
    )
    of = json.loads(command.curate("when", made.build, both["id"], "--json").stdout)
    assert of["component"] == "english/essays"
    assert "english/essays" in command.curate("stats", made.build).stdout


@pytest.mark.slow
def test_verify_finds_a_document_in_another_component(made):
    assert command.curate("verify", made.build).returncode == 0
    path = made.build / "members.parquet"
    before = path.read_bytes()
    rows = pq.read_table(path)
    at = rows["components"].to_pylist().index(["short"])
    moved = [["long"] if i == at else of for i, of in enumerate(rows["components"].to_pylist())]
    pq.write_table(rows.set_column(2, "components", pa.array(moved, rows.schema.types[2])), path)
    said = command.curate("verify", made.build)
    path.write_bytes(before)
    assert said.returncode == 1
    assert "members.parquet: " in said.stdout


@pytest.mark.slow
def test_another_bound_redoes_nothing_but_the_mixture(made):
    stages = sorted(made.root.glob("store/*/*/stage.json"))
    times = {path: path.stat().st_mtime_ns for path in stages}
    key = "mixture.components.short.where.n_words.min"
    data = json.loads(command.curate("what-if", made.build, f"{key}=150", "--json").stdout)
    before, after = data["components"]["before"], data["components"]["after"]
    n = {bound: asked(made, f"""select count(*) as n from members join signals using (source, id)
         where list_contains(components, 'short') and n_words >= {bound}""")[0]["n"] for bound in (100, 150)}  # fmt: skip
    assert (before["short"]["documents"], after["short"]["documents"]) == (n[100], n[150]) and n[150] < n[100]
    assert before["long"] == after["long"] and data["moves"] == []
    assert data["feasible"] is True and data["yaml"][-1].strip() == "min: 150"
    short = command.curate("what-if", made.build, f"{key}=299", "mixture.on_shortage=fail").stdout
    assert "not feasible" in short and "short asks 6,000 tokens" in short
    again = command.build(made.root / "recipe.yaml", made.root, "--set", f"{key}=150")
    assert "et_web" in again.stdout
    assert {path: path.stat().st_mtime_ns for path in sorted(made.root.glob("store/*/*/stage.json"))} == times
    assert command.curate("verify", made.build).returncode == 0
