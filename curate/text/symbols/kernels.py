"""The compiled part of symbols: UTF-8 bytes in, spans of formulas and of identifiers out.

Formulas are looked for once, from left to right, and where a closing mark is missing the place is remembered up to which it is, so that
time is linear in the text. May import curate.jit and the helpers of curate.text.kernels only.
"""

from __future__ import annotations

import numpy as np

from curate.jit import inner, kernel
from curate.text.kernels import DIGIT, LETTERISH, Int, decode

MOST_INLINE, MOST_DISPLAY = 4_000, 40_000  # bytes of a formula between its marks; longer ones are an unclosed mark (a guess)
INLINE, DISPLAY = 0, 1
NO_MARK = -1
PRIME, OFFSET = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xCBF29CE484222325)


@inner
def is_letter(c: Int) -> bool:
    return bool(0x41 <= c <= 0x5A or 0x61 <= c <= 0x7A)


@inner
def is_blank(c: Int) -> bool:
    return c == 0x20 or c == 0x09 or c == 0x0A or c == 0x0D


@inner
def name_end(data: np.ndarray, i: Int, stop: Int) -> Int:
    """End of the environment name that starts at byte i, a `}`; NO_MARK where there is none within 24 bytes."""
    for j in range(i, min(stop, i + 24)):
        if data[j] == 0x7D:
            return j
        if not is_letter(np.int64(data[j])) and data[j] != 0x2A:
            return NO_MARK
    return NO_MARK


@inner
def name_hash(data: np.ndarray, i: Int, end: Int) -> Int:
    """Of an environment's name without its star."""
    h = np.int64(7)
    for j in range(i, end):
        if data[j] != 0x2A:
            h = (h * 31 + np.int64(data[j])) & 0x7FFFFFFFFFFF
    return h


@inner
def is_command(data: np.ndarray, i: Int, stop: Int, word: np.ndarray) -> bool:
    """Do the bytes of `word` stand at i?"""
    if i + word.size > stop:
        return False
    for j in range(word.size):  # noqa: SIM110 (numba knows no generators)
        if data[i + j] != word[j]:
            return False
    return True


@inner
def closing(data: np.ndarray, i: Int, stop: Int, last: Int) -> Int:
    """Byte of the next backslash and `last`, `)` or `]`, not itself escaped, from i on; NO_MARK where there is none before stop."""
    j = i
    while j + 1 < stop:
        if data[j] == 0x5C:
            if data[j + 1] == last:
                return j
            j += 2
        else:
            j += 1
    return NO_MARK


@inner
def dollar(data: np.ndarray, i: Int, stop: Int, twice: bool) -> Int:
    """Byte of the next $ (or $$), not escaped, from i on; a blank line ends the search."""
    j = i
    while j < stop:
        c = data[j]
        if c == 0x5C:
            j += 2
            continue
        if c == 0x24:
            if not twice or (j + 1 < stop and data[j + 1] == 0x24):
                return j
        elif c == 0x0A and not twice:
            k = j + 1
            while k < stop and (data[k] == 0x20 or data[k] == 0x09 or data[k] == 0x0D):
                k += 1
            if k < stop and data[k] == 0x0A:
                return NO_MARK
        j += 1
    return NO_MARK


@inner
def is_inline(data: np.ndarray, i: Int, end: Int, stop: Int) -> bool:
    """Is what stands between two dollars a formula, not a price? Tight on both sides and no digit after, or with a sign of mathematics."""
    if i >= end:
        return False
    after = np.int64(data[end + 1]) if end + 1 < stop else 0x20
    tight = not is_blank(np.int64(data[i])) and not is_blank(np.int64(data[end - 1])) and not 0x30 <= after <= 0x39
    signs = False
    for j in range(i, end):
        c = data[j]
        if c == 0x5C or c == 0x5E or c == 0x5F or c == 0x3D or c == 0x7B or c == 0x3C or c == 0x3E:
            signs = True
            break
    return tight or signs


@inner
def environment_end(data: np.ndarray, i: Int, stop: Int, wanted: Int, end_word: np.ndarray) -> Int:
    """Byte of the `\\end{` of the environment of that name hash, from i on."""
    j = i
    while j < stop:
        if data[j] == 0x5C:
            if is_command(data, j + 1, stop, end_word):
                name = j + 1 + end_word.size
                end = name_end(data, name, stop)
                if end != NO_MARK and name_hash(data, name, end) == wanted:
                    return j
            j += 2
        else:
            j += 1
    return NO_MARK


@inner
def content_hash(data: np.ndarray, i: Int, end: Int) -> np.uint64:
    """Of the bytes without white space; never 0."""
    h = OFFSET
    for j in range(i, end):
        if not is_blank(np.int64(data[j])):
            h = (h ^ np.uint64(data[j])) * PRIME
            h ^= h >> np.uint64(29)
    return h if h != 0 else np.uint64(1)


