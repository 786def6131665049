"""Thresholds by FineWeb2's methods: the arithmetic by hand, over a build whose values are i / 1000 of 400 documents."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
import yaml

from curate import schema
from curate.errors import CurateError
from curate.inspect import stop_words, thresholds, thresholds_screen
from curate.inspect.corpus import write_corpus
from curate.inspect.threshold_methods import PARTS, language_score, propose, rounded
from curate.recipe import load_recipe, preset
from curate.store import Store
from tests.inspect.conftest import publish

N = 400
RECIPE = """
kind: cpt
name: adapt
tokenizer: {model: tok}
sources:
  et_web: {read: x.jsonl, language: et, license: {declared: CC0-1.0}}
  en_wiki: {read: x.jsonl, language: en, license: {declared: CC0-1.0}}
  small: {read: x.jsonl, language: et, license: {declared: CC0-1.0}}
rules:
  - {signal: alpha_word_ratio, min: 0.8}
mixture:
  total: 1k tokens
  sequence_length: 64
  components: {c: {from: [et_web], role: target, budget: 1k tokens}}
"""
# Bounds of presets of our own, so that what is expected can be written down: as FineWeb2 groups them, base bounds made up.
PRESETS = {
    "gopher/repetition": {"max_duplicate_paragraph_ratio": 0.3, "max_duplicate_line_ratio": 0.2, "max_top_2gram_char_ratio": 0.2},
    "fineweb/quality": {
        "min_punctuated_line_ratio": 0.1,
        "max_short_line_ratio": 0.6,
        "max_duplicate_nonblank_line_char_ratio": 0.01,
    },
    "gopher/quality": {
        "min_n_non_symbol_words": 50,
        "max_mean_word_chars": 10,
        "min_alpha_word_ratio": 0.8,
        "min_n_stop_words": 2,
    },
}
RATIOS = [
    "duplicate_line_ratio",
    "top_2gram_char_ratio",
    "punctuated_line_ratio",
    "duplicate_nonblank_line_char_ratio",
    "alpha_word_ratio",
]


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """et_web: every ratio is i / 1000, mean_word_chars i / 100; en_wiki: twice that; small: 50 documents."""
    root = tmp_path_factory.mktemp("adapt")
    (root / "r.yaml").write_text(RECIPE)
    for name, bounds in PRESETS.items():
        path = root / "presets" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump({"source": "made up", "bounds": bounds}, sort_keys=False))
    store, build = Store(root / "store"), root / "build"
    stages: dict = {"documents": {}, "signals": {}}
    for source, n, factor in (("et_web", N, 1), ("en_wiki", N, 2), ("small", 50, 1)):
        order = np.random.default_rng(1).permutation(n)
        ids = sorted(f"{source.encode().hex()[:8]}{i:024x}" for i in range(n))
        texts = [f"see on tekst number {i} ja on ka kõik\n\nTeine Lõik" for i in order]
        rows = [
            {"id": id_, "source": source, "text": text, "is_repaired": False, "byte_offset": 0}
            for id_, text in zip(ids, texts, strict=True)
        ]
        documents = {
            "00000": ({"documents.parquet": pa.Table.from_pylist(rows, schema.DOCUMENTS)}, {}),
            "quarantine": (
                {"quarantine.parquet": pa.Table.from_pylist([], schema.QUARANTINE)},
                {"n_read": n, "n_quarantined": 0},
            ),
        }
        stages["documents"][source] = publish(store.stage("documents", version=1, settings={"source": source}), documents)
        ratio = factor * order / 1000
        table = {
            "id": ids,
            **dict.fromkeys(RATIOS, ratio),
            "mean_word_chars": factor * order / 100,
            "n_stop_words": 3 * np.ones(n, np.int64),
            "n_non_symbol_words": order,
            "language_score": pa.array(1 - order / 1000, pa.float32()),
            "language": ["et" if source != "en_wiki" else "en"] * n,
        }
        stage = store.stage("signals", version=1, settings={"source": source})
        stages["signals"][source] = {"drawn": publish(stage, {"00000": ({"drawn.parquet": pa.table(table)}, None)})}
    write_corpus(build, stages, None)
    return SimpleNamespace(path=build, recipe=load_recipe(root / "r.yaml"), root=root)


def by_rule(found, source="et_web"):
    return {rule["rule"]: rule for rule in found["sources"][source]["rules"]}


def test_methods_by_hand():
    values = np.arange(10.0)  # mean 4.5, median 4.5, standard deviation sqrt(8.25)
    assert propose("10tail", "max", 0, values) == 8 and propose("10tail", "min", 0, values) == 1  # 9 fails; 0 fails
    assert propose("unchanged", "max", 0.3, values) == 0.3
    reference = 10 * values  # 3 of its 10 values are above 60, 2 below 20
    assert propose("quantile", "max", 60, values, reference) == 6 and propose("quantile", "min", 20, values, reference) == 2
    assert propose("quantile", "max", 90, values, reference) == 9  # nothing fails there, nothing fails here
    assert propose("meanstd", "max", 60, values, reference) == pytest.approx(6)
    assert propose("meanstd", "min", 20, values, reference + 100) == pytest.approx(2 - 10)
    assert propose("medianratio", "max", 60, values, reference) == pytest.approx(6)
    flat = np.zeros(5)
    assert propose("meanstd", "max", 1, values, flat) is None and propose("medianratio", "max", 1, values, flat) is None
    assert propose("10tail", "max", 0, np.array([3.0])) == 3
    tied = np.array([0.0] * 9 + [5.0] * 11)  # more than a tenth is equal to the worst: none of it can be dropped
    assert propose("10tail", "max", 0, tied) == 5


def test_the_language_score_is_held_between_its_ends():
    assert language_score(np.array([0.8, 0.8, 0.8])) == pytest.approx(0.8)
    assert language_score(np.array([0.5, 0.7])) == pytest.approx(0.5)  # 0.6 - 0.1
    assert language_score(np.ones(3)) == 0.9 and language_score(np.array([0.0, 0.1, 0.9])) == 0.3


def test_rounding_drops_nothing_more():
    assert rounded(0.1, "max", 3) == 0.1 and rounded(0.1001, "max", 3) == 0.101 and rounded(0.1009, "min", 3) == 0.1
    assert rounded(12.31, "max", 1) == 12.4 and rounded(-0.2, "min", 3) == 0.0 and rounded(2 / 3, "min", 3) == 0.666


def test_finewebs_choice_without_a_reference(build):
    found = thresholds.thresholds(build.path, build.recipe, ["et_web"])
    rules = by_rule(found)
    assert list(rules) == [
        "min_language_score", "max_duplicate_line_ratio", "max_top_2gram_char_ratio", "min_punctuated_line_ratio",
        "max_duplicate_nonblank_line_char_ratio", "min_n_non_symbol_words", "max_mean_word_chars", "min_alpha_word_ratio", "min_n_stop_words",
    ]  # fmt: skip
    line = rules["max_duplicate_line_ratio"]
    assert (line["base"], line["proposed"], line["method"]) == (0.2, 0.359, "10tail")
    assert line["would_drop"] == 40 / N and line["base_would_drop"] == 199 / N  # 0.360 .. 0.399; 0.201 .. 0.399
    assert rules["min_punctuated_line_ratio"]["proposed"] == 0.04 and rules["min_punctuated_line_ratio"]["would_drop"] == 40 / N
    assert (
        rules["max_mean_word_chars"]["proposed"] == 3.6 and rules["max_mean_word_chars"]["method"] == "10tail"
    )  # 3.59, outwards
    assert (
        rules["max_duplicate_nonblank_line_char_ratio"]["proposed"] == 0.1 and rules["min_n_non_symbol_words"]["proposed"] == 50
    )
    # scores 1.000 .. 0.601: median 0.8005, standard deviation 0.11547; 0.68503 rounded down; below it 0.684 .. 0.601
    assert rules["min_language_score"]["proposed"] == 0.685 and rules["min_language_score"]["would_drop"] == 84 / N
    # i >= 360 fails 10tail of the ratios, i < 50 the words; 0.1 of duplicate characters is the tightest: 299 above it
    assert found["sources"]["et_web"]["together"] == (50 + 299) / N


def test_with_a_reference_of_twice_the_values_bounds_halve(build):
    rules = by_rule(thresholds.thresholds(build.path, build.recipe, ["et_web"], reference="en_wiki"))
    assert rules["max_mean_word_chars"]["proposed"] == 5 and rules["max_mean_word_chars"]["method"] == "meanstd"
    assert rules["min_alpha_word_ratio"]["proposed"] == 0.4 and rules["max_duplicate_line_ratio"]["method"] == "10tail"
    for method, expected in {"medianratio": 0.1, "quantile": 0.1, "meanstd": 0.1, "unchanged": 0.2}.items():
        rules = by_rule(thresholds.thresholds(build.path, build.recipe, ["et_web"], reference="en_wiki", method=method))
        assert rules["max_duplicate_line_ratio"]["proposed"] == expected, method
    rules = by_rule(thresholds.thresholds(build.path, build.recipe, ["et_web"], reference="en_wiki", clean="en_wiki"))
    assert rules["max_mean_word_chars"]["proposed"] == 10


def test_without_names_the_sources_that_are_large_enough_and_serve_as_nothing_else(build):
    assert list(thresholds.thresholds(build.path, build.recipe, reference="en_wiki")["sources"]) == ["et_web"]
    with pytest.raises(CurateError, match="no source is large enough") as caught:
        thresholds.thresholds(build.path, build.recipe, reference="en_wiki", clean="et_web")
    assert caught.value.found == "documents: small 50"
    with pytest.raises(CurateError, match="small") as caught:
        thresholds.thresholds(build.path, build.recipe, ["small"])
    assert caught.value.found == "50 documents" and caught.value.allowed == "200 or more"


def test_texts_stand_on_both_sides_and_are_the_nearest(build):
    rule = by_rule(thresholds.thresholds(build.path, build.recipe, ["et_web"], n_texts=2))["max_duplicate_line_ratio"]
    assert [d["value"] for d in rule["texts"]["dropped"]] == [0.36, 0.361] and [d["value"] for d in rule["texts"]["kept"]] == [
        0.359,
        0.358,
    ]
    assert rule["texts"]["dropped"][0]["text"].startswith("see on tekst number 360")
    none = by_rule(thresholds.thresholds(build.path, build.recipe, ["et_web"], n_texts=0))["max_duplicate_line_ratio"]
    assert none["texts"] == {"dropped": [], "kept": []}


def test_the_lines_load_as_a_recipe(build, monkeypatch):
    """Pasted under `extends:`, they are the rules of the recipe; the stop-word list is found from the recipe's folder."""
    monkeypatch.setattr(stop_words, "MIN_WORDS", 1000)
    file = build.root / "lists" / "et.txt"
    found = thresholds.thresholds(build.path, build.recipe, ["et_web"], stop_words="et_web", write_stop_words=file)
    assert "# in place of the recipe's min_alpha_word_ratio" in "\n".join(found["yaml"])
    (build.root / "adapted.yaml").write_text("extends: r.yaml\n" + "\n".join(found["yaml"]) + "\n")
    recipe = load_recipe(build.root / "adapted.yaml")
    assert {rule.name: rule.bound for rule in recipe.rules} == {name: rule["proposed"] for name, rule in by_rule(found).items()}
    assert all(rule.sources == ["et_web"] for rule in recipe.rules)
    assert recipe.path(recipe.sources["et_web"].stop_words).resolve() == file.resolve()
    from curate.signals.gopher import stop_words as read

    assert read("et", file) == ("ja", "ka", "kõik", "number", "on", "see", "tekst")


