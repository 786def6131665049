"""The M2 score: the examples of m2scorer, every reading by brute force, and real learner sentences."""

from __future__ import annotations

import io
import json
import math

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.errors import CurateError
from train.evaluation import gec, texts
from train.evaluation.gec import Counts, Edit

# example/source_gold, example/system and the explanation of the README of nusnlp/m2scorer
GOLD = """\
S The cat sat at mat .
A 3 4|||Prep|||on|||REQUIRED|||-NONE-|||0
A 4 4|||ArtOrDet|||the||a|||REQUIRED|||-NONE-|||0

S The dog .
A 1 2|||NN|||dogs|||REQUIRED|||-NONE-|||0
A -1 -1|||noop|||-NONE-|||-NONE-|||-NONE-|||1

S Giant otters is an apex predator .
A 2 3|||SVA|||are|||REQUIRED|||-NONE-|||0
A 3 4|||ArtOrDet|||-NONE-|||REQUIRED|||-NONE-|||0
A 5 6|||NN|||predators|||REQUIRED|||-NONE-|||0
A 1 2|||NN|||otter|||REQUIRED|||-NONE-|||1
"""


def total(counts):
    return Counts(*map(sum, zip(*counts, strict=True)))


def test_example_of_m2scorer():
    system = ["A cat sat on the mat .", "The dog .", "Giant otters are apex predator ."]
    counts = gec.score(gec.read_m2(GOLD), [line.split() for line in system])
    assert counts == [(2, 3, 2), (0, 0, 0), (2, 2, 3)]
    assert gec.f_beta(total(counts)) == pytest.approx(0.8)  # precision 4/5, recall 4/5


def test_phrase_edits_of_the_paper():
    """Dahlmeier and Ng 2012, section 1: the phrase-level edit `test -> tests` or `a test -> tests`, whichever the annotator marked."""
    source, hypothesis = (
        ["Our", "baseline", "system", "feeds", "word", "into", "PB-SMT", "pipeline", "."],
        "Our baseline system feeds a word into PB-SMT pipeline .",
    )
    for gold in (
        [Edit(4, 4, (("a",),))],  # insertion
        [Edit(4, 5, (("a", "word"), ("words",)))],  # word -> {a word, words}: needs an unchanged word inside
        [Edit(3, 4, (("feeds", "a"),))],
        [Edit(3, 5, (("feeds", "a", "word"),))],  # two unchanged words
    ):
        assert gec.overlap(source, hypothesis.split(), gold) == (1, 1, 1)
    three = [Edit(2, 5, (("system", "feeds", "a", "word"),))]  # three unchanged words are one too many
    assert gec.overlap(source, hypothesis.split(), three) == (0, 1, 1)


def test_edits_that_nobody_asked_for():
    assert gec.overlap(["a", "b"], ["a", "b"], []) == (0, 0, 0)
    assert gec.overlap(["a", "b"], ["a", "c"], []) == (0, 1, 0)
    assert gec.overlap([], ["a"], []) == (0, 1, 0)
    assert gec.overlap(["a"], [], [Edit(0, 1, ((),))]) == (1, 1, 1)
    # two wrong words with one right one between are one edit, with three between them two
    assert gec.overlap(list("abc"), list("xbz"), []) == (0, 1, 0)
    assert gec.overlap(list("abcde"), list("xbcdz"), []) == (0, 2, 0)
    # a gold insertion counts once, though the word came twice
    assert gec.overlap(["a"], ["the", "the", "a"], [Edit(0, 0, (("the",),))]) == (1, 2, 1)
    assert gec.overlap(["a"], ["the", "the", "a"], [Edit(0, 0, (("the",),)), Edit(0, 0, (("the",),))]) == (2, 2, 2)


def test_f():
    assert gec.f_beta((4, 5, 8)) == pytest.approx(1.25 * 0.8 * 0.5 / (0.25 * 0.8 + 0.5))
    assert gec.f_beta((0, 0, 0)) == 1.0 and gec.f_beta((0, 0, 3)) == 0.0 and gec.f_beta((0, 2, 0)) == 0.0
    assert gec.f_beta((1, 2, 2), beta=1.0) == pytest.approx(0.5)


def readings(source, hypothesis):
    """Every way to read the hypothesis as edits: lists of (start, end, words, steps, unchanged), single unchanged words as None."""
    n, m = len(source), len(hypothesis)

    def ways(i, j):
        if (i, j) == (n, m):
            yield []
            return
        for a, b in ((i + 1, j + 1), (i + 1, j), (i, j + 1)):
            if a <= n and b <= m:
                for rest in ways(a, b):
                    yield [((i, j), (a, b)), *rest]

    def unchanged(step):
        (i, j), target = step
        return target == (i + 1, j + 1) and source[i] == hypothesis[j]

    def cost(way, substitution):
        return sum(0 if unchanged(s) else substitution if s[1] == (s[0][0] + 1, s[0][1] + 1) else 1 for s in way)

    all_ways = list(ways(0, 0))
    allowed = {
        step for sub in (1, 2) for way in all_ways if cost(way, sub) == min(cost(w, sub) for w in all_ways) for step in way
    }

    def cuts(way):
        if not way:
            yield []
            return
        for size in range(1, len(way) + 1):
            part = way[:size]
            kept = sum(map(unchanged, part))
            if kept == size == 1:
                edit = None
            elif kept < size and kept <= gec.MAX_UNCHANGED:
                edit = (part[0][0][0], part[-1][1][0], tuple(hypothesis[part[0][0][1] : part[-1][1][1]]), size)
            else:
                continue
            for rest in cuts(way[size:]):
                yield [edit, *rest]

    for way in all_ways:
        if set(way) <= allowed:
            yield from cuts(way)


