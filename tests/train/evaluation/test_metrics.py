"""Measures worked out by hand, and equal to scikit-learn, sacrebleu and rouge-score run by themselves."""

from __future__ import annotations

import io
import json
import math
import random
import re
from itertools import pairwise

import numpy as np
import pytest
import zstandard

from curate.errors import CurateError
from train.evaluation import bootstrap, metrics
from train.evaluation.metrics import measure


def item(extracted, *gold, **more):
    return {"extracted": extracted, "gold": list(gold), "answers": [extracted or ""], "language": "et", "details": {}} | more


def rows(data, name):
    stream = io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(open(data / name, "rb")), encoding="utf-8", newline="\n")
    return [json.loads(line) for line in stream]


def test_accuracy_counts_missing_answers_as_wrong():
    items = [item("0", "0"), item("1", "0"), item(None, "1"), item("1", "0", "1")]
    assert measure("accuracy")(items) == 0.5
    assert measure("format_valid")(items) == 0.75
    assert math.isnan(measure("accuracy")([]))


def test_normalisation():
    assert metrics.normalised("The  Cat's, an apple!") == "cats apple"
    assert metrics.normalised("2. a the – „Kalev“!", "et") == "2 a the kalev"  # a is a year, the a foreign word
    assert (
        metrics.normalised("1 234 500 krooni", "et") == metrics.normalised("1\u00a0234\u202f500 krooni", "et") == "1234500 krooni"
    )
    assert metrics.normalised("o\u0303un", "et") == "õun"  # composed


def test_f1_and_exact_match_by_hand():
    """Answer: Tallinna vanalinn; gold: Tallinna vana linn. Shared 1 of 2 and of 3 words: F1 2 * 1 / 5."""
    assert metrics.token_f1("Tallinna vanalinn", "Tallinna vana linn", "et") == pytest.approx(0.4)
    assert metrics.token_f1("a a b", "a b b", "et") == pytest.approx(2 * 2 / 6)
    assert metrics.token_f1("the", "", "en") == 1.0 and metrics.token_f1("", "x") == 0.0
    items = [item("Tallinnas.", "tallinnas"), item("1992", "1991", "aastal 1992"), item(None, "x")]
    assert measure("exact_match", "et")(items) == pytest.approx(1 / 3)
    assert measure("f1", "et")(items) == pytest.approx((1 + 2 / 3 + 0) / 3)


def squad(answer, gold):
    """f1_score of evaluate-v1.1.py of SQuAD, from its description: normalised words, harmonic mean of precision and recall."""

    def words(text):
        text = "".join(c for c in text.lower() if c not in "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")
        return re.sub(r"\b(a|an|the)\b", " ", text).split()

    a, b = words(answer), words(gold)
    same = sum(min(a.count(w), b.count(w)) for w in set(a))
    return 0.0 if same == 0 else 2 * (same / len(a)) * (same / len(b)) / (same / len(a) + same / len(b))


def test_f1_of_english_is_squads(data):
    questions = rows(data, "eval/gsm8k_test_a.jsonl.zst")[:60]
    for one, other in pairwise(questions):
        assert metrics.token_f1(one["question"], other["question"]) == pytest.approx(
            squad(one["question"], other["question"]), abs=1e-12
        )


def test_mcc_by_hand():
    """Two classes, confusion 3 1 / 2 4: (3*4 - 1*2) / sqrt(4*6*5*5) = 10 / sqrt(600)."""
    items = [item("a", "a")] * 3 + [item("b", "a")] + [item("a", "b")] * 2 + [item("b", "b")] * 4
    assert measure("mcc")(items) == pytest.approx(10 / math.sqrt(600))
    assert measure("mcc")([item("a", "a")] * 3) == 0.0
    assert measure("macro_f1")(items) == pytest.approx((2 * 3 / 9 + 2 * 4 / 11) / 2)


@pytest.mark.parametrize("seed", range(5))
def test_classes_equal_scikit_learn(seed):
    sklearn = pytest.importorskip("sklearn.metrics", reason="scikit-learn comes with lm_eval: veski[eval]")
    draw = random.Random(seed)
    gold = [draw.choice("abcd") for _ in range(80)]
    answers = [g if draw.random() < 0.4 else draw.choice("abcd") for g in gold]
    answers[:5] = ["x"] * 5  # no label at all
    items = [item(a, g) for a, g in zip(answers, gold, strict=True)]
    assert measure("mcc")(items) == pytest.approx(sklearn.matthews_corrcoef(gold, answers), abs=1e-12)
    f1 = sklearn.f1_score(gold, answers, labels=list("abcd"), average="macro", zero_division=0)
    assert measure("macro_f1")(items) == pytest.approx(f1, abs=1e-12)


def pairs(data):
    """Learner sentences as translations, their corrections as references: one for most, several for some."""
    found = rows(data, "preference/estgec_tartu_l2.jsonl.zst")
    many = [row for row in found if len(row["corrections"]) > 1][:10]
    return [item(row["original"], *row["corrections"]) for row in [*found[:300], *many]]


