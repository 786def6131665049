"""Promise 2 on the greedy itself: random shingles, texts, addresses, eligibility, scopes and references, against plain Python."""

from __future__ import annotations

import dataclasses
import itertools
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.decide import resolve_changed, scopes_of
from curate.recipe import Dedup
from curate.relate import kernels, resolve
from curate.relate.layout import Shard
from curate.relate.members import Members
from curate.relate.resolve import BLIND, EVERYBODY, EXACT, NEAR, NONE, NOT_ELIGIBLE, REFERENCE, URL

N_BANDS = 6


def members_of(sets, groups=None, cuts=(), n_bands=N_BANDS, urls=None):
    """Members for shingle sets given as Python sets of ints; buckets by one min-hash per band, so that similar sets meet."""
    m = len(sets)
    component = np.arange(m, dtype=np.int32)
    bucket = np.full((m, n_bands), -1, np.int32)
    filled = np.array([i for i, s in enumerate(sets) if s], np.int64)
    for b in range(n_bands):
        keys = np.array([min(mix(x * 64 + b) for x in sets[i]) for i in filled], np.uint64)
        bucket[filled, b] = numbered(keys.tolist())
        join(component, bucket[:, b])
    same = [np.array([] if ids is None else ids, np.int32) for ids in (groups, urls)]
    for ids in same:
        join(component, ids)
    kernels.number_components(component, np.ones(m, bool))
    ends = [0, *cuts, m]
    parts = []
    for a, b in itertools.pairwise(ends):
        ptr = np.concatenate([[0], np.cumsum([len(s) for s in sets[a:b]])]).astype(np.int64)
        hashes = np.array([x for s in sets[a:b] for x in sorted(s)], np.uint64)
        parts.append((frozen(ptr), frozen(hashes)))
    return Members(np.arange(m), frozen(bucket), frozen(component), *map(frozen, same), np.array(ends, np.int64), tuple(parts))


def numbered(keys):
    """0.. by key in the order of first appearance, -1 for a key that stands once."""
    shared = [key for key in dict.fromkeys(keys) if keys.count(key) > 1]
    return [shared.index(key) if key in shared else -1 for key in keys]


def join(component, ids):
    """Unites the members of one id >= 0."""
    listed = ids.tolist()
    kernels.union(component, np.array([listed.index(i) if i >= 0 else -1 for i in listed], np.int32))


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


class Graph(NamedTuple):
    """m documents by member: their shingles, text groups, url groups (None: nobody asks), sources, ranks and eligibility."""

    sets: list
    texts: list | None
    urls: list | None
    source: list  # -1: a reference
    rank: np.ndarray
    eligible: list
    cuts: list
    dedup: Dedup


SOURCES = ["a", "b", "c"]
scopes_in = st.tuples(st.sampled_from(["all", [], ["a"], ["a", "c"], SOURCES]), st.sampled_from([[], ["c"], ["b", "c"], SOURCES]))


