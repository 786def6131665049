"""The compiled part of relate: grouping of equal keys, union of buckets, and the greedy with exact Jaccard.

Arrays in, arrays out; knows neither files nor recipes. May import curate.jit only (numba's cache goes stale across modules).
"""

from __future__ import annotations

import numpy as np

from curate.jit import inner, kernel

EXACT = -1  # in `shared`: the witness has the same text, no shingles were compared
URL = -2  # in `shared`: the witness has the same address; URL - n where they have n shingles in common
ANYBODY = -2  # of `settled`: a scope that is compared with every other


@inner
def _mixed(keys, i):
    """A hash of the whole row keys[i]: splitmix64's finaliser, so that no kind of key makes long runs."""
    x = np.uint64(0)
    for w in range(keys.shape[1]):
        x = (x ^ keys[i, w]) + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x ^= x >> np.uint64(31)
    return x


@kernel
def pack(keys, index_bits, packed):
    """packed[i] = high bits of a hash of the whole row keys[i], over i in the low `index_bits`."""
    low = (np.uint64(1) << np.uint64(index_bits)) - np.uint64(1)
    for i in range(keys.shape[0]):
        packed[i] = (_mixed(keys, i) & ~low) | np.uint64(i)


@kernel
def partition(keys, rows, bits, ends, out_keys, out_rows):
    """Keys and rows one partition after another, by the highest `bits` (>= 1) of the key's hash. ends: int64 (2**bits,), 0."""
    shift = np.uint64(64 - bits)
    for i in range(keys.shape[0]):
        ends[np.int64(_mixed(keys, i) >> shift)] += 1
    total = 0
    for k in range(ends.shape[0]):
        total += ends[k]
        ends[k] = total - ends[k]
    for i in range(keys.shape[0]):
        part = np.int64(_mixed(keys, i) >> shift)
        at = ends[part]
        ends[part] = at + 1
        out_rows[at] = rows[i]
        for w in range(keys.shape[1]):
            out_keys[at, w] = keys[i, w]


@kernel
def label_equal(packed, keys, rows, index_bits, first):
    """first[rows[i]] = smallest rows[j] with keys[j] == keys[i]; untouched (-1) where i is alone.

    packed: uint64 (n,), of `pack`, sorted. keys: uint64 (n, w). rows: int32 (n,), ascending. The hash only brings equal keys
    together; whole keys are compared, so a shared prefix joins nothing by accident. A run is walked once per distinct key in it:
    nearly always once.
    """
    n = packed.shape[0]
    width = keys.shape[1]
    shift = np.uint64(index_bits)
    low = (np.uint64(1) << shift) - np.uint64(1)
    begin = 0
    while begin < n:
        end = begin + 1
        while end < n and packed[end] >> shift == packed[begin] >> shift:
            end += 1
        for at in range(begin, end - 1):
            head = np.int64(packed[at] & low)
            if first[rows[head]] >= 0:
                continue
            for j in range(at + 1, end):
                other = np.int64(packed[j] & low)
                if first[rows[other]] >= 0:
                    continue
                same = True
                for w in range(width):
                    if keys[head, w] != keys[other, w]:
                        same = False
                        break
                if same:
                    first[rows[other]] = rows[head]
                    first[rows[head]] = rows[head]
        begin = end


@kernel
def number_groups(first):
    """Labels of `label_equal` become numbers 0.. in the order of their first row, -1 stays; returns how many there are."""
    n = 0
    for i in range(first.shape[0]):
        if first[i] == i:
            first[i] = n
            n += 1
        elif first[i] >= 0:
            first[i] = first[first[i]]  # the first of a group comes before it: already numbered
    return n


@inner
def _root(parent, i):
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@kernel
def union(parent, first):
    """Join every i with first[i] >= 0 to the row first[i]; the root is the smallest."""
    for i in range(first.shape[0]):
        if first[i] < 0 or first[i] == i:
            continue
        a, b = _root(parent, i), _root(parent, first[i])
        if a < b:
            parent[b] = a
        elif b < a:
            parent[a] = b


