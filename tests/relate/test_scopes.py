"""Who is compared with whom, by what, and who stays: dedup.exact, its scopes, dedup.priority and near.keep, on texts."""

from __future__ import annotations

import random

import numpy as np
import pytest

from curate.decide import decide, decide_counts
from curate.errors import CurateError
from curate.recipe import Dedup
from curate.relate import priority
from tests.relate.corpus import corpus, one_id, rows

WORDS = [f"sõna{i}" for i in range(2000)]
LONG = " ".join(random.Random(1).choices(WORDS, k=100))
OTHER = " ".join(random.Random(2).choices(WORDS, k=100))
THIRD = " ".join(random.Random(3).choices(WORDS, k=100))


def decided(made, dedup, relations=None):
    made = made._replace(recipe=made.recipe.model_copy(update={"dedup": Dedup.model_validate(dedup)}))
    relations = relations or made.relate()
    return decide(made.store, made.recipe, made.documents, made.signals, relations, 1)


def drops(made, texts, dedup):
    """{dropped: (reason, witness)}, documents named by source and place."""
    names = {one_id(source, i): f"{source}{i}" for source, listed in texts.items() for i in range(len(listed))}
    found = {}
    for row in rows(decided(made, dedup), "decisions"):
        if row["witness_id"]:
            witness = names[row["witness_id"]]
            assert row["witness_source"] == witness[0]
            found[names[row["id"]]] = (row["reason"], witness)
    return found


# ---- what is equal, and where it is looked for


def test_exact_scopes_do_not_follow_the_near_ones(tmp_path):
    texts = {"a": [LONG], "b": [LONG.upper()], "c": [LONG, LONG + " "], "d": [LONG]}
    made = corpus(tmp_path, texts)
    everything = {
        "b0": ("exact_duplicate", "a0"),
        "c0": ("exact_duplicate", "a0"),
        "c1": ("exact_duplicate", "a0"),
        "d0": ("exact_duplicate", "a0"),
    }
    assert drops(made, texts, {}) == everything
    no_near = {"near": None}
    in_c = min("c0", "c1", key=lambda name: one_id("c", int(name[1])))
    out_c = "c1" if in_c == "c0" else "c0"
    assert drops(made, texts, {**no_near, "exact": {"across": ["a", "b"], "within": ["c"]}}) == {
        "b0": ("exact_duplicate", "a0"), out_c: ("exact_duplicate", in_c),
    }  # fmt: skip
    assert drops(made, texts, {**no_near, "exact": {"across": []}}) == {}
    # nowhere by text, everywhere by shingles: the same documents go, for another reason
    assert drops(made, texts, {"exact": {"across": []}}) == {name: ("near_duplicate", "a0") for name in everything}
    assert drops(made, texts, {"exact": "none", "near": {"across": ["a", "d"]}}) == {"d0": ("near_duplicate", "a0")}


def test_text_byte_for_byte_is_part_of_the_normalised_one(tmp_path):
    texts = {"a": ["Üks kaks", "Üks kaks", "üks  KAKS"]}
    made = corpus(tmp_path, texts, dedup={"near": None})
    n = {
        by: len(drops(made, texts, {"near": None, "exact": {"by": list(by)}}))
        for by in (("text",), ("normalised",), ("text", "normalised"))
    }
    assert n == {("text",): 1, ("normalised",): 2, ("text", "normalised"): 2}


def test_one_address(tmp_path):
    """An address says nothing about the text: the similarity is the one the texts have, or none where they have no words."""
    part = " ".join(LONG.split()[:50])  # 46 of 96 shingles
    texts = {"a": [LONG, OTHER, "!", LONG + "  "], "b": [part, OTHER + " lisa", "?", THIRD]}
    urls = {
        "a": ["http://x.ee/1", "http://x.ee/2", "http://x.ee/3", None],
        "b": ["https://www.x.ee/1/", "http://y.ee/", "http://x.ee/3#top", None],
    }
    dedup = {"exact": ["normalised", "url"]}
    made = corpus(tmp_path, texts, addresses=urls, dedup=dedup)
    table = {row["id"]: row for row in rows(decided(made, dedup), "decisions")}
    found = [(r["reason"], r["witness_id"], r["similarity"]) for r in (table[one_id("b", i)] for i in range(4))]
    assert found == [
        ("url_duplicate", one_id("a", 0), 46 / 96), ("near_duplicate", one_id("a", 1), 96 / 97), ("url_duplicate", one_id("a", 2), None),
        (None, None, None),
    ]  # fmt: skip
    assert table[one_id("a", 0)]["keep"] != table[one_id("a", 3)]["keep"]  # equal texts; the address changes nothing there
    counts = decide_counts(decided(made, dedup))
    assert counts["b"] == {"documents": 4, "kept": 1, "dropped": {"near_duplicate": 1, "url_duplicate": 2}}
    related = {row["id"]: row for row in rows(made.relate().clusters, "duplicates")}
    assert related[one_id("b", 0)]["containment"] == 1.0 and related[one_id("b", 0)]["witness_source"] == "a"


# ---- who stays


def stays(made, texts, listed):
    dropped = drops(made, texts, {"priority": listed})
    return {name for name in (f"{s}{i}" for s, of in texts.items() for i in range(len(of))) if name not in dropped}