@st.composite
def graphs(draw):
    """Families of similar sets, some with equal texts or addresses; references first; any order of priority."""
    m = draw(st.integers(1, 24))
    n_bases = draw(st.integers(1, 4))
    sets, texts = [], []
    for i in range(m):
        base = draw(st.integers(0, n_bases - 1))
        keep = draw(st.integers(8, 16))
        start = draw(st.integers(0, 2))
        sets.append({1000 * base + x for x in range(start, start + keep)} if draw(st.integers(0, 9)) else set())
        equal = next((j for j in range(i) if sets[j] == sets[i]), None)
        same_text = equal is not None and draw(st.booleans())  # equal shingles may be of unlike texts
        texts.append(texts[equal] if same_text else i)
    urls = draw(st.lists(st.integers(0, 40), min_size=m, max_size=m))
    source = sorted(draw(st.lists(st.integers(-1, 2), min_size=m, max_size=m)))
    n_fixed = source.count(-1)
    rank = np.array([*range(n_fixed), *(n_fixed + i for i in draw(st.permutations(range(m - n_fixed))))], np.int32)
    failing = draw(st.sets(st.integers(0, n_bases - 1)))  # only in these families, so that others stand as they were
    eligible = [next((x // 1000 for x in own), 0) not in failing or draw(st.booleans()) for own in sets]
    (across, within), (exact_across, exact_within) = draw(scopes_in), draw(scopes_in)
    by = draw(st.sampled_from([["normalised"], ["url"], ["normalised", "url"], []]))
    dedup = Dedup.model_validate({
        "near": {"jaccard": T, "across": across, "bucket_cap": draw(st.sampled_from([1, 2, 256])), "keep": draw(st.sampled_from(["best", "none"]))},
        "within": within, "exact": {"by": by, "across": exact_across, "within": exact_within},
    })  # fmt: skip
    cuts = sorted(draw(st.lists(st.integers(0, m), max_size=3)))
    return Graph(sets, groups_of(texts) if "normalised" in by else None, groups_of(urls) if "url" in by else None, source, rank,
                 [e or s < 0 for e, s in zip(eligible, source, strict=True)], cuts, dedup)  # fmt: skip


def groups_of(keys):
    shared = [key for key in dict.fromkeys(keys) if keys.count(key) > 1]
    return [shared.index(key) if key in shared else -1 for key in keys]


T = 0.75


def row(source, across, within):
    """Who is compared with whom: equal rows; None: nobody."""
    return source if source in within else "across" if across == "all" or source in across else None


def expected(graph, near_row, exact_row, cap, bucket):
    """The greedy in plain Python: (witness, kind, jaccard) by member. near_row, exact_row: of a source."""
    m = len(graph.sets)
    found = [(NOT_ELIGIBLE if not e else -1, NONE, None) for e in graph.eligible]
    kept_text, kept_url, lists = {}, {}, {}
    sizes = {}
    for i in range(m):
        for b, k in enumerate(bucket[i].tolist()):
            if k >= 0:
                sizes[b, k] = sizes.get((b, k), 0) + 1
    for i in sorted(range(m), key=lambda i: graph.rank[i]):
        if not graph.eligible[i]:
            continue
        is_reference = graph.source[i] < 0
        exact = "reference" if is_reference else exact_row(SOURCES[graph.source[i]])
        near = "reference" if is_reference else near_row(SOURCES[graph.source[i]])
        hit = None
        for groups, kept, kind in ((graph.texts, kept_text, EXACT), (graph.urls, kept_url, URL)):
            if hit is None and not is_reference and groups is not None and groups[i] >= 0:
                w = kept.get(("reference", groups[i]), kept.get((exact, groups[i]) if exact else None))
                hit = None if w is None else (w, kind)
        if hit is None and not is_reference and graph.sets[i]:
            for where in ("reference", near):
                for b, k in enumerate(bucket[i].tolist()) if where and hit is None else ():
                    # a bucket that could outgrow the cap keeps a ring, looked at from its first place on
                    ring = lists.get((where, b, k), [])
                    if sizes.get((b, k), 0) - 1 > cap:
                        ring = sorted(ring[-cap:], key=lambda w: ring.index(w) % cap)
                    w = next((w for w in ring if jaccard(graph.sets[i], graph.sets[w]) >= Fraction(3, 4)), None)
                    if w is not None:
                        hit = (w, NEAR)
                        break
        if hit is not None:
            w, kind = hit
            union = graph.sets[i] | graph.sets[w]
            similar = 1.0 if kind == EXACT else len(graph.sets[i] & graph.sets[w]) / len(union) if union else None
            found[i] = (w, kind, similar)
            continue
        for groups, kept in ((graph.texts, kept_text), (graph.urls, kept_url)):
            if groups is not None and groups[i] >= 0 and exact:
                kept.setdefault((exact, groups[i]), i)
        for b, k in enumerate(bucket[i].tolist()) if near and graph.sets[i] else ():
            if k >= 0:
                lists.setdefault((near, b, k), []).append(i)
    return found


def without_heads(graph, found):
    """near.keep: none, on what the greedy gave."""
    result = list(found)
    for head in range(len(found)):
        followers = [i for i, (w, kind, _) in enumerate(found) if w == head and kind == NEAR]
        if followers and graph.source[head] >= 0:
            best = min(followers, key=lambda i: graph.rank[i])
            result[head] = (best, NEAR, found[best][2])
    return result


def as_members(graph, cuts=()):
    return members_of(graph.sets, graph.texts, cuts, urls=graph.urls)


def run(members, graph, tmp):
    scope = np.array([REFERENCE if s < 0 else EVERYBODY for s in graph.source], np.int16)
    return resolve.resolve(members, scope, graph.rank, jaccard=T, cap=graph.dedup.near.bucket_cap, scratch=tmp, scopes=BLIND)


def decided(members, graph, tmp):
    """As decide does it: the blind result where it stands."""
    blind = run(members, graph, tmp)
    stored = {
        "witness": blind.witness,
        "jaccard": resolve.similarity(members, blind)[0],
        "kind": resolve.kinds(blind),
        "rank": graph.rank,
    }
    number, scopes = scopes_of(graph.dedup, [Shard(name, "0", None, 0, 0) for name in SOURCES])
    scope = np.array([0 if s < 0 else number[SOURCES[s]] for s in graph.source], np.int16)
    scope[~np.array(graph.eligible)] = NOT_ELIGIBLE
    return blind, resolve_changed(members, scope, scopes, stored, graph.dedup.near, tmp)


def told(witness, kind, jaccard):
    return [(int(w), int(k), None if np.isnan(j) else float(j)) for w, k, j in zip(witness, kind, jaccard, strict=True)]


@settings(max_examples=400, deadline=None)
@given(graphs())
def test_the_greedy_is_the_one_in_plain_python(tmp_path_factory, graph):
    tmp = tmp_path_factory.getbasetemp() / "sets"
    members = as_members(graph, graph.cuts)
    dedup, cap = graph.dedup, graph.dedup.near.bucket_cap
    blind, found = decided(members, graph, tmp)
    everybody = graph._replace(eligible=[True] * len(graph.sets))
    wanted = expected(everybody, lambda s: "all", lambda s: "all", cap, members.bucket)
    assert told(blind.witness, resolve.kinds(blind), resolve.similarity(members, blind)[0]) == wanted
    near_row = lambda s: row(s, dedup.near.across, dedup.within)  # noqa: E731
    exact_row = lambda s: row(s, dedup.exact.across, dedup.exact.within)  # noqa: E731
    wanted = expected(graph, near_row, exact_row, cap, members.bucket)
    wanted = without_heads(graph, wanted) if dedup.near.keep == "none" else wanted
    assert told(found.witness, found.kind, found.jaccard) == [(max(w, -1), k, j) for w, k, j in wanted]


@settings(max_examples=400, deadline=None)
@given(graphs())
def test_promise_2(tmp_path_factory, graph):
    tmp = tmp_path_factory.getbasetemp() / "sets"
    members = as_members(graph, graph.cuts)
    dedup = graph.dedup
    _, found = decided(members, graph, tmp)
    kept = np.array(graph.eligible) & (found.witness < 0)
    is_reference = np.array(graph.source) < 0
    assert kept[is_reference].all()  # never dropped, nor compared among themselves
    is_head = np.zeros(len(kept), bool)  # of near.keep: none
    if dedup.near.keep == "none":
        followers = np.flatnonzero(found.kind == NEAR)
        is_head[
            [i for i in followers if found.kind[found.witness[i]] == NEAR and graph.rank[i] < graph.rank[found.witness[i]]]
        ] = True
    for i, w in enumerate(found.witness.tolist()):
        if w < 0:
            continue
        ours, theirs = (SOURCES[graph.source[j]] for j in (i, w))
        near = found.kind[i] == NEAR
        across, within = (dedup.near.across, dedup.within) if near else (dedup.exact.across, dedup.exact.within)
        assert graph.eligible[i] and not is_reference[i] and graph.eligible[w]
        assert is_reference[w] or row(ours, across, within) == row(theirs, across, within) is not None
        assert kept[w] or is_head[w] or is_head[i]
        assert is_reference[w] or is_head[i] or graph.rank[w] < graph.rank[i]
        if near:
            true = jaccard(graph.sets[i], graph.sets[w])
            assert found.jaccard[i] == float(true) and true >= Fraction(3, 4)
        else:
            groups = graph.texts if found.kind[i] == EXACT else graph.urls
            assert groups[i] == groups[w] >= 0
    for c in set(members.component.tolist()) if dedup.near.keep == "best" else ():
        inside = members.component == c
        assert kept[inside].any() or not np.array(graph.eligible)[inside].any()  # no cluster with an eligible member vanishes
    for i in np.flatnonzero(kept & ~is_reference):  # equal texts of one scope: one survivor, and none that a reference has
        scope = row(SOURCES[graph.source[i]], dedup.exact.across, dedup.exact.within)
        for groups in (graph.texts, graph.urls):
            for j in np.flatnonzero(kept) if groups is not None and groups[i] >= 0 else ():
                same = (
                    is_reference[j] or scope == row(SOURCES[graph.source[j]], dedup.exact.across, dedup.exact.within) is not None
                )
                assert j == i or groups[i] != groups[j] or not same


@settings(max_examples=60, deadline=None)
@given(graphs())
def test_shards_parts_and_scratch_files_change_nothing(tmp_path_factory, graph):
    tmp = tmp_path_factory.getbasetemp() / "sets"
    whole = run(as_members(graph), graph, tmp)
    before = resolve.PART_BYTES
    try:
        resolve.PART_BYTES = 64  # every component is a part, larger ones lie in a scratch file
        cut = run(as_members(graph, graph.cuts), graph, tmp)
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
    members = dataclasses.replace(members, bucket=frozen(bucket), component=frozen(np.zeros(22, np.int32)))
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
