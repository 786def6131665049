"""The compiled part of shingling: words to shingle hashes, min-hashes and band keys, and hashes of folded words.

Arrays of Segments in, arrays out. A shingle is a run of `ngram` words with a letter or digit; its hash is a polynomial over the words'
hashes, mixed. May import curate.jit and the helpers and constants of curate.text.kernels only. Hash constants are uint64 or uint32:
numba turns int64 mixed with uint64 into float64.
"""

from __future__ import annotations

import numpy as np

from curate.jit import inner, kernel
from curate.text.kernels import _WORD, BASE, DIGIT, HAS_ALNUM, Int, absorb, decode, encoded, hold, mix


@inner
def shingle_words(flags: np.ndarray, lower: np.ndarray, first: Int, last: Int, words: np.ndarray) -> Int:
    """Hashes of the words first..last that have a letter or digit, into `words`; returns their number."""
    n = 0
    for word in range(first, last):
        if flags[word] & HAS_ALNUM:
            words[n] = lower[word]
            n += 1
    return n


@inner
def roll(words: np.ndarray, n: Int, width: Int, out: np.ndarray) -> Int:
    """Hashes of all n - width + 1 windows of `width` of n >= width words, as often as they stand; returns their number."""
    lead = np.uint64(1)  # BASE ** (width - 1)
    rolling = np.uint64(0)
    for i in range(width):
        if i:
            lead *= BASE
        rolling = rolling * BASE + words[i]
    n_out = n - width + 1
    for i in range(n_out):
        h = mix(rolling + np.uint64(width))
        out[i] = h if h != 0 else np.uint64(1)  # 0 marks an empty slot of `distinct`
        if i + width < n:
            rolling = (rolling - words[i] * lead) * BASE + words[i + width]
    return n_out


@kernel
def windows(words: np.ndarray, width: int, out: np.ndarray) -> None:
    """`roll` for Python."""
    roll(words, words.size, width, out)


@inner
def distinct(shingles: np.ndarray, n: Int, table: np.ndarray) -> Int:
    """Moves each of the first n to the front once, in their order; `table` holds the next power of two of 2 * n or more."""
    size = 2
    while size < 2 * n:
        size *= 2
    table[:size] = np.uint64(0)
    mask = np.uint64(size - 1)
    n_out = 0
    for i in range(n):
        h = shingles[i]
        slot = h & mask
        while table[slot] != 0 and table[slot] != h:
            slot = (slot + np.uint64(1)) & mask
        if table[slot] == 0:
            table[slot] = h
            shingles[n_out] = h
            n_out += 1
    return n_out


@inner
def min_hashes(shingles: np.ndarray, n: Int, multiply: np.ndarray, add: np.ndarray, minima: np.ndarray) -> None:
    """minima[j] = least shingle * multiply[j] + add[j] modulo 2**32, of the upper halves of n >= 1 mixed shingle hashes.

    32 bits, because processors multiply eight of these at once and 64-bit numbers one by one (AVX2): 6.9 ns a shingle for 112
    hashes instead of 34. Two shingles of one upper half are rarer than 1 in 4,000 even in a million shingles. Four at a time, so
    that constants and minima are loaded once for four.
    """
    half = np.uint64(32)
    minima[:] = np.uint32(0xFFFFFFFF)
    i = 0
    while i + 4 <= n:
        a = np.uint32(shingles[i] >> half)
        b = np.uint32(shingles[i + 1] >> half)
        c = np.uint32(shingles[i + 2] >> half)
        d = np.uint32(shingles[i + 3] >> half)
        for j in range(minima.size):
            m = multiply[j]
            p = add[j]
            ab = min(np.uint32(a * m + p), np.uint32(b * m + p))
            cd = min(np.uint32(c * m + p), np.uint32(d * m + p))
            minima[j] = min(minima[j], min(ab, cd))
        i += 4
    while i < n:
        a = np.uint32(shingles[i] >> half)
        for j in range(minima.size):
            minima[j] = min(minima[j], np.uint32(a * multiply[j] + add[j]))
        i += 1


@inner
def band_keys(minima: np.ndarray, rows: Int, keys: np.ndarray) -> None:
    for band in range(keys.size):
        key = np.uint64(band + 1)
        for row in range(rows):
            key = mix(key * BASE + np.uint64(minima[band * rows + row]))
        keys[band] = key


