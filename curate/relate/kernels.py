"""The compiled part of relate: grouping of equal keys, union of buckets, and the greedy with exact Jaccard.

Arrays in, arrays out; knows neither files nor recipes. May import curate.jit only (numba's cache goes stale across modules).
"""

from __future__ import annotations

import numpy as np

from curate.jit import inner, kernel

EXACT = -1  # in `shared`: the witness has the same hash, no shingles were compared


@kernel
def pack(keys, index_bits, packed):
    """packed[i] = high bits of a hash of the whole row keys[i], over i in the low `index_bits`."""
    low = (np.uint64(1) << np.uint64(index_bits)) - np.uint64(1)
    for i in range(keys.shape[0]):
        x = np.uint64(0)
        for w in range(keys.shape[1]):
            x = (x ^ keys[i, w]) + np.uint64(0x9E3779B97F4A7C15)  # splitmix64, so that no kind of key makes long runs
            x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            x ^= x >> np.uint64(31)
        packed[i] = (x & ~low) | np.uint64(i)


@kernel
def label_equal(packed, keys, index_bits, first):
    """`first[i]` = smallest j with keys[j] == keys[i], or -1 where i is alone.

    packed: uint64 (n,), of `pack`, sorted. keys: uint64 (n, w). The hash only brings equal keys together; whole keys are
    compared, so a shared prefix joins nothing by accident. A run is walked once per distinct key in it: nearly always once.
    """
    n = packed.shape[0]
    width = keys.shape[1]
    shift = np.uint64(index_bits)
    low = (np.uint64(1) << shift) - np.uint64(1)
    for i in range(n):
        first[i] = -2
    begin = 0
    while begin < n:
        end = begin + 1
        while end < n and packed[end] >> shift == packed[begin] >> shift:
            end += 1
        at = begin
        while at < end:
            head = np.int64(packed[at] & low)
            at += 1
            if first[head] != -2:
                continue
            first[head] = -1
            for j in range(at, end):
                other = np.int64(packed[j] & low)
                if first[other] != -2:
                    continue
                same = True
                for w in range(width):
                    if keys[head, w] != keys[other, w]:
                        same = False
                        break
                if same:
                    first[other] = head
                    first[head] = head
        begin = end


@inner
def _root(parent, i):
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@kernel
def union(parent, ids, head):
    """Join every i with ids[i] >= 0 to the others of that id; the root is the smallest. head: int32 scratch, -1 per id."""
    for i in range(ids.shape[0]):
        if ids[i] < 0:
            continue
        if head[ids[i]] < 0:
            head[ids[i]] = i
            continue
        a, b = _root(parent, i), _root(parent, head[ids[i]])
        if a < b:
            parent[b] = a
        elif b < a:
            parent[a] = b


@kernel
def number_components(parent):
    """Turns parents into component numbers 0.. in the order of each component's first member; returns how many there are."""
    n = 0
    for i in range(parent.shape[0]):
        root = _root(parent, i)
        if root == i:
            continue
        parent[i] = root
    number = np.empty(parent.shape[0], np.int32)
    for i in range(parent.shape[0]):
        if parent[i] == i:
            number[i] = n
            n += 1
        else:
            number[i] = number[parent[i]]  # the root is the smallest: already numbered
    for i in range(parent.shape[0]):
        parent[i] = number[i]
    return n


@kernel
def bucket_starts(bucket, band_first, cap):
    """uint32 (n_buckets + 1,): where the list of kept members of each bucket starts.

    A bucket of s members needs s - 1 places, since nobody follows the last. A bucket of more than `cap` + 1 members gets a
    ring of `cap` places behind one that counts. Start and places together are at most 4 s bytes per bucket.
    """
    start = np.zeros(band_first[-1] + 1, np.uint32)
    for i in range(bucket.shape[0]):
        for b in range(bucket.shape[1]):
            if bucket[i, b] >= 0:
                start[band_first[b] + bucket[i, b]] += np.uint32(1)
    total = np.uint32(0)
    for k in range(start.shape[0]):
        size = np.int64(start[k])
        start[k] = total
        total += np.uint32(max(0, min(size - 1, cap + 1)))
    return start


@kernel
def copy_sets(ptr, hashes, rows, out_ptr, out, at):
    """Copies the sets of `rows` into `out` as the sets number `at`, `at` + 1, ... of out_ptr."""
    for i in range(rows.shape[0]):
        begin, end = ptr[rows[i]], ptr[rows[i] + 1]
        to = out_ptr[at + i]
        for j in range(begin, end):
            out[to + j - begin] = hashes[j]