def test_priority(tmp_path):
    words = LONG.split()
    texts = {"a": [" ".join(words[:90]), " ".join(words[:95])], "b": [LONG]}
    quality = {"a": {"q_score": np.array([0.5, 0.25], np.float32)}, "b": {"q_score": np.array([0.75], np.float32)}}
    made = corpus(tmp_path, texts, extra=quality)
    assert stays(made, texts, ["source", "n_words"]) == {"a1"}  # the default
    assert stays(made, texts, ["source", "-n_words"]) == {"a0"}
    assert stays(made, texts, ["n_words"]) == {"b0"}
    assert stays(made, texts, ["q_score", "source"]) == {"b0"} and stays(made, texts, ["-q_score"]) == {"a1"}
    assert stays(made, texts, ["source", "q_score"]) == {"a0"}
    first = min("a0", "a1", "b0", key=lambda name: one_id(name[0], int(name[1])))
    assert stays(made, texts, []) == {first}  # the id alone, whatever the source


def test_a_missing_value_comes_last_either_way(tmp_path):
    words = LONG.split()
    texts = {"a": [LONG, " ".join(words[:95])], "b": [" ".join(words[:97])]}
    made = corpus(tmp_path, texts, extra={"a": {"q_score": np.array([None, 0.1], object)}})  # b has no such signal
    for listed in (["q_score", "n_words"], ["-q_score", "n_words"]):
        assert stays(made, texts, listed) == {"a1"}


def test_a_ratio_and_ties(tmp_path):
    texts = {"a": [LONG + " üks", LONG + " kaks", LONG + " kolm"]}
    columns = {"n_alpha_words": np.array([90, 45, 0]), "n_words_": np.array([1, 1, 1])}
    made = corpus(tmp_path, texts, extra={"a": columns})
    assert stays(made, texts, ["alpha_word_ratio"]) == {"a0"} and stays(made, texts, ["-alpha_word_ratio"]) == {"a2"}


def test_clusters_depend_on_the_signals_used_and_no_others(tmp_path):
    made = corpus(tmp_path, {"a": [LONG, OTHER]}, extra={"a": {"q_score": np.array([0.5, 0.25], np.float32)}})

    def fingerprint(listed):
        recipe = made.recipe.model_copy(update={"dedup": Dedup.model_validate({"priority": listed})})
        return made._replace(recipe=recipe).relate().clusters

    default, by_source, by_quality = (fingerprint(listed) for listed in (["source", "n_words"], ["source"], ["q_score"]))
    assert made.signals["a", "length"].root in default.parents and made.signals["a", "extra"].root not in default.parents
    assert made.signals["a", "length"].root not in by_source.parents and made.signals["a", "extra"].root in by_quality.parents
    assert len({default.fingerprint, by_source.fingerprint, by_quality.fingerprint}) == 3


KNOWN = {"n_words": "int64", "language": "string", "q_score": "float32", "domain_documents": "int64"}


@pytest.mark.parametrize("listed, message", [
    (["n_wrds"], r"no signal 'n_wrds'[\s\S]*did you mean 'n_words'"), (["-sourc"], "no signal 'sourc'"), (["-source"], "no signal 'source'"),
    (["language"], "is text"), (["-domain_documents"], "made from the duplicates themselves"), (["domain_drop_ratio"], "or from the rules"),
])  # fmt: skip
def test_names_of_priority_are_checked(listed, message):
    priority.check(["source", "-n_words", "q_score"], KNOWN)
    with pytest.raises(CurateError, match=message):
        priority.check(listed, KNOWN)


def test_a_signal_that_nobody_measured(tmp_path):
    made = corpus(tmp_path, {"a": [LONG]}, dedup={"priority": ["n_emoji"]})
    with pytest.raises(CurateError, match="'n_emoji' was measured for no source"):
        made.relate()


# ---- near.keep: none


def test_all_members_go(tmp_path):
    words = LONG.split()
    pair, far = " ".join(words[:98]), " ".join(words[:78])  # 94/96, 74/96 < 0.8 < 74/94 = 0.787: far is like neither
    texts = {"a": [LONG, OTHER, THIRD], "b": [pair, far, OTHER.upper()]}
    made = corpus(tmp_path, texts, dedup={"near": {"jaccard": 0.8}})
    best = drops(made, texts, {"near": {"jaccard": 0.8}})
    assert best == {"b0": ("near_duplicate", "a0"), "b2": ("exact_duplicate", "a1")}
    none = drops(made, texts, {"near": {"jaccard": 0.8, "keep": "none"}})
    assert none == {**best, "a0": ("near_duplicate", "b0")}  # exact duplicates keep one all the same
    rules = [{"name": "max_n_words", "signal": "n_words", "max": 99}]  # a0 and a1 of 100 words fail: b0 has no eligible duplicate
    recipe = made.recipe.model_copy(update={"rules": corpus(tmp_path / "r", {"a": ["x"]}, rules=rules).recipe.rules})
    assert drops(made._replace(recipe=recipe), texts, {"near": {"jaccard": 0.8, "keep": "none"}}) == {}
    table = {row["id"]: row for row in rows(decided(made, {"near": {"jaccard": 0.8, "keep": "none"}}), "decisions")}
    assert table[one_id("a", 0)]["similarity"] == table[one_id("b", 0)]["similarity"] == 94 / 96


def test_the_best_of_several_is_the_witness_of_the_head(tmp_path):
    words = LONG.split()
    texts = {"a": [" ".join(words[:n]) for n in (100, 99, 97)]}
    made = corpus(tmp_path, texts)
    assert drops(made, texts, {"near": {"keep": "none"}}) == {
        "a0": ("near_duplicate", "a1"), "a1": ("near_duplicate", "a0"), "a2": ("near_duplicate", "a0"),
    }  # fmt: skip
