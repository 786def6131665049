"""All pairs of a small corpus by exact Jaccard similarity: what near-dedup is judged by. Plain Python sets in, pairs out.

Nothing of the product is in it: shingles are tuples of words (tests.relate.planted), pairs come from lists of who has which shingle.
Quadratic in the documents that share a shingle: for some thousands of documents.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tests.relate.planted import Shingles


def similar_pairs(sets: Sequence[Shingles], least: float) -> dict[tuple[int, int], float]:
    """(i, j) with i < j -> Jaccard similarity, of all pairs with `least` or more (above 0). Empty sets are like nothing."""
    places: dict[tuple[str, ...], int] = {}
    holders: list[list[int]] = []
    found: dict[tuple[int, int], float] = {}
    for j, own in enumerate(sets):
        numbers = [places.setdefault(shingle, len(places)) for shingle in own]
        holders += [[] for _ in range(len(places) - len(holders))]
        earlier = [i for number in numbers for i in holders[number]]
        if earlier:
            shared = np.bincount(earlier)
            for i in np.flatnonzero(shared).tolist():
                n = int(shared[i])
                similarity = n / (len(own) + len(sets[i]) - n)
                if similarity >= least:
                    found[i, j] = similarity
        for number in numbers:
            holders[number].append(j)
    return found


def components(n: int, pairs: Sequence[tuple[int, int]]) -> list[int]:
    """The smallest member of each item's connected component."""
    parent = list(range(n))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for i, j in pairs:
        a, b = root(i), root(j)
        parent[max(a, b)] = min(a, b)
    return [root(i) for i in range(n)]