@inner
def longest(doc_ptr: np.ndarray) -> Int:
    best = 1
    for doc in range(doc_ptr.size - 1):
        best = max(best, doc_ptr[doc + 1] - doc_ptr[doc])
    return best


@kernel(allocates=True)
def signatures(
    doc_ptr: np.ndarray,
    flags: np.ndarray,
    lower: np.ndarray,
    ngram: int,
    multiply: np.ndarray,
    add: np.ndarray,
    rows: int,
    keys: np.ndarray,
    n_shingles: np.ndarray,
) -> None:
    """Band keys (n, bands) and distinct shingles (n,) of every document."""
    most = longest(doc_ptr)
    size = 2
    while size < 2 * most:
        size *= 2
    words = np.empty(most, np.uint64)
    shingles = np.empty(most, np.uint64)
    table = np.empty(size, np.uint64)
    minima = np.empty(multiply.size, np.uint32)
    for doc in range(doc_ptr.size - 1):
        n = shingle_words(flags, lower, doc_ptr[doc], doc_ptr[doc + 1], words)
        if n == 0:
            n_shingles[doc] = 0
            keys[doc, :] = np.uint64(0)
            continue
        n = distinct(shingles, roll(words, n, min(ngram, n), shingles), table)
        n_shingles[doc] = n
        min_hashes(shingles, n, multiply, add, minima)
        band_keys(minima, rows, keys[doc])


@kernel(allocates=True)
def keys_of(shingles: np.ndarray, multiply: np.ndarray, add: np.ndarray, rows: int, keys: np.ndarray) -> None:
    """Band keys (1, bands) of one document's shingles; zeros where it has none."""
    keys[0, :] = np.uint64(0)
    if shingles.size:
        minima = np.empty(multiply.size, np.uint32)
        min_hashes(shingles, shingles.size, multiply, add, minima)
        band_keys(minima, rows, keys[0])


@kernel(allocates=True)
def all_shingles(
    doc_ptr: np.ndarray, flags: np.ndarray, lower: np.ndarray, wanted: np.ndarray, ngram: int, ptr: np.ndarray, out: np.ndarray
) -> None:
    """Shingles of the wanted documents, one document after another, as often as they stand; fills ptr and out."""
    words = np.empty(longest(doc_ptr), np.uint64)
    ptr[0] = 0
    for k in range(wanted.size):
        n = shingle_words(flags, lower, doc_ptr[wanted[k]], doc_ptr[wanted[k] + 1], words)
        ptr[k + 1] = ptr[k] + (roll(words, n, min(ngram, n), out[ptr[k] :]) if n else 0)


@kernel
def squeeze(ptr: np.ndarray, hashes: np.ndarray) -> None:
    """Of each sorted stretch ptr[k]:ptr[k + 1] the distinct values, moved together; ptr becomes theirs."""
    n = 0
    begin = ptr[0]
    for k in range(ptr.size - 1):
        end = ptr[k + 1]
        for i in range(begin, end):
            if i == begin or hashes[i] != hashes[i - 1]:
                hashes[n] = hashes[i]
                n += 1
        begin = end
        ptr[k + 1] = n


@kernel
def folded_hashes(
    data: np.ndarray,
    start: np.ndarray,
    end: np.ndarray,
    classes: np.ndarray,
    lower_delta: np.ndarray,
    fold_delta: np.ndarray,
    digits: bool,
    diacritics: bool,
    lower: np.ndarray,
) -> None:
    """Per word: `lower` of word_attributes, of its folded form. A mark's fold_delta leads to 0: it is left out."""
    for word in range(start.size):
        i = start[word]
        stop = end[word]
        h = _WORD
        held = np.uint64(0)  # bytes that are not absorbed yet
        n_held = 0
        n = 0
        in_number = False
        while i < stop:
            c = np.int64(data[i])
            if c < 0x80:
                width = 1
                small = c + 32 if 0x41 <= c <= 0x5A else c
            else:
                c, width = decode(data, i)
                small = c + lower_delta[c]
                if diacritics:
                    small += fold_delta[small]
            i += width
            if digits and classes[c] & DIGIT:
                if in_number:
                    continue
                in_number = True
                small = np.int64(0x30)
            elif small == 0 and c != 0:
                continue  # a mark between digits leaves them one number
            else:
                in_number = False
            x, size = encoded(small)
            n += size
            h, held, n_held = hold(h, held, n_held, x, size)
        if n_held:
            h = absorb(h, held)
        lower[word] = mix(h ^ np.uint64(n))
