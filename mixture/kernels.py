"""All compiled loops of the mixture room: keyed permutation, interleave, sorting, packing, held-out choice. Integers only.

Arrays in, arrays out; the meaning of every number is written in the modules that call them, which are order, pack, names, selection,
held_out, going_on and account. Self-contained on purpose: numba's cache does not see changes in other modules. Imports curate.jit only.
"""

from __future__ import annotations

import numpy as np

from curate.jit import inner, kernel

# --- keyed permutation (specified in order.py) -----------------------------------------------------------------------

ROUNDS = 8
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_U1, _U27, _U30, _U31 = np.uint64(1), np.uint64(27), np.uint64(30), np.uint64(31)


@inner
def mix64(z: np.uint64) -> np.uint64:
    """splitmix64's output function (Steele, Lea, Flood 2014): a bijection of uint64."""
    z = (z ^ (z >> _U30)) * _MIX_1
    z = (z ^ (z >> _U27)) * _MIX_2
    return z ^ (z >> _U31)


@kernel(allocates=True)
def permute(first: int, out: np.ndarray, n: int, key: np.uint64) -> None:
    """out[i] = image of first + i under the permutation of [0, n) that `key` names. out: int64."""
    half = np.uint64(1)
    while (np.uint64(1) << (half + half)) < np.uint64(n):
        half += _U1
    mask = (np.uint64(1) << half) - _U1
    keys = np.empty(ROUNDS, np.uint64)
    for i in range(ROUNDS):
        keys[i] = mix64(key + np.uint64(i + 1) * _GOLDEN)
    for i in range(out.size):
        x = np.uint64(first + i)
        while True:
            left, right = x >> half, x & mask
            for j in range(ROUNDS):
                left, right = right, left ^ (mix64(right + keys[j]) & mask)
            x = (left << half) | right
            if x < np.uint64(n):  # cycle walking: the domain has fewer than 4 n elements
                break
        out[i] = np.int64(x)


@kernel(allocates=True)
def keyed_hash(high: np.ndarray, low: np.ndarray, key: np.uint64) -> np.ndarray:
    """uint64 (n,): mix64(mix64(high ^ key) + low) per element."""
    out = np.empty(high.size, np.uint64)
    for i in range(high.size):
        out[i] = mix64(mix64(high[i] ^ key) + low[i])
    return out


_U4, _U6B, _U8, _U16, _U32 = np.uint64(4), np.uint64(6), np.uint64(8), np.uint64(16), np.uint64(32)
_NIBBLES, _ONES, _SIXES = np.uint64(0x0F0F0F0F0F0F0F0F), np.uint64(0x0101010101010101), np.uint64(0x0606060606060606)
_ZEROS, _TO_LETTER = np.uint64(0x3030303030303030), np.uint64(0x27)  # '0' eight times; from '9' + 1 to 'a'
_IN_16, _IN_32, _IN_64 = np.uint64(0x00FF00FF00FF00FF), np.uint64(0x0000FFFF0000FFFF), np.uint64(0x00000000FFFFFFFF)


@inner
def _hex_of(nibbles: np.uint64) -> np.uint64:
    """Eight hex digits as text from eight bytes of 0 to 15, the first in the lowest byte."""
    return nibbles + _ZEROS + ((nibbles + _SIXES) >> _U4 & _ONES) * _TO_LETTER


@kernel
def from_hex(words: np.ndarray, high: np.ndarray, low: np.ndarray) -> bool:
    """The two halves of names of 32 lower-case hex digits, four words of text each; False where there is another character."""
    for i in range(high.size):
        for half in range(2):
            value = np.uint64(0)
            for k in range(2):
                word = words[4 * i + 2 * half + k]
                nibbles = (word & _NIBBLES) + (word >> _U6B & _ONES) * np.uint64(9)
                if _hex_of(nibbles & _NIBBLES) != word:
                    return False
                pairs = (nibbles & _IN_16) << _U4 | (nibbles >> _U8 & _IN_16)
                fours = (pairs & _IN_32) << _U8 | (pairs >> _U16 & _IN_32)
                value = value << _U32 | (fours & _IN_64) << _U16 | fours >> _U32
            if half == 0:
                high[i] = value
            else:
                low[i] = value
    return True


