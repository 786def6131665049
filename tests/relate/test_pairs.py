"""The referees of the evidence, by hand: all pairs, components, adjusted Rand index, what counts as right and missed."""

from __future__ import annotations

from tests.bench.dedup_agreement import Result, Scores, adjusted_rand, judged
from tests.relate.pairs import components, similar_pairs


def word_sets(*texts):
    return [frozenset((word,) for word in text) for text in texts]


def test_all_pairs():
    found = similar_pairs(word_sets("abcd", "abce", "xy", "", "abcd", ""), 0.5)
    assert found == {(0, 1): 3 / 5, (0, 4): 1.0, (1, 4): 3 / 5}
    assert similar_pairs(word_sets("abcd", "abce", "xy"), 0.61) == {}


def test_components():
    assert components(6, [(4, 2), (2, 0), (3, 5)]) == [0, 1, 0, 3, 0, 3]


def test_adjusted_rand_index():
    """Hubert and Arabie's formula: 1 pair in both, 4 and 3 in each, 15 in all: (1 - 4 * 3 / 15) / ((4 + 3) / 2 - 4 * 3 / 15)."""
    assert adjusted_rand("aabbcd", "xxyyzw") == 1.0
    assert abs(adjusted_rand("aaabbc", "xxyyzz") - (1 - 12 / 15) / (3.5 - 12 / 15)) < 1e-12
    assert adjusted_rand("abcdef", "uvwxyz") == 1.0 and adjusted_rand("aaaaaa", "uvwxyz") == 0.0


def test_right_and_missed():
    pairs = {(0, 1): 0.9, (1, 2): 0.8, (3, 4): 0.8}  # 0 - 1 - 2 in a row: 2 is like no kept document if only 0 stays
    glued = Result({0, 3, 4, 5}, ["a", "a", "a", "b", "c", "d"])
    assert judged(glued, pairs, 6) == Scores(removed=2, right=1, missed=1, pairs=3, pairs_right=2)
