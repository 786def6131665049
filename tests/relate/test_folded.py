"""`near.fold` from the recipe to the clusters: what is folded is not told apart, in signatures and in shingle sets alike."""

from __future__ import annotations

import pytest

from curate.relate import shingles
from curate.signals import measure
from tests.relate.corpus import corpus, rows

SENTENCE = (
    "hinnakiri kuupäevaga {} kehtib kuni {} ja maksab {} eurot ning seda müüb pood aadressil Õunapuu {} kõigile soovijatele kohe"
)
TEXTS = [
    SENTENCE.format("2005", "1", "33", "12"), SENTENCE.format("7", "2012", "4", "5"),
    SENTENCE.format("2005", "1", "33", "12").translate(str.maketrans("õÕäü", "oOau")),
]  # fmt: skip


@pytest.mark.parametrize(("fold", "similar"), [([], 1), (["digits"], 2), (["diacritics"], 2), (["digits", "diacritics"], 3)])
def test_folded_documents_are_near_duplicates(tmp_path, fold, similar):
    made = corpus(tmp_path, {"a": TEXTS}, dedup={"near": {"fold": fold}})
    found = rows(made.relate().clusters, "duplicates")
    assert max(row["cluster_size"] for row in found) == similar
    assert {row["jaccard"] for row in found if row["witness_id"]} == ({1.0} if similar > 1 else set())


def test_a_fold_is_another_stage_and_its_order_is_not(tmp_path):
    prints = set()
    for i, fold in enumerate(([], ["digits"], ["digits", "diacritics"], ["diacritics", "digits"])):
        made = corpus(tmp_path / str(i), {"a": TEXTS}, dedup={"near": {"fold": fold}})
        stage = measure.signatures_stage(made.store, made.recipe, made.recipe.sources["a"], "root")
        near = made.recipe.dedup.near
        grouped = made.relate().buckets
        sets, _ = shingles.tasks(
            made.store, ["a"], made.documents, made.signatures, grouped, near.ngram, {"a": "rules"}, near.fold
        )
        prints.add((stage.fingerprint, str(sets.settings)))
    assert len(prints) == 3
