"""Promise 2 on the greedy itself: random sets of shingles, random eligibility, random scopes, against brute force."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.decide import resolve_changed
from curate.recipe import Near
from curate.relate import buckets, kernels, resolve
from curate.relate.members import Members

N_BANDS = 6


def members_of(sets, groups=None, cuts=(), n_bands=N_BANDS):
    """Members for shingle sets given as Python sets of ints; buckets by one min-hash per band, so that similar sets meet."""
    groups = [-1] * len(sets) if groups is None else groups
    m = len(sets)
    component = np.arange(m, dtype=np.int32)
    bucket = np.full((m, n_bands), -1, np.int32)
    filled = np.array([i for i, s in enumerate(sets) if s], np.int64)
    for b in range(n_bands):
        keys = np.array([min(mix(x * 64 + b) for x in sets[i]) for i in filled], np.uint64)
        bucket[filled, b] = buckets.numbered(buckets.equal(keys[:, None]))
        buckets.join(component, bucket[:, b].copy())
    group = np.array(groups, np.int32)
    buckets.join(component, group)
    kernels.number_components(component)
    ends = [0, *cuts, m]
    parts = []
    for a, b in itertools.pairwise(ends):
        ptr = np.concatenate([[0], np.cumsum([len(s) for s in sets[a:b]])]).astype(np.int64)
        hashes = np.array([x for s in sets[a:b] for x in sorted(s)], np.uint64)
        parts.append((frozen(ptr), frozen(hashes)))
    return Members(np.arange(m), frozen(bucket), frozen(component), frozen(group), np.array(ends, np.int64), tuple(parts))


def mix(x):
    """splitmix64's output function."""
    x = (x + 0x9E3779B97F4A7C15) % 2**64
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    x = (x ^ x >> 27) * 0x94D049BB133111EB % 2**64
    return x ^ x >> 31


def frozen(array):
    array.flags.writeable = False
    return array


def jaccard(a, b):
    return Fraction(len(a & b), len(a | b))


