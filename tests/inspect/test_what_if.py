"""What-if over the build of conftest, whose figures are counted there by hand: w4 kept, b2 dropped."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest

from curate.errors import CurateError
from curate.inspect import outcomes, what_if, what_if_screen
from curate.membership import Membership, membership
from curate.recipe import load_recipe
from tests.inspect.conftest import TEXTS, doc_id


def plain(value):
    """Everything --json prints must be JSON."""
    return json.loads(json.dumps(value, default=str))


def decided(small, folder, changes):
    """The build's decisions with some rows changed: {name: {column: value}}."""
    shutil.copytree(small.stages["decide"].path, folder)
    for path in folder.glob("*/decisions.parquet"):
        table = pq.read_table(path)
        by_id = {doc_id(name): change for name, change in changes.items()}
        rows = [row | by_id.get(row["id"], {}) for row in table.to_pylist()]
        pq.write_table(type(table).from_pylist(rows, table.schema), path)
    return folder


KEPT = {"keep": True, "reason": None, "failed_rules": [], "signal": None, "value": None, "bound": None}
DROPPED = {
    "keep": False,
    "reason": "min_n_words",
    "failed_rules": ["min_n_words"],
    "signal": "n_words",
    "value": 6.0,
    "bound": ">= 7",
}


def compare(small, decide, n_texts=2, members=None):
    own = membership(load_recipe(small.build / "recipe.yaml"), outcomes.folders(small.build))
    return outcomes.compare(small.build, decide, members or (own, own), n_texts)


NO_COPIES = ({}, {})


@pytest.fixture
def other(small, tmp_path):
    """min_n_words is 3 for web (w4 has 3 words) and 7 for book (b2 has 6)."""
    return decided(small, tmp_path / "decide", {"w4": KEPT, "b2": DROPPED})


def test_counts_of_both_sides(small, other):
    found = compare(small, other)
    size = sum(len(TEXTS[n].encode()) for n in ("w1", "w2", "w6", "w7"))
    assert found["before"]["web"] == {
        "documents": 7, "kept": 4, "dropped": 3, "known_tokens": 50, "known_bytes": size, "new_documents": 0, "new_bytes": 0,
        "reasons": {"min_n_words": 2, "near_duplicate": 1}, "failed": {"min_n_words": 2, "language": 1}, "alone": {"min_n_words": 1},
    }  # fmt: skip
    after = found["after"]["web"]
    assert (after["kept"], after["new_documents"], after["new_bytes"]) == (5, 1, len(TEXTS["w4"].encode()))
    assert after["failed"] == {"min_n_words": 1, "language": 1} and after["alone"] == {}
    assert found["after"]["book"]["known_tokens"] == 20 and found["after"]["book"]["reasons"] == {
        "exact_duplicate": 1,
        "min_n_words": 1,
    }
    assert found["sizes"][0] == {
        "web": {((0, -1),): {"documents": 4, "known_tokens": 50, "known_loss_tokens": 50, "known_bytes": size, "new_documents": 0,
                             "new_bytes": 0}},
        "book": {((1, -1),): {"documents": 3, "known_tokens": 30, "known_loss_tokens": 30, "new_documents": 0, "new_bytes": 0,
                              "known_bytes": sum(len(TEXTS[n].encode()) for n in ("b1", "b2", "b3"))}},
    }  # fmt: skip
    assert found["moves"] == [
        {"source": "web", "before": "min_n_words", "after": "kept", "documents": 1},
        {"source": "book", "before": "kept", "after": "min_n_words", "documents": 1},
    ]  # fmt: skip


def test_texts_that_change_sides_come_with_the_decision_that_drops_them(small, other):
    found = compare(small, other)
    sides = {(c["side"], c["reason"]): c["documents"] for c in found["changed"]}
    assert {key: [(d["id"], d["value"], d["bound"]) for d in listed] for key, listed in sides.items()} == {
        ("kept", "min_n_words"): [(doc_id("w4"), 3.0, ">= 5")], ("dropped", "min_n_words"): [(doc_id("b2"), 6.0, ">= 7")],
    }  # fmt: skip
    assert compare(small, other, n_texts=0)["changed"] == []


