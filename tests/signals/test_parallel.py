"""Family parallel: by hand, at OpusFilter's thresholds, and against its definitions in plain Python on real pairs."""

from __future__ import annotations

import difflib
import json
import math
import string
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from curate import langid, text
from curate.recipe import Recipe
from curate.signals import Batch, measurers, parallel
from curate.signals.parallel import alike
from tests.sources.making import recipe

SPEC = langid.Spec(candidates=("de", "en", "et", "fi", "ru"))


def measured(pairs: list[tuple[str, str]], languages=("et", "en"), scores=None, scripts=None) -> list[dict]:
    parts = [dict(zip(languages, pair, strict=True)) for pair in pairs]
    for part, score in zip(parts, scores or [], strict=False):
        part |= {} if score is None else {"score": score}
    given = pa.array([json.dumps(part) for part in parts], pa.large_string())
    empty = np.zeros(1, np.uint8), np.zeros(len(pairs) + 1, np.int64)
    measurer = parallel.measurer(languages, scripts or {}, SPEC)
    found = measurer.measure(Batch(given, *empty, None, {"parts": given}))
    assert list(found) == [column.name for column in parallel.FAMILY.columns]
    types = {"int64": pa.int64(), "float32": pa.float32(), "string": pa.string()}
    columns = {c.name: pa.array(found[c.name], types[c.type]).to_pylist() for c in parallel.FAMILY.columns}
    return [{name: values[i] for name, values in columns.items()} for i in range(len(pairs))]


def test_by_hand():
    (one,) = measured([("Kass istus 3 matil…  Jah!", "The cat sat on 30 mats.")], scores=[0.123456])
    assert {name: value for name, value in one.items() if "language" not in name} == {
        "n_shorter_side_chars": 23, "n_longer_side_chars": 25, "n_shorter_side_words": 5, "n_longer_side_words": 6,
        "n_longest_side_word_chars": 6,  # matil…
        "lower_side_mean_word_chars": 3.0, "higher_side_mean_word_chars": 4.0,  # 18 of 6 words, 20 of 5
        "lower_side_script_ratio": 1.0,
        "terminal_punctuation_penalty": 2,  # 2 against 1, and the first has one beyond one
        "lower_side_letter_ratio": pytest.approx(0.6522),  # 15 of 23, 17 of 25
        "n_sides_with_html": 0, "n_side_repetitions": 0,
        "common_substring_ratio": pytest.approx(0.1739),  # " mat": 4 of 23
        "side_similarity_ratio": pytest.approx(1 - levenshtein("Kass istus 3 matil…  Jah!", "The cat sat on 30 mats.") / 25, abs=1e-4),
        "numerals_ratio": 1.0, "is_same_on_both_sides": 0, "pair_score": pytest.approx(0.1235),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("pair", "expected"),
    [
        (("Tere!", "tere !"), {"is_same_on_both_sides": 1}),
        (("Tere!", "tere"), {"is_same_on_both_sides": 0, "terminal_punctuation_penalty": 1}),
        (("1, 2 ja 3", "1, 2 and 30"), {"numerals_ratio": 1.0}),  # zeros do not count
        (("1 2 3 4", "1 2 5 6"), {"numerals_ratio": 0.5}),  # 2 * 2 / 8: at LLAMMAS' threshold
        (("1 2 3", "4"), {"numerals_ratio": 0.0}),
        (("aasta 1990", "the year"), {"numerals_ratio": 0.0}),
        (("...", "…"), {"terminal_punctuation_penalty": 4}),  # 3 against 1, two beyond one
        (("......", "."), {"terminal_punctuation_penalty": 10}),
        (("x" * 39, "y"), {"n_longest_side_word_chars": 39, "n_longer_side_chars": 39, "n_shorter_side_words": 1}),
        (("a\u00a0b\u2003c", "a b c"), {"n_shorter_side_words": 3, "n_longer_side_words": 3}),
        (("Москва is", "Moscow"), {"lower_side_script_ratio": 0.25}),  # two of eight letters are Latin
        (("12 %", "12 %"), {"lower_side_script_ratio": 1.0, "numerals_ratio": 1.0}),
        (("õ😀", "ä"), {"n_longer_side_chars": 2, "n_shorter_side_chars": 1}),
    ],
)
def test_edges(pair, expected):
    (one,) = measured([pair])
    assert {name: one[name] for name in expected} == expected


