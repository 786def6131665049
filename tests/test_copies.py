"""Copies per document: FineWeb2's published table, its rule by filter rate, who votes for a cluster, values of fields and signals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from curate.copies import bin_of, by_filter_rate, check
from curate.errors import CurateError
from curate.membership import membership
from curate.recipe import Recipe, load_recipe
from tests.stage_tables import folders_of

RECIPE = {
    "kind": "cpt", "name": "small", "tokenizer": {"model": "none"},
    "sources": {
        "web": {"read": "x.jsonl", "license": {"declared": "MIT"}, "fields": {"extra": "meta"}},
        "wiki": {"read": "x.jsonl", "license": {"declared": "MIT"}},
        "fw2": {"read": "x.jsonl", "license": {"declared": "MIT"}, "fields": {"extra": "minhash_cluster_size"}},
    },
    "mixture": {
        "total": "10 tokens", "sequence_length": 8,
        "components": {
            "et": {"from": ["web", "wiki"], "role": "target", "budget": "5 tokens"},
            "up": {"from": ["fw2"], "role": "target", "budget": "5 tokens"},
        },
    },
}  # fmt: skip


def recipe_with(folder: Path, sets: tuple[str, ...] = (), **copies: dict) -> Recipe:
    """The recipe above, its components given `copies`."""
    data = json.loads(json.dumps(RECIPE))
    for name, given in copies.items():
        data["mixture"]["components"][name]["copies"] = given
    (folder / "recipe.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
    return load_recipe(folder / "recipe.yaml", sets)


def copies_of(recipe: Recipe, name: str, values: list[float]) -> list[int]:
    """Copies of documents with these values, by the component's table."""
    copies = recipe.mixture.leaves[name].copies
    times = [*copies.table.values(), 1]
    return [times[i] for i in bin_of(np.array(values, np.float64), copies.lowers)]


def test_the_published_table(tmp_path):
    """FineWeb2's README at 7bdf8fc: N times for N = 1, 2, 3; 3 times for 4; 5 for 5 to 99; 8 for 100 to 999; once from 1000 on."""
    recipe = recipe_with(tmp_path, et={"preset": "fineweb2"}, up={"preset": "fineweb2", "by": "minhash_cluster_size"})
    sizes = [1, 2, 3, 4, 5, 6, 99, 100, 101, 999, 1000, 743_779]
    assert copies_of(recipe, "et", sizes) == [1, 2, 3, 3, 5, 5, 5, 8, 8, 8, 1, 1]
    et, up = (recipe.mixture.leaves[name].copies for name in ("et", "up"))
    assert et.table == {"1": 1, "2": 2, "3": 3, "5": 5, "100": 8, "1000": 1}
    assert (et.by, up.by, et.table == up.table) == ("cluster_size", "minhash_cluster_size", True)
    assert et.origin == "preset fineweb2/rehydration"
    again = load_recipe(_written(tmp_path, recipe))
    assert again.sha256 == recipe.sha256 and again.mixture.components["et"].copies == et


def _written(folder: Path, recipe: Recipe) -> Path:
    (folder / "canonical.yaml").write_bytes(recipe.canonical_yaml())
    return folder / "canonical.yaml"


def test_bounds_of_a_preset_are_overridden_and_said_so(tmp_path):
    recipe = recipe_with(tmp_path, et={"preset": "fineweb2", "table": {1000: 2, 10: 6}})
    copies = recipe.mixture.leaves["et"].copies
    assert copies.table == {"1": 1, "2": 2, "3": 3, "5": 5, "10": 6, "100": 8, "1000": 2}
    assert copies.origin == "preset fineweb2/rehydration, set here"
    plain = recipe_with(tmp_path, et={"preset": "fineweb2"})
    changed = load_recipe(_written(tmp_path, plain), ["mixture.components.et.copies.table.2=4"])
    assert changed.mixture.components["et"].copies.table["2"] == 4
    assert changed.mixture.components["et"].copies.origin == "preset fineweb2/rehydration, set here"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"by": "cluster_size"}, "either a table"),
        ({"table": {1: 1}, "from": "filter_rate"}, "either a table"),
        ({"from": "filter_rate"}, "needs bins"),
        ({"table": {1: 1}, "bins": [1]}, "belong to from: filter_rate"),
        ({"table": {1: 1, 2: 0}}, "whole numbers from 1 to 100"),
        ({"table": {1: 101}}, "whole numbers from 1 to 100"),
        ({"table": {}}, "whole numbers from 1 to 100"),
        ({"table": {"many": 1}}, "is no number"),
        ({"from": "filter_rate", "bins": [2, 1]}, "the smallest first"),
        ({"preset": "fineweb2", "most": 3}, "beside preset"),
        ({"preset": "fineweb3"}, "no preset"),
        ({"tabel": {1: 1}}, "unknown key"),
    ],
)
def test_mistakes_are_said(tmp_path, given, says):
    with pytest.raises(CurateError, match=says):
        recipe_with(tmp_path, et=given)


