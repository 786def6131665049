"""Numba kernels of the repetition and FineWeb signals: bytes and words of a batch in, one row of counts per document out.

In: `data` uint8 (validated UTF-8), `offsets` int64 (n_docs + 1), `classes` uint32 and `marks` uint8 (2**21 each, by code point;
curate.text and punctuation.py), words as in text.Segments. Out: `out` int64 (n_docs, n_columns), columns in the order the family
lists them. Scratch is allocated once a call, for its largest document. Imports jit and the helpers of curate.text.kernels.
"""

from __future__ import annotations

import numpy as np

from curate.jit import inner, kernel
from curate.text.kernels import HIGH, ONES, SPACE, SPACES, Int, before, decode, first_high, load8, mix

# Bits of `marks` (punctuation.py).
TERMINAL = 1  # datatrove's TERMINAL_PUNCTUATION
SENTENCE_END = 2  # spaCy's sentencizer ends a sentence here
PUNCTUATION = 4  # category P*

_MULTIPLY = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio, odd
_BASE = np.uint64(0xD6E8FEB86659FD93)  # odd: base of the n-gram polynomial over word hashes
_NEWLINES = np.uint64(0x0A0A0A0A0A0A0A0A)
_EMPTY = np.uint64(0)

SHORT_LINE = 30  # code points; FineWeb's short_line_length


@inner
def newline(data: np.ndarray, i: Int, stop: Int) -> Int:
    """First byte from i that is \\n, or stop."""
    while i + 8 <= stop:
        x = load8(data, i) ^ _NEWLINES
        found = (x - ONES) & ~x & HIGH  # high bits of bytes that are 0; above the first such byte perhaps of others
        if found:
            return i + first_high(found)
        i += 8
    while i < stop and data[i] != 0x0A:
        i += 1
    return i


@kernel
def byte_hash(data: np.ndarray, a: Int, b: Int) -> np.uint64:
    """64-bit hash of the bytes [a, b), never 0."""
    h = np.uint64(b - a)
    i = a
    while i + 8 <= b:
        h = (h ^ load8(data, i)) * _MULTIPLY
        h ^= h >> np.uint64(32)
        i += 8
    if i < b:
        last = np.uint64(0)
        if b - a >= 8:
            last = load8(data, b - 8)
        else:
            for k in range(i, b):
                last = last << np.uint64(8) | np.uint64(data[k])
        h = (h ^ last) * _MULTIPLY
    return mix(h) | np.uint64(1)


@inner
def clear(array: np.ndarray, n: Int) -> None:
    """The first n elements become 0 (array[:n] = 0 compiles for half a second)."""
    for i in range(n):
        array[i] = 0


@kernel
def code_points(data: np.ndarray, a: Int, b: Int) -> Int:
    n = b - a
    while a + 8 <= b:
        x = load8(data, a)
        n -= np.int64((x >> np.uint64(7) & ~(x >> np.uint64(6)) & ONES) * ONES >> np.uint64(56))  # bytes 10......
        a += 8
    while a < b:
        n -= data[a] & 0xC0 == 0x80
        a += 1
    return n


@inner
def first_filled(data: np.ndarray, a: Int, b: Int, classes: np.ndarray) -> Int:
    """First byte of the first code point of [a, b) that is not white space, or b."""
    while a + 8 <= b and load8(data, a) == SPACES:  # eight spaces
        a += 8
    while a < b and data[a] == 0x20:
        a += 1
    while a < b:
        code, width = decode(data, a)
        if not classes[code] & SPACE:
            break
        a += width
    return a


@inner
def last_filled(data: np.ndarray, a: Int, b: Int, classes: np.ndarray) -> Int:
    """End of the last code point of [a, b) that is not white space, or a."""
    while b > a:
        i = before(data, b)
        if not classes[decode(data, i)[0]] & SPACE:
            break
        b = i
    return b


@inner
def seen_before(table: np.ndarray, mask: np.uint64, h: np.uint64) -> bool:
    """Whether h is in the open-addressing table (0: empty slot); puts it in."""
    slot = h >> np.uint64(8) & mask
    while table[slot] != _EMPTY:
        if table[slot] == h:
            return True
        slot = (slot + np.uint64(1)) & mask
    table[slot] = h
    return False


