"""Components as queries: bins of a score, first match, missing values, bounds, cluster size, texts, fields; what is said before work."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.errors import CurateError
from curate.membership import Membership, check, first_of, membership
from curate.recipe import Condition, Recipe, load_recipe
from curate.signals import after_cuts, measurers, repeats
from tests.stage_tables import folders_of

RECIPE = {
    "kind": "cpt", "name": "small", "tokenizer": {"model": "none"},
    "sources": {
        "web": {"read": "x.jsonl", "license": {"declared": "MIT"}, "fields": {"extra": "meta"}},
        "wiki": {"read": "x.jsonl", "license": {"declared": "MIT"}},
        "fw2": {"read": "x.jsonl", "license": {"declared": "MIT"}, "fields": {"extra": "minhash_cluster_size"}},
    },
    "mixture": {"total": "10 tokens", "sequence_length": 8, "components": {}},
}  # fmt: skip


def recipe_of(folder: Path, components: dict[str, dict], **mixture: dict) -> Recipe:
    """The recipe above with these components; role and budget are filled in."""
    data = json.loads(json.dumps(RECIPE))
    budget = {} if mixture else {"budget": "1 tokens"}
    data["mixture"] |= mixture
    data["mixture"]["components"] = {
        name: {**({} if "components" in given else {"role": "other"}), **budget, **given} for name, given in components.items()
    }
    if "phases" in mixture:
        del data["mixture"]["total"]
    (folder / "recipe.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
    return load_recipe(folder / "recipe.yaml")


def matched(found: Membership, source: str = "web", key: str = "00000") -> list[list[str]]:
    """The components that every document matches."""
    return [[found.components[c] for c, _ in found.patterns[i]] for i in found.pattern(source, key).tolist()]


def alone(folder: Path, name: str, condition: dict, rows: list[dict]) -> list[bool]:
    """Which documents (0, 1, ...) of web satisfy one condition."""
    recipe = recipe_of(folder, {"one": {"from": ["web"], "where": {name: condition}}})
    folders = folders_of(folder, {("web", "00000"): [{"id": f"{i:03}", **row} for i, row in enumerate(rows)]})
    return [bool(of) for of in matched(membership(recipe, folders))]


BY_SCORE = {
    "hq": {"from": ["wiki", "web"], "where": {"tidy_score": {"min": 0.7}, "cluster_size": {"max": 100}}},
    "mid": {"from": ["web"], "where": {"tidy_score": {"min": 0.3, "below": 0.7}}},
    "rest": {"from": ["web", "wiki"]},
}


def test_quality_bins(tmp_path):
    """0.7 is in the bin that begins at 0.7, though the float32 nearest to it is below."""
    web = [
        {"id": "a", "score": 0.7}, {"id": "b", "score": 0.6999}, {"id": "c", "score": 0.3}, {"id": "d", "score": 0.2999},
        {"id": "e", "score": None}, {"id": "f", "score": 0.9, "size": 101}, {"id": "g", "score": 0.9, "size": 100},
    ]  # fmt: skip
    folders = folders_of(
        tmp_path, {("web", "00000"): web, ("wiki", "00000"): [{"id": "h", "score": 0.3}], ("fw2", "00000"): [{"id": "i"}]}
    )
    found = membership(recipe_of(tmp_path, BY_SCORE), folders)
    mine = ["hq", "rest"], ["mid", "rest"], ["mid", "rest"], ["rest"], ["rest"], ["rest"], ["hq", "rest"]
    assert matched(found) == list(mine)
    assert matched(found, "wiki") == [["rest"]] and matched(found, "fw2") == [[]]
    assert found.pattern("web", "00000").dtype == np.int64 and found.components == ["hq", "mid", "rest"]
    first = [first_of(found.patterns[i], {0, 1, 2}) for i in found.pattern("web", "00000").tolist()]
    assert first == [0, 1, 1, 2, 2, 2, 0]
    without_mid = [first_of(found.patterns[i], {0, 2}) for i in found.pattern("web", "00000").tolist()]
    assert without_mid == [0, 2, 2, 2, 2, 2, 0] and first_of((), {0, 1}) == -1


def test_patterns_are_numbered_once(tmp_path):
    rows = [{"id": f"{i:03}", "score": s} for i, s in enumerate([0.9, 0.5, 0.1])]
    shards = {("web", "00000"): rows, ("web", "00001"): list(reversed(rows)), ("web", "00002"): []}
    found = membership(recipe_of(tmp_path, BY_SCORE), folders_of(tmp_path, shards))
    first = found.pattern("web", "00000").tolist()
    known = list(found.patterns)
    assert found.pattern("web", "00001").tolist() == first[::-1] and found.pattern("web", "00000").tolist() == first
    assert found.patterns == known and found.pattern("web", "00002").size == 0


def test_bounds(tmp_path):
    rows = [{"score": s} for s in (0.1, 0.5, 0.5001, 0.9)]
    assert alone(tmp_path, "tidy_score", {"min": 0.5}, rows) == [False, True, True, True]
    assert alone(tmp_path, "tidy_score", {"max": 0.5}, rows) == [True, True, False, False]
    assert alone(tmp_path, "tidy_score", {"below": 0.5}, rows) == [True, False, False, False]
    assert alone(tmp_path, "tidy_score", {"min": 0.5, "below": 0.9}, rows) == [False, True, True, False]
    assert alone(tmp_path, "tidy_score", {"equals": [0.1, 0.9]}, rows) == [True, False, False, True]


def test_a_missing_value_fails_unless_it_says_pass(tmp_path):
    rows = [{"score": 0.9}, {"score": None}, {"score": 0.1}]
    assert alone(tmp_path, "tidy_score", {"min": 0.5}, rows) == [True, False, False]
    assert alone(tmp_path, "tidy_score", {"min": 0.5, "missing": "pass"}, rows) == [True, True, False]
    kinds = [{"kind": "news"}, {"kind": None}, {"kind": "shop"}]
    assert alone(tmp_path, "kind", {"equals": "news"}, kinds) == [True, False, False]
    assert alone(tmp_path, "kind", {"equals": ["news", "blog"], "missing": "pass"}, kinds) == [True, True, False]


def test_ratios_and_signals_after_cuts(tmp_path):
    rows = [{"dup": 1, "lines": 4, "after": 20}, {"dup": 3, "lines": 10, "after": 0}, {"dup": 0, "lines": 0, "after": 7}]
    assert alone(tmp_path, "duplicate_line_ratio", {"max": 0.25}, rows) == [True, False, True]  # no line: 0
    assert alone(tmp_path, "after_cuts_n_words", {"min": 7}, rows) == [True, False, True]


def test_fields(tmp_path):
    """A number may stand in a string; a truth value is the text true or false and no number; an object is no value."""
    metas = ['{"lang": {"code": "et"}, "year": 2024}', '{"lang": {"code": "en"}, "year": "2019"}', '{"lang": 7, "year": true}', None,
             '{"year": {}}', "3"]  # fmt: skip
    rows = [{"extra": meta} for meta in metas]
    assert alone(tmp_path, "lang.code", {"equals": "et"}, rows) == [True] + [False] * 5
    assert alone(tmp_path, "lang.code", {"equals": "et", "missing": "pass"}, rows) == [True, False, True, True, True, True]
    assert alone(tmp_path, "year", {"min": 2020}, rows) == [True] + [False] * 5
    assert alone(tmp_path, "year", {"min": 2000, "max": 2020}, rows) == [False, True] + [False] * 4
    assert alone(tmp_path, "year", {"equals": "true"}, rows) == [False, False, True, False, False, False]
    assert alone(tmp_path, "year", {"equals": [2024, "true"]}, rows) == [True, False, True, False, False, False]
    assert alone(tmp_path, "year", {"equals": [2024, "true"], "min": 0}, rows) == [True] + [False] * 5  # a text is in no bound


def test_a_field_that_is_the_whole_of_extra(tmp_path):
    recipe = recipe_of(tmp_path, {"up": {"from": ["fw2"], "where": {"minhash_cluster_size": {"min": 5}}}})
    folders = folders_of(
        tmp_path, {("fw2", "00000"): [{"id": str(i), "extra": e} for i, e in enumerate(["4", "5", '"6"', None])]}
    )
    assert matched(membership(recipe, folders), "fw2") == [[], ["up"], ["up"], []]


def test_bins_of_copies_stand_in_the_pattern(tmp_path):
    """Two components of one source, each with bins of its own; rows are equal patterns only if the bins are."""
    components = {
        "hq": {"from": ["web"], "where": {"tidy_score": {"min": 0.5}}, "copies": {"table": {1: 1, 10: 3}}},
        "rest": {"from": ["web"], "copies": {"by": "tidy_score", "table": {0.2: 2}}},
    }
    rows = [
        {"id": "a", "score": 0.5, "size": 10},
        {"id": "b", "score": 0.6, "size": 9},
        {"id": "c", "score": 0.2, "size": 99},
        {"id": "d"},
    ]
    found = membership(recipe_of(tmp_path, components), folders_of(tmp_path, {("web", "00000"): rows}))
    own = [found.patterns[i] for i in found.pattern("web", "00000").tolist()]
    assert own == [((0, 1), (1, 0)), ((0, 0), (1, 0)), ((1, 0),), ((1, -1),)]
    assert [[b["copies"] for b in found.copies[name]["bins"]] for name in ("hq", "rest")] == [[1, 3], [2]]


def test_the_filter_rate_is_that_of_the_documents_that_match(tmp_path):
    """Of web's 6 documents 4 have a score of 0.5 or more: two of size 1 (one removed), two of size 2 (none removed, one cluster)."""
    rows = [
        {"id": "a", "score": 0.9}, {"id": "b", "score": 0.9, "failed": ["x"]}, {"id": "c", "score": 0.1, "failed": ["x"]},
        {"id": "d", "score": 0.1, "head": "d", "size": 3}, {"id": "e", "score": 0.9, "head": "d", "size": 3},
        {"id": "f", "score": 0.8, "head": "d", "size": 3, "failed": ["x"]},
    ]  # fmt: skip
    copies = {"from": "filter_rate", "bins": [1, 2], "most": 4}
    components = {"hq": {"from": ["web"], "where": {"tidy_score": {"min": 0.5}}, "copies": copies}, "rest": {"from": ["web"]}}
    data = membership(recipe_of(tmp_path, components), folders_of(tmp_path, {("web", "00000"): rows})).copies["hq"]
    # the head d does not match, so the cluster's vote is its first member's that does: e
    assert [(b["judged"], b["removed"]) for b in data["bins"]] == [(2, 1), (1, 0)] and (data["judged"], data["removed"]) == (3, 1)