@kernel
def least_shared(a, b, threshold):
    """Smallest number of shared shingles with shared / (a + b - shared) >= threshold, compared exactly as it is reported.

    A correctly rounded quotient equals the rounded decimal of the recipe when the fractions are equal, so float64 decides
    the boundary rightly. Returns a number above min(a, b) where the sizes alone forbid it.
    """
    need = np.int64(threshold * (a + b) / (1.0 + threshold))
    while need > 0 and (need - 1) / (a + b - (need - 1)) >= threshold:
        need -= 1
    while need <= min(a, b) and need / (a + b - need) < threshold:
        need += 1
    return max(need, 1)


@kernel
def overlap(hashes, a, a_end, b, b_end, need):
    """|A and B| of two sorted sets, or -1 as soon as it cannot reach `need`. Whoever runs to an end has missed few enough."""
    spare_a = (a_end - a) - need  # members of A that may still miss
    spare_b = (b_end - b) - need
    shared = 0
    if spare_a < 0 or spare_b < 0:
        return -1
    while a < a_end and b < b_end:
        x, y = hashes[a], hashes[b]
        if x == y:
            shared += 1
            a += 1
            b += 1
        elif x < y:
            a += 1
            spare_a -= 1
            if spare_a < 0:
                return -1
        else:
            b += 1
            spare_b -= 1
            if spare_b < 0:
                return -1
    return shared


@kernel
def greedy(
    order, member, group, group_kept, near, bucket, band_first, start, slots, cap, ptr, hashes, threshold, witness, shared
):
    """Keeps or drops the documents of `order`, best first; a document is compared with kept ones only.

    order: int32 positions in the part; member: int32 (part,) position -> member. Per member: group (hash group or -1), bucket
    (members, bands), witness (out; member or -1), shared (out; shingles in common, EXACT by hash). group_kept: per hash group the
    first kept member + 1. slots: kept positions + 1 per bucket. ptr, hashes: the part's sets.
    `shared` of a kept member is where we note who was compared with it last: it has no other use and saves an array.
    Returns (documents compared, pairs compared, buckets that outgrew the cap).
    """
    n_documents, n_pairs, n_capped = 0, 0, 0
    for p in order:
        m = member[p]
        if group[m] >= 0 and group_kept[group[m]] > 0:
            witness[m] = group_kept[group[m]] - 1
            shared[m] = EXACT
            continue
        witness[m] = -1
        shared[m] = 0
        a, a_end = ptr[p], ptr[p + 1]
        joins = near and a_end > a
        if joins:
            n_documents += 1
            for b in range(bucket.shape[1]):
                if bucket[m, b] < 0:
                    continue
                k = band_first[b] + bucket[m, b]
                begin, end = np.int64(start[k]), np.int64(start[k + 1])
                if end - begin > cap:
                    end = begin + 1 + min(slots[begin], cap)
                    begin += 1
                for s in range(begin, end):
                    q = slots[s] - 1
                    if q < 0:
                        break
                    if shared[member[q]] == p + 1:
                        continue
                    shared[member[q]] = p + 1
                    n_pairs += 1
                    size, other = a_end - a, ptr[q + 1] - ptr[q]
                    if min(size, other) / max(size, other) < threshold:
                        continue
                    found = overlap(hashes, a, a_end, ptr[q], ptr[q + 1], least_shared(size, other, threshold))
                    if found >= 0:
                        witness[m] = member[q]
                        shared[m] = found
                        break
                if witness[m] >= 0:
                    break
        if witness[m] >= 0:
            continue
        if group[m] >= 0:
            group_kept[group[m]] = m + 1
        if not joins:
            continue
        for b in range(bucket.shape[1]):
            if bucket[m, b] < 0:
                continue
            k = band_first[b] + bucket[m, b]
            begin, end = np.int64(start[k]), np.int64(start[k + 1])
            if end - begin > cap:
                slots[begin + 1 + slots[begin] % cap] = p + 1
                slots[begin] += 1
                if slots[begin] == cap + 1:
                    n_capped += 1
            else:
                for s in range(begin, end):
                    if slots[s] == 0:
                        slots[s] = p + 1
                        break
    return n_documents, n_pairs, n_capped


@kernel
def settled(component, scope, n_components):
    """Which components lie wholly in one scope >= 0: there the rule-blind result stands. bool (n_components,)."""
    seen = np.full(n_components, -2, np.int32)  # -2: nobody yet, -1: not settled
    for i in range(component.shape[0]):
        c = component[i]
        if scope[i] < 0:
            seen[c] = -1
        elif seen[c] == -2:
            seen[c] = scope[i]
        elif seen[c] != scope[i]:
            seen[c] = -1
    return seen >= 0
