"""Packing: nothing lost, nothing that fits cut, rows never too long, padding near the proven bound."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixture.pack import lower_bound, pack


def rows_of(packed):
    """Rows as lists of (document, start, length)."""
    chunks = list(zip(packed.item.tolist(), packed.start.tolist(), packed.length.tolist(), strict=True))
    return [chunks[a:b] for a, b in itertools.pairwise(packed.row_ptr.tolist())]


def check(lengths, capacity, packed):
    lengths = np.asarray(lengths)
    n_chunks = -(-lengths // capacity)
    assert np.bincount(packed.item, packed.length, lengths.size).astype(int).tolist() == lengths.tolist()
    assert np.bincount(packed.item, minlength=lengths.size).tolist() == n_chunks.tolist()  # what fits is one chunk
    assert (packed.n_chunks == n_chunks[packed.item]).all()
    size, longer = lengths[packed.item] // packed.n_chunks, packed.chunk < lengths[packed.item] % packed.n_chunks
    assert (packed.length == size + longer).all()  # near-equal, the longer ones first
    assert (packed.start == packed.chunk * size + np.minimum(packed.chunk, lengths[packed.item] % packed.n_chunks)).all()
    for row in rows_of(packed):
        assert 0 < sum(length for _, _, length in row) <= capacity
        assert len({document for document, _, _ in row}) == len(row)  # never two chunks of one document
    first = packed.row_ptr[:-1]
    assert (packed.position[first] == 0).all()
    inside = np.setdiff1d(np.arange(packed.item.size), first)
    assert (packed.position[inside] == packed.position[inside - 1] + packed.length[inside - 1]).all()
    assert packed.lower_bound <= packed.n_rows
    assert packed.padding(capacity) == packed.n_rows * capacity - lengths.sum()


def test_best_fit_by_hand():
    # 7 and 6 open rows; 4 fits beside 6 exactly, 3 beside 7 exactly, 2 opens a row
    assert rows_of(pack([3, 7, 2, 6, 4], 10)) == [[(1, 0, 7), (0, 0, 3)], [(3, 0, 6), (4, 0, 4)], [(2, 0, 2)]]


def test_overlong_documents_are_cut_near_equally():
    assert rows_of(pack([25], 10)) == [[(0, 0, 9)], [(0, 9, 8)], [(0, 17, 8)]]
    packed = pack([10, 11, 20, 21], 10)
    assert sorted(packed.length.tolist()) == [5, 6, 7, 7, 7, 10, 10, 10]
    check([10, 11, 20, 21], 10, packed)


def test_nothing_to_pack():
    packed = pack(np.empty(0, np.int64), 8)
    assert packed.n_rows == 0 and packed.padding(8) == 0 and packed.lower_bound == 0


@pytest.mark.parametrize(("lengths", "capacity"), [([0, 3], 8), ([3], 0), ([-1], 8)])
def test_impossible_lengths_are_refused(lengths, capacity):
    with pytest.raises(ValueError, match="at least one token"):
        pack(lengths, capacity)


def test_rows_stay_open_across_windows():
    lengths = [6, 6, 6, 4, 4, 4]  # windows of three documents: the second window fills the rows of the first
    assert pack(lengths, 10, window=3).n_rows == 3


@given(st.lists(st.integers(1, 200), max_size=120), st.integers(1, 90), st.integers(1, 50))
@settings(max_examples=150, deadline=None)
def test_every_token_stands_once(lengths, capacity, window):
    check(np.array(lengths, np.int64), capacity, pack(lengths, capacity, window))


@pytest.mark.parametrize("capacity", [63, 64, 65, 4095, 4096, 4097, 300_000])
def test_row_lengths_around_the_words_of_the_bit_set(capacity):
    lengths = np.random.default_rng(capacity).integers(1, 2 * capacity, 500)
    check(lengths, capacity, pack(lengths, capacity))


def optimum(sizes, capacity):
    """Fewest rows, by trying everything."""
    best = len(sizes)

    def place(i, rows):
        nonlocal best
        if len(rows) >= best:
            return
        if i == len(sizes):
            best = len(rows)
            return
        for r in range(len(rows)):
            if rows[r] + sizes[i] <= capacity:
                place(i + 1, [*rows[:r], rows[r] + sizes[i], *rows[r + 1 :]])
        place(i + 1, [*rows, sizes[i]])

    place(0, [])
    return best


@given(st.lists(st.integers(1, 12), min_size=1, max_size=9))
@settings(max_examples=150, deadline=None)
def test_lower_bound_is_below_the_optimum(sizes):
    assert lower_bound(np.array(sizes), 12) <= optimum(sorted(sizes, reverse=True), 12) <= pack(sizes, 12).n_rows


def test_lower_bound_sees_what_no_packing_can_avoid():
    assert lower_bound(np.full(10, 6), 10) == 10  # more than half a row: each alone
    assert lower_bound(np.full(10, 34), 100) == 5  # more than a third: two per row, the sum alone would allow 4
    assert lower_bound(np.array([7, 7, 4, 3]), 10) == 3
    assert lower_bound(np.full(9, 26), 100) == 3


RNG = np.random.default_rng(7)
LAWS = {
    # reference/mixture.md, section 5: log-normal by median and mean, chat by mean and standard deviation
    "web": lambda n: RNG.lognormal(np.log(450), 1.181, n),
    "short": lambda n: RNG.lognormal(np.log(150), 0.759, n),
    "code": lambda n: RNG.lognormal(np.log(700), 1.497, n),
}


@pytest.mark.parametrize("capacity", [512, 2048, 8192])
@pytest.mark.parametrize("law", LAWS)
def test_padding_stays_within_the_promise(law, capacity):
    lengths = np.maximum(1, LAWS[law](50_000)).astype(np.int64)
    packed = pack(lengths, capacity)
    tokens = int(lengths.sum())
    assert packed.padding(capacity) <= max(tokens * 5 // 10_000 + capacity, packed.unavoidable(capacity))


def test_long_chats_cannot_be_packed_and_the_bound_says_so():
    lengths = np.maximum(1, RNG.normal(3000, 1000, 20_000)).astype(np.int64)
    packed = pack(lengths, 4096)
    assert packed.unavoidable(4096) > lengths.sum() // 12
    assert packed.n_rows <= packed.lower_bound * 1.001