def test_scripts_are_those_of_the_languages_or_of_the_recipe():
    (one,) = measured([("Где вы живёте сейчас?", "Kus te praegu elate?")], ("ru", "et"))
    assert (one["lower_side_script_ratio"], one["n_sides_in_language"]) == (1.0, 2)
    (one,) = measured([("Где вы живёте сейчас?", "Kus te praegu elate?")], ("rus_Cyrl", "est_Latn"))
    assert (one["lower_side_script_ratio"], one["n_sides_in_language"]) == (1.0, 2)
    assert measured([("Gde vy zhivyote?", "Kus?")], ("ru", "et"), scripts={"ru": "latin"})[0]["lower_side_script_ratio"] == 1.0
    assert parallel.script_of("ja") == ("han", "kana") and parallel.script_of("uk") == ("cyrillic",)


def test_a_side_in_another_language():
    german = "Das ist ein ganz gewöhnlicher deutscher Satz über das Wetter."
    english = "This is a quite ordinary English sentence about the weather."
    (one,) = measured([("See on üsna tavaline eestikeelne lause ilmast.", english)])
    assert (one["n_sides_in_language"], one["first_side_language"], one["second_side_language"]) == (2, "et", "en")
    assert 0.9 < one["lower_side_language_score"] <= 1
    (one,) = measured([(german, english)])
    assert (one["n_sides_in_language"], one["first_side_language"], one["lower_side_language_score"]) == (1, "de", 0)
    (one,) = measured([("12", "34")])
    assert (one["n_sides_in_language"], one["first_side_language"], one["pair_score"]) == (0, "und", None)


def test_nothing_is_measured_of_no_pairs():
    assert measured([]) == []


def opusfilter(pair: tuple[str, str]) -> dict[str, float]:
    """The scores of OpusFilter's filters as its documentation and filters.py define them, in our names."""
    import regex

    words = [side.split() for side in pair]
    n_words, n_chars = [len(w) for w in words], [len(side) for side in pair]
    letters = [regex.sub(r"\P{L}", "", side) for side in pair]
    latin = [len(regex.findall(r"\p{Script=Latin}", own)) / len(own) if own else 1.0 for own in letters]
    marks = [sum(c in ".?!…" for c in side) for side in pair]
    penalty = abs(marks[0] - marks[1]) + sum(m - 1 for m in marks if m > 1)
    digits = [[int(c) for c in side if c in string.digits and c != "0"] for side in pair]
    return {
        "n_shorter_side_chars": min(n_chars), "n_longer_side_chars": max(n_chars), "n_shorter_side_words": min(n_words),
        "n_longer_side_words": max(n_words), "n_longest_side_word_chars": max(len(w) for own in words for w in own),
        "lower_side_mean_word_chars": min(sum(map(len, own)) / len(own) for own in words),
        "higher_side_mean_word_chars": max(sum(map(len, own)) / len(own) for own in words),
        "lower_side_script_ratio": min(latin), "terminal_punctuation_penalty": penalty,
        "numerals_ratio": difflib.SequenceMatcher(None, *digits).ratio(),
    }  # fmt: skip


def pairs_of(data, name: str, et: str, en: str) -> list[tuple[str, str]]:
    raw = zstandard.ZstdDecompressor().stream_reader((data / "parallel" / f"{name}.jsonl.zst").read_bytes()).read()
    rows = [json.loads(line) for line in raw.decode().split("\n") if line]
    return [(row[et].strip(), row[en].strip()) for row in rows]


def test_real_pairs_are_scored_as_opusfilter_does(data):
    pytest.importorskip("regex")
    pairs = pairs_of(data, "tatoeba_et_en", "text", "text_en") + pairs_of(data, "mlqe_et_en", "text", "text_en_mt")
    for pair, found in zip(pairs, measured(pairs), strict=True):
        expected = opusfilter(pair)
        assert {name: found[name] for name in expected} == pytest.approx(expected, abs=6e-5), pair
        score = -math.log(1 + expected["terminal_punctuation_penalty"])
        assert (score >= -2) == (found["terminal_punctuation_penalty"] <= 6)


