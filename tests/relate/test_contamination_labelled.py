"""The goals of decontamination on real documents with items planted in them: recall 0.95 verbatim and 0.8 of light edits, precision 0.95.

The whole table, with what was missed: python -m tests.bench.decontamination.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from curate.recipe import Decontaminate
from tests.bench.decontamination import figures, is_found, outcomes, questions
from tests.relate import labelled


def _check(data: Path, root: Path, seed: int, n: int) -> None:
    cases = [*labelled.planted(data, seed, n), *labelled.look_alikes(data, seed, n), *labelled.passages(data, seed, n)]
    given = Decontaminate(against=labelled.patterns(data))
    found, same = outcomes(root, cases, given), questions(data)
    got = figures(found, given.overlap, same)
    assert got.share("verbatim") >= 0.95
    assert got.share("light") >= 0.8
    assert got.precision >= 0.95
    for eval_set in labelled.SETS.values():  # in every set, the two Estonian ones among them
        for label, goal in (("verbatim", 0.95), ("light", 0.8)):
            hits, all_ = got.recall[label, eval_set]
            assert all_ == min(n, 164) and hits >= goal * all_ - 1, (eval_set, label, hits, all_)
    passages = [one for one in found if one.case.label == "passage"]
    assert all(one.passage_score > given.overlap for one in passages)
    for one in found:  # spans are the words of the item, on both sides
        if one.case.label == "verbatim" and is_found(one, given.overlap, same):
            hit = max((h for h in one.hits if h["acts"]), key=lambda h: h["score"])
            assert 0 <= hit["start"] < hit["end"] <= len(one.case.text.encode())
            one.case.text.encode()[hit["start"] : hit["end"]].decode()  # no character is divided


def test_goals_on_a_sample(data, tmp_path):
    _check(data, tmp_path, 0, 25)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_goals(data, tmp_path, seed):
    _check(data, tmp_path, seed, 150)


@pytest.mark.slow
def test_reworded_answers_are_found_against_the_plain_set(data, tmp_path):
    """The Socratic file puts a question before every step of an answer: the row is found by its question, most answers by themselves."""
    given = Decontaminate(against=labelled.patterns(data, "gsm8k"))
    found = outcomes(tmp_path, list(labelled.reworded(data, 0, 100)), given)
    got = figures(found, given.overlap, questions(data))
    assert got.share("reworded whole") >= 0.95
    assert got.share("reworded answer alone") >= 0.8