def test_a_table_is_one_thing_however_it_is_written(tmp_path):
    first = recipe_with(tmp_path, et={"table": {5: 5, 1: 1, 0.5: 2}})
    second = recipe_with(tmp_path, et={"table": {"0.50": 2, "1.0": 1, "5": 5}})
    assert first.mixture.components["et"].copies.table == {"0.5": 2, "1": 1, "5": 5}
    assert first.sha256 == second.sha256


def test_bins_by_hand():
    values = np.array([0.0, 0.9, 1.0, 4.999, 5.0, 1e9, np.nan])
    assert bin_of(values, [1, 5]).tolist() == [-1, -1, 0, 0, 1, 1, -1]


def test_filter_rate_by_hand():
    # 100 documents, 40 removed: rates .5, .25, .1, .4, none of 0.4. Copies: 1 (above), 1 + 9 * .15 / .3 = 5.5 -> 6, 10, 1 (equal), 1
    assert by_filter_rate([60, 20, 10, 10, 0], [30, 5, 1, 4, 0], 10) == [1, 6, 10, 1, 1]
    assert by_filter_rate([60, 20, 10, 10, 0], [30, 5, 1, 4, 0], 4) == [1, 3, 4, 1, 1]  # 1 + 3 / 2 = 2.5 -> 3
    assert by_filter_rate([10, 20], [1, 2], 10) == [1, 1]  # no bin is better than the whole
    assert by_filter_rate([10, 20], [0, 0], 10) == [1, 1]
    assert by_filter_rate([0, 0], [0, 0], 10) == [1, 1]
    assert by_filter_rate([1, 1], [0, 1], 10) == [10, 1]


# --- over tables -------------------------------------------------------------------------------------------------------


def bins(recipe: Recipe, folders: dict, source: str, key: str = "00000") -> list[int]:
    """The bin of every document, in the one component that takes it."""
    found = membership(recipe, folders)
    own = found.pattern(source, key)
    return [bin_ for [(_, bin_)] in (found.patterns[i] for i in own.tolist())]


def times(recipe: Recipe, folders: dict, source: str, key: str = "00000") -> list[int]:
    """Copies of every document."""
    name = next(name for name, c in recipe.mixture.leaves.items() if source in c.from_)
    given = [b["copies"] for b in membership(recipe, folders).copies[name]["bins"]]
    return [[*given, 1][i] for i in bins(recipe, folders, source, key)]


BY_RATE = {"from": "filter_rate", "bins": [1, 2, 4], "most": 9}


def test_each_cluster_has_one_vote(tmp_path):
    """By cluster size, over web and wiki (component et). fw2 is another component's.

    a: 5 documents, alone, 2 fail.               bin 1: 5 votes, 2 removed
    b: head and member in web, only the member fails: the head's vote counts.         bin 2: 1 vote, 0 removed
    c: head in web, fails; member in wiki passes.                                      bin 2: 1 vote, 1 removed
    d: head in fw2; members in wiki (fails) and web (passes): web is first in `from`.  bin 4: 1 vote, 0 removed
    """
    web = [{"id": f"a{i}", "failed": ["short"] * (i < 2)} for i in range(4)]
    web += [{"id": "b0", "head": "b0", "size": 2}, {"id": "b1", "head": "b0", "size": 2, "failed": ["short", "dirty"]}]
    web += [{"id": "c0", "head": "c0", "size": 2, "failed": ["dirty"]}]
    more = [{"id": "d1", "head": "d9", "size": 5}]
    wiki = [{"id": "a4"}, {"id": "c1", "head": "c0", "size": 2}, {"id": "d2", "head": "d9", "size": 5, "failed": ["short"]}]
    fw2 = [{"id": "d9", "head": "d9", "size": 5, "failed": ["short"]}, {"id": "z", "failed": ["short"]}]
    shards = {("web", "00000"): web, ("web", "00001"): more, ("wiki", "00000"): wiki, ("fw2", "00000"): fw2}
    folders = folders_of(tmp_path, shards)
    recipe = recipe_with(tmp_path, et=BY_RATE)
    et = membership(recipe, folders).copies["et"]
    assert et["bins"] == [
        {"from": 1, "copies": 1, "judged": 5, "removed": 2, "rate": 0.4},
        # the whole: 3 of 8; the lowest rate 0 has 9 copies; .5 and .4 are above the whole
        {"from": 2, "copies": 1, "judged": 2, "removed": 1, "rate": 0.5},
        {"from": 4, "copies": 9, "judged": 1, "removed": 0, "rate": 0.0},
    ]
    assert (et["judged"], et["removed"], et["rate"]) == (8, 3, 0.375)
    assert times(recipe, folders, "web", "00001") == [9] and times(recipe, folders, "wiki") == [1, 1, 9]
    assert bins(recipe, folders, "fw2") == [-1, -1]
    assert membership(recipe_with(tmp_path), folders).copies == {}


