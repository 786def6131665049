"""MinHash signatures: unbiased, independent, and found in bands as the formula says. Fixed seeds: the draw never changes."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest

from curate import text
from curate.text import shingling

SIZE = 280  # shingles of each document of a pair


def pairs(jaccard: float, n: int) -> tuple[list[str], float]:
    """2n documents of different one-word shingles; each pair shares as many as make the wanted similarity, returned exactly."""
    shared = round(2 * SIZE * jaccard / (1 + jaccard))
    documents = []
    for pair in range(n):
        common = [f"c{pair}x{i}" for i in range(shared)]
        documents += [" ".join(common + [f"{side}{pair}x{i}" for i in range(SIZE - shared)]) for side in "ab"]
    return documents, shared / (2 * SIZE - shared)


def band_keys(documents: list[str], bands: int, rows: int, seed: int = 11) -> np.ndarray:
    seg = text.segment(*text.buffers(pa.array(documents, pa.large_string())))
    keys, n_shingles = text.signatures(seg, ngram=1, bands=bands, rows=rows, seed=seed)
    assert (n_shingles == SIZE).all()
    return keys


@pytest.mark.parametrize("wanted", [0.2, 0.5, 0.75, 0.9])
def test_equal_minima_estimate_jaccard_without_bias_and_with_the_spread_of_independent_hashes(wanted: float) -> None:
    n, hashes = 300, 112
    documents, j = pairs(wanted, n)
    keys = band_keys(documents, bands=hashes, rows=1)
    estimates = (keys[0::2] == keys[1::2]).mean(axis=1)
    spread = math.sqrt(j * (1 - j) / hashes)  # binomial
    assert abs(estimates.mean() - j) < 4 * spread / math.sqrt(n)
    assert 0.85 < estimates.std() / spread < 1.15  # 300 draws: the ratio itself spreads by 4 %


def test_estimates_agree_with_datasketch() -> None:
    datasketch = pytest.importorskip("datasketch")
    documents, j = pairs(0.6, 40)
    keys = band_keys(documents, bands=112, rows=1)
    ours = (keys[0::2] == keys[1::2]).mean()
    sketches = []
    for document in documents:
        sketch = datasketch.MinHash(num_perm=112, seed=1)
        sketch.update_batch([word.encode() for word in document.split()])
        sketches.append(sketch)
    theirs = np.mean([a.jaccard(b) for a, b in zip(sketches[0::2], sketches[1::2], strict=True)])
    sigma = math.sqrt(j * (1 - j) / (112 * 40))
    assert abs(ours - j) < 4 * sigma and abs(theirs - j) < 4 * sigma and abs(ours - theirs) < 6 * sigma


@pytest.mark.parametrize("wanted", [0.6, 0.75, 0.85])
def test_pairs_share_a_band_as_often_as_the_formula_says(wanted: float) -> None:
    n = 400
    documents, j = pairs(wanted, n)
    keys = band_keys(documents, bands=16, rows=7)
    found = (keys[0::2] == keys[1::2]).any(axis=1).mean()
    expected = 1 - (1 - j**7) ** 16
    assert abs(found - expected) < 4 * math.sqrt(expected * (1 - expected) / n)


def test_band_keys_depend_on_shingles_and_seed_only() -> None:
    ascending, descending = (" ".join(f"w{i}" for i in order) for order in (range(SIZE), range(SIZE)[::-1]))
    a, b, other = band_keys([ascending, descending, pairs(0.5, 1)[0][0]], 16, 7)
    assert (a == b).all() and not (a == other).any()
    assert not (band_keys(pairs(0.5, 1)[0], 16, 7, seed=12) == band_keys(pairs(0.5, 1)[0], 16, 7, seed=11)).any()


def test_a_document_without_words_has_no_shingle_and_keys_0() -> None:
    seg = text.segment(*text.buffers(pa.array(["", "... !", "üks kaks"])))
    keys, n = text.signatures(seg, ngram=5, bands=16, rows=7, seed=0)
    assert n.tolist() == [0, 0, 1]
    assert not keys[:2].any() and keys[2].all()


def test_constants_are_splitmix64() -> None:
    # Published first outputs for seed 1234567 (Rosetta Code, "Pseudo-random numbers/Splitmix64").
    assert shingling._splitmix64(1234567, 3).tolist() == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 8, 11])
def test_band_keys_are_the_least_of_each_permutation_mixed(n: int) -> None:
    """The definition in plain Python: h -> h * multiply + add of the upper halves modulo 2**32, the least of each, rows mixed."""
    seg = text.segment(*text.buffers(pa.array([" ".join(f"w{i}" for i in range(n))], pa.large_string())))
    keys, n_shingles = text.signatures(seg, ngram=1, bands=3, rows=2, seed=9)
    _, shingles = text.shingle_sets(seg, np.zeros(1, np.int64), 1)
    assert n_shingles.tolist() == [n] == [len(shingles)]
    drawn = [x >> 32 for x in shingling._splitmix64(9, 12).tolist()]
    least = [
        min((h >> 32) * (m | 1) + a & 0xFFFFFFFF for h in shingles.tolist()) for m, a in zip(drawn[:6], drawn[6:], strict=True)
    ]
    expected = []
    for band in range(3):
        key = band + 1
        for row in range(2):
            x = key * 0xD6E8FEB86659FD93 + least[2 * band + row] & 2**64 - 1
            x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & 2**64 - 1
            x = (x ^ x >> 27) * 0x94D049BB133111EB & 2**64 - 1
            key = x ^ x >> 31
        expected.append(key)
    assert keys.tolist() == [expected]