def test_stop_words_are_frequent_words_as_written(build, monkeypatch):
    """7 of 10 words with a letter are in lower case: on twice; Teine and Lõik are not; digits are no words here."""
    from curate.inspect.corpus import open_corpus

    with open_corpus(build.path) as corpus:
        with pytest.raises(CurateError, match="too small") as caught:
            stop_words.derive(corpus, build.path, "et_web")
        assert caught.value.found == "4,000 words with a letter" and caught.value.allowed == "10,000 or more"
        monkeypatch.setattr(stop_words, "MIN_WORDS", 1000)
        found = stop_words.derive(corpus, build.path, "et_web")
    assert [w["word"] for w in found["words"]] == ["on", "ja", "ka", "kõik", "number", "see", "tekst"]
    assert found["words"][0]["share"] == 0.2 and found["words"][1]["share"] == 0.1 and found["n_words"] == 4000


def test_it_reads_well_and_is_the_same_every_time(build):
    first = thresholds.thresholds(build.path, build.recipe, ["et_web"], reference="en_wiki")
    assert json.dumps(first) == json.dumps(thresholds.thresholds(build.path, build.recipe, ["et_web"], reference="en_wiki"))
    text = thresholds_screen.render(first)
    assert max(map(len, text.splitlines())) <= 100 and "\x1b" not in text
    row = next(line for line in text.splitlines() if line.startswith("  max_mean_word_chars"))
    assert row.split() == ["max_mean_word_chars", "10", "0", "%", "5", "0", "%", "meanstd"]
    assert "et_web: duplicate_line_ratio <= 0.359" in text and "dropped 0.36 " in text
    assert (
        "all of these bounds together would drop" in text
        and "- {signal: duplicate_line_ratio, max: 0.359, sources: [et_web]}" in text
    )