@kernel
def to_hex(high: np.ndarray, low: np.ndarray, words: np.ndarray) -> None:
    """The text of names, four words each."""
    for i in range(high.size):
        for half in range(2):
            value = high[i] if half == 0 else low[i]
            for k in range(2):
                fours = value >> _U32 if k == 0 else value & _IN_64
                fours = fours >> _U16 | (fours & np.uint64(0xFFFF)) << _U32
                pairs = (fours >> _U8 & _IN_16 & _IN_32) | (fours & (_IN_16 & _IN_32)) << _U16
                words[4 * i + 2 * half + k] = _hex_of((pairs >> _U4 & _NIBBLES & _IN_16) | (pairs & (_NIBBLES & _IN_16)) << _U8)


# --- sorting and summing by number -----------------------------------------------------------------------------------


@kernel(allocates=True)
def group(number: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Stable order by number in [0, n), and where each begins in it: int64 (size,), int64 (n + 1,)."""
    ptr = np.zeros(n + 1, np.int64)
    for i in range(number.size):
        ptr[number[i] + 1] += 1
    for k in range(n):
        ptr[k + 1] += ptr[k]
    at, order = ptr[:-1].copy(), np.empty(number.size, np.int64)
    for i in range(number.size):
        order[at[number[i]]] = i
        at[number[i]] += 1
    return order, ptr


@kernel
def count_states(source: np.ndarray, home: np.ndarray, is_used: np.ndarray, is_held: np.ndarray, found: np.ndarray) -> None:
    """found[s] += documents of source s: all, used, of a component but neither used nor held out, held out, in no component."""
    for d in range(source.size):
        s = source[d]
        found[s, 0] += 1
        found[s, 1] += is_used[d]
        found[s, 2] += home[d] >= 0 and not is_used[d] and not is_held[d]
        found[s, 3] += is_held[d]
        found[s, 4] += home[d] < 0


@kernel
def stock(
    own: np.ndarray, copies: np.ndarray, whole: np.ndarray, used: np.ndarray, consumed: np.ndarray, most: int, sums: np.ndarray
) -> None:
    """Of the documents `own`: what each once counts, what an epoch counts, what uses below `most` epochs are left, what was consumed.

    copies (own,); whole, used, consumed (n,)."""
    unique, epoch, left, taken = np.int64(0), np.int64(0), np.int64(0), np.int64(0)
    for i in range(own.size):
        d = own[i]
        unique += whole[d]
        epoch += copies[i] * whole[d]
        left += max(np.int64(0), most * copies[i] - used[d]) * whole[d]
        taken += consumed[d]
    sums[0], sums[1], sums[2], sums[3] = unique, epoch, left, taken


@kernel
def consume(
    documents: np.ndarray, start: np.ndarray, size: np.ndarray, n_tokens: np.ndarray, used: np.ndarray, rest: np.ndarray,
    tokens: np.ndarray,
) -> None:  # fmt: skip
    """Documents used from token `start` on, `size` tokens of each: uses begun, where a use was cut, and tokens, of all documents (n,)."""
    for i in range(documents.size):
        d = documents[i]
        used[d] += start[i] == 0
        tokens[d] += size[i]
        if start[i] > 0:
            rest[d] = 0
        if start[i] + size[i] < n_tokens[d]:
            rest[d] = start[i] + size[i]


@kernel
def count_members(
    own: np.ndarray, copies: np.ndarray, n_tokens: np.ndarray, uses: np.ndarray, had: np.ndarray, last: int, per_epoch: int, most: int,
    found: np.ndarray, histogram: np.ndarray,
) -> None:  # fmt: skip
    """Of the documents `own`: their tokens, least and most epochs, documents and tokens without a use; how many are out of step and how
    many above the cap; written to `found`. histogram[k] += documents with k uses.

    `had` (own,): uses before the phase, whose last pass is `last` (-1: it has none). The passes before the last are complete: a document
    has had its share of them, rounded, or of one pass more, unless it was used more often before."""
    least = np.int64(0x7FFFFFFFFFFFFFFF)
    for i in range(own.size):
        now, times, tokens = uses[own[i]], copies[i], n_tokens[own[i]]
        found[0] += tokens
        least = min(least, now // times)
        found[2] = max(found[2], (now + times - 1) // times)
        if now == 0:
            found[3] += 1
            found[4] += tokens
        due, at_most = had[i], had[i]
        if last >= 0:
            due, at_most = max(due, last * times // per_epoch), max(due, ((last + 1) * times + per_epoch - 1) // per_epoch)
        found[5] += now < due or now > at_most
        found[6] += now > max(had[i], most * times)
        histogram[now] += 1
    if own.size:
        found[1] = least


@kernel
def add(number: np.ndarray, values: np.ndarray, out: np.ndarray) -> None:
    """out[number[i]] += values[i], exact."""
    for i in range(number.size):
        out[number[i]] += values[i]


@kernel(allocates=True)
def find(high: np.ndarray, low: np.ndarray, in_high: np.ndarray, in_low: np.ndarray) -> np.ndarray:
    """Where each name (two uint64 halves) stands among sorted names, all different; -1 where it does not. int64 (n,).

    A table over the first bits, which are evenly spread in hashes, leaves about eight names to look at."""
    n = in_high.size
    bits = np.uint64(0)
    while n >> (bits + np.uint64(3)) > 0:
        bits += _U1
    shift = np.uint64(64) - bits
    ptr = np.zeros((1 << bits) + 1, np.int64)
    for i in range(n):
        ptr[(np.int64(in_high[i] >> shift) if bits > 0 else 0) + 1] += 1
    for k in range(ptr.size - 1):
        ptr[k + 1] += ptr[k]
    out = np.full(high.size, -1, np.int64)
    for i in range(high.size):
        at = np.int64(high[i] >> shift) if bits > 0 else 0
        for k in range(ptr[at], ptr[at + 1]):
            if in_high[k] == high[i] and in_low[k] == low[i]:
                out[i] = k
                break
    return out


# --- interleave (specified in order.py) ------------------------------------------------------------------------------


@kernel(allocates=True)
def interleave(counts: np.ndarray, out: np.ndarray) -> int:
    """out[t] = component of slot t; component i gets counts[i] slots (all > 0). Returns the first slot without a job, or -1.

    Releases and deadlines N (1 + a m) / (a N_i) and N (a - 1 + a m) / (a N_i), a = 2 n - 2, are kept as quotient and
    remainder and advanced by N / N_i, so that nothing is larger than 2 n N: exact for every count that fits in memory.
    """
    n = counts.size
    total = np.int64(0)
    for i in range(n):
        total += counts[i]
    if n == 1:
        out[:] = 0
        return -1
    a = np.int64(2 * n - 2)
    release, release_rest = np.empty(n, np.int64), np.empty(n, np.int64)
    deadline, deadline_rest = np.empty(n, np.int64), np.empty(n, np.int64)
    left = counts.copy()
    for i in range(n):
        base = a * counts[i]
        release[i], release_rest[i] = total // base, total % base
        deadline[i], deadline_rest[i] = total * (a - 1) // base, total * (a - 1) % base
    for t in range(1, total + 1):
        best, earliest = -1, np.int64(0x7FFFFFFFFFFFFFFF)
        for i in range(n):
            if left[i] > 0 and deadline[i] < earliest and release[i] + (release_rest[i] > 0) <= t:
                best, earliest = i, deadline[i]
        if best < 0:
            return t - 1
        out[t - 1] = best
        left[best] -= 1
        base = a * counts[best]
        whole, rest = total // counts[best], a * (total % counts[best])
        release[best] += whole
        release_rest[best] += rest
        if release_rest[best] >= base:
            release[best] += 1
            release_rest[best] -= base
        deadline[best] += whole
        deadline_rest[best] += rest
        if deadline_rest[best] >= base:
            deadline[best] += 1
            deadline_rest[best] -= base
    return -1


# --- packing (specified in pack.py) ----------------------------------------------------------------------------------

_U6, _U63 = np.uint64(6), np.uint64(63)
_FULL = np.uint64(0xFFFFFFFFFFFFFFFF)


@inner
def _lowest_bit(word: np.uint64) -> int:
    """Index of the lowest set bit of a non-zero uint64."""
    n = 0
    for step in (32, 16, 8, 4, 2, 1):
        if word & ((np.uint64(1) << np.uint64(step)) - _U1) == 0:
            word >>= np.uint64(step)
            n += step
    return n


@inner
def _next_set(words: np.ndarray, blocks: np.ndarray, start: int) -> int:
    """Smallest index >= start whose bit is set in the two-level bit set, or -1."""
    word = start >> 6
    bits = words[word] & (_FULL << np.uint64(start & 63))
    if bits != 0:
        return (word << 6) + _lowest_bit(bits)
    word += 1
    block = word >> 6
    if block >= blocks.size:
        return -1
    bits = blocks[block] & (_FULL << np.uint64(word & 63))
    while bits == 0:
        block += 1
        if block >= blocks.size:
            return -1
        bits = blocks[block]
    word = (block << 6) + _lowest_bit(bits)
    return (word << 6) + _lowest_bit(words[word])


@kernel(allocates=True)
def n_chunks_of(lengths: np.ndarray, capacity: int) -> np.ndarray:
    """int64 (n,): ceil(length / capacity); 0 for an empty document."""
    out = np.empty(lengths.size, np.int64)
    for i in range(lengths.size):
        out[i] = (lengths[i] + capacity - 1) // capacity
    return out


@kernel(allocates=True)
def best_fit(
    lengths: np.ndarray, capacity: int, window: int, item: np.ndarray, chunk: np.ndarray, start: np.ndarray, size: np.ndarray,
    row: np.ndarray,
) -> int:  # fmt: skip
    """Cut and place every document; rows stay open from one window to the next. Returns the number of rows.

    Outputs (n_items,) in the order of placement: item (index into lengths), chunk, start, size, row.
    """
    n_rows, placed = 0, 0
    free = np.empty(item.size, np.int64)  # tokens free per row
    under = np.empty(item.size, np.int64)  # rows with equal free space are a stack
    head = np.full(capacity + 1, -1, np.int64)
    words = np.zeros((capacity >> 6) + 2, np.uint64)
    blocks = np.zeros((words.size >> 6) + 1, np.uint64)
    per_size = np.empty(capacity + 2, np.int64)
    for first in range(0, lengths.size, window):
        last = min(first + window, lengths.size)
        # counting sort of this window's chunks, longest first, equal ones in document order
        per_size[:] = 0
        for d in range(first, last):
            n = (lengths[d] + capacity - 1) // capacity
            for c in range(n):
                per_size[lengths[d] // n + (1 if c < lengths[d] % n else 0)] += 1
        at = placed
        for s in range(capacity, 0, -1):
            here = per_size[s]
            per_size[s] = at
            at += here
        for d in range(first, last):
            n = (lengths[d] + capacity - 1) // capacity
            begin = np.int64(0)
            for c in range(n):
                s = lengths[d] // n + (1 if c < lengths[d] % n else 0)
                i = per_size[s]
                per_size[s] += 1
                item[i], chunk[i], start[i], size[i] = d, c, begin, s
                begin += s
        for i in range(placed, at):
            s = size[i]
            space = _next_set(words, blocks, s) if s < capacity else -1
            if space < 0:
                target, space = n_rows, capacity
                n_rows += 1
            else:
                target = head[space]
                head[space] = under[target]
                if head[space] < 0:
                    words[space >> 6] &= ~(_U1 << np.uint64(space & 63))
                    if words[space >> 6] == 0:
                        blocks[space >> 12] &= ~(_U1 << np.uint64((space >> 6) & 63))
            row[i] = target
            rest = space - s
            free[target] = rest
            if rest > 0:
                under[target] = head[rest]
                head[rest] = target
                words[rest >> 6] |= _U1 << np.uint64(rest & 63)
                blocks[rest >> 12] |= _U1 << np.uint64((rest >> 6) & 63)
        placed = at
    return n_rows


@inner
def _present(below: np.ndarray, s: int) -> int:
    """Largest size <= s that is still there, 0 if none. `below` is a forest with path halving."""
    while below[s] != s:
        below[s] = below[below[s]]
        s = below[s]
    return s


@kernel(allocates=True)
def least_slack(size: np.ndarray, capacity: int, effort: int, row: np.ndarray) -> int:
    """Place items sorted by size, longest first: each row takes the longest left and the set that best fills the rest.

    The set is searched depth first, longest first, for at most about `effort` steps. Writes row (n,); returns their number.
    """
    count, first = np.zeros(capacity + 1, np.int64), np.zeros(capacity + 1, np.int64)
    for i in range(size.size - 1, -1, -1):
        count[size[i]] += 1
        first[size[i]] = i
    below = np.arange(capacity + 1)
    for s in range(1, capacity + 1):
        if count[s] == 0:
            below[s] = s - 1
    chosen, best = np.empty(capacity + 1, np.int64), np.empty(capacity + 1, np.int64)
    n_rows = 0
    while True:
        longest = _present(below, capacity)
        if longest == 0:
            return n_rows
        count[longest] -= 1
        space = capacity - longest
        least, n_best, depth, steps = space + 1, 0, 0, 0
        s = _present(below, min(space, longest))
        while True:
            steps += 1
            if s > 0:
                if count[s] > 0:
                    count[s] -= 1
                    chosen[depth] = s
                    depth += 1
                    space -= s
                    s = _present(below, min(space, s))
                else:
                    s = _present(below, s - 1)
                continue
            if space < least:
                least, n_best = space, depth
                best[:depth] = chosen[:depth]
            if least == 0 or depth == 0 or steps > effort:
                break
            depth -= 1
            count[chosen[depth]] += 1
            space += chosen[depth]
            s = _present(below, chosen[depth] - 1)
        for i in range(depth):
            count[chosen[i]] += 1
        for i in range(-1, n_best):
            s = longest if i < 0 else best[i]
            count[s] -= i >= 0
            row[first[s]] = n_rows
            first[s] += 1
        for i in range(-1, n_best):
            s = longest if i < 0 else best[i]
            if count[s] == 0:
                below[s] = s - 1
        n_rows += 1


@kernel
def rows_needed(per_size: np.ndarray, capacity: int, max_k: int) -> np.int64:
    """A lower bound on rows for items of which per_size[s] have size s (int64, capacity + 1): the largest of three bounds.

    Sum of sizes; Martello and Toth's L2 (1990); Fekete and Schepers' dual feasible functions u^(k) (2001), k <= max_k.
    """
    total = np.int64(0)
    for s in range(1, capacity + 1):
        total += per_size[s] * s
    best = (total + capacity - 1) // capacity
    # L2: items above capacity - k are alone, those above half are one per row, the rest of [k, half] must fit beside them
    half = capacity // 2
    alone, paired, paired_size = np.int64(0), np.int64(0), np.int64(0)
    small = np.int64(0)
    for s in range(half + 1, capacity + 1):
        paired += per_size[s]
        paired_size += per_size[s] * s
    for s in range(1, half + 1):
        small += per_size[s] * s
    for k in range(1, half + 1):
        s = capacity - k + 1  # no longer <= capacity - k
        if s > half:
            alone += per_size[s]
            paired -= per_size[s]
            paired_size -= per_size[s] * s
        more = small - (paired * capacity - paired_size)
        best = max(best, alone + paired + max(np.int64(0), (more + capacity - 1) // capacity))
        small -= per_size[k] * k
    for k in range(1, max_k + 1):
        weight = np.int64(0)  # in units of 1 / (k capacity) rows
        for s in range(1, capacity + 1):
            if per_size[s] > 0:
                scaled = (k + 1) * s
                weight += per_size[s] * (k * s if scaled % capacity == 0 else scaled // capacity * capacity)
        best = max(best, (weight + k * capacity - 1) // (k * capacity))
    return best


# --- held-out (specified in held_out.py) -----------------------------------------------------------------------------


@kernel(allocates=True)
def hold_out(
    c: int, order: np.ndarray, cluster: np.ndarray, member: np.ndarray, member_ptr: np.ndarray, component: np.ndarray,
    n_tokens: np.ndarray, limits: np.ndarray, taken: np.ndarray, held: np.ndarray,
) -> None:  # fmt: skip
    """Mark held[d] for one component: its documents in the given order, with their whole clusters, while no limit is passed.

    `cluster`: number of the cluster of each document, -1 of one that stands alone; `taken` (as limits): tokens held out so far."""
    adds = np.zeros(limits.size, np.int64)
    tried = np.int64(-1)
    for at in range(order.size):
        d = order[at]
        if taken[c] >= limits[c]:
            break
        k = cluster[d]
        if held[d] or (k >= 0 and k == tried):
            continue
        if k < 0:
            if taken[c] + n_tokens[d] <= limits[c]:
                taken[c] += n_tokens[d]
                held[d] = True
            continue
        tried = k
        adds[:] = 0
        for m in range(member_ptr[k], member_ptr[k + 1]):
            if component[member[m]] >= 0:
                adds[component[member[m]]] += n_tokens[member[m]]
        fits = True
        for i in range(limits.size):
            fits = fits and (adds[i] == 0 or taken[i] + adds[i] <= limits[i])
        if fits:
            taken += adds
            for m in range(member_ptr[k], member_ptr[k + 1]):
                if component[member[m]] >= 0:
                    held[member[m]] = True
