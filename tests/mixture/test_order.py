"""Order: published vectors, an independent re-implementation from the words of order.py, and the prefix bound by fuzzing."""

import hashlib
import random
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixture import order

M64 = 2**64 - 1


def mix64(z):
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & M64
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & M64
    return z ^ (z >> 31)


def permuted(x, n, key):
    """Image of x, written from the specification in plain Python."""
    b = 1
    while 4**b < n:
        b += 1
    keys = [mix64((key + i * 0x9E3779B97F4A7C15) & M64) for i in range(1, 9)]
    while True:
        left, right = x >> b, x % 2**b
        for k in keys:
            left, right = right, left ^ (mix64((right + k) & M64) % 2**b)
        x = left << b | right
        if x < n:
            return x


def interleaved(counts):
    """Slots by the rule as stated, with fractions."""
    present = [i for i, c in enumerate(counts) if c]
    total, a = sum(counts), 2 * len(present) - 2
    taken, slots = dict.fromkeys(present, 0), []
    for t in range(1, total + 1):
        released = [
            i for i in present if taken[i] < counts[i] and (a == 0 or a * (counts[i] * t - total * taken[i]) >= total)
        ]  # fmt: skip
        deadline = {i: Fraction(total * (a - 1 + a * taken[i]), a * counts[i]) // 1 if a else 0 for i in released}
        best = min(released, key=lambda i: (deadline[i], i))
        taken[best] += 1
        slots.append(best)
    return slots


def test_published_vectors():
    assert order.permutation(10, 0).tolist() == [2, 0, 8, 1, 9, 7, 4, 5, 6, 3]
    assert order.permutation(1000, 2**64 - 1, count=5).tolist() == [532, 496, 668, 654, 563]
    assert order.key(42, "sequences", "main", "et", "0") == 9774141841088677335
    assert order.permutation(0, 7).tolist() == [] and order.permutation(1, 7).tolist() == [0]


def test_key_from_its_specification():
    state = hashlib.blake2b(digest_size=16)
    for part in ("veski-order-1", "42", "sequences", "main", "et", "0"):
        state.update(len(part).to_bytes(8, "little") + part.encode())
    assert order.key(42, "sequences", "main", "et", "0") == int.from_bytes(state.digest()[:8], "little")


@given(st.integers(1, 3000), st.integers(0, M64))
@settings(max_examples=60, deadline=None)
def test_permutation_is_a_bijection_and_equals_the_plain_one(n, key):
    images = order.permutation(n, key)
    assert sorted(images.tolist()) == list(range(n))
    for x in {0, n // 2, n - 1}:
        assert images[x] == permuted(x, n, key)
        assert order.permutation(n, key, first=x, count=1).tolist() == [images[x]]


@pytest.mark.parametrize("n", [10**9 + 7, 4**30 + 1, 2**62])
def test_permutation_of_large_ranges_needs_no_table(n):
    for x in (0, 12345, n - 1):
        assert order.permutation(n, 99, first=x, count=1)[0] == permuted(x, n, 99)


def test_permutation_refuses_a_range_outside():
    with pytest.raises(ValueError, match="not inside"):
        order.permutation(10, 0, first=8, count=3)
    with pytest.raises(ValueError, match="not inside"):
        order.permutation(2**62 + 1, 0, count=1)


def test_small_permutations_are_all_reached_about_equally():
    seen = {}
    for key in range(6000):
        image = tuple(order.permutation(3, key).tolist())
        seen[image] = seen.get(image, 0) + 1
    assert len(seen) == 6
    assert all(850 < n < 1150 for n in seen.values())  # 1000 expected, 5 standard deviations are 145


def test_interleave_by_hand():
    assert order.interleave([1]).tolist() == [0]
    assert order.interleave([]).tolist() == []
    assert order.interleave([0, 0]).tolist() == []
    assert order.interleave([0, 3, 0]).tolist() == [1, 1, 1]
    assert order.interleave([2, 2]).tolist() == [0, 1, 0, 1]
    assert order.interleave([5, 3, 0, 2]).tolist() == [0, 1, 0, 3, 0, 1, 0, 3, 0, 1]


def test_every_prefix_is_within_one_sequence_of_every_share():
    """2000 random weight vectors, integers throughout: |N_i t - N x_i| <= N (1 - 1 / (2 n - 2)) < N after every slot."""
    rng = random.Random(20240229)
    for _ in range(2000):
        n = rng.randint(2, 40)
        largest = rng.choice([2, 10, 100])
        counts = [rng.randint(1, largest) if rng.random() < 0.9 else rng.randint(1, 10 * largest) for _ in range(n)]
        slots = order.interleave(counts)
        total = sum(counts)
        x = np.cumsum(slots[:, None] == np.arange(n), axis=0)
        assert x[-1].tolist() == counts
        off = np.abs(np.arange(1, total + 1)[:, None] * np.array(counts) - total * x).max()
        assert (2 * n - 2) * int(off) <= (2 * n - 3) * total


@given(st.lists(st.integers(0, 12), max_size=8))
@settings(max_examples=100, deadline=None)
def test_interleave_equals_the_plain_one(counts):
    assert order.interleave(counts).tolist() == interleaved(counts)


def test_stream_order_from_its_specification():
    rows, keys = [[4, 3], [], [6]], [[11, 12], [], [13]]
    inside = [
        [permuted(j, 4, 11) for j in range(4)] + [4 + permuted(j, 3, 12) for j in range(3)],
        [],
        [7 + permuted(j, 6, 13) for j in range(6)],
    ]
    expected = [inside[c].pop(0) for c in interleaved([7, 0, 6])]
    assert order.stream_order(rows, keys).tolist() == expected


def test_no_row_of_a_later_pass_comes_first():
    found = order.stream_order([[50, 50, 20], [80]], [[1, 2, 3], [4]])
    assert sorted(found.tolist()) == list(range(200))
    own = found[found < 120]
    assert (np.searchsorted([50, 100], own, side="right") == [0] * 50 + [1] * 50 + [2] * 20).all()