def test_the_split_into_shards_does_not_matter(tmp_path):
    rng = np.random.default_rng(3)
    rows = []
    for i in range(60):
        size = int(rng.choice([1, 2, 5]))
        member = int(rng.integers(0, size)) if size > 1 else 0
        rows.append({"id": f"{i:03}", "size": size, "head": f"h{i % 9}" if size > 1 and member else (f"{i:03}" if size > 1 else None),
                     "failed": ["x"] * int(rng.integers(0, 2))})  # fmt: skip
    recipe = recipe_with(tmp_path, et=BY_RATE)
    seen = []
    for cut in (60, 1, 31):
        shards = {("web", "00000"): rows[:cut], ("web", "00001"): rows[cut:], ("wiki", "00000"): []}
        seen.append(membership(recipe, folders_of(tmp_path / str(cut), shards)).copies)
    assert seen[0] == seen[1] == seen[2] and seen[0]["et"]["judged"] > 20


def test_a_field_of_extra(tmp_path):
    """FineWeb2 brings the size of its clusters; a source may map the field itself, or an object that holds it."""
    rows = [{"id": str(i), "extra": extra} for i, extra in enumerate(["1", "3", "250", '"12"', "true", '"many"', None, "5.5"])]
    recipe = recipe_with(tmp_path, up={"preset": "fineweb2", "by": "minhash_cluster_size"})
    folders = folders_of(tmp_path / "up", {("fw2", "00000"): rows})
    assert times(recipe, folders, "fw2") == [1, 3, 8, 5, 1, 1, 1, 5]
    assert bins(recipe, folders, "fw2") == [0, 2, 4, 3, -1, -1, -1, 3]
    inside = [{"id": str(i), "extra": extra} for i, extra in enumerate(['{"dedup":{"size":100}}', '{"dedup":7}', "[3]", "{}"])]
    recipe = recipe_with(tmp_path, et={"preset": "fineweb2", "by": "dedup.size"})
    folders = folders_of(tmp_path / "et", {("web", "00000"): inside, ("wiki", "00000"): [{"id": "w"}]})
    assert times(recipe, folders, "web") == [8, 1, 1, 1]


def test_a_signal_and_a_ratio(tmp_path):
    """A score of 0.9 is in the bin that begins at 0.9, though the float32 nearest to it is below."""
    rows = [
        {"id": str(i), "score": s, "dup": d, "lines": n}
        for i, (s, d, n) in enumerate([(0.9, 1, 4), (0.8999, 3, 10), (None, 0, 0)])
    ]
    folders = folders_of(tmp_path, {("web", "00000"): rows, ("wiki", "00000"): []})
    recipe = recipe_with(tmp_path, et={"by": "tidy_score", "table": {0.5: 2, 0.9: 4}})
    assert times(recipe, folders, "web") == [4, 2, 1]
    recipe = recipe_with(tmp_path, et={"by": "duplicate_line_ratio", "table": {0: 3, 0.25: 2, 0.3: 1}})
    assert times(recipe, folders, "web") == [2, 1, 3]  # no line: 0
    with pytest.raises(CurateError, match="was measured for source 'wiki'"):
        times(recipe_with(tmp_path, et={"by": "n_words", "table": {0: 1}}), folders, "wiki")


def test_by_a_field_every_document_votes(tmp_path):
    rows = [
        {"id": str(i), "extra": e, "failed": ["x"] * f}
        for i, (e, f) in enumerate([("1", 1), ("1", 1), ("2", 0), ("2", 1), (None, 0)])
    ]
    folders = folders_of(tmp_path, {("fw2", "00000"): rows})
    found = membership(recipe_with(tmp_path, up={**BY_RATE, "by": "minhash_cluster_size"}), folders).copies["up"]
    assert [(b["judged"], b["removed"], b["copies"]) for b in found["bins"]] == [(2, 2, 1), (2, 1, 9), (0, 0, 1)]
    assert (found["judged"], found["removed"]) == (5, 3)  # the one without a value counts for the whole


@pytest.mark.parametrize(
    ("name", "by", "says"),
    [
        ("et", "nwords", "no signal 'nwords'"),
        ("et", "language", "is text"),
        ("et", "domain_drop_ratio", "made of the decisions"),
    ],
)
def test_what_copies_are_by_is_checked_before_work(tmp_path, name, by, says):
    with pytest.raises(CurateError, match=says):
        check(recipe_with(tmp_path, **{name: {"by": by, "table": {0: 1}}}))


def test_what_may_decide_copies(tmp_path):
    for by in ("cluster_size", "n_words", "duplicate_line_ratio", "language_score", "after_cuts_n_words"):
        check(recipe_with(tmp_path, et={"by": by, "table": {0: 1}}))
    check(recipe_with(tmp_path, up={"by": "minhash_cluster_size", "table": {0: 1}}))
