"""decide: promise 2 over random thresholds, rules that fail alone, boundaries, scopes, one row per document."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate import schema
from curate.decide import decide, decide_counts
from curate.errors import CurateError
from curate.recipe import Dedup, Rule
from tests.relate.corpus import Corpus, corpus, one_id, rows

WORDS = [f"sõna{i}" for i in range(2000)]


def run(made: Corpus, relations=None):
    return decide(made.store, made.recipe, made.documents, made.signals, relations or made.relate(), 1)


def with_rules(made: Corpus, rules, dedup=None):
    changed = {"rules": [Rule.model_validate(rule) for rule in rules]}
    if dedup is not None:
        changed["dedup"] = Dedup.model_validate(dedup)
    return made._replace(recipe=made.recipe.model_copy(update=changed))


def table_of(stage):
    return {row["id"]: row for row in rows(stage, "decisions")}


# ---- promise 2: a fixed duplicate graph, random thresholds and scopes


def shingles(text):
    words = [w for w in text.lower().split() if any(c.isalnum() for c in w)]
    return {tuple(words[i : i + 5]) for i in range(max(1, len(words) - 4))} if words else set()


def families(seed=3):
    rng = random.Random(seed)
    texts: dict[str, list[str]] = {"a": [], "b": [], "c": []}
    for _ in range(12):
        text = " ".join(rng.choices(WORDS, k=rng.randrange(30, 80)))
        for _ in range(rng.randrange(1, 6)):
            words = text.split()
            for place in rng.sample(range(len(words)), rng.choice([0, 0, 1, 1, 2, 3])):
                words[place] = rng.choice(WORDS)
            copy = " ".join(words[: len(words) - rng.randrange(4)])
            texts[rng.choice("abc")].append(rng.choice([copy, copy.upper(), copy + " \n"]))
    texts["a"] += ["!", ""]
    texts["b"] += ["! ", "!"]
    return texts


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    texts = families()
    rng = np.random.default_rng(1)
    extra = {source: {"q_score": rng.random(len(listed)).round(4).astype(np.float32)} for source, listed in texts.items()}
    made = corpus(tmp_path_factory.mktemp("graph"), texts, shard_rows=9, extra=extra)
    of = {one_id(source, i): text for source, listed in texts.items() for i, text in enumerate(listed)}
    return made, made.relate(), of


@settings(max_examples=25, deadline=None)
@given(
    st.floats(0, 1), st.integers(0, 70), st.sampled_from(["all", ["a"], ["a", "b"], []]),
    st.sampled_from([[], ["c"], ["b", "c"]]), st.sampled_from([None, ["a"], ["b", "c"]]),
)  # fmt: skip
def test_promise_2_over_random_thresholds(graph, score, words, across, within, only):
    made, relations, texts = graph
    rules = [
        {"name": "max_q_score", "signal": "q_score", "max": score, "sources": only},
        {"name": "min_n_words", "signal": "n_words", "min": words},
    ]
    made = with_rules(made, rules, {"near": {"across": across}, "within": within})
    stage = run(made, relations)
    table = table_of(stage)
    assert table.keys() == texts.keys() and sum(stage.info()["shards"][key]["rows"] for key in stage.keys) == len(texts)
    reasons = Counter()
    for row in table.values():
        reasons[row["source"], row["reason"]] += 1
        assert row["keep"] == (row["reason"] is None) and (row["failed_rules"] == [] or row["reason"] == row["failed_rules"][0])
        if row["reason"] not in ("exact_duplicate", "near_duplicate"):
            assert row["witness_id"] is None and row["similarity"] is None
            continue
        witness = table[row["witness_id"]]
        a, b = texts[row["id"]], texts[witness["id"]]
        assert witness["keep"] and not row["failed_rules"]
        if row["reason"] == "exact_duplicate":
            assert a.lower().split() == b.lower().split() and row["similarity"] == 1.0
        else:
            x, y = shingles(a), shingles(b)
            assert row["similarity"] == len(x & y) / len(x | y) >= 0.75
            inside = {row["source"], witness["source"]}
            assert inside == {row["source"]} if row["source"] in within else not inside & set(within)
            assert row["source"] in within or across == "all" or inside <= set(across)
    blind = {row["id"]: row["cluster_id"] or row["id"] for row in rows(relations.clusters, "duplicates")}
    for cluster in set(blind.values()):  # one with an eligible member keeps one, or its witness elsewhere is kept
        inside = [table[i] for i in blind if blind[i] == cluster]
        eligible = [row for row in inside if not row["failed_rules"]]
        assert not eligible or any(row["keep"] for row in inside) or all(table[row["witness_id"]]["keep"] for row in eligible)
    counted = decide_counts(stage)
    for source, of in counted.items():
        assert of["documents"] == sum(n for (s, _), n in reasons.items() if s == source)
        assert of["documents"] == of["kept"] + sum(of["dropped"].values())
        assert of["dropped"] == {r: n for (s, r), n in reasons.items() if s == source and r}


def test_reuse_is_counted_and_equals_everything_resolved_anew(graph):
    made, relations, _ = graph
    info = run(with_rules(made, []), relations).info()
    assert info["counts"]["resolved_members"] == 0 and info["counts"]["reused_members"] > 30
    rules = [{"name": "min_n_words", "signal": "n_words", "min": 45}]
    info = run(with_rules(made, rules), relations).info()
    assert info["counts"]["resolved_members"] > 0 and info["counts"]["reused_members"] > 0


def test_same_fingerprint_for_the_same_question(graph):
    made, relations, _ = graph
    rule = {"name": "min_n_words", "signal": "n_words", "min": 30}
    first = run(with_rules(made, [rule]), relations)
    assert run(with_rules(made, [{**rule, "origin": "preset x"}]), relations).fingerprint == first.fingerprint
    assert run(with_rules(made, [{**rule, "min": 31}]), relations).fingerprint != first.fingerprint
    assert run(with_rules(made, [rule], {"within": ["c"]}), relations).fingerprint != first.fingerprint


# ---- rules

EXTRA = {
    "lang_score": np.array([0.9, 0.65, 0.6499, 0.9, 0.9, 0.9, 0.9], np.float32),  # rounded to 1e-4: 0.65 is the bound itself
    "lang": np.array(["et", "et", "et", "en", "et", "et", "et"]),
    "n_unicode_lines": np.array([10, 10, 10, 10, 10, 0, 10]),
    "n_bullet_lines": np.array([9, 9, 9, 9, 10, 0, 9]),
    "n_spam": np.array([3, 3, 3, 3, 3, 3, 4]),
}
RULES = [
    {"name": "min_lang_score", "signal": "lang_score", "min": 0.65},
    {"name": "lang", "signal": "lang", "equals": ["et", "fi"]},
    {"name": "max_bullet_line_ratio", "signal": "bullet_line_ratio", "max": 0.9},
    {"name": "max_n_spam", "signal": "n_spam", "max": 3},
]


def extra_corpus(tmp_path, rules, sources=("a",)):
    """(with the rules, without, signals): the family of EXTRA alone."""
    texts = {source: [f"{source} tekst number {i} on siin" for i in range(7)] for source in sources}
    made = corpus(tmp_path, texts, extra={source: EXTRA for source in sources}, dedup={"near": None})
    signals = {key: stage for key, stage in made.signals.items() if key[1] == "extra"}
    return with_rules(made, rules), made, signals


def test_one_document_per_rule_that_fails_only_by_it(tmp_path):
    changed, made, signals = extra_corpus(tmp_path, RULES)
    relations = made.relate()
    table = table_of(decide(made.store, changed.recipe, made.documents, signals, relations, 1))
    found = [table[one_id("a", i)] for i in range(7)]
    # 0/0 lines are a ratio of 0.0; 9/10 and 0.65 stand exactly at their bounds
    failed = [[], [], ["min_lang_score"], ["lang"], ["max_bullet_line_ratio"], [], ["max_n_spam"]]
    assert [row["failed_rules"] for row in found] == failed
    assert [(row["signal"], row["value"], row["value_text"], row["bound"]) for row in found if row["reason"]] == [
        ("lang_score", 0.6499, None, ">= 0.65"),
        ("lang", None, "en", "in et, fi"),
        ("bullet_line_ratio", 1.0, None, "<= 0.9"),
        ("n_spam", 4.0, None, "<= 3"),
    ]


def test_every_failing_rule_in_recipe_order_and_only_for_its_sources(tmp_path):
    rules = [{"name": "max_n_spam", "signal": "n_spam", "max": 2, "sources": ["b"]}, *RULES[:2],
             {"name": "max_n_spam", "signal": "n_spam", "max": 3, "sources": ["a"]}]  # fmt: skip
    changed, made, signals = extra_corpus(tmp_path, rules, sources=("a", "b"))
    table = table_of(decide(made.store, changed.recipe, made.documents, signals, made.relate(), 1))
    assert table[one_id("a", 3)]["failed_rules"] == ["lang"] and table[one_id("b", 3)]["failed_rules"] == ["max_n_spam", "lang"]
    assert table[one_id("b", 3)]["reason"] == "max_n_spam" and table[one_id("b", 3)]["bound"] == "<= 2"
    assert table[one_id("a", 6)]["bound"] == "<= 3" and table[one_id("a", 0)]["keep"] and not table[one_id("b", 0)]["keep"]


def test_a_missing_value_fails(tmp_path):
    made = corpus(tmp_path, {"a": ["üks kaks", "kolm neli"]}, extra={"a": {"lang": np.array(["et", None], object)}})
    table = table_of(run(with_rules(made, [{"name": "lang", "signal": "lang", "equals": ["et"]}])))
    row = table[one_id("a", 1)]
    assert row["failed_rules"] == ["lang"] and row["value_text"] is None and table[one_id("a", 0)]["keep"]


def test_an_unknown_signal_names_the_nearest(tmp_path):
    made = corpus(tmp_path, {"a": ["üks kaks"]})
    with pytest.raises(CurateError, match=r"no signal 'n_wrds'[\s\S]*n_words"):
        run(with_rules(made, [{"name": "x", "signal": "n_wrds", "min": 1}]))


# ---- scopes and corners


def test_scopes_by_hand(tmp_path):
    rng = random.Random(5)
    text = " ".join(rng.choices(WORDS, k=100))
    near = " ".join(text.split()[:95])
    texts = {"a": [near], "b": [text], "c": [text + " lõpp", text + " lõpp siin"], "d": [text + " muu"]}
    made = corpus(tmp_path, texts)
    relations = made.relate()

    def witnesses(dedup):
        table = table_of(run(with_rules(made, [], dedup), relations))
        of = {one_id(s, i): f"{s}{i}" for s, listed in texts.items() for i in range(len(listed))}
        return {of[i]: of[row["witness_id"]] for i, row in table.items() if row["witness_id"]}

    assert witnesses({}) == {"b0": "a0", "c0": "a0", "c1": "a0", "d0": "a0"}
    assert witnesses({"near": {"across": ["b", "d"]}}) == {"d0": "b0"}
    assert witnesses({"near": {"across": ["a", "b"]}, "within": ["c", "d"]}) == {"b0": "a0", "c0": "c1"}
    assert witnesses({"within": ["b"]}) == {"c0": "a0", "c1": "a0", "d0": "a0"}


def test_an_exact_duplicate_whose_head_fell_to_a_near_one(tmp_path):
    """x2 equals x1, x1 falls to y: then y is x2's witness too, a kept one; and in another scope x2 stays itself."""
    text = " ".join(random.Random(6).choices(WORDS, k=100))
    texts = {"y": [text + " lisa"], "x": [text], "z": [text.upper()]}
    made = corpus(tmp_path, texts)
    relations = made.relate()
    table = table_of(run(made, relations))
    assert {table[one_id(s, 0)]["witness_id"] for s in "xz"} == {one_id("y", 0)}
    assert [table[one_id(s, 0)]["reason"] for s in "xz"] == ["near_duplicate"] * 2
    table = table_of(run(with_rules(made, [], {"near": {"across": ["y", "x"]}}), relations))
    assert table[one_id("x", 0)]["witness_id"] == one_id("y", 0) and table[one_id("z", 0)]["keep"]
    table = table_of(run(with_rules(made, [], {"near": {"across": []}}), relations))
    assert table[one_id("x", 0)]["keep"] and table[one_id("z", 0)]["reason"] == "exact_duplicate"
    assert table[one_id("z", 0)]["witness_id"] == one_id("x", 0)


def test_empty_sources_and_documents_without_words(tmp_path):
    made = corpus(tmp_path, {"a": [], "b": ["", " ", "!?"], "c": []})
    stage = run(made)
    assert decide_counts(stage) == {
        "a": {"documents": 0, "kept": 0, "dropped": {}},
        "b": {"documents": 3, "kept": 2, "dropped": {"exact_duplicate": 1}},
        "c": {"documents": 0, "kept": 0, "dropped": {}},
    }


def test_schema_and_rows_follow_the_documents(graph):
    import pyarrow.parquet as pq

    made, relations, _ = graph
    stage = run(made, relations)
    for source, documents in made.documents.items():
        for key in documents.keys:
            ours = pq.read_table(stage.shard_path(f"{source}.{key}") / "decisions.parquet")
            assert ours.schema.equals(schema.DECISIONS)
            assert ours["id"].equals(pq.read_table(documents.shard_path(key) / "documents.parquet", columns=["id"])["id"])
