"""Where two texts say the same: their longest runs of equal words, as byte offsets in both.

In: two texts. Out: spans, for people who look at a pair. Words are those of the shingles: with a letter or digit, in simple lower
case; what stands between them (punctuation, line ends) may differ. Pure. Imports text.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from curate import text
from curate.text import kernels

Passage = tuple[int, int, int, int]  # start_a, end_a, start_b, end_b: bytes of the UTF-8 of each text
_BASE = np.uint64(0x9E3779B97F4A7C15)  # odd, so it has an inverse modulo 2**64


class _Words(NamedTuple):
    hash: np.ndarray  # (n,) uint64
    start: np.ndarray  # (n,) int64, bytes
    end: np.ndarray  # (n,) int64


def shared_passages(
    text_a: str, text_b: str, *, most: int = 1, min_words: int = 5, words_a: str = "rules", words_b: str = "rules"
) -> list[Passage]:
    """The `most` longest runs of at least `min_words` equal words, longest first; of equal ones the first in a, then in b.

    Runs do not overlap, in neither text. `words_a`, `words_b`: how words are cut (sources.*.words). The length is found by
    bisection, each try one sort of hashes: O(n log n log n) for n words however often they repeat, a run of zeros included.
    """
    a, b = _words(text_a, words_a), _words(text_b, words_b)
    found: list[Passage] = []
    taken = (np.zeros(len(a.hash), bool), np.zeros(len(b.hash), bool))
    while len(found) < most:
        n, at_a, at_b = _longest(a.hash, b.hash, taken, min_words)
        if not n:
            break
        found.append(tuple(int(x) for x in (a.start[at_a], a.end[at_a + n - 1], b.start[at_b], b.end[at_b + n - 1])))  # type: ignore[arg-type]
        taken[0][at_a : at_a + n] = True
        taken[1][at_b : at_b + n] = True
    return found


def _words(of: str, how: str) -> _Words:
    data = of.encode()
    seg = text.segment(np.frombuffer(data or b"\0", np.uint8), np.array([0, len(data)], np.int64), how)
    counts = seg.flags & kernels.HAS_ALNUM > 0
    return _Words(seg.lower[counts], seg.start[counts], seg.end[counts])


def _longest(a: np.ndarray, b: np.ndarray, taken: tuple[np.ndarray, np.ndarray], at_least: int) -> tuple[int, int, int]:
    """(words, place in a, place in b) of the longest run that is not taken; 0 words where none has `at_least`."""
    best = (0, 0, 0)
    powers, inverses = (_powers(base, max(len(a), len(b)) + 1) for base in (_BASE, _inverse(_BASE)))
    sums = [_sums(hashes, powers) for hashes in (a, b)]
    gone = [np.concatenate([[0], np.cumsum(of)]) for of in taken]
    low, high = max(1, at_least), min(len(a), len(b))
    while low <= high:
        n = (low + high + 1) // 2 if best[0] else low  # the least length first: most pairs of unlike texts end here
        place = _common(a, b, sums, gone, inverses, n)
        if place is None:
            high = n - 1
        else:
            best, low = (n, *place), n + 1
    return best


def _common(
    a: np.ndarray, b: np.ndarray, sums: list[np.ndarray], gone: list[np.ndarray], inverses: np.ndarray, n: int
) -> tuple[int, int] | None:
    """The first run of n words in a that stands in b too, and where it stands there first."""
    hashes = [(s[n:] - s[:-n]) * inverses[: len(s) - n] for s in sums]  # of the runs that begin at 0, 1, ...
    free = [np.flatnonzero(g[n:] == g[:-n]) for g in gone]
    in_b, first = np.unique(hashes[1][free[1]], return_index=True)
    at = np.minimum(np.searchsorted(in_b, hashes[0][free[0]]), max(len(in_b) - 1, 0))
    if not len(in_b):
        return None
    for i in np.flatnonzero(in_b[at] == hashes[0][free[0]]).tolist():
        place_a, place_b = int(free[0][i]), int(free[1][first[at[i]]])
        if np.array_equal(a[place_a : place_a + n], b[place_b : place_b + n]):  # equal hashes of runs may deceive, words' do not
            return place_a, place_b
    return None


def _sums(hashes: np.ndarray, powers: np.ndarray) -> np.ndarray:
    """uint64 (n + 1,): sums of hash * base**place, modulo 2**64: what numpy's integers do."""
    return np.concatenate([np.zeros(1, np.uint64), np.cumsum(hashes * powers[: len(hashes)], dtype=np.uint64)])


def _powers(base: np.uint64, n: int) -> np.ndarray:
    powers = np.full(n, base, np.uint64)
    powers[:1] = 1
    return np.multiply.accumulate(powers)


def _inverse(odd: np.uint64) -> np.uint64:
    """Modulo 2**64."""
    return np.uint64(pow(int(odd), -1, 1 << 64))
