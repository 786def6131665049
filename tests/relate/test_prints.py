"""The bit maps that tell unlike sets apart before they are compared: a bound from above, never below the truth."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.relate import kernels
from tests.relate.drawn import mixed


def bounds(sets: list[set[int]]) -> tuple[np.ndarray, np.ndarray]:
    """(bound, shared), (n, n) each, of sets given by number; hashes as shingles have them."""
    hashed = [np.sort(mixed(np.array(sorted(s), np.uint64))) for s in sets]
    ptr = np.concatenate([[0], np.cumsum([len(s) for s in sets])]).astype(np.int64)
    hashes = np.concatenate(hashed)
    prints = np.zeros(len(hashes) // 4 + 1, np.uint64)
    kernels.make_prints(ptr, hashes, prints)
    n = len(sets)
    bound = np.array([[kernels.most_shared(ptr, prints, p, q) for q in range(n)] for p in range(n)])
    return bound, np.array([[len(a & b) for b in sets] for a in sets])


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 130), st.integers(0, 100), st.sampled_from([1, 2, 3])), min_size=2, max_size=6))
def test_the_bound_is_never_below_what_is_shared(made):
    """Sets of 1 to 130 numbers, side by side in one array, with prints of 0 to 32 words and folds between unequal ones."""
    sets = [{first + step * i for i in range(n)} for n, first, step in made]
    bound, shared = bounds(sets)
    assert (bound >= shared).all() and (bound <= np.array([[len(s)] for s in sets])).all()


def test_it_tells_pages_of_one_template_apart():
    """300 shingles, 220 of them the frame's: Jaccard 220 / 380 = 0.58. A print has 13 bits a shingle, so that of 80 own shingles
    about 80 * 300 / 4096 = 6 meet a bit of the other page."""
    pages = [set(range(220)) | {1000 * (i + 1) + j for j in range(80)} for i in range(8)]
    bound, shared = bounds(pages)
    assert (np.diag(bound) == 300).all()
    off = ~np.eye(8, dtype=bool)
    assert (shared[off] == 220).all() and bound[off].min() >= 220 and bound[off].max() <= 240
