"""Micro batches by tokens: every pair once, under the bound, as many on every process."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.train.dpo.fake import pair_of
from train.dpo.batch import groups, micro_batches


def test_pairs_of_like_length_go_together() -> None:
    """2 rows a pair: 16 tokens wide is 32, so 3 of 10 wide (60) fit in 64 and 4 (80) do not."""
    assert groups([10, 16, 3, 10, 10, 4], 64) == [[1, 0], [3, 4, 5], [2]]
    assert groups([10, 16, 3, 10, 10, 4], 64, world=2) == [[1, 0, 3, 4], [5, 2]]
    assert groups([100], 64) == [[0]]  # longer than the bound: alone, never cut
    assert groups([], 64) == []


@given(st.lists(st.integers(2, 50), min_size=1, max_size=60), st.integers(2, 400), st.integers(1, 4))
def test_every_pair_is_on_one_process_once(lengths: list[int], micro_tokens: int, world: int) -> None:
    pairs = [pair_of([1], [2] * (n - 1), [3], number=i) for i, n in enumerate(lengths)]
    index = range(100, 100 + len(pairs))
    ranks = [list(micro_batches(index, pairs, micro_tokens, rank, world)) for rank in range(world)]
    assert len({len(micros) for micros in ranks}) == 1
    assert all(len({len(micro) for micro in micros}) == 1 for micros in zip(*ranks, strict=True))
    seen = sorted(i for micros in ranks for micro in micros for i in micro.index if i != -1)
    assert seen == list(index)
    for micro in (micro for micros in ranks for micro in micros):
        size = micro.inputs["input_ids"].numel()
        assert size <= micro_tokens or len(micro) == 1
        assert size == micro.inputs["attention_mask"].numel() == 2 * len(micro) * micro.inputs["input_ids"].shape[1]


def test_rows_are_prompt_and_answer_and_only_answers_are_asked() -> None:
    (micro,) = micro_batches([7, 8], [pair_of([1, 2, 3], [4, 5], [6]), pair_of([7], [8], [9, 10])], 100)
    assert micro.index == (7, 8)
    assert micro.inputs["input_ids"].tolist() == [[1, 2, 3, 4, 5], [7, 8, 0, 0, 0], [1, 2, 3, 6, 0], [7, 9, 10, 0, 0]]
    assert micro.inputs["completion_mask"].tolist() == [[0, 0, 0, 1, 1], [0, 1, 0, 0, 0], [0, 0, 0, 1, 0], [0, 1, 1, 0, 0]]
    assert micro.inputs["attention_mask"].sum(1).tolist() == [5, 2, 4, 3]
    assert micro.lengths.tolist() == [2, 1, 1, 2] and micro.rows == [14, 16, 15, 17]
    fillers = [next(iter(micro_batches([0], [pair_of([1], [2], [3])], 100, rank, 2))) for rank in range(2)]
    assert [one.index for one in fillers] == [(0,), (-1,)] and np.all(fillers[1].inputs["completion_mask"].numpy() == 0)