@pytest.mark.parametrize(
    "name, scorer", [("bleu", ("BLEU", {})), ("chrf", ("CHRF", {})), ("chrf++", ("CHRF", {"word_order": 2}))]
)  # fmt: skip
def test_translation_equals_sacrebleu(data, name, scorer):
    sacrebleu = pytest.importorskip("sacrebleu.metrics", reason="veski[eval]")
    by_itself = getattr(sacrebleu, scorer[0])(**scorer[1])
    for items in (pairs(data), [one for one in pairs(data) if len(one["gold"]) == 1]):
        most = max(len(one["gold"]) for one in items)
        streams = [[one["gold"][n] if n < len(one["gold"]) else None for one in items] for n in range(most)]
        score = by_itself.corpus_score([one["extracted"] for one in items], streams).score
        assert measure(name)(items) == score
        assert metrics.signature(name, items) == str(by_itself.get_signature())
    assert re.fullmatch(r"nrefs:1\|case:mixed\|.*version:\d+\.\d+\.\d+", metrics.signature(name, items))
    some = [items[i] for i in np.random.default_rng(0).integers(0, len(items), len(items))]
    wanted = by_itself.corpus_score([one["extracted"] for one in some], [[one["gold"][0] for one in some]]).score
    counts = measure(name).statistics(items)
    again = sum(counts[items.index(one)] for one in some)
    assert measure(name).value(again[None])[0] == pytest.approx(wanted, abs=1e-9)
    low, high = bootstrap.interval(items[:50], measure(name), n=200)
    assert low < measure(name)(items[:50]) < high


def test_rouge_l_by_hand():
    """Longest common subsequence of `õde läks koju` and `õde jooksis koju`: õde koju, 2 of 3 words on both sides."""
    assert metrics.rouge_l("Õde läks koju.", "õde jooksis koju", "et") == pytest.approx(2 / 3)
    assert metrics.rouge_l("öö", "õõ", "et") == 0.0
    assert metrics.rouge_l("õde", "öde", "en") == 1.0  # the English tokenizer keeps `de` of both: why Estonian has its own
    assert measure("rouge_l", "et")([item("tere", "tere", "head aega"), item(None, "x")]) == 0.5


def test_rouge_l_equals_rouge_score(data):
    scorer = pytest.importorskip("rouge_score.rouge_scorer", reason="veski[eval]").RougeScorer(["rougeL"])
    questions = [row["question"] for row in rows(data, "eval/gsm8k_test_a.jsonl.zst")[:40]]
    for one, other in pairwise(questions):
        assert metrics.rouge_l(one, other, "en") == scorer.score(other, one)["rougeL"].fmeasure


def test_numeric_match():
    assert metrics.numeric_match("Vastus: 1 234,50 eurot", "1234.5", "et") == 1.0
    assert metrics.numeric_match("#### 18", "She makes 9 * 2 = $18.\n#### 18") == 1.0
    assert metrics.numeric_match("I do not know", "#### 18") == 0.0


def loko(language, score, variant="local"):
    return item("x", "x", language=language, score=score, details={"variant": variant})


def test_multiloko_by_hand():
    """Estonian 3 of 4 local, 1 of 2 of them in English, 0 of 2 translated; Finnish 1 of 2, 2 of 2, 1 of 2; English 4 of 4."""
    items = [loko("et", s) for s in (1, 1, 1, 0)] + [loko("et", s, "local_in_english") for s in (1, 0)]
    items += [loko("et", 0, "english_in_language")] * 2
    items += (
        [loko("fi", s) for s in (1, 0)]
        + [loko("fi", 1, "local_in_english")] * 2
        + [loko("fi", s, "english_in_language") for s in (1, 0)]
    )
    items += [loko("en", 1)] * 4
    assert measure("average")(items) == pytest.approx((0.75 + 0.5 + 1) / 3)
    assert measure("gap")(items) == pytest.approx(1 - 0.5)
    assert measure("mother_tongue_effect")(items) == pytest.approx(((0.75 - 0.5) + (0.5 - 1)) / 2)
    assert measure("locality_effect")(items) == pytest.approx(((0.75 - 0) + (0.5 - 0.5)) / 2)
    assert math.isnan(measure("mother_tongue_effect")([loko("et", 1)]))


def test_measures_of_details():
    followed = [{"strict": [True, False], "loose": [True, True]}, {"strict": [True], "loose": [True]}]
    items = [item("x", details=details) for details in followed]
    assert measure("ifeval_prompt_strict")(items) == 0.5 and measure("ifeval_prompt_loose")(items) == 1.0
    assert measure("ifeval_instruction_strict")(items) == pytest.approx(2 / 3)
    assert measure("pass_at_2")([item("x", details={"passed": [True, True, False, False, False]})]) == pytest.approx(0.7)
    assert measure("f05")([item("x", details={"counts": (2, 3, 2)}), item("x", details={"counts": (2, 2, 3)})]) == pytest.approx(
        0.8
    )


def test_answer_language():
    et = item("See on täiesti tavaline eestikeelne lause, milles on mitu sõna.", "x")
    en = item("This is a perfectly ordinary English sentence of several words.", "x")
    assert measure("answer_language.et")([et, en, en, item("", "x")]) == 0.25
    assert measure("answer_language.en")([et, en, en, item(None, "x")]) == 0.5


def test_names_that_nobody_knows():
    with pytest.raises(CurateError, match=r"no metric 'acuracy'") as error:
        measure("acuracy")
    assert "accuracy" in error.value.allowed