@pytest.fixture
def llammas(tmp_path) -> Recipe:
    block = {"read": "x", "type": "parallel", "parallel": {"languages": ["et", "en"]}}
    return recipe(
        tmp_path, {"s": block}, rules=[{"preset": "llammas/parallel"}], language_id=[{"candidates": ["et", "en", "de", "ru"]}]
    )


GOOD = ("Eile õhtul läksime me kolmekesi 1 kord kinno.", "Yesterday evening the three of us went to the cinema 1 time.")


@pytest.mark.parametrize(
    ("pair", "fails"),
    [
        (GOOD, []),
        ((GOOD[0] + " " + "x" * 40, GOOD[1] + " " + "x" * 39), ["max_n_longest_side_word_chars"]),
        (("Mis see on", "Mis it"), ["min_n_shorter_side_chars"]),
        (("üks kaks kolm neli viis kuus seitse kaheksa üheksa", "one two three"), ["max_side_word_ratio"]),
        ((GOOD[0].replace(".", "......"), GOOD[1]), ["max_terminal_punctuation_penalty"]),
        ((GOOD[0].replace("1", "2 3"), GOOD[1]), ["min_numerals_ratio"]),
        ((GOOD[0] + " Ж", GOOD[1]), ["min_lower_side_script_ratio"]),
        ((GOOD[1], GOOD[1]), ["min_n_sides_in_language"]),
    ],
)
def test_llammas_preset_at_its_bounds(pair, fails, llammas):
    """Each rule by the values of one pair; bounds as the preset has them."""
    (found,) = measured([pair])
    failed = []
    for rule in llammas.rules:
        of = {r.name: r for r in parallel.FAMILY.ratios}.get(rule.signal)
        value = found[of.numerator] / found[of.denominator] if of else found[rule.signal]
        if (rule.min is not None and value < rule.min) or (rule.max is not None and value > rule.max):
            failed.append(rule.name)
    assert failed == fails


def test_measured_for_parallel_sources_only_with_the_recipes_identifier(tmp_path):
    blocks = {
        "p": {"read": "x", "type": "parallel", "parallel": {"languages": ["et", "liv"]}}, "t": {"read": "x"},
        "q": {"read": "x", "type": "preference", "preference": {}},
    }  # fmt: skip
    loaded = recipe(tmp_path, blocks)
    names = {name: [m.family.name for m in measurers(loaded, source)] for name, source in loaded.sources.items()}
    assert {name: [n for n in of if n in ("parallel", "preference")] for name, of in names.items()} == {
        "p": ["parallel"], "t": [], "q": ["preference"]}  # fmt: skip
    (mine,) = [m for m in measurers(loaded, loaded.sources["p"]) if m.family.name == "parallel"]
    assert mine.settings["languages"] == ["et", "liv"] and mine.settings["backend"] == "py3langid" and mine.reads == ("parts",)


