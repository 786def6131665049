"""Packing: nothing lost, nothing that fits cut, rows never too long, padding near the proven bound."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixture.pack import concat, longer_rows, lower_bound, pack


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


def test_concat_by_hand():
    # 3 + 7 fill a row; 5 fits the next, 8 straddles it; 12 fills what is left of that row and nine tokens of the last
    packed = concat([3, 7, 5, 8, 12], 10)
    assert rows_of(packed) == [[(0, 0, 3), (1, 0, 7)], [(2, 0, 5), (3, 0, 5)], [(3, 5, 3), (4, 0, 7)], [(4, 7, 5)]]
    assert packed.chunk.tolist() == [0, 0, 0, 0, 1, 0, 1] and packed.n_chunks.tolist() == [1, 1, 1, 2, 2, 2, 2]
    assert packed.position.tolist() == [0, 3, 0, 5, 0, 3, 0]
    assert packed.padding(10) == packed.unavoidable(10) == 5
    assert rows_of(concat([25], 10)) == [[(0, 0, 10)], [(0, 10, 10)], [(0, 20, 5)]]
    assert rows_of(concat([10, 10], 10)) == [[(0, 0, 10)], [(1, 0, 10)]]


@given(st.lists(st.integers(1, 200), max_size=120), st.integers(1, 90))
@settings(max_examples=150, deadline=None)
def test_concat_is_documents_end_to_end(lengths, capacity):
    """Cut by a list of all tokens: row r holds tokens [r L, (r + 1) L) of it."""
    packed = concat(np.array(lengths, np.int64), capacity)
    tokens = [(document, t) for document, n in enumerate(lengths) for t in range(n)]
    chunks = [[(d, t) for d, start, n in row for t in range(start, start + n)] for row in rows_of(packed)]
    assert chunks == [tokens[a : a + capacity] for a in range(0, len(tokens), capacity)]
    assert packed.n_rows == packed.lower_bound == -(-len(tokens) // capacity)
    for i, document in enumerate(packed.item.tolist()):
        mine = np.flatnonzero(packed.item == document)
        assert packed.n_chunks[i] == mine.size and packed.chunk[mine].tolist() == list(range(mine.size))


@pytest.mark.parametrize("way", [pack, concat])
def test_nothing_to_pack(way):
    packed = way(np.empty(0, np.int64), 8)
    assert packed.n_rows == 0 and packed.padding(8) == 0 and packed.lower_bound == 0 and packed.row_ptr.tolist() == [0]


@pytest.mark.parametrize("way", [pack, concat])
@pytest.mark.parametrize(("lengths", "capacity"), [([0, 3], 8), ([3], 0), ([-1], 8)])
def test_impossible_lengths_are_refused(lengths, capacity, way):
    with pytest.raises(ValueError, match="at least one token"):
        way(lengths, capacity)


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


def test_longer_rows_are_proposed_where_lengths_leave_room():
    # of 60 tokens one to a row of 100, three to 200 (20 left), five to 300, none left
    sixty = np.full(100, 60)
    assert longer_rows([sixty], 100) == (100 * 100 - 6000, 300)
    assert longer_rows([sixty, sixty], 100) == (2 * 4000, 300)
    # two passes of one document each: what the last row of a pass lacks is not the lengths' fault
    assert longer_rows([np.array([60]), np.array([60])], 100) is None
    # seven of 14 to a row of 100 leave 2 tokens; the first multiple that is one of 14 too is 700
    assert longer_rows([np.full(7000, 14)], 100) == (1000 * 100 - 98_000, 700)
    assert longer_rows([np.full(1000, 50)], 100) is None
    assert longer_rows([], 100) is None


def test_where_no_longer_row_is_allowed_none_is_proposed():
    assert longer_rows([np.full(10, 2**19 + 1)], 2**20) == (10 * 2**20 - 6 * 2**20, None)  # their sum fits six rows


def test_chats_fit_longer_rows():
    lengths = np.maximum(1, np.random.default_rng(3).normal(3000, 1000, 20_000)).astype(np.int64)
    excess, proposed = longer_rows([lengths], 4096)
    assert excess > lengths.sum() // 12 and proposed > 4096
    assert pack(lengths, proposed).padding(proposed) <= lengths.sum() * 5 // 10_000 + proposed
