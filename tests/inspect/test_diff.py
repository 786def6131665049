"""`curate diff` of the build of conftest and another over the same documents: w4 kept (3 words are enough), b2 dropped."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate import schema
from curate.errors import CurateError
from curate.inspect import diff, diff_parts, diff_screen
from curate.inspect.corpus import write_corpus
from curate.manifest import write_manifest
from curate.recipe import load_recipe
from curate.store import Store
from tests.inspect.commands import call
from tests.inspect.conftest import doc_id, publish, selection, stages_of

KEPT = {"keep": True, "reason": None, "failed_rules": [], "signal": None, "value": None, "bound": None}
DROPPED = {
    "keep": False, "reason": "min_n_words", "failed_rules": ["min_n_words"], "signal": "n_words", "value": 6.0, "bound": ">= 7",
}  # fmt: skip


def changed_decisions(stages, store, changes, without=()):
    """The decide stage with some rows changed: {name: {column: value}}, and some left out."""
    tables = {}
    for key in stages["decide"].keys:
        rows = pq.read_table(stages["decide"].shard_path(key) / "decisions.parquet").to_pylist()
        rows = [r | changes.get(r["id"], {}) for r in rows if r["id"] not in without]
        tables[key] = ({"decisions.parquet": pa.Table.from_pylist(rows, schema.DECISIONS)}, None)
    return publish(store.stage("decide", version=1, settings={"other": sorted(changes)}), tables)


@pytest.fixture(scope="module")
def two(small, tmp_path_factory):
    """A: the small build. B: min_n_words 3 for web; b2 dropped, so en trains b1 four times instead."""
    root = tmp_path_factory.mktemp("two")
    builds = {}
    for name in "ab":
        folder = root / name
        shutil.copytree(small.root, folder)
        build = folder / "build" / "small"
        recipe = build / "recipe.yaml"
        if name == "b":
            recipe.write_text(recipe.read_text().replace("{signal: n_words, min: 5", "{signal: n_words, min: 3"))
        recipe.write_bytes(load_recipe(recipe).canonical_yaml())
        stages = stages_of(Store(folder / "store"))
        manifest = json.loads(json.dumps(small.manifest))
        for component, licences, languages in zip(
            manifest["components"], ({"CC-BY-4.0": 30}, {"CC-BY-4.0": 20, "unknown": 20}), ({"et": 30}, {"en": 40}), strict=True
        ):
            component |= {"licences": licences, "languages": languages}
        if name == "b":
            stages["decide"] = changed_decisions(stages, Store(folder / "store"), {doc_id("w4"): KEPT, doc_id("b2"): DROPPED})
            rows = selection().to_pylist()
            rows = [r | {"id": doc_id("b1"), "pass": r["sequence"] - 3} if r["component"] == "en" else r for r in rows]
            pq.write_table(pa.Table.from_pylist(rows, schema.SELECTION), build / "selection.parquet")
            manifest["components"][1]["licences"] = {"CC-BY-4.0": 40}
            manifest["roots"] |= {"stream": "ff" * 32, "selection": "x"}
        write_manifest(build / "manifest.json", manifest)
        write_corpus(build, stages, manifest)
        builds[name] = build
    return SimpleNamespace(**builds, root=root)


def test_documents_and_tokens(two):
    data = diff.diff(two.a, two.b)
    assert data["moves"] == [
        {"source": "book", "a": "kept", "b": "min_n_words", "documents": 1}, {"source": "web", "a": "min_n_words", "b": "kept", "documents": 1},
    ]  # fmt: skip
    web, book = (data["sources"][name] for name in ("web", "book"))
    assert (web["a"]["kept"], web["b"]["kept"], book["a"]["kept"], book["b"]["kept"]) == (4, 5, 3, 2)
    assert (web["a"]["trained_tokens"], web["b"]["trained_tokens"], book["b"]["trained_tokens"]) == (30, 30, 40)
    en = data["components"]["en"]
    assert (en["a"]["documents"], en["b"]["documents"], en["a"]["tokens"], en["b"]["tokens"]) == (2, 1, 40, 40)
    assert data["phases"]["main"]["a"] == {"unit": "tokens", "realised": 70, "tokens": 70, "sequences": 7, "sequence_length": 16}
    # kept: w1 w2 w6 w7 (and w4) are Estonian under CC-BY, b1 under CC-BY, b2 and b3 say no licence
    assert {name: (of["a"]["kept"], of["b"]["kept"]) for name, of in data["languages"].items()} == {"et": (4, 5), "en": (3, 2)}
    assert {name: (of["a"]["kept"], of["b"]["kept"]) for name, of in data["licences"].items()} == {
        "CC-BY-4.0": (5, 6),
        "unknown": (2, 1),
    }
    assert {name: (of["a"]["trained_tokens"], of["b"]["trained_tokens"]) for name, of in data["licences"].items()} == {
        "CC-BY-4.0": (50, 70), "unknown": (20, 0)
    }  # fmt: skip
    assert [(r["source"], r["reason"], r["a"], r["b"]) for r in data["reasons"] if r["a"] != r["b"]] == [
        ("book", "min_n_words", 0, 1), ("web", "min_n_words", 2, 1)
    ]  # fmt: skip
    json.dumps(data)


def test_quality_of_kept_documents(two):
    # words of web: w1 6, w2 7, w6 5, w7 5 (23 / 4, between 5 and 6), with w4's 3 they are 26 / 5 and 5
    assert diff.diff(two.a, two.b)["quality"] == [
        {"source": "web", "signal": "n_words", "a": {"mean": 5.75, "median": 5.5}, "b": {"mean": 5.2, "median": 5.0}}
    ]


def test_samples_of_both_sides(two):
    changed = {(c["side"], c["a"], c["b"]): c["documents"] for c in diff.diff(two.a, two.b)["changed"]}
    assert list(changed) == [("dropped", "kept", "min_n_words"), ("kept", "min_n_words", "kept")]
    [b2], [w4] = changed.values()
    assert (b2["id"], b2["bound"], b2["source_id"]) == (doc_id("b2"), ">= 7", "b2") and "text" not in b2  # B's decision, no text
    assert (w4["id"], w4["bound"], w4["value"]) == (doc_id("w4"), ">= 5", 3.0)  # A's
    with_texts = diff.diff(two.a, two.b, 1)["changed"]
    assert [c["documents"][0]["text"] for c in with_texts] == ["a second english sentence stands here", "kolm sõna siin"]


def test_where_they_part(two):
    data = diff.diff(two.a, two.b)
    assert [(s["stage"], s["source"]) for s in data["parted"]] == [("decide", "")]
    assert {name: root["same"] for name, root in data["roots"].items()} == {
        "components": True, "selection": False, "order": True, "stream": False
    }  # fmt: skip
    assert data["recipe"] == [{"key": "rules.min_n_words.min", "a": 5.0, "b": 3.0}]
    text = diff_screen.render(data)
    assert "  rules.min_n_words.min: 5.0 -> 3.0" in text and "first parted at stage decide (11 rows)" in text
    assert "differ: selection, stream; equal: components, order" in text
    assert f"  book  {doc_id('b2')}  n_words 6, bound >= 7  b2" in text.splitlines()
    assert all(len(line) <= 100 for line in text.splitlines() if str(two.a) not in line)


def test_turned_round_it_says_the_opposite(two):
    there, back = diff.diff(two.a, two.b), diff.diff(two.b, two.a)
    for name in ("sources", "components", "languages", "licences"):
        assert {k: (v["a"], v["b"]) for k, v in there[name].items()} == {k: (v["b"], v["a"]) for k, v in back[name].items()}
    assert {(m["source"], m["a"], m["b"], m["documents"]) for m in there["moves"]} == {
        (m["source"], m["b"], m["a"], m["documents"]) for m in back["moves"]
    }


def test_a_build_and_itself(two):
    data = diff.diff(two.a, two.a)
    assert data["recipe"] == data["moves"] == data["changed"] == data["parted"] == []
    assert "the same mixture: every root is equal" in diff_screen.render(data) and "components" not in diff_screen.render(data)


def test_a_document_that_one_side_does_not_have(two, tmp_path):
    """b2 is not in the input of C: it is absent there, not dropped."""
    shutil.copytree(two.root / "a", tmp_path / "c")
    build, store = tmp_path / "c" / "build" / "small", Store(tmp_path / "c" / "store")
    stages = stages_of(store)
    stages["decide"] = changed_decisions(stages, store, {}, without=(doc_id("b2"),))
    write_corpus(build, stages, json.loads((build / "manifest.json").read_text()))
    data = diff.diff(two.a, build)
    assert data["moves"] == [{"source": "book", "a": "kept", "b": "absent", "documents": 1}]
    assert "newly dropped: in A kept, not in B" in diff_screen.render(data)
    assert diff.diff(build, two.a)["moves"] == [{"source": "book", "a": "absent", "b": "kept", "documents": 1}]


def test_without_a_mixture_kept_tokens_are_compared(two, tmp_path):
    shutil.copytree(two.root / "b", tmp_path / "c")
    build = tmp_path / "c" / "build" / "small"
    (build / "manifest.json").unlink()
    stages = stages_of(Store(tmp_path / "c" / "store"))
    write_corpus(build, stages, None)
    data = diff.diff(two.a, build)
    assert data["sources"]["web"]["b"]["trained_tokens"] is None and data["components"]["et"]["b"] is None
    text = diff_screen.render(data)
    assert "B has no mixture" in text and "kept tokens" in text
    aside = stages["decide"].path.rename(tmp_path / "aside")
    with pytest.raises(CurateError) as caught:
        diff.diff(two.a, build)
    assert "does not have the decisions" in caught.value.what
    aside.rename(stages["decide"].path)
    del stages["decide"]
    write_corpus(build, stages, None)
    with pytest.raises(CurateError) as caught:
        diff.diff(two.a, build)
    assert "stopped before" in caught.value.what


def test_keys():
    a = {"name": "x", "seed": 1, "roots": {"r": "/1"}, "sources": {"web": {"read": ["a"]}, "book": {}}, "rules": [
        {"name": "min_n_words", "min": 5, "sources": ["web"], "origin": "recipe"}, {"name": "min_n_words", "min": 9, "sources": ["book"]},
        {"name": "language", "is": ["et"]}], "cuts": [{"kind": "pii", "of": ["email"]}], "held_out": {"per": 1}}  # fmt: skip
    b = {"name": "y", "seed": 2, "roots": {"r": "/2"}, "sources": {"book": {}, "web": {"read": ["a", "b"]}}, "rules": [
        {"name": "min_n_words", "min": 5, "sources": ["web"], "origin": "preset"}, {"name": "min_n_words", "min": 8, "sources": ["book"]}],
        "cuts": [], "new": {"key": 3}}  # fmt: skip
    assert diff_parts.keys(a, b) == [
        {"key": "seed", "a": 1, "b": 2},
        {"key": "sources.web.read", "a": ["a"], "b": ["a", "b"]},
        {"key": "sources (order)", "a": ["web", "book"], "b": ["book", "web"]},
        {"key": "rules.min_n_words[book].min", "a": 9, "b": 8},
        {"key": "rules.language", "a": {"is": ["et"]}, "b": None},
        {"key": "cuts.pii", "a": {"kind": "pii", "of": ["email"]}, "b": None},
        {"key": "held_out", "a": {"per": 1}, "b": None},
        {"key": "new", "a": None, "b": {"key": 3}},
    ]
    assert diff_parts.keys(a, a) == []


def test_stages_side_by_side():
    def stage(name, source, root, family=""):
        return {"stage": name, "source": source, "family": family, "root": root, "fingerprint": "f" + root, "rows": 1}

    a = [
        stage("documents", "web", "1"),
        stage("signals", "web", "2", "length"),
        stage("decide", "", "3"),
        stage("tokens", "web", "4"),
    ]
    b = [stage("documents", "web", "1"), stage("documents", "new", "9"), stage("signals", "web", "2", "length"),
         stage("signals", "web", "5", "url"), stage("decide", "", "6"), stage("tokens", "web", "7")]  # fmt: skip
    assert [(s["stage"], s["source"], s["family"], s["same"]) for s in diff_parts.stages(a, b)] == [
        ("documents", "web", "", True), ("documents", "new", "", False), ("signals", "web", "length", True),
        ("signals", "web", "url", False), ("decide", "", "", False), ("tokens", "web", "", False),
    ]  # fmt: skip
    assert [(s["stage"], s["source"]) for s in diff_parts.parted(a, b)] == [
        ("documents", "new"),
        ("decide", ""),
        ("tokens", "web"),
    ]


def test_command(two, monkeypatch, capsys):
    code, out, _ = call(monkeypatch, capsys, "diff", two.a, two.b, "--texts", 1, "--json")
    assert code == 0 and json.loads(out)["moves"][0]["documents"] == 1
    code, out, said = call(monkeypatch, capsys, "diff", two.a, two.root)
    assert (code, out) == (2, "") and "not a build" in said


def figures(data, name):
    """{value: (A, B)} of one table of --by, each side its figures in the order of their names."""
    [table] = [by for by in data["by"] if by["name"] == name]
    sides = {row["value"]: (row["a"], row["b"]) for row in table["rows"]}
    return {value: tuple(side and [side[key] for key in sorted(side)] for side in pair) for value, pair in sides.items()}


def test_by_what_is_stored(two):
    """documents (trained on), kept, kept_tokens, tokens (to train); en trains b1 and b2 twice in A, b1 four times in B."""
    data = diff.compare_by(two.a, two.b, ["component", "phase", "source", "languages", "licence"])
    assert figures(data, "component") == {"et": ([3, 30], [3, 30]), "en": ([2, 40], [1, 40])}  # documents, tokens
    assert figures(data, "phase") == {"main": ([70, 7], [70, 7])}  # tokens, uses
    # B keeps w4, which it has not tokenized
    assert figures(data, "source") == {"web": ([3, 4, 50, 30], [3, 5, 50, 30]), "book": ([2, 3, 30, 40], [1, 2, 20, 40])}
    assert figures(data, "language") == {"et": ([3, 4, 50, 30], [3, 5, 50, 30]), "en": ([2, 3, 30, 40], [1, 2, 20, 40])}
    assert figures(data, "license") == {
        "CC-BY-4.0": ([4, 5, 60, 50], [4, 6, 60, 70]), "unknown": ([1, 2, 20, 20], [0, 1, 10, 0])
    }  # fmt: skip
    text = diff_screen.render_by(data)
    assert "  en                 2  ->  1  -1               40  ->  40" in text.splitlines()
    assert all(len(line) <= 100 for line in text.splitlines() if str(two.a) not in line)


def test_by_a_signal(two):
    """Words: w1 6, w2 7, w6 5, w7 5, w4 3; b1 b2 b3 6. w6 is held out, b3 over budget."""
    data = diff.compare_by(two.a, two.b, ["n_words=5,6", "n_words", "language", "cluster_size=2"])
    first, second = (by for by in data["by"] if by["name"] == "n_words")
    rows = {row["value"]: (row["a"], row["b"]) for row in first["rows"]}
    w67 = {"kept": 2, "kept_tokens": 30, "documents": 1, "tokens": 10}
    assert rows["below 5"] == (None, {"kept": 1, "kept_tokens": 0, "documents": 0, "tokens": 0})
    assert rows["5 to below 6"] == (w67, w67)
    assert rows["from 6"] == (
        {"kept": 5, "kept_tokens": 50, "documents": 4, "tokens": 60}, {"kept": 4, "kept_tokens": 40, "documents": 3, "tokens": 60}
    )  # fmt: skip
    assert second["bounds"] == [5.0, 6.0]  # of 5 5 6 6 6 6 7 the 2nd, 4th and 6th
    assert second["rows"] == first["rows"]
    sizes = {row["value"]: row["a"]["kept"] for row in data["by"][3]["rows"]}
    assert sizes == {"below 2": 6, "from 2": 1}  # w1 and its two duplicates, which are dropped


def test_by_nothing_that_is_there(two):
    for asked, what in (("n_wrds", "did you mean 'n_words'"), ("n_words=7,6", "smallest first"), ("component=3", "no bins")):
        with pytest.raises(CurateError) as caught:
            diff.compare_by(two.a, two.b, [asked])
        assert what in str(caught.value) + caught.value.next + caught.value.what


def test_command_by(two, monkeypatch, capsys):
    code, out, _ = call(monkeypatch, capsys, "diff", two.a, two.b, "--by", "component", "--by", "n_words=5", "--json")
    assert code == 0 and [by["name"] for by in json.loads(out)["by"]] == ["component", "n_words"]
