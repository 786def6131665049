"""`curate remove` and remove: in a recipe: who goes, who comes back for it, what like them remains, and nothing else changes."""

from __future__ import annotations

import json
import random
from pathlib import Path
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest
import yaml

from curate import cli
from curate.errors import CurateError
from curate.inspect import corpus, explain, removal
from curate.manifest import read_manifest
from curate.recipe import load_recipe
from curate.recipe.remove import read_names
from curate.store import read_json
from mixture import streams
from tests import made


def edited(base: str, n: int) -> str:
    """`base` with n words replaced, evenly."""
    words = base.split()
    for i in range(n):
        words[(2 * i + 1) * len(words) // (2 * n)] = f"uus{i}"
    return " ".join(words)


BASE = {i: made.text(120, f"base{i}") for i in range(12)}
# w0 to w11 stand alone but: w12 is nearly w0 and shorter (dropped for it), w13 is like w1 at about 0.6 (kept: the bound is 0.75)
WEB = [*BASE.values(), " ".join(edited(BASE[0], 2).split()[:-3]), edited(BASE[1], 6)]


def make(top: Path) -> SimpleNamespace:
    made.write_source(top / "raw", "web", [{"id": f"w{i}", "text": t, "url": f"https://a.ee/{i}"} for i, t in enumerate(WEB)])
    made.write_source(top / "raw", "book", [{"id": f"b{i}", "text": made.text(60, f"book{i}")} for i in range(10)])
    path = made.write_recipe(
        top,
        sources={
            "web": {"read": "raw/web.jsonl", "language": "et", "license": {"declared": "MIT"}},
            "book": {"read": "raw/book.jsonl", "language": "et", "license": {"declared": "MIT"}},
        },
        rules=[{"signal": "n_words", "min": 20}],
        mixture={
            "total": "24k tokens",
            "sequence_length": 512,
            "components": {
                "web": {"from": ["web"], "role": "target", "budget": "20k tokens", "max_epochs": 4},
                "book": {"from": ["book"], "role": "other", "budget": "4000 tokens", "max_epochs": 4},
            },
        },
    )
    return made.build(path)


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> SimpleNamespace:
    return make(tmp_path_factory.mktemp("remove"))


def run(*args: object) -> int:
    """The command in this process; its exit code."""
    try:
        cli.app([str(arg) for arg in args], standalone_mode=False)
    except SystemExit as stopped:
        return int(stopped.code or 0)
    return 0


def removed(built, tmp_path: Path, *names: str, **options: object) -> tuple[int, Path]:
    (tmp_path / "ids.txt").write_text("# asked for on Monday\n\n" + "\n".join(names) + "\n")
    more = [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", value) if part is not None]
    return run("remove", built.build, "--ids", tmp_path / "ids.txt", "--out", tmp_path / "out", *more), tmp_path / "out"


def decisions(build: Path) -> dict[str, dict]:
    """source_id -> its decision."""
    with corpus.open_corpus(build) as opened:
        query = "SELECT o.source_id, d.* FROM decisions d JOIN documents o ON o.id = d.id AND o.source = d.source"
        return {row["source_id"]: row for row in corpus.rows(opened, query)}


def test_who_goes_and_who_comes_back(built, tmp_path, capsys):
    before = decisions(built.build)
    assert before["w12"]["reason"] == "near_duplicate" and before["w12"]["witness_id"] == before["w0"]["id"]
    code, out = removed(built, tmp_path, "w0", before["w1"]["id"], json=None)
    data = json.loads(capsys.readouterr().out)
    after = decisions(out)
    assert code == 0 and read_manifest(out / "manifest.json")["phases"][0]["budget"]["realised"] == 24_000
    changed = {
        name: (before[name]["reason"], after[name]["reason"]) for name in before if before[name]["keep"] != after[name]["keep"]
    }
    assert changed == {"w0": (None, "removed"), "w1": (None, "removed"), "w12": ("near_duplicate", None)}
    for name in ("w0", "w1"):
        own = after[name]
        assert own["failed_rules"] == [] and all(
            own[key] is None for key in ("signal", "value", "value_text", "bound", "witness_id")
        )
    used = set(pq.read_table(out / "selection.parquet")["id"].to_pylist())
    assert not used & {before["w0"]["id"], before["w1"]["id"]} and before["w12"]["id"] in used
    # what remains: w12, which came back and is of w0's cluster; w13, of no cluster, found by the index
    near = {d["source_id"]: {a["source_id"]: a for a in d["alike"]} for d in data["removed"]}
    assert set(near["w0"]) == {"w12"} and near["w0"]["w12"]["came_back"] and near["w0"]["w12"]["in_cluster"]
    assert near["w0"]["w12"]["state"] == "trained" and near["w0"]["w12"]["jaccard"] > 0.8
    assert set(near["w1"]) <= {"w13"} and all(0.5 <= a["jaccard"] < 0.75 and not a["came_back"] for a in near["w1"].values())
    was = {d["source_id"]: d["was"] for d in data["removed"]}
    chunks = [r for r in pq.read_table(built.build / "selection.parquet").to_pylist() if r["id"] == before["w0"]["id"]]
    assert was["w0"]["uses"] == len({r["pass"] for r in chunks}) and was["w0"]["tokens"] == sum(r["n_tokens"] for r in chunks)
    assert was["w0"]["first"] == min(r["stream_index"] for r in chunks)
    assert data["diff"]["components"]["book"]["a"] == data["diff"]["components"]["book"]["b"]
    assert run("verify", out, "--no-raw") == 0


def test_every_document_is_accounted_for(built, tmp_path):
    _, out = removed(built, tmp_path, "w0", "b3")
    with corpus.open_corpus(out) as opened:
        sources = corpus.rows(opened, "FROM sources")
        reasons = corpus.rows(
            opened, "SELECT source, reason, dropped, failed, alone FROM reasons WHERE reason = 'removed' ORDER BY source"
        )
    assert all(s["sums_close"] for s in sources)
    assert reasons == [
        {"source": source, "reason": "removed", "dropped": 1, "failed": 1, "alone": 1} for source in ("book", "web")
    ]
    told = explain.render(explain.explain(out, decisions(out)["w0"]["id"]))
    assert "dropped for removed  the recipe's remove: names it" in told


def test_only_what_depends_on_it_is_done_again(tmp_path, monkeypatch):
    built = make(tmp_path / "own")  # whose store no other test has used
    monkeypatch.setattr("curate.documents.ingest", lambda *args: pytest.fail("the raw input is not read"))
    code, out = removed(built, tmp_path, "w0")
    assert code == 0
    stages = [{(s["stage"], *s["of"]): s for s in read_manifest(b / "manifest.json")["lineage"]} for b in (built.build, out)]
    assert {key for key in stages[0] if stages[0][key] != stages[1].get(key)} == {("decide",), ("tokens", "web")}
    info = read_json(built.store.root / "tokens" / stages[1]["tokens", "web"]["fingerprint"] / "stage.json")
    assert (info["counts"]["reused"], info["counts"]["tokenized"]) == (12, 1)  # the one that came back


def test_its_recipe_alone_makes_it_again(built, tmp_path):
    _, out = removed(built, tmp_path, "w0", "b3")
    path = built.build.parent / "again.yaml"
    path.write_bytes((out / "recipe.yaml").read_bytes())
    again = made.build(path, tmp_path / "again")
    assert again.manifest["roots"] == read_manifest(out / "manifest.json")["roots"]
    recipe = yaml.safe_load(path.read_text())
    assert recipe["remove"] == {"ids": sorted(decisions(out)[name]["id"] for name in ("w0", "b3"))}
    # a second removal keeps the first
    (tmp_path / "more.txt").write_text("b4\n")
    assert run("remove", out, "--ids", tmp_path / "more.txt", "--out", tmp_path / "two") == 0
    assert [n for n, d in sorted(decisions(tmp_path / "two").items()) if d["reason"] == "removed"] == ["b3", "b4", "w0"]


def test_names_that_are_nobodys(built, tmp_path, capsys):
    code, out = removed(built, tmp_path, "w0", "w99")
    screen = capsys.readouterr().out
    assert code == 1 and "no document has the id or source_id w99 (nearest: w9" in screen
    assert "w0" not in [n for n, d in decisions(out).items() if d["keep"]]
    with pytest.raises(CurateError, match="no document of this build has any of these"):
        removed(built, tmp_path, "w99", "nobody")
    (tmp_path / "empty.txt").write_text("# nothing\n")
    with pytest.raises(CurateError, match="names no document"):
        read_names(tmp_path / "empty.txt")
    with pytest.raises(CurateError, match="the build itself stays as it is"):
        (tmp_path / "ids.txt").write_text("w0\n")
        run("remove", built.build, "--ids", tmp_path / "ids.txt", "--out", built.build)


def test_infeasible_afterwards(built, tmp_path, capsys):
    """A book has about 300 tokens: with two of them left four epochs do not give 4000."""
    code, out = removed(built, tmp_path, *(f"b{i}" for i in range(8)))
    screen = capsys.readouterr().out
    assert code == 2 and not (out / "manifest.json").exists()
    assert "no mixture" in screen and "book asks 4,000 tokens" in screen and "max_epochs" in screen
    assert sum(d["reason"] == "removed" for d in decisions(out).values()) == 8


def test_the_screen(built, tmp_path, capsys):
    code, _ = removed(built, tmp_path, "w0", global_batch="4 sequences")
    screen = capsys.readouterr().out
    assert code == 0 and max(map(len, screen.splitlines())) <= 200
    for says in ("1 document removed from", "was trained on", "like it: Jaccard 0.", "trained, came back, of its cluster",
                 "came back: dropped before as duplicates of what is removed", "the stream changes from row", "step 1",
                 "book:", "curate gc --delete"):  # fmt: skip
        assert says in screen, (says, screen)


def test_streams_side_by_side(built, tmp_path):
    same = streams.compare(built.build, built.build)
    n = same["rows"]["a"]
    assert same["first_changed"] is None and same["same_place"] == same["same_content"] == n
    _, out = removed(built, tmp_path, "w0")
    found = streams.compare(built.build, out)
    books = found["components"]["book"]
    assert books["same_content"] == books["b"] == books["a"]  # no book changed
    assert found["first_changed"] is not None and found["same_place"] < n
    assert found["same_content"] == sum(of["same_content"] for of in found["components"].values())


def test_a_recipe_can_name_files(tmp_path):
    made.write_source(tmp_path / "raw", "web", [{"id": f"w{i}", "text": made.text(40, i)} for i in range(6)])
    (tmp_path / "out.txt").write_text("w1\n# and\nw2\n")
    keys = {
        "sources": {"web": {"read": "raw/web.jsonl", "license": {"declared": "MIT"}}},
        "mixture": {
            "total": "100 tokens",
            "sequence_length": 32,
            "components": {"web": {"from": ["web"], "role": "target", "budget": "100 tokens"}},
        },
    }
    path = made.write_recipe(tmp_path, **keys, remove={"files": "out.txt", "ids": ["w3", "w77"]})
    recipe = load_recipe(path)
    assert recipe.remove.ids == ["w1", "w2", "w3", "w77"] and recipe.remove.files == []
    assert yaml.safe_load(recipe.canonical_yaml())["remove"] == {"ids": ["w1", "w2", "w3", "w77"]}
    made.build(path)
    assert sorted(n for n, d in decisions(tmp_path / "build").items() if not d["keep"]) == ["w1", "w2", "w3"]
    for bad, says in (({}, "needs ids"), ({"files": "gone.txt"}, "no such file"), ({"id": "w1"}, "unknown key")):
        with pytest.raises(CurateError, match=says):
            load_recipe(made.write_recipe(tmp_path, **keys, remove=bad))
    rule = [{"name": "removed", "signal": "n_words", "min": 1}]
    with pytest.raises(CurateError, match="is the reason of remove:"):
        load_recipe(made.write_recipe(tmp_path, **keys, remove={"ids": ["w1"]}, rules=rule))


def test_removed_documents_are_nobodys_witness(tmp_path):
    """Random near-duplicate families and removals: every witness is kept, and no family vanishes that has a member left."""
    rng = random.Random(5)
    rows, family = [], {}
    for f in range(12):
        base = made.text(100, f"family{f}")
        for m in range(rng.randint(1, 4)):
            family[f"f{f}m{m}"] = f
            rows.append({"id": f"f{f}m{m}", "text": edited(base, m) if m else base})
    made.write_source(tmp_path / "raw", "web", rows)
    keys = {
        "sources": {"web": {"read": "raw/web.jsonl", "license": {"declared": "MIT"}}},
        "mixture": {
            "total": "100 tokens",
            "sequence_length": 32,
            "components": {"web": {"from": ["web"], "role": "target", "budget": "100 tokens"}},
        },
    }
    gone = set(rng.sample(sorted(family), 10))
    made.build(made.write_recipe(tmp_path, **keys, remove={"ids": sorted(gone)}))
    found = decisions(tmp_path / "build")
    by_id = {d["id"]: name for name, d in found.items()}
    for name, d in found.items():
        assert (d["reason"] == "removed") == (name in gone)
        if d["witness_id"]:
            assert found[by_id[d["witness_id"]]]["keep"]
    for f in set(family.values()):
        members = [name for name, of in family.items() if of == f and name not in gone]
        assert not members or any(found[name]["keep"] for name in members)


def test_the_build_is_looked_up_by_its_own_names(built):
    found, unknown = removal.find(built.build, ["w0", "w0", "nobody", decisions(built.build)["w0"]["id"]])
    assert [d["source_id"] for d in found] == ["w0"] and [u["name"] for u in unknown] == ["nobody"]


def test_what_references_drop_stays_dropped(built, tmp_path):
    """Documents compared with another build and with files: opened again from the store, the same but for what is removed."""
    top = tmp_path / "own"
    texts = [made.text(80, "alone"), edited(BASE[2], 2), made.text(80, "other"), edited(made.text(90, "file"), 1)]
    made.write_source(top / "raw", "web", [{"id": f"n{i}", "text": t} for i, t in enumerate(texts)])
    made.write_source(top / "raw", "known", [{"id": "k0", "text": made.text(90, "file")}])
    path = made.write_recipe(
        top,
        sources={"web": {"read": "raw/web.jsonl", "license": {"declared": "MIT"}}},
        dedup={"against": {"old": {"build": str(built.build)}, "files": {"read": "raw/known.jsonl"}}},
        mixture={
            "total": "200 tokens",
            "sequence_length": 64,
            "components": {"web": {"from": ["web"], "role": "target", "budget": "200 tokens"}},
        },
    )
    own = made.build(path)
    before = decisions(own.build)
    assert {name: d["witness_source"] for name, d in before.items() if not d["keep"]} == {"n1": "old:web", "n3": "files"}
    code, out = removed(own, tmp_path, "n0")
    after = decisions(out)
    assert code == 0 and {name: d["reason"] for name, d in after.items()} == {
        "n0": "removed", "n1": "near_duplicate", "n2": None, "n3": "near_duplicate",
    }  # fmt: skip
    assert {n: after[n] for n in ("n1", "n2", "n3")} == {n: before[n] for n in ("n1", "n2", "n3")}
    assert run("verify", out, "--no-raw") == 0