def test_of_many_the_smallest_ids_are_shown(small, tmp_path):
    other = decided(small, tmp_path / "decide", {name: DROPPED for name in ("w1", "w2", "w6", "w7", "b1")})
    [changed] = compare(small, other, n_texts=3)["changed"]
    assert [d["id"] for d in changed["documents"]] == [doc_id(n) for n in ("w1", "w2", "w6")]


def test_a_looser_rule(small, other):
    """w4 has 16 bytes: its tokens are estimated from web's 50 tokens for the kept documents' bytes."""
    recipe = load_recipe(small.build / "recipe.yaml")
    changed = load_recipe(small.build / "recipe.yaml", ["min_n_words=3", "mixture.components.et.max_epochs=2"])
    data = what_if.what_if(small.build, compare(small, other), (recipe, changed), NO_COPIES, feasible=True)
    size = sum(len(TEXTS[n].encode()) for n in ("w1", "w2", "w6", "w7"))
    guess = round(len(TEXTS["w4"].encode()) * 50 / size)
    assert data["components"]["after"]["et"] == {
        "documents": 5,
        "tokens": 50 + guess,
        "epoch_tokens": 50 + guess,
        "estimated": guess,
        "requested": "30 tokens",
        "max_epochs": 2.0,
    }
    assert data["components"]["after"]["en"]["tokens"] == 20
    assert data["reasons"]["min_n_words"] == {
        "before": {"dropped": 2, "alone": 1, "jointly": 1}, "after": {"dropped": 2, "alone": 1, "jointly": 1},
    }  # fmt: skip
    assert data["reasons"]["near_duplicate"]["before"] == {"dropped": 1, "alone": None, "jointly": None}
    assert (data["sources"]["web"]["newly_kept"], data["sources"]["web"]["newly_dropped"]) == (1, 0)
    assert data["yaml"] == [
        "rules:", "  - {signal: n_words, min: 3, sources: [web]}", "mixture:", "  components:", "    et:", "      max_epochs: 2",
    ]  # fmt: skip
    text = what_if_screen.render(data)
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert lines[1] == "web 4 -> 5 +1 1 0" and "min_n_words -> kept 1" in lines and "kept -> min_n_words 1" in lines
    assert (
        "min_n_words 2 -> 2 +0 1 -> 1 1 -> 1" in lines and f"{guess} of them estimated" in text and "the plan is feasible" in text
    )
    at = lines.index("newly kept, was dropped for min_n_words")
    assert lines[at + 1 : at + 3] == [f"web {doc_id('w4')} n_words 3, bound >= 5", TEXTS["w4"]]
    assert max(map(len, text.splitlines())) <= 100
    plain(data)


def test_another_tokenizer_makes_every_token_an_estimate(small):
    same = compare(small, small.stages["decide"].path)
    recipes = (load_recipe(small.build / "recipe.yaml"), load_recipe(small.build / "recipe.yaml", ["tokenizer.model=other"]))
    found = what_if.components(same, recipes, NO_COPIES)
    assert found["before"]["et"]["estimated"] == 0 and found["after"]["et"]["estimated"] == found["after"]["et"]["tokens"] == 50


def names_of(small, source, key):
    folder = small.stages["documents"][source].shard_path(key)
    return pq.read_table(folder / "documents.parquet", columns=["id"])["id"].to_pylist()


