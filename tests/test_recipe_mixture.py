"""The mixture section: groups, conditions, floors, policies, phases, going on; each mistake names file, line, key and what is allowed."""

import json
from fractions import Fraction

import pytest

from curate.errors import CurateError
from curate.recipe import Condition, load_recipe
from curate.units import Quantity

RECIPE = """\
kind: cpt
name: small
tokenizer: {model: tok}
sources:
  web: {read: web.jsonl, language: et, license: {declared: MIT}}
  books: {read: books.jsonl, license: {declared: MIT}}
mixture:
  sequence_length: 512
  continues: {manifest: old/manifest.json, rows: 12}
  components:
    hq: {from: [web], where: {edu: {min: 0.7}, cluster_size: {max: 100}}, role: target, max_epochs: 4, floor: 10M tokens}
    web: {from: [web], role: target}
    en:
      policy: {kind: weights, weights: {new: 0.3, old: 0.7}}
      components:
        new: {from: [books], where: {year: {min: 1950}}, role: replay}
        old: {from: [books], role: replay}
  phases:
    main: {total: 30M tokens, components: {web: 70 % of tokens, en: 30 % of tokens}}
    anneal: {total: 50M tokens, sequence_length: 8192, packing: concat, components: {hq: {budget: 100 % of tokens, floor: 5M tokens}}}
"""
PLAIN = RECIPE[: RECIPE.index("  continues")] + "  total: 10M tokens\n  components:\n"


@pytest.fixture
def load(tmp_path):
    def read(text, *args, **more):
        (tmp_path / "small.yaml").write_text(text)
        return load_recipe(tmp_path / "small.yaml", *args, **more)

    return read


def test_phases_know_what_applies_to_them(load):
    mixture = load(RECIPE).mixture
    assert list(mixture.leaves) == ["hq", "web", "en/new", "en/old"]
    main, anneal = mixture.phase_list
    assert (main.name, main.key, main.unit, main.sequence_length, main.packing) == (
        "main",
        "mixture.phases.main",
        "tokens",
        512,
        "best_fit",
    )
    assert [ask and (ask.name, str(ask.budget)) for ask in main.asks] == [
        None, ("web", "70 % of tokens"), ("en/new", "None"), ("en/old", "None")
    ]  # fmt: skip
    assert [part.name for part in main.parts] == ["web", "en"] and main.parts[1].policy.kind == "weights"
    assert (anneal.sequence_length, anneal.packing, anneal.on_shortage, anneal.total.count) == (
        8192,
        "concat",
        "fail",
        50_000_000,
    )
    (hq,) = [ask for ask in anneal.asks if ask]
    assert (hq.key, hq.component_key, hq.max_epochs) == ("mixture.phases.anneal.components.hq", "mixture.components.hq", 4)
    assert hq.floor == Quantity(Fraction(5_000_000), "tokens")  # the phase's own before the component's
    assert mixture.leaves["hq"].where == {"edu": Condition(min=0.7), "cluster_size": Condition(max=100)}
    assert [c.rows for c in mixture.continues] == [12]


def test_one_phase_is_called_main(load):
    (phase,) = load(PLAIN + "    et: {from: [web], role: target, budget: 10M tokens, max_epochs: 1.1}\n").mixture.phase_list
    assert (phase.name, phase.key, phase.asks[0].key) == ("main", "mixture", "mixture.components.et")
    assert phase.asks[0].max_epochs == Fraction(11, 10)


def test_the_canonical_form_loads_to_itself(load, tmp_path):
    recipe = load(RECIPE)
    (tmp_path / "again.yaml").write_bytes(recipe.canonical_yaml())
    assert load_recipe(tmp_path / "again.yaml").sha256 == recipe.sha256
    plain = load(PLAIN + "    et: {from: [web], role: target, budget: 10M tokens}\n").canonical()["mixture"]
    assert list(plain) == ["total", "sequence_length", "on_shortage", "components"]  # what is not said is not written
    assert list(plain["components"]["et"]) == ["from", "role", "budget", "max_epochs"]