@inner
def filled_lines(data: np.ndarray, a: Int, b: Int) -> Int:
    """At least as many as the lines of [a, b) that are not empty: what the tables of lines are sized by."""
    n: Int = 1
    before_ = np.uint64(0)  # 0x80 where the byte before was \n
    while a + 8 <= b:
        x = load8(data, a) ^ _NEWLINES
        found = ~((x & ~HIGH) + ~HIGH | x | ~HIGH)  # 0x80 in every byte that is 0
        n += np.int64(((found & ~(found << np.uint64(8) | before_)) >> np.uint64(7)) * ONES >> np.uint64(56))
        before_ = found >> np.uint64(56)
        a += 8
    while a < b:
        n += data[a] == 0x0A
        a += 1
    return n


@inner(allocates=True)
def line_tables(data: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(per document the size of its table of lines: a power of two of at least twice as many; the table itself, for the largest)."""
    sizes = np.empty(offsets.size - 1, np.int64)
    largest: Int = 4
    for doc in range(offsets.size - 1):
        need = 2 * (filled_lines(data, offsets[doc], offsets[doc + 1]) + 2)  # repetition also has an empty first and last line
        size = 4
        while size < need:
            size *= 2
        sizes[doc] = size
        largest = max(largest, size)
    return sizes, np.empty(largest, np.uint64)


@kernel
def line_repetition(data: np.ndarray, offsets: np.ndarray, classes: np.ndarray, out: np.ndarray) -> None:
    """Columns 0-2 paragraphs, 3-5 lines: number, repeated ones, their code points."""
    sizes, table = line_tables(data, offsets)
    for doc in range(offsets.size - 1):
        a = offsets[doc]
        b = offsets[doc + 1]
        clear(out[doc], 6)
        if a == b:
            continue
        mask = np.uint64(sizes[doc] - 1)
        first = first_filled(data, a, b, classes)
        last = last_filled(data, first, b, classes)
        begin = first
        e = first
        cleared = False
        while True:  # paragraphs: pieces of the stripped text between runs of two or more \n
            e = newline(data, e, last)
            if e + 1 < last and data[e + 1] != 0x0A:
                e += 1
                continue
            out[doc, 0] += 1
            if e < last or begin > first:  # not the only one
                if not cleared:
                    clear(table, sizes[doc])
                    cleared = True
                if seen_before(table, mask, byte_hash(data, begin, e)):
                    out[doc, 1] += 1
                    out[doc, 2] += code_points(data, begin, e)
            if e == last:
                break
            while data[e] == 0x0A:  # ends before `last`: the text before it ends with something else
                e += 1
            begin = e
        clear(table, sizes[doc])
        begin = a
        while True:  # lines: pieces of the text between runs of \n
            e = newline(data, begin, b)
            out[doc, 3] += 1
            if (e < b or begin > a) and seen_before(table, mask, byte_hash(data, begin, e)):
                out[doc, 4] += 1
                out[doc, 5] += code_points(data, begin, e)
            if e == b:
                break
            while e < b and data[e] == 0x0A:
                e += 1
            begin = e


@inner
def repeated_bigrams(
    words: np.ndarray, first: Int, n: Int, filter_: np.ndarray, shift: np.uint64, at: np.ndarray, h: np.ndarray
) -> Int:
    """Positions and hashes of every bigram of words[first : first + n] that may occur twice (and a few that do not).

    `filter_`: zeroed bytes, 2 ** (64 - shift) of them; a second visit sets bit 1. No branch depends on the words.
    """
    for i in range(first, first + n - 1):
        slot = (words[i] * _BASE + words[i + 1]) >> shift
        filter_[slot] = filter_[slot] << 1 | 1
    m = 0
    for i in range(n - 1):
        x = words[first + i] * _BASE + words[first + i + 1]
        at[m] = i
        h[m] = x
        m += filter_[x >> shift] >= 2
    return m


@inner
def count_equal(h: np.ndarray, m: Int, table: np.ndarray, group: np.ndarray, count: np.ndarray) -> None:
    """group[j]: the first of the m hashes that equals h[j]; count[j] for such firsts: how many do. `table`: scratch."""
    size = 4
    bits = 2
    while size < m + m // 2:
        size *= 2
        bits += 1
    shift = np.uint64(64 - bits)
    mask = np.uint64(size - 1)
    clear(table, size)
    for j in range(m):
        x = h[j]
        slot = (x * _MULTIPLY) >> shift
        while True:
            other = table[slot]
            if other == 0:
                table[slot] = j + 1
                group[j] = j
                count[j] = 1
                break
            if h[other - 1] == x:
                group[j] = other - 1
                count[other - 1] += 1
                break
            slot = (slot + np.uint64(1)) & mask


@inner
def n_gram_chars(chars: np.ndarray, first: Int, n: Int) -> Int:
    total = 0
    for i in range(first, first + n):
        total += chars[i]
    return total


@kernel(allocates=True)
def n_gram_repetition(doc_ptr: np.ndarray, words: np.ndarray, chars: np.ndarray, out: np.ndarray) -> None:
    """Columns 0-2: code points of the most frequent 2- to 4-gram, joining spaces included, times its occurrences; the first seen
    of equally frequent ones. Columns 3-8: code points, without spaces, of repeated 5- to 10-grams, left to right, none counted twice.

    An (n + 1)-gram can only repeat where both n-grams in it do: only those positions go from n to n + 1.
    """
    most = 1
    for doc in range(doc_ptr.size - 1):
        most = max(most, doc_ptr[doc + 1] - doc_ptr[doc])
    largest = 4
    while largest < most + most // 2:
        largest *= 2
    at = np.empty(most, np.int32)  # word, from the start of the document
    h = np.empty(most, np.uint64)
    group = np.empty(most, np.int32)
    count = np.empty(most, np.int32)
    table = np.empty(largest, np.int32)
    filter_ = np.empty(2 * largest, np.uint8)
    for doc in range(doc_ptr.size - 1):
        first = doc_ptr[doc]
        n_words = doc_ptr[doc + 1] - first
        clear(out[doc], 9)
        for n in range(2, 5):  # nothing repeats: the first n-gram is the most frequent one
            if n <= n_words:
                out[doc, n - 2] = n_gram_chars(chars, first, n) + n - 1
        if n_words < 3:
            continue
        size = 8
        shift = 61
        while size < 2 * n_words:
            size *= 2
            shift -= 1
        clear(filter_, size)
        m = repeated_bigrams(words, first, n_words, filter_, np.uint64(shift), at, h)
        for n in range(2, 11):
            count_equal(h, m, table, group, count)
            if n <= 4:
                best = 1
                for j in range(m):
                    if count[group[j]] > best:
                        best = count[group[j]]
                        out[doc, n - 2] = best * (n_gram_chars(chars, first + at[j], n) + n - 1)
            else:
                free = 0  # first word that no counted n-gram covers
                for j in range(m):
                    g = group[j]
                    if at[j] >= free and count[g] != 1:
                        if count[g] < 0:
                            out[doc, n - 2] += n_gram_chars(chars, first + at[j], n)
                            free = at[j] + n
                        else:
                            count[g] = -1  # from now on seen
            k = 0
            for j in range(m - 1):
                if at[j + 1] == at[j] + 1 and count[group[j]] != 1 and count[group[j + 1]] != 1:
                    h[k] = h[j] * _BASE + words[first + at[j] + n]
                    at[k] = at[j]
                    k += 1
            m = k
            if m < 2:
                break


@kernel
def fineweb_lines(data: np.ndarray, offsets: np.ndarray, classes: np.ndarray, marks: np.ndarray, out: np.ndarray) -> None:
    """Columns: lines that are not blank; of them those with terminal punctuation, short ones, code points of repeated ones; \\n."""
    sizes, table = line_tables(data, offsets)
    for doc in range(offsets.size - 1):
        i = offsets[doc]
        stop = offsets[doc + 1]
        clear(table, sizes[doc])
        mask = np.uint64(sizes[doc] - 1)
        n_lines = 0
        n_punctuated = 0
        n_short = 0
        n_repeated = 0
        n_newlines = 0
        while i < stop:
            e = newline(data, i, stop)
            n_newlines += e < stop
            if first_filled(data, i, e, classes) < e:
                n_lines += 1
                code = np.int64(data[e - 1])
                if code >= 0x80:
                    code, _ = decode(data, before(data, e))
                n_punctuated += marks[code] & TERMINAL
                n_short += e - i <= SHORT_LINE or (e - i <= 4 * SHORT_LINE and code_points(data, i, e) <= SHORT_LINE)
                if seen_before(table, mask, byte_hash(data, i, e)):
                    n_repeated += code_points(data, i, e)
            i = e + 1
        out[doc, 0] = n_lines
        out[doc, 1] = n_punctuated
        out[doc, 2] = n_short
        out[doc, 3] = n_repeated
        out[doc, 4] = n_newlines
        out[doc, 5] = code_points(data, offsets[doc], stop) - n_newlines