@kernel(allocates=True)
def formulas(
    data: np.ndarray, offsets: np.ndarray, names: np.ndarray, begin_word: np.ndarray, end_word: np.ndarray,
    row: np.ndarray, outer: np.ndarray, inside: np.ndarray, kind: np.ndarray, hashes: np.ndarray, counts: np.ndarray,
) -> int:  # fmt: skip
    """Fills (n_found,) row, kind and hashes and (n_found, 2) outer and inside, absolute bytes with and without the marks; counts
    int64 (n_docs, 2): commands, marks without an end. `names`: hashes of the environments that are formulas. Returns n_found."""
    n = 0
    missing = np.empty(names.size + 3, np.int64)  # up to where the closing mark of this kind is known to be missing
    for doc in range(offsets.size - 1):
        stop = offsets[doc + 1]
        missing[:] = 0
        n_commands = 0
        n_open = 0
        i = offsets[doc]
        while i < stop:
            c = data[i]
            if c != 0x5C and c != 0x24:
                i += 1
                continue
            found = NO_MARK
            first = 0
            last = 0
            shape = DISPLAY
            if c == 0x24:
                twice = i + 1 < stop and data[i + 1] == 0x24
                first = i + 2 if twice else i + 1
                which = 0
                if twice:
                    limit = min(stop, first + MOST_DISPLAY)
                    if missing[which] < limit:
                        found = dollar(data, max(first, missing[which]), limit, True)
                        if found == NO_MARK:
                            missing[which] = limit
                    if found == first:  # $$$$
                        found = NO_MARK
                    last = found + 2
                else:
                    shape = INLINE
                    found = dollar(data, first, min(stop, first + MOST_INLINE), False)
                    if found != NO_MARK and not is_inline(data, first, found, stop):
                        i = found  # it may open the next one
                        continue
                    last = found + 1
                if found == NO_MARK:
                    n_open += 1
                    i = first
                    continue
            else:
                mark = np.int64(data[i + 1]) if i + 1 < stop else 0
                if mark == 0x28 or mark == 0x5B:
                    which = 1 if mark == 0x28 else 2
                    shape = INLINE if mark == 0x28 else DISPLAY
                    first = i + 2
                    limit = min(stop, first + (MOST_INLINE if mark == 0x28 else MOST_DISPLAY))
                    if missing[which] < limit:
                        found = closing(data, max(first, missing[which]), limit, mark + 1 if mark == 0x28 else 0x5D)
                        if found == NO_MARK:
                            missing[which] = limit
                    last = found + 2
                    if found == NO_MARK:
                        n_open += 1
                        i = first
                        continue
                elif is_letter(mark):
                    n_commands += 1
                    if not is_command(data, i + 1, stop, begin_word):
                        i += 2
                        while i < stop and is_letter(np.int64(data[i])):
                            i += 1
                        continue
                    name = i + 1 + begin_word.size
                    end = name_end(data, name, stop)
                    which = -1
                    if end != NO_MARK:
                        h = name_hash(data, name, end)
                        for j in range(names.size):
                            if names[j] == h:
                                which = j + 3
                    if which < 0:
                        i = name
                        continue
                    first = end + 1
                    limit = min(stop, first + MOST_DISPLAY)
                    if missing[which] < limit:
                        found = environment_end(data, max(first, missing[which]), limit, names[which - 3], end_word)
                        if found == NO_MARK:
                            missing[which] = limit
                    if found == NO_MARK:
                        n_open += 1
                        i = first
                        continue
                    last = found
                    while last < stop and data[last] != 0x7D:
                        last += 1
                    last += 1
                else:
                    i += 2
                    continue
            for j in range(first, found - 1):  # commands inside
                if data[j] == 0x5C and is_letter(np.int64(data[j + 1])) and (j == first or data[j - 1] != 0x5C):
                    n_commands += 1
            row[n] = doc
            outer[n, 0] = i
            outer[n, 1] = min(last, stop)
            inside[n, 0] = first
            inside[n, 1] = found
            kind[n] = shape
            hashes[n] = content_hash(data, first, found)
            n += 1
            i = min(last, stop)
        counts[doc, 0] = n_commands
        counts[doc, 1] = n_open
    return n


@kernel
def identifiers(
    data: np.ndarray, offsets: np.ndarray, classes: np.ndarray, doc_ptr: np.ndarray, start: np.ndarray, end: np.ndarray
) -> int:
    """Runs of letters, marks, digits and _; fills doc_ptr, and start and end as far as they reach. Returns how many there are."""
    n = 0
    room = start.size
    doc_ptr[0] = 0
    for doc in range(offsets.size - 1):
        i = offsets[doc]
        stop = offsets[doc + 1]
        begin = NO_MARK
        while i < stop:
            c = np.int64(data[i])
            width = 1
            if c < 0x80:
                inside = is_letter(c) or 0x30 <= c <= 0x39 or c == 0x5F
            else:
                code, width = decode(data, i)
                inside = np.int64(classes[code]) & (LETTERISH | DIGIT) != 0
            if inside and begin == NO_MARK:
                begin = i
            elif not inside and begin != NO_MARK:
                if n < room:
                    start[n] = begin
                    end[n] = i
                n += 1
                begin = NO_MARK
            i += width
        if begin != NO_MARK:
            if n < room:
                start[n] = begin
                end[n] = stop
            n += 1
        doc_ptr[doc + 1] = n
    return n