@kernel
def number_components(parent, shares):
    """Parents become component numbers 0.. of the rows that share anything, in the order of each component's first row."""
    for i in range(parent.shape[0]):
        parent[i] = _root(parent, i)
    n = 0
    for i in range(parent.shape[0]):
        if not shares[i]:
            continue
        if parent[i] == i:
            parent[i] = n
            n += 1
        else:
            parent[i] = parent[parent[i]]  # the root is the smallest: already numbered
    return n


@kernel(allocates=True)
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


@inner
def _popcount(x):
    """Bits set in a uint64 (Hacker's Delight 5-1); LLVM makes one instruction of it, or a vector of them."""
    x = x - ((x >> np.uint64(1)) & np.uint64(0x5555555555555555))
    x = (x & np.uint64(0x3333333333333333)) + ((x >> np.uint64(2)) & np.uint64(0x3333333333333333))
    x = (x + (x >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return (x * np.uint64(0x0101010101010101)) >> np.uint64(56)


@inner
def _print_at(first, last):
    """(first word, number of words: a power of two, or 0) of the print of the set hashes[first:last]: 8 to 16 bits a shingle."""
    begin = (first + 3) // 4
    room = last // 4 - begin
    n = 1
    while 2 * n <= room:
        n *= 2
    return begin, n if room > 0 else 0


@kernel
def make_prints(ptr, hashes, prints):
    """Of every set a bit map in which the low bits of each hash set one bit. prints: uint64 (ptr[-1] // 4 + 1,), zeros."""
    for p in range(ptr.shape[0] - 1):
        begin, n = _print_at(ptr[p], ptr[p + 1])
        if n == 0:
            continue
        mask = np.uint64(64 * n - 1)
        for i in range(ptr[p], ptr[p + 1]):
            bit = hashes[i] & mask
            prints[begin + np.int64(bit >> np.uint64(6))] |= np.uint64(1) << (bit & np.uint64(63))


@kernel
def most_shared(ptr, prints, p, q):
    """A bound of |P and Q| from above: a bit of P that Q does not have is a shingle (or more) that Q does not have.

    A tenth of what `overlap` costs, and tells nearly all pages of one template apart. A wider print is folded to the other's width.
    """
    size = ptr[p + 1] - ptr[p]
    a, n_a = _print_at(ptr[p], ptr[p + 1])
    b, n_b = _print_at(ptr[q], ptr[q + 1])
    if n_a == 0 or n_b == 0:
        return size
    missing = np.uint64(0)
    if n_a == n_b:  # nearly always, and the only case that is worth a vector
        for i in range(n_a):
            missing += _popcount(prints[a + i] & ~prints[b + i])
    else:
        n = min(n_a, n_b)
        for i in range(n):
            x, y = np.uint64(0), np.uint64(0)
            for j in range(i, n_a, n):
                x |= prints[a + j]
            for j in range(i, n_b, n):
                y |= prints[b + j]
            missing += _popcount(x & ~y)
    return size - np.int64(missing)


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


@inner
def _kept_equal(group, kept, row, m):
    """Position + 1 of the kept member of m's group: a reference's first, then that of the scope `row`; 0 where there is none."""
    if group.shape[0] == 0 or group[m] < 0:
        return 0
    if kept[0, group[m]] > 0:
        return kept[0, group[m]]
    return kept[row, group[m]] if row > 0 else 0


@inner
def _keep_equal(group, kept, row, m, p):
    """Notes position p as the kept member of m's group, if it is the first."""
    if group.shape[0] > 0 and group[m] >= 0 and row >= 0 and kept[row, group[m]] == 0:
        kept[row, group[m]] = p + 1


@kernel
def greedy(
    order, member, scope, near_row, exact_row, has_references, same_text, text_kept, same_url, url_kept, near, bucket, band_first,
    start, slots, cap, ptr, hashes, prints, threshold, witness, shared,
):  # fmt: skip
    """Keeps or drops the documents of `order`, best first; a document is compared with kept ones only.

    order: int32 positions in the part; member: int32 (part,) position -> member. Per member: scope, same_text and same_url (group or
    -1; empty: nobody asks), bucket (members, bands), witness (out; member or -1), shared (out; shingles in common, EXACT by text,
    URL - shingles by address). By scope: near_row and exact_row, the row of slots and *_kept where its kept members stand and are
    looked for; row 0 is that of the references, who come first, are never dropped, and are looked at by everybody; -1: nobody else
    is. text_kept, url_kept: (rows, groups) the first kept position + 1. slots: (rows, places) kept positions + 1 per bucket.
    ptr, hashes: the part's sets; prints: theirs, of make_prints.
    `shared` of a kept member is where we note who was compared with it last: it has no other use and saves an array.
    Returns (documents compared, pairs compared, buckets that outgrew the cap).
    """
    n_documents, n_pairs, n_capped = 0, 0, 0
    for p in order:
        m = member[p]
        own_near, own_exact = near_row[scope[m]], exact_row[scope[m]]
        is_reference = own_exact == 0
        witness[m] = -1
        shared[m] = 0
        a, a_end = ptr[p], ptr[p + 1]
        joins = near and a_end > a
        if not is_reference:
            q = _kept_equal(same_text, text_kept, own_exact, m)
            if q > 0:
                witness[m] = member[q - 1]
                shared[m] = EXACT
                continue
            q = _kept_equal(same_url, url_kept, own_exact, m)
            if q > 0:
                witness[m] = member[q - 1]
                shared[m] = URL - overlap(hashes, a, a_end, ptr[q - 1], ptr[q], 0)
                continue
        if joins and not is_reference:
            n_documents += 1
            for turn in range(0 if has_references else 1, 2):
                row = own_near if turn else 0
                if row < turn:
                    break
                for b in range(bucket.shape[1]):
                    if bucket[m, b] < 0:
                        continue
                    k = band_first[b] + bucket[m, b]
                    begin, end = np.int64(start[k]), np.int64(start[k + 1])
                    if end - begin > cap:
                        end = begin + 1 + min(slots[row, begin], cap)
                        begin += 1
                    for s in range(begin, end):
                        q = slots[row, s] - 1
                        if q < 0:
                            break
                        if shared[member[q]] == p + 1:
                            continue
                        shared[member[q]] = p + 1
                        n_pairs += 1
                        size, other = a_end - a, ptr[q + 1] - ptr[q]
                        if min(size, other) / max(size, other) < threshold:
                            continue
                        at_most = most_shared(ptr, prints, p, q)
                        if at_most / (size + other - at_most) < threshold:
                            continue
                        found = overlap(hashes, a, a_end, ptr[q], ptr[q + 1], least_shared(size, other, threshold))
                        if found >= 0:
                            witness[m] = member[q]
                            shared[m] = found
                            break
                    if witness[m] >= 0:
                        break
                if witness[m] >= 0:
                    break
        if witness[m] >= 0:
            continue
        _keep_equal(same_text, text_kept, own_exact, m, p)
        _keep_equal(same_url, url_kept, own_exact, m, p)
        if not joins or own_near < 0:
            continue
        for b in range(bucket.shape[1]):
            if bucket[m, b] < 0:
                continue
            k = band_first[b] + bucket[m, b]
            begin, end = np.int64(start[k]), np.int64(start[k + 1])
            if end - begin > cap:
                slots[own_near, begin + 1 + slots[own_near, begin] % cap] = p + 1
                slots[own_near, begin] += 1
                if slots[own_near, begin] == cap + 1:
                    n_capped += 1
            elif (
                end - begin > 1 or slots[0, begin] == 0 or is_reference
            ):  # else it is shared with a reference alone: nobody follows
                for s in range(begin, end):
                    if slots[own_near, s] == 0:
                        slots[own_near, s] = p + 1
                        break
    return n_documents, n_pairs, n_capped


@kernel(allocates=True)
def settled(component, scope, alike, n_components):
    """Which components are wholly eligible and compared as if there were no scopes: there the rule-blind result stands.

    scope: int16 (m,), < 0 not eligible; alike: int32 by scope, equal numbers >= 0 are compared with each other in every way,
    ANYBODY fits all (references), -1 none. bool (n_components,).
    """
    seen = np.full(n_components, ANYBODY, np.int32)
    for i in range(component.shape[0]):
        c = component[i]
        kind = alike[scope[i]] if scope[i] >= 0 else -1
        if kind == ANYBODY:
            continue
        if seen[c] == ANYBODY:
            seen[c] = kind
        elif seen[c] != kind:
            seen[c] = -1
    return seen >= 0