def test_an_epoch_with_copies(small, other):
    """w1 and w2 (ten tokens each) have 3 copies after, w4 (not tokenized) has 2; before, and of book, every document has one."""
    times = {doc_id(name): n for name, n in (("w1", 1), ("w2", 1), ("w4", 0))}
    patterns = [((0, -1),), ((0, 0),), ((0, 1),), ((1, -1),)]

    def pattern(source, key):
        return np.array([3 if source == "book" else times.get(i, -1) + 1 for i in names_of(small, source, key)])

    recipe = load_recipe(small.build / "recipe.yaml")
    copies = {"et": {"bins": [{"from": 1, "copies": 2}, {"from": 2, "copies": 3}]}}
    before = membership(recipe, outcomes.folders(small.build))
    found = compare(small, other, members=(before, Membership(["et", "en"], patterns, copies, pattern)))
    changed = load_recipe(small.build / "recipe.yaml", ["mixture.components.et.copies={preset: fineweb2}"])
    data = what_if.what_if(small.build, found, (recipe, changed), ({}, copies), feasible=True)
    et, size = data["components"]["after"]["et"], len(TEXTS["w4"].encode())
    guess = round(size * 50 / found["before"]["web"]["known_bytes"])
    assert (et["tokens"], et["epoch_tokens"], et["estimated"]) == (50 + guess, 3 * 10 + 3 * 10 + 10 + 20 + 2 * guess, guess)
    assert data["components"]["before"]["et"]["epoch_tokens"] == 50 and data["components"]["after"]["en"]["epoch_tokens"] == 20
    text = what_if_screen.render(data)
    assert f"et: with its copies an epoch is 50 -> {et['epoch_tokens']} tokens" in text
    assert "copies: {by: cluster_size, table: {1: 1, 2: 2, 3: 3, 5: 5, 100: 8, 1000: 1}}" in text  # to paste back


def test_another_where(small):
    """web has one component `hq` of documents of 6 words or more (w1, w2) before et; b1 to b3 have 6 words. Nothing is decided anew."""
    base = small.build / "recipe.yaml"
    hq = "mixture.components={hq: {from: [web], where: {n_words: {min: %d}}, role: target, budget: 10 tokens}, " + (
        "et: {from: [web], role: target, budget: 20 tokens}, en: {from: [book], role: replay, budget: 40 tokens, max_epochs: 2}}"
    )
    recipes = load_recipe(base, [hq % 6]), load_recipe(base, [hq % 6, "mixture.components.hq.where.n_words.min=7"])
    folders = outcomes.folders(small.build)
    members = tuple(membership(recipe, folders) for recipe in recipes)
    found = compare(small, small.stages["decide"].path, members=members)
    data = what_if.what_if(small.build, found, recipes, NO_COPIES, feasible=True)
    sides = [
        {name: (c["documents"], c["tokens"]) for name, c in data["components"][side].items()} for side in ("before", "after")
    ]
    # of web's kept documents w1 has 6 words, w2 7, w6 5, w7 5 (twenty tokens)
    assert sides == [{"hq": (2, 20), "et": (2, 30), "en": (3, 30)}, {"hq": (1, 10), "et": (3, 40), "en": (3, 30)}]
    assert data["moves"] == [] and data["yaml"] == [
        "mixture:", "  components:", "    hq:", "      where:", "        n_words:", "          min: 7",
    ]  # fmt: skip
    lines = [" ".join(line.split()) for line in what_if_screen.render(data).splitlines()]
    assert "hq 10 tokens 1 2 -> 1 20 -> 10" in lines and "et 20 tokens 1 2 -> 3 30 -> 40" in lines
    plain(data)


def test_nothing_changed_and_not_feasible(small):
    recipe = load_recipe(small.build / "recipe.yaml")
    same = compare(small, small.stages["decide"].path)
    assert same["before"] == same["after"] and same["moves"] == same["changed"] == []
    text = what_if_screen.render(
        what_if.what_if(small.build, same, (recipe, recipe), NO_COPIES, "not enough tokens", feasible=False)
    )
    assert "the plan is not feasible: not enough tokens" in text and text.endswith("nothing changes")


def test_other_documents_are_refused(small, tmp_path):
    other = decided(small, tmp_path / "ids", {"w4": {"id": "c" * 32}})
    with pytest.raises(CurateError, match="input has changed"):
        compare(small, other)
    shutil.rmtree(tmp_path / "ids" / "book.00000")
    with pytest.raises(CurateError, match="input has changed"):
        compare(small, tmp_path / "ids")


def test_a_duplicate_that_is_kept_again_stands_beside_its_witness(small, tmp_path):
    other = decided(small, tmp_path / "decide", {"w5": {**KEPT, "witness_id": None, "similarity": None}})
    recipe = load_recipe(small.build / "recipe.yaml")
    text = what_if_screen.render(what_if.what_if(small.build, compare(small, other), (recipe, recipe), NO_COPIES))
    assert "newly kept, was dropped for near_duplicate" in text and "[seitse]" in text and "[kuus]" in text
    assert max(map(len, text.splitlines())) <= 100
