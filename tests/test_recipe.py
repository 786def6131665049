"""Recipes: strict, extendable, canonical; every mistake one message that names file, line and the nearest key."""

from fractions import Fraction

import pytest

from curate.errors import CurateError
from curate.recipe import load_recipe
from curate.units import Quantity

RECIPE = """\
kind: cpt
name: small
roots: {here: "."}
tokenizer: {model: tok}
sources:
  web: {read: "{here}/*.jsonl", language: et, license: {declared: MIT}}
  code: {read: "src", format: tree, type: code, license: {declared: MIT}}
rules:
  - {signal: n_words, min: 50, max: 100000, sources: [web]}
  - {signal: language, equals: et, sources: [web]}
mixture:
  total: 3M tokens
  sequence_length: 512
  components:
    et: {from: [web], role: target, budget: 2M tokens, max_epochs: 2}
    code: {from: code, role: code, budget: 1M tokens}
"""


@pytest.fixture
def recipe_file(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(RECIPE)
    return path


def test_reads(recipe_file):
    recipe = load_recipe(recipe_file)
    assert [(r.name, r.signal, r.op, r.bound) for r in recipe.rules] == [
        ("min_n_words", "n_words", "min", 50.0),
        ("max_n_words", "n_words", "max", 100000.0),
        ("language", "language", "equals", ["et"]),
    ]
    assert recipe.rules[0].bound_text == ">= 50"
    assert recipe.mixture.total == Quantity(Fraction(3_000_000), "tokens")
    assert recipe.sources["web"].name == "web"


def test_canonical_form_loads_to_itself(recipe_file, tmp_path):
    recipe = load_recipe(recipe_file)
    again = tmp_path / "canonical.yaml"
    again.write_bytes(recipe.canonical_yaml())
    assert load_recipe(again).canonical() == recipe.canonical()
    assert load_recipe(again).sha256 == recipe.sha256
    assert str(tmp_path) not in recipe.canonical_yaml().decode()


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("total: 3M tokens", "total: 3000000", 12, "needs its unit"),
        ("total: 3M tokens", "totel: 3M tokens", 12, "did you mean 'total'?"),
        ("language: et,", "langage: et,", 6, "did you mean 'language'?"),
        ("from: [web]", "from: [wob]", 15, "no source 'wob'"),
        ("sources: [web]}\n  - {signal: language", "sources: [wep]}\n  - {signal: language", 9, "allowed: web"),
        ("role: code", "role: cod", 16, "role"),
        ("kind: cpt", "kind: cpt\nkind: cpt", 2, "stands twice"),
        ("  - {signal: n_words, min: 50", "  - {preset: gopher/qualty}\n  - {signal: n_words, min: 50", 9, "no preset"),
        ("  - {signal: n_words, min: 50, max: 100000, ", "  - {signal: n_words, ", 9, "exactly one of"),
        ("from: code", "from: web", 16, "one component"),
        ("name: small", "name: [", 4, "not valid YAML"),
    ],
)
def test_mistakes_are_one_clear_message(recipe_file, old, new, line, said):
    assert old in RECIPE
    recipe_file.write_text(RECIPE.replace(old, new))
    with pytest.raises(CurateError) as error:
        load_recipe(recipe_file)
    assert said in str(error.value)
    assert f"small.yaml:{line}" in str(error.value)
    assert error.value.exit_code == 2


def test_extends_is_only_the_difference(recipe_file, tmp_path):
    child = tmp_path / "child.yaml"
    child.write_text("extends: small.yaml\nname: child\nmixture: {components: {et: {budget: 1M tokens}}, total: 2M tokens}\n")
    recipe = load_recipe(child)
    assert recipe.name == "child"
    assert recipe.mixture.leaves["et"].budget == Quantity(Fraction(1_000_000), "tokens")
    assert recipe.mixture.leaves["et"].max_epochs == 2
    child.write_text("extends: child.yaml\n")
    with pytest.raises(CurateError, match="circle"):
        load_recipe(child)


def test_set_reaches_keys_and_rules_by_name(recipe_file):
    recipe = load_recipe(recipe_file, ["min_n_words=40", "language=[et, fi]", "mixture.sequence_length=1024"])
    assert recipe.rules[0].bound == 40
    assert recipe.rules[2].bound == ["et", "fi"]
    assert recipe.mixture.sequence_length == 1024
    with pytest.raises(CurateError, match="did you mean 'min_n_words'"):
        load_recipe(recipe_file, ["min_n_word=40"])


def test_sample_scales_token_budgets(recipe_file):
    recipe = load_recipe(recipe_file, sample=Fraction(1, 100))
    assert [c.budget.count for c in recipe.mixture.leaves.values()] == [20_000, 10_000]
    assert recipe.mixture.total.count == 30_000
    assert recipe.sample == Quantity(Fraction(1, 100), "share")


def test_roots_stay_symbolic_and_come_from_the_environment(recipe_file, monkeypatch):
    recipe_file.write_text(RECIPE.replace('here: "."', 'here: "${VESKI_RAW}"'))
    recipe = load_recipe(recipe_file)
    monkeypatch.delenv("VESKI_RAW", raising=False)
    with pytest.raises(CurateError, match="VESKI_RAW"):
        recipe.files(recipe.sources["web"])
    (recipe_file.parent / "raw").mkdir()
    (recipe_file.parent / "raw" / "a.jsonl").touch()
    monkeypatch.setenv("VESKI_RAW", str(recipe_file.parent / "raw"))
    assert [p.name for p in recipe.files(recipe.sources["web"])] == ["a.jsonl"]
    assert "${VESKI_RAW}" in recipe.canonical_yaml().decode()
    with pytest.raises(CurateError, match="no file matches"):
        recipe.files(recipe.sources["code"])


def test_no_near_duplicates_stays_so_in_the_canonical_form(recipe_file, tmp_path):
    again = tmp_path / "canonical.yaml"
    again.write_bytes(load_recipe(recipe_file, ["dedup.near=null"]).canonical_yaml())
    assert load_recipe(again).dedup.near is None


def test_set_reaches_every_rule_of_a_name(recipe_file):
    text = recipe_file.read_text().replace("mixture:", "  - {signal: n_words, min: 20, sources: [code]}\nmixture:", 1)
    recipe_file.write_text(text)
    recipe = load_recipe(recipe_file, ["min_n_words=5"])
    assert [(r.sources, r.bound) for r in recipe.rules if r.name == "min_n_words"] == [(["web"], 5), (["code"], 5)]