def test_set_reaches_into_groups_and_phases(load):
    recipe = load(RECIPE, ["mixture.phases.main.components.web=60 % of tokens", "mixture.phases.main.components.en.budget=40 % of tokens",
                           "mixture.components.en.components.old.max_epochs=3", "mixture.phases.anneal.components=[hq]",
                           "mixture.phases.anneal.policy=unimax"])  # fmt: skip
    main, anneal = recipe.mixture.phase_list
    assert [str(part.budget) for part in main.parts] == ["60 % of tokens", "40 % of tokens"]
    assert main.asks[3].max_epochs == 3
    assert anneal.asks[0].budget is None and anneal.policy.kind == "unimax"


def test_a_sample_scales_every_count(load):
    main, anneal = load(RECIPE, sample=Fraction(1, 100)).mixture.phase_list
    assert (main.total.count, anneal.total.count, main.on_shortage) == (300_000, 500_000, "shrink_total")
    assert anneal.asks[0].floor == Quantity(Fraction(50_000), "tokens")


def test_weights_come_from_a_file_and_stay_with_the_recipe(load, tmp_path):
    file = tmp_path / "doremi.json"
    file.write_text(json.dumps({"a": 0.25, "b": 0.75}))
    text = (
        PLAIN
        + "    a: {from: [web], role: target}\n    b: {from: [books], role: target}\n  policy: {kind: weights, file: doremi.json}\n"
    )
    recipe = load(text)
    assert recipe.mixture.policy.weights == {"a": 0.25, "b": 0.75} and recipe.mixture.policy.origin == "doremi.json"
    (tmp_path / "again.yaml").write_bytes(recipe.canonical_yaml())
    file.unlink()
    assert load_recipe(tmp_path / "again.yaml").sha256 == recipe.sha256
    with pytest.raises(CurateError, match=r"mixture.policy.file: there is no such file"):
        load(text)
    file.write_text("[1, 2]")
    with pytest.raises(CurateError, match="this file holds no weights"):
        load(text)
    file.write_text(json.dumps({"a": 0.25}))
    with pytest.raises(CurateError, match="no weight for 'b'"):
        load(text)


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("en: 30 % of tokens", "em: 30 % of tokens", 19, "did you mean 'en'?"),
        ("policy: {kind: weights", "polcy: {kind: weights", 14, "did you mean 'policy'?"),
        ("old: {from: [books], role", "old: {from: [books], rol", 17, "did you mean 'role'?"),
        ("old: {from: [books]", "old: {from: [bocks]", 17, "allowed: books"),
        ("{min: 0.7}", "{mim: 0.7}", 11, "did you mean 'min'?"),
        ("{min: 0.7}", "{min: 0.7, below: 0.7}", 11, "no number is in these bounds"),
        ("{min: 0.7}", "{missing: pass}", 11, "a condition needs"),
        ("old: 0.7}", "ald: 0.7}", 13, "no weight for 'old'"),
        ("old: 0.7}", "old: -1}", 14, "weights are numbers from 0"),
        ("sequence_length: 8192", "sequence_lenth: 8192", 20, "did you mean 'sequence_length'?"),
        ("rows: 12", "rows: 12, receipt: r.json", 9, "how far the old build"),
        ("total: 30M tokens", "total: 30M examples", 19, "counted in tokens, the total of its phase in examples"),
        ("web: 70 % of tokens", "web: 7", 19, "a number needs its unit"),
        ("web: 70 % of tokens", "web: 70 % of documents", 19, "on one level all have it, or none"),
        ("web: 70 % of tokens, en: 30 % of tokens", "web: 70 % of documents, en: 20 % of documents", 19, "do not add up to 100 %"),
        ("web: 70 % of tokens", "web: {floor: 1k tokens}", 19, "mixture.phases.main.components.web: no budget"),
        ("role: replay}\n  phases", "role: replay, budget: 3 epochs}\n  phases", 17, "a budget where policy weights decides"),
        ("web: {from: [web], role: target}", "web: {from: [web], role: target, budget: 1M tokens}", 12, "a budget of its own beside phases"),
        ("web: 70 % of tokens, en: 30", "web: 70 % of tokens, en/old: 30", 16, "component 'en/new' is in no phase"),
        ("web: 70 % of tokens, en: 30", "en/old: 70 % of tokens, en: 30", 19, "asks for group 'en' and for 'en/old' inside it"),
        ("components: {web: 70 % of tokens, en: 30 % of tokens}", "policy: fixed", 19, "asks for no component"),
        ("  phases:\n", "  total: 5M tokens\n  phases:\n", 7, "either total: (one phase) or phases:"),
        ("en:\n      policy", "e/n:\n      policy", 13, "a component's name has no /"),
        ("{min: 1950}", "{min: 1950}}, where: {a: {min: 1}", 16, "stands twice"),
    ],
)  # fmt: skip
def test_mistakes_are_one_clear_message(load, old, new, line, said):
    assert old in RECIPE
    with pytest.raises(CurateError) as error:
        load(RECIPE.replace(old, new))
    assert said in str(error.value)
    assert f"small.yaml:{line}" in str(error.value)