def levenshtein(a: str, b: str) -> int:
    """The table, row by row."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        diagonal, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (x != y))
    return row[-1]


@settings(max_examples=300, deadline=None)
@given(st.text("abõ中 ", max_size=40), st.text("abõ中 ", max_size=40))
def test_edit_distance_and_common_runs_against_their_definitions(a, b):
    assert alike.edit_distance(a, b) == levenshtein(a, b)
    runs = {a[i:j] for i in range(len(a)) for j in range(i + 1, len(a) + 1)}
    longest = max((len(run) for run in runs if run in b), default=0)
    shorter = min(len(a), len(b))
    assert alike.common_substring_ratio(a, b) == (longest / shorter if shorter else 0.0)


@pytest.mark.parametrize(
    ("pair", "expected"),
    [
        (("kitten", "sitting"), {"side_similarity_ratio": 0.5714, "common_substring_ratio": 0.5}),  # 3 edits of 7; "itt" of 6
        (("abcdefghij", "abcdefghiX"), {"side_similarity_ratio": 0.9, "common_substring_ratio": 0.9}),  # OpusFilter drops at 0.9
        (("sama", "sama"), {"side_similarity_ratio": 1.0, "common_substring_ratio": 1.0}),
        (("abc", "xyz"), {"side_similarity_ratio": 0.0, "common_substring_ratio": 0.0}),
        (("abcd 中文 x", "12345"), {"lower_side_letter_ratio": 0.0}),
        (("abc 1234", "abcd"), {"lower_side_letter_ratio": 0.375}),  # 3 letters of 8
        (("abc 1", "abcd e"), {"lower_side_letter_ratio": 0.6}),
        (("<b>Tere</b>", "Hello"), {"n_sides_with_html": 1}),
        (('<a href="x>y">a</a>', "<br/>"), {"n_sides_with_html": 2}),
        (("a < b ja c > d, 3 <4", "I <3 you; </p>; <!-- x -->; <a href="), {"n_sides_with_html": 0}),
        (("jah jah jah", "yes"), {"n_side_repetitions": 2}),  # three times: at OpusFilter's threshold
        (("jah jah", "yes yes"), {"n_side_repetitions": 0}),
        (("ha" * 5, "x"), {"n_side_repetitions": 0}),  # "hah" is not followed by "hah"; of "haha" there are two and a half
        (("ha" * 6, "x"), {"n_side_repetitions": 2}),  # "haha" three times
        (("12.12.12.12.", "x" * 9), {"n_side_repetitions": 3}),  # 12. four times; xxx three times
    ],
)
def test_likeness_letters_markup_and_repetitions(pair, expected):
    (one,) = measured([pair])
    assert {name: round(one[name], 4) for name in expected} == expected


def test_the_score_of_the_declared_language_beside_the_best(monkeypatch):
    """Estonian short sentences get .3 where Finnish gets .6; a Finnish sentence .02 of .9."""
    made = {"et": (0.3, 0.02, 0.9), "fi": (0.6, 0.9, 0.0), "en": (0.0, 0.0, 0.0)}

    def scores(data, start, end, path, candidates):
        assert candidates == ("en", "et", "fi")  # all: fastText's first five would not do
        return candidates, np.array([[made[code][i] for code in candidates] for i in range(3)])

    monkeypatch.setattr(langid.fasttext_model, "scores", scores)
    monkeypatch.setattr(langid.fasttext_model, "codes", lambda path: ("en", "et", "fi"))
    data, offsets = text.buffers(pa.array(["a", "b", "c"], pa.large_string()))
    spec = langid.Spec("fasttext", Path("m"))
    assert langid.relative(data, offsets, spec, ["est_Latn", "et", "et"]).tolist() == pytest.approx([0.5, 0.0222, 1.0])
    assert langid.relative(data, offsets, spec, ["fi", "vro", "en"]).tolist() == [1.0, 0.0, 0.0]  # vro: not known


def test_declared_languages_are_rivals_even_where_the_recipe_leaves_them_out():
    pairs = [("See on üsna tavaline eestikeelne lause ilmast.", "Das ist ein ganz gewöhnlicher deutscher Satz über das Wetter.")]
    (one,) = measured(pairs, ("et", "de"))
    assert one["lower_side_language_ratio"] == 1.0
    (one,) = measured(pairs, ("et", "lv"))  # SPEC has no Latvian
    assert one["lower_side_language_ratio"] < 0.01
    assert measured([("12", "34")])[0]["lower_side_language_ratio"] == 0.0


def test_short_sentences_stay_and_sentences_of_neighbours_go(data):
    """docs/parallel.md's figures: lid.176 names another language than Estonian for 338 of 1,000 Tatoeba sentences."""
    spec = langid.Spec("fasttext", data / "lid" / "lid.176.ftz")
    short = [et for et, _ in pairs_of(data, "tatoeba_et_en", "text", "text_en")]
    raw = zstandard.ZstdDecompressor().stream_reader((data / "lid" / "lingua_test.jsonl.zst").read_bytes()).read()
    rows = [json.loads(line) for line in raw.decode().split("\n") if line]
    finnish = [row["text"] for row in rows if row["lang"] == "fi" and "sentences" in row["source"]]
    ratio = {}
    for name, texts in (("et", short), ("fi", finnish)):
        data_, offsets = text.buffers(pa.array(texts, pa.large_string()))
        ratio[name] = langid.relative(data_, offsets, spec, ["et"] * len(texts))
    assert (ratio["et"] == 1).sum() == 662 and (ratio["et"] >= 0.1).sum() > 880
    assert (ratio["fi"] >= 0.1).sum() < 0.01 * len(finnish)
