"""`near.bands: optimal`: integers in the canonical recipe, errors that say what to write, and the theory's curve."""

from __future__ import annotations

import logging

import pytest

from curate.errors import CurateError
from curate.pipeline import check
from curate.recipe import load_recipe
from curate.recipe.bands import hint, optimal, recall
from tests.relate.corpus import recipe_of

RECIPE = """
kind: cpt
name: test
tokenizer: {{model: none}}
sources:
  a: {{read: x, license: {{declared: CC0-1.0}}}}
dedup: {{near: {near}}}
mixture:
  total: 1 tokens
  sequence_length: 8
  components: {{all: {{from: a, role: target, budget: 1 tokens}}}}
"""


def loaded(tmp_path, near, sets=()):
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE.format(near=near))
    return load_recipe(path, sets)


def test_the_optimum_is_that_of_a_search_over_all_bands_and_rows():
    """Error areas by a plain sum over 2,000 similarities, weighted 1 : 19."""

    def error(jaccard, bands, rows):
        n = 2000
        at = [(i + 0.5) / n for i in range(n)]
        false = sum(recall(s, bands, rows) for s in at if s < jaccard) / n
        missed = sum(1 - recall(s, bands, rows) for s in at if s >= jaccard) / n
        return 0.05 * false + 0.95 * missed

    best = min((error(0.8, b, r), b, r) for b in range(2, 25) for r in range(1, 24 // b + 1))
    assert optimal(0.8, 24) == best[1:]


def test_optimal_becomes_integers_in_the_canonical_recipe(tmp_path):
    near = loaded(tmp_path, "{jaccard: 0.8, bands: optimal, hashes: 128}").dedup.near
    assert (near.bands, near.rows, near.hashes) == (16, 8, None)
    recipe = loaded(tmp_path, "{jaccard: 0.8, bands: optimal}")
    assert recipe.canonical()["dedup"]["near"]["bands"] == 16 and "hashes" not in recipe.canonical()["dedup"]["near"]
    again = tmp_path / "again.yaml"
    again.write_bytes(recipe.canonical_yaml())
    assert load_recipe(again).sha256 == recipe.sha256 == loaded(tmp_path, "{jaccard: 0.8, bands: 16, rows: 8}").sha256
    assert loaded(tmp_path, "{}", ["dedup.near.bands=optimal"]).dedup.near.bands == 18  # at the default jaccard 0.75


@pytest.mark.parametrize(("near", "says"), [
    ("{bands: optimal, rows: 7}", "rows as well"), ("{hashes: 128}", "belongs to bands: optimal"), ("{bands: 16, hashes: 99}", "belongs to"),
    ("{jaccard: 1, bands: optimal}", "no bands for this threshold"), ("{jaccard: 0.05, bands: optimal}", "at most 64 and 32"),
    ("{jaccard: 0.99, bands: optimal, hashes: 512}", "at most 64 and 32"), ("{bands: optimal, hashes: 1}", "greater than or equal to 2"),
    ("{bands: optimal, jaccard: 2}", "less than or equal to 1"), ("{bands: best}", "integer"), ("{bands: optimal, hashes: many}", "integer"),
])  # fmt: skip
def test_what_cannot_be_is_said(tmp_path, near, says):
    with pytest.raises(CurateError) as caught:
        loaded(tmp_path, near)
    assert says in str(caught.value) and "dedup.near" in str(caught.value)


def test_few_pairs_at_the_threshold_are_said_in_words():
    assert recall(0.5, 16, 7) == pytest.approx(0.118, abs=5e-4)  # 1 - (1 - 1/128) ** 16
    assert hint(0.75, 16, 7) == "" and hint(0.9, 4, 7) == ""
    assert "find 0.12 of the pairs at jaccard 0.5" in hint(0.5, 16, 7)


def test_the_hint_is_given_before_a_build(tmp_path, caplog):
    (tmp_path / "x").write_text("üks kaks")
    recipe = recipe_of(["a"], dedup={"near": {"jaccard": 0.5}}).model_copy(update={"base": tmp_path})
    with caplog.at_level(logging.WARNING):
        check(recipe)
        check(recipe_of(["a"], dedup={"near": None}).model_copy(update={"base": tmp_path}))
    assert caplog.text.count("dedup.near") == 1
    assert "16 bands x 7 rows find 0.12" in caplog.text