@pytest.mark.parametrize(
    ("first", "second", "reached"),
    [
        ("", "", False),
        ("", "edu: {min: 0.5}", False),
        ("edu: {min: 0.5}", "", True),
        ("edu: {min: 0.5}", "edu: {min: 0.7}", False),  # whoever has 0.7 has 0.5
        ("edu: {min: 0.7}", "edu: {min: 0.5}", True),
        ("edu: {min: 0.5}", "edu: {min: 0.7, missing: pass}", True),  # documents without a value
        ("edu: {max: 3}", "edu: {below: 3}", False),
        ("edu: {below: 3}", "edu: {max: 3}", True),
        ("edu: {min: 0.5}", "year: {min: 0.7}", True),
        ("lang: {equals: [et, en]}", "lang: {equals: et}", False),
        ("lang: {equals: et}", "lang: {equals: [et, en]}", True),
        ("n: {min: 2}", "n: {equals: [2, 3]}", False),
        ("n: {min: 2}", "n: {equals: [1, 3]}", True),
    ],
)
def test_a_component_that_no_document_reaches(load, first, second, reached):
    text = (
        PLAIN
        + f"""\
    a: {{from: [web], where: {{{first}}}, role: target, budget: 50 % of tokens}}
    b: {{from: [web], where: {{{second}}}, role: target, budget: 50 % of tokens}}
"""
    )
    if reached:
        assert load(text).mixture.phase_list[0].asks[1] is not None
        return
    with pytest.raises(CurateError, match="a document belongs to one component of a phase, the first that it fits") as error:
        load(text)
    assert "small.yaml:12" in str(error.value)


def test_two_components_of_one_source_in_different_phases(load):
    text = RECIPE.replace("where: {edu: {min: 0.7}, cluster_size: {max: 100}}, ", "")
    assert load(text).mixture.phase_list[1].asks[0] is not None


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ({"min": 2}, [False, True, True, True, False, False]),
        ({"max": 2}, [True, True, False, False, False, False]),
        ({"below": 2}, [True, False, False, False, False, False]),
        ({"min": 2, "below": 4}, [False, True, True, False, False, False]),
        ({"equals": [1, 4]}, [True, False, False, True, False, False]),
        ({"min": 2, "missing": "pass"}, [False, True, True, True, True, True]),
    ],
)
def test_conditions(condition, holds):
    assert [Condition(**condition).holds(value) for value in (1, 2, 3, 4, None, float("nan"))] == holds


def test_a_policy_has_the_keys_of_its_kind(load):
    text = PLAIN + "    a: {from: [web], role: target}\n"
    for given, said in (
        ("temperature", "needs temperature:"), ("{kind: unimax, temperature: 2}", "no other takes one"), ("weights", "needs weights:"),
        ("{kind: temperature, temperature: 0}", "from 0.1 to 1000"), ("{kind: proportional, at_most: 5 tokens}", "belongs to policy temperature"),
        ("unimx", "Input should be 'fixed', 'proportional'"), ("{kind: temperature, temperature: 2, at_most: 5 examples}", "not in the unit"),
    ):  # fmt: skip
        with pytest.raises(CurateError, match=said):
            load(text + f"  policy: {given}\n")
