"""Rules: keep by thirds with exact cutoffs, equals, missing; rules over web domains and the order in which decide judges them."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate import pipeline
from curate.decide import decide
from curate.errors import CurateError
from curate.recipe import Rule
from curate.rules import Known, bound_text, find_cutoffs, judge
from tests.relate.corpus import corpus, one_id, rows

TEXTS = [f"tekst number {i} on siin" for i in range(10)]


def rule(**given) -> Rule:
    return Rule.model_validate({"name": given.get("name", given["signal"]), **given})


def judged(tmp_path_factory, column, rules, rows_=None, shard_rows=3):
    """(failed by document in the order of the list, cutoffs, values) of rules over a family with the one column x."""
    texts = [f"tekst {i}" for i in range(len(column))]
    folder = tmp_path_factory.mktemp("r")
    made = corpus(folder, {"a": texts}, extra={"a": {"x": column}}, shard_rows=shard_rows, dedup={"near": None})
    signals = {("a", "extra"): made.signals["a", "extra"]}
    keys = made.documents["a"].keys
    cutoffs = find_cutoffs(rules, [("a", key) for key in keys], signals, 2)
    place = {one_id("a", i): i for i in range(len(column))}
    failed = np.zeros((len(column), len(rules)), bool)
    for key in keys:
        ids = pl.read_parquet(made.documents["a"].shard_path(key) / "documents.parquet", columns=["id"])["id"].to_list()
        found = judge(rules, "a", key, len(ids), signals, Known(cutoffs))
        failed[[place[i] for i in ids]] = found.failed
    return failed, cutoffs


KEEPS = [["head"], ["middle"], ["tail"], ["head", "middle"], ["head", "tail"], ["middle", "tail"], ["head", "middle", "tail"]]


def test_thirds_by_hand(tmp_path_factory):
    """Ten values 1 to 10: head up to the third, middle up to the sixth (nearest rank)."""
    column = np.array([7, 1, 9, 3, 5, 2, 10, 4, 8, 6])
    rules = [rule(signal="x", keep=keep, name=str(i)) for i, keep in enumerate(KEEPS)]
    failed, cutoffs = judged(tmp_path_factory, column, rules)
    assert cutoffs == {("a", "x"): (3.0, 6.0)}
    kept = [set(column[~failed[:, i]].tolist()) for i in range(len(KEEPS))]
    head, middle, tail = {1, 2, 3}, {4, 5, 6}, {7, 8, 9, 10}
    assert kept == [head, middle, tail, head | middle, head | tail, middle | tail, head | middle | tail]
    assert [bound_text(r, "a", cutoffs) for r in rules] == [
        "in head: <= 3", "in middle: > 3, <= 6", "in tail: > 6", "in head, middle: <= 6", "in head, tail: <= 3 or > 6",
        "in middle, tail: > 3", "in head, middle, tail: any",
    ]  # fmt: skip
    assert bound_text(rules[0], "b", cutoffs) == "in head"


numbers = st.one_of(st.integers(-5, 5).map(float), st.floats(-2, 2, width=32).map(lambda v: round(v, 4)))


@settings(max_examples=30, deadline=None)
@given(st.lists(numbers, min_size=1, max_size=23), st.sampled_from(KEEPS), st.sampled_from(["fail", "pass"]), st.integers(0, 3))
def test_thirds_as_in_plain_python(tmp_path_factory, values, keep, missing, n_missing):
    """Scores: float32, rounded to 1e-4; missing values count for no percentile."""
    rules = [rule(signal="x", keep=keep, missing=missing)]
    column = np.array([*values, *[None] * n_missing], object)
    stored = [None if v is None else np.float32(v) for v in column]
    failed, cutoffs = judged(tmp_path_factory, np.array(stored, object), rules)
    exact = sorted(round(float(np.float32(v)), 4) for v in values)
    places = [(30 * len(exact) + 99) // 100, (60 * len(exact) + 99) // 100]
    head, middle = (exact[place - 1] for place in places)
    assert cutoffs == {("a", "x"): (head, middle)}
    for i, v in enumerate(stored):
        if v is None:
            assert failed[i, 0] == (missing == "fail")
        else:
            value = round(float(v), 4)
            part = "head" if value <= head else "middle" if value <= middle else "tail"
            assert failed[i, 0] == (part not in keep)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=12), st.integers(0, 6), st.sampled_from(["min", "max", "equals"]))
def test_judging_is_exact_at_bounds(tmp_path_factory, values, bound, op):
    """Counts, and the same as scores of four decimals, on both sides of the bound and on it."""
    holds = {"min": lambda v: v >= bound, "max": lambda v: v <= bound, "equals": lambda v: v == bound}[op]
    failed, _ = judged(tmp_path_factory, np.array(values), [rule(signal="x", **{op: bound})])
    assert failed[:, 0].tolist() == [not holds(v) for v in values]
    scores = np.array([v / 10_000 for v in values], np.float32)
    failed, _ = judged(tmp_path_factory, scores, [rule(signal="x", **{op: bound / 10_000})])
    assert failed[:, 0].tolist() == [not holds(v) for v in values]


def test_equals_with_texts_and_missing_values(tmp_path_factory):
    column = np.array(["et", "", None, "fi"], object)
    rules = [rule(signal="x", equals=["et", ""]), rule(signal="x", equals="", missing="pass"), rule(signal="x", equals=["ru"])]
    failed, _ = judged(tmp_path_factory, column, rules)
    assert failed.T.tolist() == [[False, False, True, True], [True, False, False, True], [True] * 4]


def test_no_value_at_all(tmp_path_factory):
    column = pa.array([None, None], pa.float32())
    rules = [rule(signal="x", keep=["head"]), rule(signal="x", keep=["tail"], missing="pass")]
    failed, cutoffs = judged(tmp_path_factory, column, rules)
    assert cutoffs == {} and failed.tolist() == [[True, False]] * 2


def run(made, rules):
    made = made._replace(recipe=made.recipe.model_copy(update={"rules": [rule(**given) for given in rules]}))
    stage = decide(made.store, made.recipe, made.documents, made.signals, made.relate(), 1)
    return stage, {row["id"]: row for row in rows(stage, "decisions")}


def test_keep_in_decisions_and_in_the_stage(tmp_path):
    values = np.array([0.5, 0.1, 0.9, 0.3, 0.7, 0.2, 1.9342, 0.4, 0.8, 0.6], np.float32)
    made = corpus(tmp_path, {"a": TEXTS}, extra={"a": {"x_score": values}}, shard_rows=4)
    stage, table = run(made, [{"signal": "x_score", "keep": ["head", "middle"]}])
    dropped = {i: table[one_id("a", i)] for i in range(10) if not table[one_id("a", i)]["keep"]}
    assert sorted(dropped) == [2, 4, 6, 8] and dropped[6]["value"] == 1.9342
    assert {row["bound"] for row in dropped.values()} == {"in head, middle: <= 0.6"}
    assert stage.info()["extra"] == {"cutoffs": {"a": {"x_score": [0.3, 0.6]}}}


def test_cutoffs_survive_a_kill_between_the_last_shard_and_the_stage(tmp_path):
    values = np.arange(10, dtype=np.float32)
    made = corpus(tmp_path, {"a": TEXTS}, extra={"a": {"x_score": values}}, shard_rows=4)
    rules = [{"signal": "x_score", "keep": ["head"]}]
    stage, _ = run(made, rules)
    before = (stage.path / "stage.json").read_bytes()
    (stage.path / "stage.json").unlink()
    assert run(made, rules)[0] == stage and (stage.path / "stage.json").read_bytes() == before


# ---- web domains

ADDRESSES = [*["http://spam.ee/"] * 4, *["http://good.ee/"] * 4, None, "http://one.ee/"]
BAD = np.array([1, 1, 1, 0, 1, 0, 0, 0, 0, 1])


def domain_corpus(tmp_path, **changes):
    return corpus(tmp_path, {"a": TEXTS}, extra={"a": {"n_bad": BAD}}, addresses={"a": ADDRESSES}, shard_rows=3, **changes)


def test_a_domain_is_dropped_for_what_its_documents_fail(tmp_path):
    """spam.ee fails 3 of 4, good.ee 1 of 4, one.ee its only one; the bound is exact."""
    rules = [{"signal": "n_bad", "max": 0, "name": "bad"}, {"signal": "domain_drop_ratio", "max": 0.7, "name": "spam"}]
    stage, table = run(domain_corpus(tmp_path), rules)
    found = [table[one_id("a", i)] for i in range(10)]
    assert [row["failed_rules"] for row in found] == [
        ["bad", "spam"], ["bad", "spam"], ["bad", "spam"], ["spam"], ["bad"], [], [], [], [], ["bad", "spam"],
    ]  # fmt: skip
    assert (found[3]["reason"], found[3]["value"], found[3]["bound"]) == ("spam", 0.75, "<= 0.7")
    assert found[0]["reason"] == "bad" and found[8]["keep"]
    ratios = {row["id"]: row["domain_drop_ratio"] for row in rows(stage, "domain_drop")}
    assert [ratios[one_id("a", i)] for i in range(10)] == [0.75] * 4 + [0.25] * 4 + [None, 1.0]
    _, table = run(domain_corpus(tmp_path), [rules[0], {**rules[1], "max": 0.75}])
    assert table[one_id("a", 3)]["keep"] and table[one_id("a", 9)]["failed_rules"] == ["bad", "spam"]
    _, table = run(domain_corpus(tmp_path), [rules[1], rules[0]])  # the first in recipe order is the reason
    assert table[one_id("a", 0)]["reason"] == "spam"


def test_domain_rules_do_not_feed_the_drop_ratio(tmp_path):
    rules = [{"signal": "domain_documents", "max": 3}, {"signal": "n_bad", "max": 0}, {"signal": "domain_drop_ratio", "max": 0.8}]
    _, table = run(domain_corpus(tmp_path), rules)
    assert table[one_id("a", 7)]["failed_rules"] == ["domain_documents"]  # 0.25, though every document of good.ee fails a rule
    assert table[one_id("a", 9)]["failed_rules"] == ["n_bad", "domain_drop_ratio"]


def test_keep_comes_before_domains(tmp_path):
    _, table = run(domain_corpus(tmp_path), [{"signal": "n_bad", "keep": ["head"]}, {"signal": "domain_drop_ratio", "max": 0.5}])
    assert table[one_id("a", 3)]["failed_rules"] == ["domain_drop_ratio"] and table[one_id("a", 5)]["keep"]


@pytest.mark.parametrize("signal", ["domain_documents", "domain_drop_ratio", "domain_duplicate_ratio", "domain_template_ratio"])
def test_without_a_domain_a_document_passes_unless_told(tmp_path, signal):
    loose = [{"signal": signal, "min": 0, "name": "x"}, {"signal": signal, "max": 9, "name": "y"}]
    _, table = run(domain_corpus(tmp_path), loose)
    assert all(row["keep"] for row in table.values())
    _, table = run(domain_corpus(tmp_path), [{**loose[0], "missing": "fail"}])
    assert [i for i in range(10) if not table[one_id("a", i)]["keep"]] == [8] and table[one_id("a", 8)]["value"] is None


def test_a_source_without_any_address(tmp_path):
    made = corpus(tmp_path, {"a": TEXTS}, addresses={"a": [None] * 10})
    strict = [{"signal": "domain_drop_ratio", "max": 0}, {"signal": "domain_template_ratio", "max": 0, "missing": "fail"}]
    _, table = run(made, strict)
    assert {tuple(row["failed_rules"]) for row in table.values()} == {("domain_template_ratio",)}


def test_a_looser_threshold_reads_no_relation_again_and_roots_follow(tmp_path):
    made = domain_corpus(tmp_path)
    rules = [{"signal": "n_bad", "max": 0}, {"signal": "domain_drop_ratio", "max": 0.7}]
    first, other = run(made, rules)[0], run(made, [rules[0], {**rules[1], "max": 0.8}])[0]
    assert first.fingerprint != other.fingerprint and first.parents == other.parents
    assert len(run(made, rules[:1])[0].parents) < len(first.parents)  # no domain is asked for, none is a parent


# ---- what is refused before work


def recipe(tmp_path, rules: list[dict], **source):
    from curate.recipe import load_recipe

    (tmp_path / "x.jsonl").write_text(json.dumps({"text": "tere"}) + "\n")
    data = {
        "kind": "cpt", "name": "t", "tokenizer": {"model": "m"}, "rules": rules,
        "sources": {"a": {"read": "x.jsonl", "language": "et", "license": {"declared": "CC0-1.0"}, **source}},
        "mixture": {"total": "1 tokens", "sequence_length": 8,
                    "components": {"c": {"from": "a", "role": "target", "budget": "1 tokens"}}},
    }  # fmt: skip
    (tmp_path / "r.yaml").write_text(json.dumps(data))
    return load_recipe(tmp_path / "r.yaml")


@pytest.mark.parametrize(("rules", "says"), [
    ([{"signal": "domain", "keep": ["head"]}], "is string"),
    ([{"signal": "url_category", "max": 1}], "is string"),
    ([{"signal": "n_words", "equals": "et"}], "is int64"),
    ([{"signal": "domain_drop_ratio", "keep": ["head"]}], "no keep"),
    ([{"signal": "domain_drop_share", "max": 1}], "no signal"),
])  # fmt: skip
def test_check_refuses(tmp_path, rules, says):
    with pytest.raises(CurateError, match=says):
        pipeline.check(recipe(tmp_path, rules))


def test_check_knows_domains_and_keep(tmp_path):
    rules = [{"signal": name, "max": 0.8} for name in ("domain_drop_ratio", "domain_template_ratio", "domain_duplicate_ratio")]
    rules += [{"signal": "n_words", "keep": ["head", "middle"]}]
    rules += [{"signal": name, "equals": ""} for name in ("url_category", "opt_out")]
    loaded = recipe(tmp_path, rules)
    pipeline.check(loaded)
    assert [r.missing for r in loaded.rules] == ["pass"] * 3 + ["fail"] * 3
    assert [r["missing"] for r in loaded.canonical()["rules"]] == ["pass"] * 3 + ["fail"] * 3
