"""Compiled BPE: UTF-8 bytes and offsets of documents in, token ids out. Split into words, words looked up, or merged where new.

In: `data` uint8 (validated UTF-8), `offsets` int64 (n_docs + 1), the tables of compiled.py. A word's ids depend on the word alone, so
those seen before are kept: `slots`, `records` and `used` are that memory, emptied when full. Self-contained: numba's cache
does not see other modules. Imports curate.jit only.
"""

from __future__ import annotations

import numpy as np

from curate.jit import inner, kernel

# Classes of characters, as the splitting patterns ask for them; compiled.py fills the table.
OTHER, LETTER, NUMBER, SPACE = 0, 1, 2, 3
KIND = 3  # the bits that hold one of the four
UNKNOWN = 4  # a character that may be younger than the library's tables
NOT_NFC = 8  # a text without such characters is in NFC

# Splitting patterns.
GPT2, GPT4, BLANKS = 0, 1, 2

LONGEST_KEPT = 128  # bytes of a word that is kept; words of text are shorter, and others seldom come back
FEW = 64  # symbols up to which the next merge is looked for one by one, above with a heap
NEVER = np.int64(0x7FFFFFFF)  # rank of neighbours that are not merged

_U32, _LOW = np.uint64(32), np.uint64(0xFFFFFFFF)
_MIX = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio, odd (splitmix64's increment)

Int = int | np.signedinteger  # Python's for mypy; int64 for numba, which reads no annotations


# --- characters ------------------------------------------------------------------------------------------------------


@inner
def _char(data: np.ndarray, i: Int) -> tuple[Int, Int]:
    """Code point at byte i, and where the next one starts."""
    first = np.int64(data[i])
    if first < 0x80:
        return first, i + 1
    if first < 0xE0:
        return ((first & 0x1F) << 6) | (data[i + 1] & 0x3F), i + 2
    if first < 0xF0:
        return ((first & 0x0F) << 12) | ((data[i + 1] & 0x3F) << 6) | (data[i + 2] & 0x3F), i + 3
    return ((first & 0x07) << 18) | ((data[i + 1] & 0x3F) << 12) | ((data[i + 2] & 0x3F) << 6) | (data[i + 3] & 0x3F), i + 4


@inner
def _run(data: np.ndarray, i: Int, end: Int, kind: Int, classes: np.ndarray) -> tuple[Int, Int]:
    """End of the run of characters of this kind that starts at i, and all bits of their classes."""
    seen = np.int64(0)
    while i < end:
        code, after = _char(data, i)
        found = np.int64(classes[code])
        if found & KIND != kind:
            break
        seen |= found
        i = after
    return i, seen


# --- splitting -------------------------------------------------------------------------------------------------------


@inner
def _contraction(data: np.ndarray, i: Int, end: Int, any_case: bool) -> Int:
    """End of 's, 't, 're, 've, 'm, 'll or 'd at i, or i. Without case, ſ is an s as well."""
    if data[i] != 0x27 or i + 1 >= end:
        return i
    first = np.int64(data[i + 1])
    second = np.int64(data[i + 2]) if i + 2 < end else 0
    if any_case and first == 0xC5 and second == 0xBF:
        return i + 3
    if any_case:
        first |= 0x20 if 0x41 <= first <= 0x5A else 0
        second |= 0x20 if 0x41 <= second <= 0x5A else 0
    if first == 0x73 or first == 0x74 or first == 0x6D or first == 0x64:
        return i + 2
    if ((first == 0x72 or first == 0x76) and second == 0x65) or (first == 0x6C and second == 0x6C):
        return i + 3
    return i


@inner
def _blanks(data: np.ndarray, i: Int, end: Int, classes: np.ndarray, lines: bool) -> tuple[Int, Int]:
    r"""End of the blanks at i that are one word, and their bits: \s+(?!\S)|\s+, after \s*[\r\n]+ where `lines`."""
    last, line, at, seen = i, -1, i, np.int64(0)  # start of the last blank, end of the last line break
    while at < end:
        code, after = _char(data, at)
        found = np.int64(classes[code])
        if found & KIND != SPACE:
            break
        seen |= found
        if code == 10 or code == 13:
            line = after
        last, at = at, after
    if lines and line >= 0:
        return line, seen
    return (at if at == end or last == i else last), seen


@inner
def _next_gpt2(data: np.ndarray, i: Int, end: Int, classes: np.ndarray) -> tuple[Int, Int]:
    r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+  (Radford et al. 2019, encoder.py)"""
    stop = _contraction(data, i, end, False)
    if stop > i:
        return stop, 0
    start = i + 1 if data[i] == 0x20 and i + 1 < end else i
    kind = np.int64(classes[_char(data, start)[0]]) & KIND
    if kind != SPACE:
        return _run(data, start, end, kind, classes)
    return _blanks(data, i, end, classes, False)


@inner
def _next_gpt4(data: np.ndarray, i: Int, end: Int, classes: np.ndarray, digits: Int) -> tuple[Int, Int]:
    r"""(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,digits}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"""
    stop = _contraction(data, i, end, True)
    if stop > i:
        return stop, 0
    code, after = _char(data, i)
    found = np.int64(classes[code])
    kind = found & KIND
    if kind == NUMBER:
        n, at, seen = 0, i, np.int64(0)
        while at < end and n < digits:
            code, after = _char(data, at)
            found = np.int64(classes[code])
            if found & KIND != NUMBER:
                break
            n, at, seen = n + 1, after, seen | found
        return at, seen
    if kind == LETTER:
        return _run(data, i, end, LETTER, classes)
    following = np.int64(classes[_char(data, after)[0]]) & KIND if after < end else SPACE
    if following == LETTER and code != 10 and code != 13:
        stop, seen = _run(data, after, end, LETTER, classes)
        return stop, seen | found
    if kind == OTHER or (code == 0x20 and following == OTHER):
        stop, seen = _run(data, i if kind == OTHER else after, end, OTHER, classes)
        while stop < end and (data[stop] == 10 or data[stop] == 13):
            stop += 1
        return stop, seen
    return _blanks(data, i, end, classes, True)


@inner
def _blank(data: np.ndarray, i: Int, end: Int) -> Int:
    """Bytes of the blank, or of the ▁ that stands for one, at i; else 0."""
    if i >= end:
        return 0
    if data[i] == 0x20:
        return 1
    return 3 if data[i] == 0xE2 and data[i + 1] == 0x96 and data[i + 2] == 0x81 else 0


@inner
def _next_blanks(data: np.ndarray, i: Int, end: Int) -> Int:
    """End of a run of blanks and of what follows up to the next blank: no piece reaches over that border."""
    n_blank = _blank(data, i, end)
    while n_blank > 0:
        i += n_blank
        n_blank = _blank(data, i, end)
    while i < end and _blank(data, i, end) == 0:
        i += 1
    return i


@inner
def _next_added(data: np.ndarray, i: Int, end: Int, trie: np.ndarray, names: np.ndarray) -> tuple[Int, Int, Int]:
    """Start, end and name of the first, then longest added token in [i, end); (end, end, -1) where there is none."""
    while i < end:
        node, at, stop, name = np.int64(trie[0, data[i]]), i + 1, i, np.int64(-1)
        while node > 0:
            if names[node] != -1:
                stop, name = at, np.int64(names[node])
            if at >= end:
                break
            node = np.int64(trie[node, data[at]])
            at += 1
        if stop > i:
            return i, stop, name
        i += 1
    return end, end, -1


# --- merging ---------------------------------------------------------------------------------------------------------


@inner
def _pair(left: Int, right: Int, pairs: np.ndarray) -> Int:
    """rank << 32 | id of the merge of two symbols; NEVER << 32 where there is none. `pairs`: open addressing, row 0 the keys."""
    key = (np.int64(left) << 32) | np.int64(right)
    mask = pairs.shape[0] - 1
    at = np.int64((np.uint64(key) * _MIX) >> _U32) & mask
    while True:
        if pairs[at, 0] == key:
            return pairs[at, 1]
        if pairs[at, 0] == -1:
            return NEVER << 32
        at = (at + 1) & mask


@kernel
def fill_pairs(merges: np.ndarray, pairs: np.ndarray) -> None:
    """Put merges (rows of left, right, rank, token) into an empty table; where a pair comes twice, the later one counts."""
    mask = pairs.shape[0] - 1
    for i in range(merges.shape[0]):
        key = (merges[i, 0] << 32) | merges[i, 1]
        at = np.int64((np.uint64(key) * _MIX) >> _U32) & mask
        while pairs[at, 0] != -1 and pairs[at, 0] != key:
            at = (at + 1) & mask
        pairs[at, 0], pairs[at, 1] = key, (merges[i, 2] << 32) | merges[i, 3]


@inner
def _merge_few(symbols: np.ndarray, n: Int, pairs: np.ndarray, merges: np.ndarray) -> Int:
    """Merge the lowest rank, leftmost first, until nothing merges; the symbols left stand at the front of `symbols`."""
    for i in range(n - 1):
        merges[i] = _pair(symbols[i], symbols[i + 1], pairs)
    while n > 1:
        best, lowest = 0, NEVER
        for i in range(n - 1):
            rank = merges[i] >> 32
            if rank < lowest:
                best, lowest = i, rank
        if lowest == NEVER:
            break
        symbols[best] = merges[best] & 0xFFFFFFFF
        n -= 1
        for i in range(best + 1, n):
            symbols[i] = symbols[i + 1]
            merges[i - 1] = merges[i]
        if best > 0:
            merges[best - 1] = _pair(symbols[best - 1], symbols[best], pairs)
        if best < n - 1:
            merges[best] = _pair(symbols[best], symbols[best + 1], pairs)
    return n


@inner
def _push(heap: np.ndarray, size: Int, item: Int) -> Int:
    at = size
    while at > 0 and heap[(at - 1) >> 1] > item:
        heap[at] = heap[(at - 1) >> 1]
        at = (at - 1) >> 1
    heap[at] = item
    return size + 1


@inner
def _pop(heap: np.ndarray, size: Int) -> Int:
    """Take the first item off; what was last sinks from its place. Returns the size left."""
    size -= 1
    item, at = heap[size], 0
    while 2 * at + 1 < size:
        child = 2 * at + 1
        if child + 1 < size and heap[child + 1] < heap[child]:
            child += 1
        if heap[child] >= item:
            break
        heap[at] = heap[child]
        at = child
    heap[at] = item
    return size


@inner(allocates=True)
def _merge_many(symbols: np.ndarray, n: Int, pairs: np.ndarray) -> Int:
    """The same for long words, in n log n: a heap of rank << 32 | place, and places linked to their neighbours."""
    merges, before, after = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n, np.int64)
    heap, size = np.empty(3 * n, np.int64), 0
    for i in range(n):
        before[i], after[i] = i - 1, i + 1
        merges[i] = _pair(symbols[i], symbols[i + 1], pairs) if i + 1 < n else NEVER << 32
        if merges[i] >> 32 != NEVER:
            size = _push(heap, size, (merges[i] >> 32 << 32) | i)
    while size:
        rank, i = heap[0] >> 32, heap[0] & 0xFFFFFFFF
        size = _pop(heap, size)
        if merges[i] >> 32 != rank:
            continue  # its neighbours are others by now
        symbols[i] = merges[i] & 0xFFFFFFFF
        gone = after[i]
        merges[gone] = NEVER << 32
        after[i] = after[gone]
        if after[i] < n:
            before[after[i]] = i
        merges[i] = _pair(symbols[i], symbols[after[i]], pairs) if after[i] < n else NEVER << 32
        if merges[i] >> 32 != NEVER:
            size = _push(heap, size, (merges[i] >> 32 << 32) | i)
        left = before[i]
        if left >= 0:
            merges[left] = _pair(symbols[left], symbols[i], pairs)
            if merges[left] >> 32 != NEVER:
                size = _push(heap, size, (merges[left] >> 32 << 32) | left)
    kept, i = 0, 0
    while i < n:
        symbols[kept] = symbols[i]
        kept += 1
        i = after[i]
    return kept


@inner
def _symbols(data: np.ndarray, start: Int, end: Int, of_byte: np.ndarray, of_char: np.ndarray, symbols: np.ndarray) -> Int:
    """What merging begins with: bytes, or where `of_char` is a table characters (a blank is ▁) and the bytes of unknown ones."""
    n, i = 0, start
    while i < end:
        code, after = np.int64(data[i]), i + 1
        if of_char.size:
            code, after = _char(data, i)
            known = np.int64(of_char[0x2581 if code == 0x20 else code])
            if known >= 0:
                symbols[n] = known
                n, i = n + 1, after
                continue
        while i < after:
            symbols[n] = of_byte[data[i]]
            n, i = n + 1, i + 1
    return n


# --- words -----------------------------------------------------------------------------------------------------------
#
# The memory of words. `slots`, uint64 by open addressing: upper half of the word's hash << 32 | where its record begins, 0 empty.
# `records`, uint64 from index 1: ids << 8 | bytes, the bytes by eight, the ids by two. `used`: words, uint64 of records.


@inner
def _eight(data: np.ndarray, i: Int, end: Int) -> np.uint64:
    """The bytes from i to the word's end, at most eight of them, as a number."""
    found = np.uint64(0)
    if i + 8 <= data.size:
        for k in range(8):  # one load
            found |= np.uint64(data[i + k]) << np.uint64(8 * k)
        if end - i < 8:
            found &= (np.uint64(1) << np.uint64(8 * (end - i))) - np.uint64(1)
    else:
        for k in range(min(8, end - i)):
            found |= np.uint64(data[i + k]) << np.uint64(8 * k)
    return found


@inner
def _hash(data: np.ndarray, start: Int, end: Int) -> np.uint64:
    hashed = np.uint64(end - start)
    for i in range(start, end, 8):
        hashed = (hashed ^ _eight(data, i, end)) * _MIX
        hashed ^= hashed >> _U32
    return hashed * _MIX


@inner
def _find(data: np.ndarray, start: Int, end: Int, hashed: np.uint64, slots: np.ndarray, records: np.ndarray) -> Int:
    """The slot of a word, or the empty one where it belongs."""
    mask, tag = slots.size - 1, hashed >> _U32
    at = np.int64(hashed & np.uint64(mask))
    while slots[at] != 0:
        if slots[at] >> _U32 == tag:
            record = np.int64(slots[at] & _LOW)
            if np.int64(records[record]) & 0xFF == end - start:
                i = start
                while i < end and records[record + 1 + ((i - start) >> 3)] == _eight(data, i, end):
                    i += 8
                if i >= end:
                    break
        at = (at + 1) & mask
    return at


@inner
def _keep(
    data: np.ndarray, start: Int, end: Int, hashed: np.uint64, ids: np.ndarray, n: Int, slots: np.ndarray, records: np.ndarray,
    used: np.ndarray,
) -> None:  # fmt: skip
    """Remember a word that is not yet remembered, of n ids."""
    slot, at = np.int64(hashed & np.uint64(slots.size - 1)), used[1]
    while slots[slot] != 0:
        slot = (slot + 1) & (slots.size - 1)
    slots[slot] = (hashed >> _U32 << _U32) | np.uint64(at)
    records[at] = np.uint64((n << 8) | (end - start))
    at += 1
    for i in range(start, end, 8):
        records[at] = _eight(data, i, end)
        at += 1
    for k in range(n):
        if k & 1:
            records[at - 1] |= np.uint64(ids[k]) << _U32
        else:
            records[at] = np.uint64(ids[k])
            at += 1
    used[0] += 1
    used[1] = at


@kernel(allocates=True)
def remember(
    data: np.ndarray, offsets: np.ndarray, ids: np.ndarray, slots: np.ndarray, records: np.ndarray, used: np.ndarray
) -> None:  # fmt: skip
    """Put words that are one token each into an empty memory."""
    one = np.empty(1, np.int64)
    for d in range(ids.size):
        one[0] = ids[d]
        _keep(data, offsets[d], offsets[d + 1], _hash(data, offsets[d], offsets[d + 1]), one, one.size, slots, records, used)


@inner(allocates=True)
def _new_word(
    data: np.ndarray, start: Int, end: Int, hashed: np.uint64, of_byte: np.ndarray, of_char: np.ndarray, pairs: np.ndarray,
    slots: np.ndarray, records: np.ndarray, used: np.ndarray, first_slots: np.ndarray, first_used: np.ndarray,
    scratch: np.ndarray, out: np.ndarray,
) -> Int:  # fmt: skip
    """Write the ids of a word that is not remembered to `out`; returns how many."""
    n_bytes = end - start
    symbols = scratch[FEW:] if n_bytes <= LONGEST_KEPT else np.empty(n_bytes, np.int64)
    n = _symbols(data, start, end, of_byte, of_char, symbols)
    n = _merge_few(symbols, n, pairs, scratch) if n <= FEW else _merge_many(symbols, n, pairs)
    for k in range(n):
        out[k] = symbols[k]
    if n_bytes <= LONGEST_KEPT:
        if used[0] * 2 > slots.size or used[1] + 2 * LONGEST_KEPT > records.size:
            for i in range(slots.size):
                slots[i] = first_slots[i] if first_slots.size else 0
            used[0], used[1] = first_used[0], first_used[1]
        _keep(data, start, end, hashed, symbols, n, slots, records, used)
    return n


@kernel
def encode(
    data: np.ndarray, offsets: np.ndarray, pattern: Int, digits: Int, refused: Int, classes: np.ndarray, trie: np.ndarray,
    names: np.ndarray, of_byte: np.ndarray, of_char: np.ndarray, pairs: np.ndarray, slots: np.ndarray, records: np.ndarray,
    used: np.ndarray, first_slots: np.ndarray, first_used: np.ndarray, scratch: np.ndarray, out: np.ndarray, ends: np.ndarray,
    refusals: np.ndarray,
) -> None:  # fmt: skip
    """Ids of every document into `out` (uint32, one per byte at most), their ends into `ends`.

    A document that holds a character of a class in `refused` gets no ids, and those class bits in `refusals` (uint8).
    `scratch`: (FEW + LONGEST_KEPT,) int64.
    """
    n_out = np.int64(0)
    for d in range(offsets.size - 1):
        first, at, end, seen = n_out, offsets[d], offsets[d + 1], np.int64(0)
        while at < end:
            border, resume, name, scan = end, end, -1, at
            while trie.shape[0] and scan < end:  # special tokens (name -2) are text, but cover what they cover
                border, resume, name = _next_added(data, scan, end, trie, names)
                if name != -2:
                    break
                border, scan = end, resume
            while at < border:
                bits = np.int64(0)
                if pattern == BLANKS:
                    stop = _next_blanks(data, at, border)
                elif pattern == GPT2:
                    stop, bits = _next_gpt2(data, at, border, classes)
                else:
                    stop, bits = _next_gpt4(data, at, border, classes, digits)
                seen |= bits
                slot, hashed = slots.size, np.uint64(0)  # none
                if stop - at <= LONGEST_KEPT:
                    hashed = _hash(data, at, stop)
                    slot = _find(data, at, stop, hashed, slots, records)
                if slot < slots.size and slots[slot] != 0:
                    record = np.int64(slots[slot] & _LOW)
                    n = np.int64(records[record]) >> 8
                    record += 1 + ((stop - at + 7) >> 3)
                    for k in range(n):
                        out[n_out + k] = (records[record + (k >> 1)] >> np.uint64((k & 1) << 5)) & _LOW
                    n_out += n
                else:
                    n_out += _new_word(
                        data, at, stop, hashed, of_byte, of_char, pairs, slots, records, used, first_slots, first_used, scratch,
                        out[n_out:],
                    )  # fmt: skip
                at = stop
            if name >= 0:
                out[n_out] = name
                n_out += 1
            at = resume
        refusals[d] = seen & refused
        if seen & refused:
            n_out = first
        ends[d] = n_out
