"""Survivors among equals: who is dropped, for which kept witness, and how many shingles they share.

In: Members, each one's rank and scope. Out: witness and shared per member. Imports kernels, members.

The greedy of reference/kernels.md 2.3: best first, compared with kept documents of the same bucket only, with exact Jaccard; no
pair is ever stored. Components of the bucket graph are independent, so they are worked off in parts whose shingles fit
PART_BYTES; a larger component is mapped from a scratch file instead.

Resident bytes per member with 16 bands: the kept documents' places and where they start, 4 per band at most
(kernels.bucket_starts), 64; witness 4, shared 4, rank 4, scope 2, first kept of a hash group 2 (a group has two members or more),
the members in parts 4: 84. Inside a part its order 4 and ptr 8: 96 if one component held every document. bucket, component, group
and the shingle sets are memory maps. A document that shares nothing costs nothing here.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from curate.errors import CurateError
from curate.relate import kernels
from curate.relate.members import Members

PART_BYTES = 256 * 2**20
NOT_ELIGIBLE = -2  # as a scope: take no part; as a witness: took no part
EXACT_ONLY = -1  # as a scope: hash groups, but no near duplicates


@dataclass(frozen=True)
class Resolution:
    """By member: `witness` int32 (a kept member, -1 kept, NOT_ELIGIBLE), `shared` int32 (shingles in common, kernels.EXACT)."""

    witness: np.ndarray
    shared: np.ndarray
    counts: dict[str, int]  # compared_documents, compared_pairs, capped_buckets


def resolve(members: Members, scope: np.ndarray, rank: np.ndarray, *, jaccard: float, cap: int, scratch: Path) -> Resolution:
    """Keep or drop every member with scope >= EXACT_ONLY.

    scope: int16 (m,); near duplicates are looked for among equal numbers >= 0, hash groups know no scope. rank: int32 (m,),
    smaller is better. cap: newest kept members of a bucket a document is compared with. scratch: a folder for large parts' sets.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    m = len(members)
    witness, shared = np.full(m, NOT_ELIGIBLE, np.int32), np.zeros(m, np.int32)
    band_first, start = _starts(members, cap)
    slots: dict[int, np.ndarray] = {}
    group_kept = np.zeros(int(members.group.max(initial=-1)) + 1, np.int32)
    counts = np.zeros(3, np.int64)
    for part in _parts(members, scope):
        with tempfile.TemporaryDirectory(prefix="sets-", dir=scratch) as folder:
            ptr, hashes = members.gather(part, Path(folder) / "hashes", PART_BYTES)  # once mapped, the file needs no name
        order = np.argsort(rank[part], kind="stable").astype(np.int32)
        for run in _runs(order, scope[part[order]]):
            number = int(scope[part[run[0]]])
            if number not in slots:  # zeros are not resident until written, and a kept document writes in one scope only
                slots[number] = np.zeros(int(start[-1]), np.int32)
            counts += kernels.greedy(
                run, part, members.group, group_kept, bool(members.sets) and number >= 0, members.bucket, band_first, start,
                slots[number], cap, ptr, hashes, jaccard, witness, shared,
            )  # fmt: skip
    shared[witness < 0] = 0
    names = ("compared_documents", "compared_pairs", "capped_buckets")
    return Resolution(witness, shared, dict(zip(names, counts.tolist(), strict=True)))


def similarity(members: Members, resolution: Resolution) -> tuple[np.ndarray, np.ndarray]:
    """float64 (m,) Jaccard and containment |A and B| / min(|A|, |B|) with the witness; 1.0 for equal hashes, NaN without."""
    sizes = members.sizes()
    dropped = np.flatnonzero(resolution.witness >= 0)
    a, b = sizes[dropped].astype(np.float64), sizes[resolution.witness[dropped]].astype(np.float64)
    shared = resolution.shared[dropped].astype(np.float64)
    exact = shared == kernels.EXACT
    jaccard, containment = np.full(len(members), np.nan), np.full(len(members), np.nan)
    jaccard[dropped] = np.where(exact, 1.0, shared / np.maximum(a + b - shared, 1))  # two documents without shingles are EXACT
    containment[dropped] = np.where(exact, 1.0, shared / np.maximum(np.minimum(a, b), 1))
    return jaccard, containment


def _starts(members: Members, cap: int) -> tuple[np.ndarray, np.ndarray]:
    n_bands = members.bucket.shape[1]
    if len(members) * n_bands >= 2**31:
        raise CurateError("too many documents share buckets", found=f"{len(members)}", allowed=f"{2**31 // n_bands}")
    sizes = members.bucket.max(axis=0, initial=-1).astype(np.int64) + 1
    band_first = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    return band_first, kernels.bucket_starts(members.bucket, band_first, cap)


def _parts(members: Members, scope: np.ndarray) -> Iterator[np.ndarray]:
    """Sorted int32 members that take part, whole components together, about PART_BYTES of shingles at a time."""
    chosen = np.flatnonzero(scope > NOT_ELIGIBLE).astype(np.int32)
    if not len(chosen):
        return
    component = members.component[chosen]
    weight = np.bincount(component, weights=8.0 * members.sizes()[chosen] + 16)
    part = (np.cumsum(weight) // PART_BYTES).astype(np.int32)[component]
    order = np.argsort(part, kind="stable")
    cuts = np.flatnonzero(np.diff(part[order])) + 1
    chosen = chosen[order]
    del component, weight, part, order
    yield from np.split(chosen, cuts)


def _runs(order: np.ndarray, scope: np.ndarray) -> list[np.ndarray]:
    """`order` cut where the scope changes; sources come one after another, so there are few."""
    return np.split(order, np.flatnonzero(np.diff(scope)) + 1)