@pytest.mark.parametrize(("given", "says"), [
    ({"sources": ["et_wep"]}, "et_web"), ({"reference": "en"}, "--reference"), ({"method": "tail"}, "10tail"),
    ({"method": "meanstd"}, "--reference SOURCE"), ({"write_stop_words": "x"}, "--stop-words"), ({"stop_words": "et"}, "--stop-words"),
])  # fmt: skip
def test_mistakes(build, given, says):
    with pytest.raises(CurateError) as caught:
        thresholds.thresholds(build.path, build.recipe, **given)
    assert says in str(caught.value)


def test_a_build_that_has_not_measured_the_families(small):
    with pytest.raises(CurateError, match="not measured") as caught:
        thresholds.thresholds(small.build, load_recipe(small.build / "recipe.yaml"), ["web"])
    assert "curate build-mixture" in caught.value.next


def test_every_bound_named_here_is_in_its_preset(tmp_path):
    for part in PARTS:
        bounds = preset(part.preset, tmp_path)["bounds"]
        assert set(part.adapted) | set(part.off) | {name for name, _ in part.fixed} <= set(bounds), part.name


def test_the_command_prints_the_table_or_json(build):
    from typer.testing import CliRunner

    from curate.cli import app

    (build.path / "recipe.yaml").write_bytes(build.recipe.canonical_yaml())
    (build.path / "log").mkdir(exist_ok=True)
    (build.path / "log" / "build.json").write_text(json.dumps({"recipe_base": str(build.root), "store": "../store"}))
    shown = CliRunner().invoke(app, ["thresholds", str(build.path), "--source", "et_web", "--texts", "0"])
    assert shown.exit_code == 0 and "max_duplicate_line_ratio" in shown.output and "dropped 0.36" not in shown.output
    given = CliRunner().invoke(app, ["thresholds", str(build.path), "--source", "et_web", "--reference", "en_wiki", "--json"])
    assert json.loads(given.output)["sources"]["et_web"]["documents"] == N