@st.composite
def graphs(draw):
    """Families of similar sets, some with equal hashes; a source each (in order of priority), a rank, eligibility."""
    m = draw(st.integers(1, 24))
    n_bases = draw(st.integers(1, 4))
    sets, groups = [], []
    for i in range(m):
        base = draw(st.integers(0, n_bases - 1))
        keep = draw(st.integers(8, 16))
        start = draw(st.integers(0, 2))
        sets.append({1000 * base + x for x in range(start, start + keep)} if draw(st.integers(0, 9)) else set())
        first_equal = next((j for j in range(i) if sets[j] == sets[i]), None)
        groups.append(-1)
        if first_equal is not None and draw(st.booleans()):  # equal shingles, and the same text: a hash group
            if groups[first_equal] < 0:
                groups[first_equal] = max(groups, default=-1) + 1
            groups[i] = groups[first_equal]
    source = sorted(draw(st.lists(st.integers(0, 2), min_size=m, max_size=m)))
    shuffled = draw(st.permutations(range(m)))
    rank = np.empty(m, np.int32)
    rank[sorted(range(m), key=lambda i: (source[i], shuffled[i]))] = np.arange(m)
    failing = draw(st.sets(st.integers(0, n_bases - 1)))  # only in these families, so that others stand as they were
    eligible = [next((x // 1000 for x in own), 0) not in failing or draw(st.booleans()) for own in sets]
    scope_of = draw(st.sampled_from([(0, 0, 0), (0, 1, 0), (0, 1, 2), (-1, 0, 0), (-1, -1, -1)]))
    scope = np.array([scope_of[s] if e else -2 for s, e in zip(source, eligible, strict=True)], np.int16)
    cuts = sorted(draw(st.lists(st.integers(0, m), max_size=3)))
    return sets, groups, rank, scope, cuts


T = 0.75


def run(members, scope, rank, tmp, cap=256):
    return resolve.resolve(members, scope, rank, jaccard=T, cap=cap, scratch=tmp)


@settings(max_examples=150, deadline=None)
@given(graphs(), st.sampled_from([1, 2, 256]))
def test_promise_2(tmp_path_factory, graph, cap):
    sets, groups, rank, scope, cuts = graph
    tmp = tmp_path_factory.getbasetemp() / "sets"
    members = members_of(sets, groups, cuts)
    blind = run(members, np.zeros(len(sets), np.int16), rank, tmp, cap)
    stored = {"witness": blind.witness, "jaccard": resolve.similarity(members, blind)[0], "rank": rank}
    found = resolve_changed(members, scope, stored, Near(jaccard=T, bucket_cap=cap), tmp)
    scratch = run(members, scope, rank, tmp, cap)
    assert found.witness.tolist() == np.maximum(scratch.witness, -1).tolist()  # reuse changes nothing
    again = resolve.similarity(members, scratch)[0]
    assert np.array_equal(found.jaccard[found.witness >= 0], again[scratch.witness >= 0])
    kept = (scope > -2) & (found.witness < 0)
    for i, w in enumerate(found.witness.tolist()):
        if w < 0:
            continue
        assert kept[w] and scope[i] > -2 and rank[w] < rank[i]
        if found.is_exact[i]:
            assert groups[i] == groups[w] >= 0 and found.jaccard[i] == 1.0
        else:
            assert scope[i] == scope[w] >= 0
            true = jaccard(sets[i], sets[w])
            assert found.jaccard[i] == float(true) and true >= Fraction(3, 4)
    for c in set(members.component.tolist()):
        inside = members.component == c
        assert kept[inside].any() or not (scope[inside] > -2).any()  # no cluster with an eligible member vanishes
    for i in np.flatnonzero(kept):  # equal hashes: one survivor
        assert groups[i] < 0 or sum(groups[j] == groups[i] for j in np.flatnonzero(kept)) == 1


@settings(max_examples=60, deadline=None)
@given(graphs())
def test_shards_parts_and_scratch_files_change_nothing(tmp_path_factory, graph):
    sets, groups, rank, scope, cuts = graph
    tmp = tmp_path_factory.getbasetemp() / "sets"
    whole = run(members_of(sets, groups), scope, rank, tmp)
    before = resolve.PART_BYTES
    try:
        resolve.PART_BYTES = 64  # every component is a part, larger ones lie in a scratch file
        cut = run(members_of(sets, groups, cuts), scope, rank, tmp)
    finally:
        resolve.PART_BYTES = before
    assert whole.witness.tolist() == cut.witness.tolist() and whole.shared.tolist() == cut.shared.tolist()
    assert whole.counts == cut.counts and not list(tmp.iterdir())


def test_priority_by_hand(tmp_path):
    a, b, c = set(range(20)), set(range(1, 21)), set(range(2, 22))  # J(a, b) = J(b, c) = 19/21, J(a, c) = 18/22
    members = members_of([a, b, c], n_bands=16)
    everyone = np.zeros(3, np.int16)
    best_first = resolve.resolve(members, everyone, np.array([0, 1, 2], np.int32), jaccard=0.9, cap=256, scratch=tmp_path)
    assert best_first.witness.tolist() == [-1, 0, -1]  # c is like b, but b is not kept, and a is too far: c stays
    middle_first = resolve.resolve(members, everyone, np.array([1, 0, 2], np.int32), jaccard=0.9, cap=256, scratch=tmp_path)
    assert middle_first.witness.tolist() == [1, -1, 1]
    without_a = resolve.resolve(
        members, np.array([-2, 0, 0], np.int16), np.array([0, 1, 2], np.int32), jaccard=0.9, cap=256, scratch=tmp_path
    )
    assert without_a.witness.tolist() == [-2, -1, 1]  # a failed a rule: b is judged anew and is c's witness
    j, containment = resolve.similarity(members, middle_first)
    assert j[0] == 19 / 21 and containment[0] == 19 / 20 and np.isnan(j[1])


BOUNDARY = [(7, 10, True), (69, 100, False), (70, 100, True), (699, 1000, False), (700, 1000, True)]


@pytest.mark.parametrize("shared, size, dropped", BOUNDARY)
def test_the_exact_threshold(tmp_path, shared, size, dropped):
    """A is a subset of B: J = shared / size, and 0.7 is not a binary fraction."""
    members = members_of([set(range(size)), set(range(shared))], n_bands=64)
    found = resolve.resolve(members, np.zeros(2, np.int16), np.array([0, 1], np.int32), jaccard=0.7, cap=256, scratch=tmp_path)
    assert (members.bucket >= 0).any()
    assert (found.witness[1] == 0) == dropped


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 2000), st.integers(1, 2000), st.integers(1, 100))
def test_least_shared_is_the_least(a, b, percent):
    threshold = percent / 100
    need = kernels.least_shared(a, b, threshold)
    most = min(a, b)
    passing = [s for s in range(1, most + 1) if Fraction(s, a + b - s) >= Fraction(percent, 100)]
    assert need == passing[0] if passing else need > most


@settings(max_examples=100, deadline=None)
@given(st.sets(st.integers(0, 60)), st.sets(st.integers(0, 60)), st.integers(1, 60))
def test_overlap_counts_or_gives_up_rightly(a, b, need):
    hashes = np.array([*sorted(a), *sorted(b)], np.uint64)
    found = kernels.overlap(hashes, 0, len(a), len(a), len(a) + len(b), need)
    assert found == (len(a & b) if len(a & b) >= need else -1)


def test_a_hot_bucket_compares_with_the_newest_only(tmp_path):
    """20 documents of one bucket, all unlike each other; the 21st is a copy of the first, the 22nd of the last."""
    sets = [{0} | set(range(100 * i + 1, 100 * i + 20)) for i in range(20)]
    sets += [set(sets[0]), set(sets[19])]
    members = members_of(sets, n_bands=1)
    bucket = np.zeros((22, 1), np.int32)
    members = Members(members.ordinal, frozen(bucket), frozen(np.zeros(22, np.int32)), members.group, members.ends, members.sets)
    rank = np.arange(22, dtype=np.int32)
    found = resolve.resolve(members, np.zeros(22, np.int16), rank, jaccard=T, cap=4, scratch=tmp_path)
    assert found.witness[20] == -1 and found.witness[21] == 19
    assert found.counts == {"compared_documents": 22, "compared_pairs": 0 + 1 + 2 + 3 + 4 * 17 + 4, "capped_buckets": 1}
    free = resolve.resolve(members, np.zeros(22, np.int16), rank, jaccard=T, cap=256, scratch=tmp_path)
    assert free.witness[20] == 0 and free.witness[21] == 19 and free.counts["capped_buckets"] == 0


def test_memory_of_places():
    """kernels.bucket_starts: start and places are at most 4 bytes per member and band, whatever the sizes of the buckets."""
    for sizes in ([2] * 500, [3] * 300, [257] * 4, [258] * 4, [5000]):
        ids = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)[:, None]
        start = kernels.bucket_starts(frozen(ids.copy()), np.array([0, len(sizes)], np.int64), 256)
        assert 4 * int(start[-1]) + start.nbytes <= 4 * len(ids) + 4
