"""Survivors among equals: who is dropped, for which kept witness, and how many shingles they share.

In: Members, each one's rank and scope. Out: witness and shared per member. Imports kernels, members.

The greedy of reference/kernels.md 2.3: best first, compared with kept documents of the same bucket only, with exact Jaccard; no
pair is ever stored. Components of the bucket graph are independent, so they are worked off in parts whose shingles fit
PART_BYTES (and their prints a quarter of that); a larger component is mapped from a scratch file instead.

Resident bytes per member with 16 bands: the kept documents' places and where they start, 4 per band at most
(kernels.bucket_starts), 64; witness 4, shared 4, scope 2, first kept of a group of texts and of addresses 2 each (a group has two
members or more), the members in parts 4: 82. Inside a part its order 4 and ptr 8: 94 if one component held every document. Where
a group or a pair is divided between two scopes (`within`), 2 more for the group, or per band: 98 measured, of 9 million members whose
groups all were. bucket, component, groups, rank and large parts' sets are memory maps. A document that shares nothing costs nothing.
"""

from __future__ import annotations

import mmap
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from curate.errors import CurateError
from curate.relate import kernels
from curate.relate.members import Members, prints_of

PART_BYTES = 256 * 2**20
NOT_ELIGIBLE = -2  # as a scope: take no part; as a witness: took no part
NOBODY = -1  # as a row of `Scopes`: looked for nowhere but among the references
REFERENCES = 0  # as a row: these are the references themselves
NONE, EXACT, URL, NEAR = range(4)  # `kinds`
_NO_RESERVE = 0x4000  # MAP_NORESERVE of mmap(2), which Python names from 3.13 on


class Scopes(NamedTuple):
    """By scope, int32 (n,): equal rows > 0 are compared with each other. `near`: near duplicates, `exact`: texts and addresses."""

    near: np.ndarray
    exact: np.ndarray

    @property
    def has_references(self) -> bool:
        return bool((self.exact == REFERENCES).any())


# Everybody with everybody, whatever the recipe's scopes: the number EVERYBODY, and REFERENCE for the references.
EVERYBODY, REFERENCE = 0, 1
BLIND = Scopes(np.array([1, REFERENCES], np.int32), np.array([1, REFERENCES], np.int32))


@dataclass(frozen=True)
class Resolution:
    """By member: `witness` int32 (a kept member, -1 kept, NOT_ELIGIBLE), `shared` int32 (see kernels.greedy)."""

    witness: np.ndarray
    shared: np.ndarray
    counts: dict[str, int]  # compared_documents, compared_pairs, capped_buckets


def resolve(
    members: Members, scope: np.ndarray, rank: np.ndarray, *, jaccard: float, cap: int, scratch: Path, scopes: Scopes = BLIND
) -> Resolution:
    """Keep or drop every member with scope >= 0.

    scope: int16 (m,), numbers of `scopes`. rank: int32 (m,), smaller is better; references come first. cap: newest kept members of
    a bucket a document is compared with. scratch: a folder for large parts' sets.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    m = len(members)
    witness, shared = np.full(m, NOT_ELIGIBLE, np.int32), np.zeros(m, np.int32)
    band_first, start = _starts(members, cap)
    n_rows = int(max(scopes.near.max(initial=0), scopes.exact.max(initial=0))) + 1
    slots = _zeros(n_rows, int(start[-1]))
    kept = [_zeros(n_rows, int(group.max(initial=-1)) + 1) for group in (members.same_text, members.same_url)]
    counts = np.zeros(3, np.int64)
    for part in _parts(members, scope):
        with tempfile.TemporaryDirectory(prefix="sets-", dir=scratch) as folder:
            ptr, hashes = members.gather(part, Path(folder) / "hashes", PART_BYTES)  # once mapped, the files need no name
            prints = prints_of(ptr, hashes, Path(folder) / "prints", PART_BYTES)
        order = np.argsort(rank[part], kind="stable").astype(np.int32)
        counts += kernels.greedy(
            order, part, scope, *scopes, scopes.has_references, members.same_text, kept[0], members.same_url, kept[1],
            bool(members.sets), members.bucket, band_first, start, slots, cap, ptr, hashes, prints, jaccard, witness, shared,
        )  # fmt: skip
    shared[witness < 0] = 0
    names = ("compared_documents", "compared_pairs", "capped_buckets")
    return Resolution(witness, shared, dict(zip(names, counts.tolist(), strict=True)))


def kinds(resolution: Resolution) -> np.ndarray:
    """int8 (m,): why each is dropped: EXACT, URL, NEAR, or NONE."""
    shared = resolution.shared
    found = np.full(len(shared), NEAR, np.int8)
    found[shared == kernels.EXACT] = EXACT
    found[shared <= kernels.URL] = URL
    found[resolution.witness < 0] = NONE
    return found


def similarity(members: Members, resolution: Resolution) -> tuple[np.ndarray, np.ndarray]:
    """float64 (m,) Jaccard and containment |A and B| / min(|A|, |B|) with the witness; 1.0 for equal texts.

    NaN without a witness, and for equal addresses of texts that have no shingles (or where nobody made any).
    """
    sizes = members.sizes()
    dropped = np.flatnonzero(resolution.witness >= 0)
    a, b = sizes[dropped].astype(np.float64), sizes[resolution.witness[dropped]].astype(np.float64)
    code = resolution.shared[dropped].astype(np.float64)
    exact = code == kernels.EXACT
    shared = np.where(code <= kernels.URL, kernels.URL - code, code)
    jaccard, containment = np.full(len(members), np.nan), np.full(len(members), np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):  # 0 / 0 is NaN; of equal texts nothing is asked
        jaccard[dropped] = np.where(exact, 1.0, shared / (a + b - shared))
        containment[dropped] = np.where(exact, 1.0, shared / np.minimum(a, b))
    return jaccard, containment


def _zeros(rows: int, n: int) -> np.ndarray:
    """int32 (rows, n). A page is resident once it is written, a member writes in one row only, and the buckets of a source are
    numbered side by side: many scopes cost little more than one, and the system is not asked to reserve what is never written."""
    if not n:
        return np.zeros((rows, 0), np.int32)
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | (_NO_RESERVE if sys.platform == "linux" else 0)
    return np.frombuffer(mmap.mmap(-1, 4 * rows * n, flags=flags), np.int32).reshape(rows, n)


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