def brute(source, hypothesis, gold):
    """The best reading by enumeration: most gold edits matched in order, fewest steps outside, fewest edits."""
    best = None
    for reading in readings(source, hypothesis):
        edits = [e for e in reading if e is not None]
        for chosen in subsets(len(edits)):  # which of the edits count as matched: each its own gold edit, in order
            left = list(gold)
            for k in chosen:
                start, end, words, _ = edits[k]
                fit = next((i for i, g in enumerate(left) if (g.start, g.end) == (start, end) and words in g.corrections), None)
                if fit is None:
                    break
                left = left[fit + 1 :]
            else:
                outside = reading.count(None) + sum(e[3] for k, e in enumerate(edits) if k not in chosen)
                cost = (-len(chosen), outside, len(edits) - len(chosen))
                best = min(best, cost) if best else cost
    return Counts(-best[0], best[2] - best[0], len(gold))


def subsets(n):
    return [[k for k in range(n) if bits >> k & 1] for bits in range(1 << n)]


words = st.lists(st.sampled_from("abc"), max_size=4)


@settings(max_examples=250, deadline=None)
@given(words, words, st.data())
def test_overlap_is_the_best_of_all_readings(source, hypothesis, data):
    edits = []
    for _ in range(data.draw(st.integers(0, 3))):
        start = data.draw(st.integers(0, len(source)))
        end = data.draw(st.integers(start, min(len(source), start + 2)))
        correction = tuple(data.draw(st.lists(st.sampled_from("abc"), max_size=2)))
        if correction != tuple(source[start:end]):
            edits.append(Edit(start, end, (correction,)))
    gold = sorted(edits, key=lambda e: e[:2])
    assert gec.overlap(source, hypothesis, gold) == brute(source, hypothesis, gold)


def test_edits_of_a_corrected_sentence():
    def edits(source, corrected):
        return [(e.start, e.end, " ".join(e.corrections[0])) for e in gec.between(source.split(), corrected.split())]

    assert edits("mida oled saanud on", "mida oled saanud , on") == [(3, 3, ",")]
    assert edits("Mina olen uue inimestega", "Ma olen uute inimestega") == [(0, 1, "Ma"), (2, 3, "uute")]
    assert edits("ta elab kooli maja juures", "ta elab koolimaja juures") == [(2, 4, "koolimaja")]
    assert edits("a b c", "a x y c") == [(1, 2, "x y")]
    assert edits("a b", "c d") == [(0, 1, "c"), (1, 2, "d")]  # words that change stay apart
    assert edits("a", "a") == [] and edits("", "a b") == [(0, 0, "a b")]


def test_real_learner_sentences(data):
    """6,703 sentences: who corrects like an annotator is right in everything, who changes nothing in nothing."""
    file = open(data / "preference/estgec_tartu_l2.jsonl.zst", "rb")
    stream = io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(file), encoding="utf-8", newline="\n")
    rows = [json.loads(line) for line in stream][::8]
    sentences = [gec.from_corrections(row["original"], row["corrections"], texts.words) for row in rows]
    for pick in (0, -1):
        counts = gec.score(sentences, [texts.words(row["corrections"][pick]) for row in rows])
        assert all(c.correct == c.proposed == c.gold for c in counts) and gec.f_beta(total(counts)) == 1.0
    nothing = total(gec.score(sentences, [s.source for s in sentences]))
    assert nothing.correct == nothing.proposed == 0 and nothing.gold > 2000 and gec.f_beta(nothing) == 0.0
    # half of the edits of each sentence, made by hand: precision 1, recall what was made
    made, asked, hypotheses = 0, 0, []
    for sentence in sentences:
        gold = sentence.annotators[0]
        half, tokens = gold[::2], list(sentence.source)
        for edit in reversed(half):
            tokens[edit.start : edit.end] = edit.corrections[0]
        made, asked = made + len(half), asked + len(gold)
        hypotheses.append(tokens)
    one = [gec.Sentence(s.source, s.annotators[:1]) for s in sentences]
    counts = total(gec.score(one, hypotheses))
    assert counts.gold == asked
    assert counts.correct >= made * 0.99  # two edits side by side may read as one
    assert math.isclose(gec.f_beta(counts), gec.f_beta((made, made, asked)), abs_tol=0.01)


def test_m2_files_that_are_broken():
    with pytest.raises(CurateError, match="begins with its sentence"):
        gec.read_m2("A 0 1|||X|||y|||R|||-|||0\n")
    with pytest.raises(CurateError, match="no annotation"):
        gec.read_m2("S a b\nA 0|||X|||y|||R|||-|||0\n", where="gold.m2")
    with pytest.raises(CurateError, match="outside its sentence of 2 tokens"):
        gec.read_m2("S a b\nA 0 3|||X|||y|||R|||-|||0\n")
    assert gec.read_m2("S a b\r\n\r\nS c\n") == [gec.Sentence(("a", "b"), ((),)), gec.Sentence(("c",), ((),))]