bounds = st.one_of(st.none(), st.sampled_from([0.1, 0.25, 0.5, 0.75]))
conditions = st.builds(dict, min=bounds, max=bounds, below=bounds, missing=st.sampled_from(["fail", "pass"])).filter(
    lambda c: (
        any(c[name] is not None for name in ("min", "max", "below"))
        and (c["min"] is None or ((c["max"] is None or c["min"] <= c["max"]) and (c["below"] is None or c["min"] < c["below"])))
    )
)


@given(
    st.lists(conditions, min_size=1, max_size=4),
    st.lists(st.sampled_from([None, 0.0, 0.1, 0.25, 0.2501, 0.5, 0.6, 0.75, 1.0]), max_size=20),
)
@settings(max_examples=40, deadline=None)
def test_every_document_matches_what_holds_of_its_value(tmp_path_factory, asked, scores):
    """Against Condition.holds, one value at a time."""
    folder = tmp_path_factory.mktemp("members")
    components = {
        f"c{i}": {"from": ["web"], "where": {"tidy_score": {k: v for k, v in one.items() if v is not None}}}
        for i, one in enumerate(asked)
    }
    phases = {f"p{i}": {"total": "1 tokens", "components": {f"c{i}": "1 tokens"}} for i in range(len(asked))}
    recipe = recipe_of(folder, components, phases=phases)
    folders = folders_of(folder, {("web", "00000"): [{"id": f"{i:03}", "score": s} for i, s in enumerate(scores)]})
    right = [[f"c{i}" for i, one in enumerate(asked) if Condition(**one).holds(score)] for score in scores]
    assert matched(membership(recipe, folders)) == right


