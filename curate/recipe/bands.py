"""Bands and rows for a wanted Jaccard similarity: `dedup.near: {jaccard: 0.8, bands: optimal, hashes: 128}`, and the theory's curve.

In: a threshold and how many hashes a signature may have. Out: integers, which then stand in the canonical recipe. The only module of
curate that imports datasketch's optimiser, and only when it is asked for. Imports errors.
"""

from __future__ import annotations

from functools import lru_cache

from curate.errors import CurateError

HASHES = 128
# How the optimiser weighs the area of false candidates below the threshold against that of missed pairs above it. Candidates cost
# time only, since exact Jaccard removes them; a missed pair stays in the corpus. At even weights (datasketch's default) 128 hashes
# find 0.40 of the pairs at exactly 0.8 (9 x 13), at 1 : 19 0.95 of them (16 x 8).
FALSE_POSITIVE_WEIGHT = 0.05
LEAST_RECALL = 0.5  # at the threshold itself: below it whoever wrote the recipe is told


def recall(jaccard: float, bands: int, rows: int) -> float:
    """Probability that two documents of this similarity share a band (Leskovec, Rajaraman, Ullman, Mining of Massive Datasets, 3.4)."""
    return float(1 - (1 - jaccard**rows) ** bands)


@lru_cache
def optimal(jaccard: float, hashes: int) -> tuple[int, int]:
    """(bands, rows) with bands * rows <= hashes that lose least, by datasketch's MinHashLSH. Raises CurateError."""
    try:
        from datasketch import MinHashLSH
    except ImportError as error:
        raise CurateError(
            "bands: optimal needs datasketch", where="dedup.near.bands", found=str(error), next="pip install datasketch, or write bands: and rows:",
        ) from error  # fmt: skip
    try:
        found = MinHashLSH(threshold=jaccard, num_perm=hashes, weights=(FALSE_POSITIVE_WEIGHT, 1 - FALSE_POSITIVE_WEIGHT))
    except ValueError as error:
        raise CurateError(
            "there are no bands for this threshold", where="dedup.near.bands", found=f"jaccard {jaccard:g}, hashes {hashes}: {error}",
            allowed="jaccard below 1 and at least 2 hashes", next="write bands: and rows: as integers",
        ) from error  # fmt: skip
    return int(found.b), int(found.r)


def hint(jaccard: float, bands: int, rows: int) -> str:
    """What to say of bands that find less than half of the pairs at the threshold; "" where they find more."""
    found = recall(jaccard, bands, rows)
    if found >= LEAST_RECALL:
        return ""
    return (
        f"dedup.near: {bands} bands x {rows} rows find {found:.2f} of the pairs at jaccard {jaccard:g} (theory); "
        "fewer rows, more bands or `bands: optimal` find more"
    )
