"""Promise 2 over a fixed graph of duplicates in real texts: whatever rules, scopes and priorities a recipe has, every near duplicate
that is dropped has a kept witness in that very decision table, is as similar to it as the table says and similar enough, and no
cluster with an eligible member vanishes. Expected values: plain Python over sets of words (tests.relate.planted).

The graph: chains of edits (a text, an edit of it, an edit of that ...), so that likeness is not transitive; exact copies; texts of
one template; three sources. Relations are made once per bucket cap, as in the product; only decide runs again.
"""

from __future__ import annotations

import functools
import random
import re
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.decide import decide
from curate.recipe import Dedup, Rule
from curate.relate import Relations
from tests.relate import templates
from tests.relate.corpus import Corpus, corpus, one_id, rows
from tests.relate.planted import Shingles, jaccard, mixed, planted, shingles

SOURCES = ("et", "en", "rest")
SCORES = ("a_score", "b_score")
BY_HASH, BY_LIKENESS = "exact_duplicate", "near_duplicate"


class Graph(NamedTuple):
    made: Corpus
    relations: Relations
    texts: dict[str, str]  # id -> text
    shingles: dict[str, Shingles]
    cluster: dict[str, str]  # id -> rule-blind cluster, its own id where alone


def chains(bases: list[str], rng: random.Random) -> dict[str, list[str]]:
    texts: dict[str, list[str]] = {source: [] for source in SOURCES}
    pool = [word for base in bases for word in base.split()]
    for base in bases:
        text = base
        for _ in range(rng.randint(1, 6)):
            texts[rng.choice(SOURCES)].append(text)
            if rng.random() < 0.2:
                texts[rng.choice(SOURCES)].append(rng.choice([text, text.upper(), f"\n{text} "]))
            text = "".join(mixed(re.findall(r"\S+\s*", text), rng.randint(1, 4), pool, rng))
    alike = [text for own in templates.documents(seed=5, share=0.006).values() for text in own]
    for text in [*alike, *alike[:10], "", "!", "!!", "üks"]:
        texts[rng.choice(SOURCES)].append(text)
    return texts


@pytest.fixture(scope="module")
def graphs(data, tmp_path_factory):
    """Bucket cap -> graph. A cap of 1 compares with one kept document per bucket, so that much is missed."""
    bases = [pair.base[:1500] for pair in planted(data, 1, seed=4)][::3]
    texts = chains(bases, random.Random(6))
    numbers = np.random.default_rng(7)
    extra = {
        source: {name: numbers.random(len(own)).round(4).astype(np.float32) for name in SCORES} for source, own in texts.items()
    }
    of = {one_id(source, i): text for source, own in texts.items() for i, text in enumerate(own)}
    blind = rows(corpus(tmp_path_factory.mktemp("blind"), texts).relate().clusters, "duplicates")
    heads = {row["witness_id"] for row in blind}
    for source, own in texts.items():
        extra[source]["head_score"] = np.array([one_id(source, i) in heads for i in range(len(own))], np.float32)

    @functools.cache
    def graph(cap: int) -> Graph:
        near = {"jaccard": 0.75, "bucket_cap": cap}
        made = corpus(tmp_path_factory.mktemp("graph"), texts, shard_rows=40, extra=extra, dedup={"near": near})
        relations = made.relate()
        duplicates = rows(relations.clusters, "duplicates")
        cluster = {row["id"]: row["cluster_id"] or row["id"] for row in duplicates}
        assert sum(row["witness_id"] is not None for row in duplicates) > 80
        return Graph(made, relations, of, {i: shingles(text) for i, text in of.items()}, cluster)

    return graph


def decided(graph: Graph, rules: list[dict[str, Any]], dedup: dict[str, Any]) -> dict[str, dict[str, Any]]:
    recipe = graph.made.recipe.model_copy(
        update={"rules": [Rule.model_validate(rule) for rule in rules], "dedup": Dedup.model_validate(dedup)}
    )
    made = graph.made
    stage = decide(made.store, recipe, made.documents, made.signals, graph.relations, 1)
    return {row["id"]: row for row in rows(stage, "decisions")}


def normalised(text: str) -> str:
    return "".join(text.lower().split())


def check(graph: Graph, table: dict[str, dict[str, Any]], threshold: float) -> int:
    """Everything promise 2 says of one decision table; returns the number of near duplicates dropped."""
    n = 0
    assert table.keys() == graph.texts.keys()
    for row in table.values():
        assert row["keep"] == (row["reason"] is None)
        if row["reason"] not in (BY_HASH, BY_LIKENESS):
            assert row["witness_id"] is None and row["similarity"] is None and bool(row["failed_rules"]) == (not row["keep"])
            continue
        assert not row["failed_rules"] and table[row["witness_id"]]["keep"] and row["witness_id"] != row["id"]
        if row["reason"] == BY_HASH:
            assert normalised(graph.texts[row["id"]]) == normalised(graph.texts[row["witness_id"]]) and row["similarity"] == 1.0
        else:
            n += 1
            true = jaccard(graph.shingles[row["id"]], graph.shingles[row["witness_id"]])
            assert row["similarity"] == true >= threshold, row
    inside: dict[str, list[dict[str, Any]]] = {}
    for i, cluster in graph.cluster.items():
        inside.setdefault(cluster, []).append(table[i])
    for of in inside.values():
        eligible = [row for row in of if not row["failed_rules"]]
        survives = any(row["keep"] for row in of)
        assert not eligible or survives or all(table[row["witness_id"]]["keep"] for row in eligible)
    return n


RULES = st.lists(
    st.builds(
        lambda name, op, bound, only, number: {"name": f"{op}_{name}_{number}", "signal": name, op: bound, "sources": only},
        st.sampled_from(SCORES),
        st.sampled_from(["min", "max"]),
        st.floats(0, 1),
        st.sampled_from([None, ["et"], ["en", "rest"]]),
        st.integers(0, 10**6),
    ),
    max_size=3,
    unique_by=lambda rule: rule["name"],
)
WORDS = st.one_of(st.none(), st.integers(0, 300))
ACROSS = st.sampled_from(["all", ["et"], ["et", "en"], []])


@settings(max_examples=60, deadline=None)
@given(RULES, WORDS, st.sampled_from([1, 2, 256]), ACROSS, st.sampled_from([[], ["rest"]]))
def test_whatever_the_rules_say(graphs, rules, words, cap, across, within):
    graph = graphs(cap)
    if words is not None:
        rules = [*rules, {"name": "min_words", "signal": "n_words", "min": words}]
    near = {"jaccard": 0.75, "bucket_cap": cap, "across": across}
    check(graph, decided(graph, rules, {"near": near, "within": within}), 0.75)


def test_when_every_head_fails(graphs):
    """All who were witnesses fail a rule: in every cluster of two or more somebody else takes their place."""
    graph = graphs(256)
    near = {"jaccard": 0.75}
    table = decided(graph, [], {"near": near})
    assert check(graph, table, 0.75) > 60
    heads = {row["witness_id"] for row in table.values() if row["witness_id"]}
    rule = {"name": "no_heads", "signal": "head_score", "max": 0.5}
    without = decided(graph, [rule], {"near": near})
    assert check(graph, without, 0.75) > 10  # chains: witnesses again, other ones
    assert {i for i, row in without.items() if row["failed_rules"]} == heads
    stands_in = {graph.cluster[i] for i in graph.texts if without[i]["keep"] and graph.cluster[i] != i}
    assert len(stands_in) > 0.9 * len(heads)  # the others' members have a kept witness in another cluster