# --- before work --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "where", "says"),
    [
        (
            "wiki",
            {"nwords": {"min": 5}},
            "mixture.components.one.where.nwords: .* no signal 'nwords'(.|\n)*did you mean 'n_words'",
        ),
        ("wiki", {"language": {"min": 0.5}}, "'language' of source 'wiki' is string"),
        ("wiki", {"n_words": {"equals": "many"}}, "'n_words' of source 'wiki' is int64"),
        ("wiki", {"language": {"equals": ["et", 5]}}, "'language' of source 'wiki' is string"),
        ("wiki", {"domain_drop_ratio": {"max": 0.5}}, "only where a rule uses it"),
        ("web", {"language": {"equals": 5}}, "'language' of source 'web' is string"),
    ],
)
def test_what_where_names_is_checked(tmp_path, source, where, says):
    with pytest.raises(CurateError, match=says):
        check(recipe_of(tmp_path, {"one": {"from": [source], "where": where}}))


def test_what_where_may_name(tmp_path):
    names = ("n_words", "duplicate_line_ratio", "language_score", "cluster_size", "after_cuts_n_words", "domain_documents")
    check(recipe_of(tmp_path, {"one": {"from": ["wiki"], "where": {name: {"min": 1} for name in names}}}))
    check(recipe_of(tmp_path, {"one": {"from": ["web", "wiki"], "where": {"language": {"equals": ["et", "en"]}}}}))
    check(recipe_of(tmp_path, {"one": {"from": ["web"], "where": {"meta.year": {"equals": ["a", 5], "min": 3}}}}))


def test_what_where_names_is_measured(tmp_path):
    """Families that are measured only where something asks, for the sources of the component alone."""
    where = {"n_emails": {"max": 0}, "after_cuts_n_words": {"min": 5}, "repeated_substring_word_ratio": {"max": 0.5}}
    recipe = recipe_of(tmp_path, {"one": {"from": ["web"], "where": where}, "two": {"from": ["wiki"]}})
    names = {name: {m.family.name for m in measurers(recipe, recipe.sources[name])} for name in ("web", "wiki")}
    assert "pii" in names["web"] and "pii" not in names["wiki"]
    assert [after_cuts.wanted(recipe, recipe.sources[name], False) for name in ("web", "wiki")] == [{"length"}, set()]
    assert [[family.name for family in repeats.asked(recipe, name)] for name in ("web", "wiki")] == [["repeated_substrings"], []]


def test_a_name_that_may_be_a_field_or_a_slip_is_warned_of(tmp_path, caplog):
    check(recipe_of(tmp_path, {"one": {"from": ["web"], "where": {"nwords": {"min": 5}}}}))
    assert (
        "'nwords' is no signal, so it is looked for inside the field 'meta' of source 'web'; is 'n_words' meant?" in caplog.text
    )
    caplog.clear()
    check(recipe_of(tmp_path, {"one": {"from": ["fw2"], "where": {"minhash_cluster_size": {"min": 5}}}}))
    check(recipe_of(tmp_path, {"one": {"from": ["web"], "where": {"pages.year": {"min": 5}}}}))
    assert caplog.text == ""


def test_a_mistake_in_a_group_names_its_key(tmp_path):
    inside = {"one": {"from": ["wiki"], "role": "other", "budget": "100 % of tokens", "where": {"nwords": {"min": 5}}}}
    recipe = recipe_of(tmp_path, {"g": {"components": inside}})
    with pytest.raises(CurateError, match=r"mixture\.components\.g\.components\.one\.where\.nwords"):
        check(recipe)


@pytest.mark.parametrize(
    "first", [{}, {"where": {"n_words": {"min": 10}}}, {"where": {"n_words": {"min": 5, "max": 500}}}]
)  # fmt: skip
def test_a_component_that_never_gets_a_document(tmp_path, first):
    """Everything that `second` lets in, `first` lets in as well."""
    second = {"from": ["web", "wiki"], "where": {"n_words": {"min": 20, "below": 100}}}
    with pytest.raises(CurateError, match="feeds both 'first' and 'second'"):
        recipe_of(tmp_path, {"first": {"from": ["wiki", "web"], **first}, "second": second})
    recipe_of(tmp_path, {"second": second, "first": {"from": ["wiki", "web"], **first}})
    recipe_of(tmp_path, {"first": {"from": ["wiki"], **first}, "second": second})  # web's documents are left
