"""Numba kernels of text: UTF-8 bytes and offsets in, words, counts and hashes of whole texts out, per document.

Self-contained (numba's cache does not see other modules): helpers and constants are here. In: `data` uint8 (validated
UTF-8), `offsets` int64 (n_docs + 1), `classes` uint32 (2**21) of unicode.py. Definitions and their plain Python form:
reference.py. Imports curate.jit only. All hash constants are uint64: numba turns int64 mixed with uint64 into float64.
"""

from __future__ import annotations

import numpy as np

from curate.jit import inner, kernel

Int = int | np.signedinteger  # Python's for mypy; int64 for numba, which reads no annotations

# Bits of a code point's class. unicode.py fills them; the table is 2**21 long so that no 4-byte sequence can index past it.
SPACE = 1  # str.isspace()
LETTER = 1 << 1  # str.isalpha(): categories L*
MARK = 1 << 2  # categories M*: part of a letter in decomposed text and in many scripts
LOWER = 1 << 3  # lower case, or a letter or mark of a script without case
UPPER = 1 << 4  # upper or title case, or a letter of a script without case
DIGIT = 1 << 5  # category Nd
ALNUM = 1 << 6  # str.isalnum()
ICON = 1 << 7  # category So
LEAD = 1 << 8  # set P: one word of its own at the start of a chunk
TRAIL = 1 << 9  # set S: one word of its own at the end of a chunk
SYMBOL = 1 << 10  # datatrove's PUNCTUATION_SET
BREAK = 1 << 11  # str.splitlines() ends a line here
QUOTE = 1 << 12
CURRENCY = 1 << 13  # category Sc
NFC_UNSAFE = 1 << 14  # text without such code points is in NFC
CASED_UP = 1 << 15  # str.isupper() of the code point
CASED_DOWN = 1 << 16  # lower or title case: str.isupper() of a text with it is false
LETTERISH = LETTER | MARK

# Bits of a word's flags.
HAS_LETTER = 1
HAS_ALNUM = 2
HAS_NON_SYMBOL = 4

# The array of exceptions (exceptions.py) begins with a bit for every two bytes that stand side by side in one of one word.
PAIRS = 256  # uint64 of 64 bits: 7 bits of each byte
LONGEST_WHOLE = 11  # bytes of the longest exception of one word: somethin’
LONGEST_SPLIT = 16  # and of several: shouldn’t’ve

_MULTIPLY = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio, odd (splitmix64's increment)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)  # splitmix64's finaliser (Steele, Lea, Flood 2014; Vigna's constants)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_WORD = np.uint64(0x243F6A8885A308D3)  # pi, as start of a word's hash
_TEXT_1 = np.uint64(0x13198A2E03707344)  # pi, next words: starts of the two halves of a text's hash
_TEXT_2 = np.uint64(0xA4093822299F31D0)
BASE = np.uint64(0xD6E8FEB86659FD93)  # odd: base of polynomials over words

ONES = np.uint64(0x0101010101010101)
HIGH = np.uint64(0x8080808080808080)
SPACES = np.uint64(0x2020202020202020)
BLOCK = 4096  # bytes of a normalised text held before they are hashed


@kernel
def mix(x: np.uint64) -> np.uint64:
    x = (x ^ (x >> np.uint64(30))) * _MIX_1
    x = (x ^ (x >> np.uint64(27))) * _MIX_2
    return x ^ (x >> np.uint64(31))


@inner
def decode(data: np.ndarray, i: Int) -> tuple[Int, Int]:
    """(code point, width) at byte i of valid UTF-8."""
    c = np.int64(data[i])
    if c < 0x80:
        return c, 1
    if c < 0xE0:
        return ((c & 0x1F) << 6) | (np.int64(data[i + 1]) & 0x3F), 2
    low = ((np.int64(data[i + 1]) & 0x3F) << 6) | (np.int64(data[i + 2]) & 0x3F)
    if c < 0xF0:
        return ((c & 0x0F) << 12) | low, 3
    return ((c & 0x07) << 18) | (low << 6) | (np.int64(data[i + 3]) & 0x3F), 4


@inner
def load8(data: np.ndarray, i: Int) -> np.uint64:
    """Eight bytes as one little-endian number (LLVM makes one load of it); an unsigned index spares numba's wrap-around."""
    j = np.uint64(i)
    low = np.uint64(data[j]) | np.uint64(data[j + np.uint64(1)]) << np.uint64(8)
    low |= np.uint64(data[j + np.uint64(2)]) << np.uint64(16) | np.uint64(data[j + np.uint64(3)]) << np.uint64(24)
    low |= np.uint64(data[j + np.uint64(4)]) << np.uint64(32) | np.uint64(data[j + np.uint64(5)]) << np.uint64(40)
    return low | np.uint64(data[j + np.uint64(6)]) << np.uint64(48) | np.uint64(data[j + np.uint64(7)]) << np.uint64(56)


@inner
def first_high(found: np.uint64) -> Int:
    """Index of the lowest byte whose high bit is set; some is."""
    return np.int64((((found & HIGH) - np.uint64(1) & ~(found & HIGH)) & ONES) * ONES >> np.uint64(56)) - 1


@inner
def between(x: np.uint64, low: int, high: int) -> np.uint64:
    """High bits of the bytes of x that lie in [low, high]; all bytes of x and both bounds are below 0x80."""
    return ((x + ONES * np.uint64(0x80 - low)) ^ (x + ONES * np.uint64(0x7F - high))) & HIGH


@inner
def leading_alnum(x: np.uint64) -> Int:
    """How many of the first bytes of x are letters or digits of ASCII, 0 to 8."""
    low = x & ~HIGH
    found = between(low | SPACES, 0x61, 0x7A) | between(low, 0x30, 0x39)
    other = (~found | x) & HIGH
    return first_high(other) if other else 8


@inner
def up_to_8(data: np.ndarray, i: Int, stop: Int) -> np.uint64:
    """The bytes [i, min(i + 8, stop)) as one little-endian number, i < stop; never reads beyond `data`."""
    n = min(stop - i, 8)
    if i + 8 <= data.size:
        return load8(data, i) & (~np.uint64(0) >> np.uint64(64 - 8 * n))
    x = np.uint64(0)
    for k in range(n):
        x |= np.uint64(data[i + k]) << np.uint64(8 * k)
    return x


@inner
def absorb(h: np.uint64, x: np.uint64) -> np.uint64:
    h = (h ^ x) * _MULTIPLY
    return h ^ (h >> np.uint64(32))


@inner
def hold(h: np.uint64, held: np.uint64, n_held: Int, x: np.uint64, size: Int) -> tuple[np.uint64, np.uint64, Int]:
    """(hash, bytes held, how many) after `size` more bytes x: eight together are absorbed, fewer wait."""
    held |= x << np.uint64(8 * n_held)
    n_held += size
    if n_held < 8:
        return h, held, n_held
    n_held -= 8
    return absorb(h, held), x >> np.uint64(8 * (size - n_held)) if n_held else np.uint64(0), n_held


@inner
def encoded(code: Int) -> tuple[np.uint64, Int]:
    """(UTF-8 of a code point as a little-endian number, its bytes)."""
    if code < 0x80:
        return np.uint64(code), 1
    last = np.uint64(0x80 | (code & 0x3F))
    if code < 0x800:
        return np.uint64(0xC0 | (code >> 6)) | last << np.uint64(8), 2
    middle = np.uint64(0x80 | ((code >> 6) & 0x3F))
    if code < 0x10000:
        return np.uint64(0xE0 | (code >> 12)) | middle << np.uint64(8) | last << np.uint64(16), 3
    high = np.uint64(0x80 | ((code >> 12) & 0x3F))
    return np.uint64(0xF0 | (code >> 18)) | high << np.uint64(8) | middle << np.uint64(16) | last << np.uint64(24), 4


@inner
def before(data: np.ndarray, i: Int) -> Int:
    """First byte of the code point that ends before byte i."""
    i -= 1
    while data[i] & 0xC0 == 0x80:
        i -= 1
    return i


@inner
def class_at(data: np.ndarray, i: Int, stop: Int, classes: np.ndarray) -> Int:
    """Class of the code point at byte i; 0 at the end."""
    return np.int64(classes[decode(data, i)[0]]) if i < stop else 0


@inner
def put(start: np.ndarray, end: np.ndarray, n: Int, a: Int, b: Int) -> Int:
    """Write word n where there is room; count it always, so that the caller learns how much room was needed."""
    if n < start.size:
        start[n] = a
        end[n] = b
    return n + 1


@inner
def trailing(data: np.ndarray, a: Int, c: Int, classes: np.ndarray) -> Int:
    """Start of the word that rule 2 takes off the end of [a, c), or c when nothing comes off."""
    j = before(data, c)
    code, _ = decode(data, j)
    kind = np.int64(classes[code])
    if code == 0x2E:
        run = j
        while run > a and data[run - 1] == 0x2E:
            run -= 1
        if c - run >= 2:
            return run
        if j == a:
            return c
        i = before(data, j)
        last, _ = decode(data, i)
        last_kind = np.int64(classes[last])
        if last_kind & (LOWER | DIGIT | TRAIL) or last == 0xB2 or last == 0x2D or last == 0x2B:  # ² - +
            return j
        if last_kind & UPPER and i > a and np.int64(classes[decode(data, before(data, i))[0]]) & UPPER:
            return j
        return c
    if kind & (TRAIL | ICON):
        return j
    if j > a:
        i = before(data, j)
        last, _ = decode(data, i)
        if kind & CURRENCY and np.int64(classes[last]) & DIGIT:
            return j
        if (code == 0x73 or code == 0x53) and (last == 0x27 or last == 0x2019):  # 's 'S ’s ’S
            return i
    return c


@inner
def infix_length(data: np.ndarray, i: Int, c: Int, code: Int, width: Int, previous: Int, classes: np.ndarray) -> Int:
    """Bytes of the cut mark of rule 3 at byte i of a rest that ends at c, 0 for none. `previous`: class before i."""
    if code == 0x2E:
        run = i + 1
        while run < c and data[run] == 0x2E:
            run += 1
        if run - i >= 2:
            return run - i
        return 1 if previous & (LOWER | QUOTE) and class_at(data, i + 1, c, classes) & (UPPER | QUOTE) else 0
    if code == 0x2026 or np.int64(classes[code]) & ICON:
        return width
    after = class_at(data, i + width, c, classes)
    arithmetic = code == 0x2D or code == 0x2B or code == 0x2A or code == 0x5E  # - + * ^
    if arithmetic and previous & DIGIT and (after & DIGIT or (i + 1 < c and data[i + 1] == 0x2D)):
        return 1
    if code == 0x2C:
        return 1 if previous & LETTERISH and after & LETTERISH else 0
    if code == 0x3A or code == 0x3C or code == 0x3E or code == 0x3D or code == 0x2F:  # : < > = /
        return 1 if previous & (LETTERISH | DIGIT) and after & LETTERISH else 0
    if previous & LETTERISH and (code == 0x2D or code == 0x7E or code == 0x2013 or code == 0x2014):  # - ~ – —
        limit = 3 if code == 0x2D else 2 if code == 0x2014 else 1  # - -- ---, — ——
        run = i + width
        marks = 1
        while marks < limit and run < c and decode(data, run)[0] == code:
            run += width
            marks += 1
        return run - i if class_at(data, run, c, classes) & LETTERISH else 0
    return 0


@inner
def in_exceptions(data: np.ndarray, i: Int, exceptions: np.ndarray) -> np.uint64:
    """1 where bytes i and i + 1 stand side by side in some exception of one word, 0 for most; no branch."""
    bit = (np.uint64(data[i]) & np.uint64(0x7F)) << np.uint64(7) | (np.uint64(data[i + 1]) & np.uint64(0x7F))
    return (exceptions[bit >> np.uint64(6)] >> (bit & np.uint64(63))) & np.uint64(1)


@kernel
def string_hash(data: np.ndarray, a: Int, b: Int, h: np.uint64) -> np.uint64:
    """Hash of bytes, not yet mixed, going on from `h`: _WORD, or the hash of what stands before. exceptions.py does the same."""
    for i in range(a, b):
        h = (h ^ np.uint64(data[i])) * _MULTIPLY
    return h


@kernel
def find_exception(h: np.uint64, exceptions: np.ndarray) -> Int:
    """-1 where no exception has that hash, 0 for one of one word, else bytes of the first part + 256 times those of the second."""
    h = mix(h)
    mask = np.uint64(exceptions.size - PAIRS - 1)
    slot = h & mask
    while exceptions[np.uint64(PAIRS) + slot] != 0:
        entry = exceptions[np.uint64(PAIRS) + slot]
        if (entry ^ h) >> np.uint64(16) == 0:
            return np.int64(entry & np.uint64(0xFFFF))
        slot = (slot + np.uint64(1)) & mask
    return -1


@inner
def has_full_stop(data: np.ndarray, a: Int, c: Int) -> bool:
    while a < c and data[a] != 0x2E:
        a += 1
    return bool(a < c)


@inner
def is_host(data: np.ndarray, a: Int, c: Int, classes: np.ndarray) -> bool:
    """Whether [a, c) is labels of a host joined by full stops, then nothing, a port or a path (reference._is_host)."""
    labels = 0
    numbers = 0  # labels of one to three digits
    i = a
    while True:
        first: Int = -1  # code points of the label
        last: Int = -1
        length = 0
        letters = 0
        digits = 0
        while i < c:
            code, width = decode(data, i)
            kind = np.int64(classes[code])
            ascii_name = kind & ALNUM and code < 0x80
            if not (ascii_name or code == 0x2D or code == 0x5F or 0xA1 <= code <= 0xFFFF):
                break
            first = code if length == 0 else first
            last = code
            length += 1
            letters += kind & LOWER != 0
            digits += code < 0x80 and kind & DIGIT != 0
            i += width
        if length == 0:
            return False
        labels += 1
        numbers += digits == length and length <= 3
        if i >= c or data[i] != 0x2E:
            if not (labels >= 2 and letters == length and 2 <= length <= 63) and not (labels == 4 and numbers == 4):
                return False
            break
        if length > 64 or first == 0x2D or first == 0x5F or last == 0x2D or last == 0x5F:
            return False
        i += 1
    if i < c and data[i] == 0x3A:
        port = i + 1
        i = port
        while i < c and 0x30 <= data[i] <= 0x39:
            i += 1
        if not 2 <= i - port <= 5:
            return False
    return bool(i >= c or data[i] == 0x2F or data[i] == 0x3F or data[i] == 0x23)  # / ? #


@inner
def is_address(data: np.ndarray, a: Int, c: Int, classes: np.ndarray) -> bool:
    """Whether [a, c) is a URL or e-mail address: a host at its start, after scheme:// or after an @."""
    schemes = 0
    for i in range(a + 1, c):
        if data[i] == 0x40 and is_host(data, i + 1, c, classes):
            return True
        if data[i] == 0x2F and data[i - 1] == 0x2F and i >= a + 4 and data[i - 2] == 0x3A:
            schemes += 1
            if schemes == 1 and is_scheme(data, a, i - 2, classes) and is_host(data, i + 1, c, classes):
                return True
    return is_host(data, a, c, classes)


@inner
def is_scheme(data: np.ndarray, a: Int, c: Int, classes: np.ndarray) -> bool:
    """Whether [a, c) is two or more letters, digits or _ + - ."""
    i = a
    n = 0
    while i < c:
        code, width = decode(data, i)
        if not (np.int64(classes[code]) & ALNUM or code == 0x5F or code == 0x2B or code == 0x2D or code == 0x2E):
            return False
        n += 1
        i += width
    return n >= 2


@inner
def join_exceptions(data: np.ndarray, start: np.ndarray, end: np.ndarray, first: Int, n: Int, exceptions: np.ndarray) -> Int:
    """Words first.. of one chunk: neighbours that together are an exception become one word, from the left, longest first."""
    written = first
    i = first
    while i < n:
        a = start[i]
        b = end[i]
        last = i
        if i + 1 < n and b - a < LONGEST_WHOLE and in_exceptions(data, b - 1, exceptions) & in_exceptions(data, a, exceptions):
            h = string_hash(data, a, b, _WORD)
            for j in range(i + 1, n):
                if end[j] - a > LONGEST_WHOLE:
                    break
                h = string_hash(data, start[j], end[j], h)
                if find_exception(h, exceptions) == 0:
                    last = j
        if last > written:
            start[written] = a
            end[written] = end[last]
        written += 1
        i = last + 1
    return written


@inner
def split_chunk(
    data: np.ndarray,
    a: Int,
    b: Int,
    classes: np.ndarray,
    exceptions: np.ndarray,
    start: np.ndarray,
    end: np.ndarray,
    n: Int,
) -> Int:
    """Words of one chunk [a, b) without white space, by rules 2 to 4; returns the new number of words."""
    first = n
    joins = np.uint64(0)  # whether two words side by side might belong together
    while a < b:
        code, width = decode(data, a)
        if code == 0x2E:
            run = a + 1
            while run < b and data[run] == 0x2E:
                run += 1
            if run - a < 2:
                break
            width = run - a
        elif code == 0x2B:
            if class_at(data, a + 1, b, classes) & DIGIT:
                break
        elif not np.int64(classes[code]) & (LEAD | ICON):
            break
        n = put(start, end, n, a, a + width)
        a += width
        if a < b:
            joins |= in_exceptions(data, a - 1, exceptions)
    c = b
    while c > a:
        piece = trailing(data, a, c, classes)
        if piece == c:
            break
        c = piece
    i = a
    word = a
    previous: Int = 0
    apostrophe = False
    while i < c:
        code, width = decode(data, i)
        kind = np.int64(classes[code])
        cut = 0
        if not kind & (LETTERISH | DIGIT):
            cut = infix_length(data, i, c, code, width, previous, classes)
            apostrophe |= code == 0x27 or code == 0x2019
        if cut:
            if word == a and has_full_stop(data, a, c) and is_address(data, a, c, classes):
                break
            if i > word:
                n = put(start, end, n, word, i)
                joins |= in_exceptions(data, i - 1, exceptions)
            n = put(start, end, n, i, i + cut)
            i += cut
            if i < b:
                joins |= in_exceptions(data, i - 1, exceptions)
            word = i
        else:
            i += width
        previous = kind
    if apostrophe and word == a and c - a <= LONGEST_SPLIT:
        parts = find_exception(string_hash(data, a, c, _WORD), exceptions)
        while parts > 0:
            word = a + (parts & 0xFF)
            n = put(start, end, n, a, word)
            a = word
            parts >>= 8
    if c > word:
        n = put(start, end, n, word, c)
    while c < b:  # what `trailing` took off: a run of full stops, 's, or one code point
        code, width = decode(data, c)
        piece = c + width
        if code == 0x2E:
            while piece < b and data[piece] == 0x2E:
                piece += 1
        elif (code == 0x27 or code == 0x2019) and piece < b and data[piece] | 0x20 == 0x73:
            piece += 1
        joins |= in_exceptions(data, c - 1, exceptions)  # c is not the chunk's first byte: that would have been taken off above
        n = put(start, end, n, c, piece)
        c = piece
    return join_exceptions(data, start, end, first, n, exceptions) if joins != 0 and n <= start.size else n


@kernel
def segment_spans(
    data: np.ndarray,
    offsets: np.ndarray,
    classes: np.ndarray,
    exceptions: np.ndarray,
    first: int,
    doc_ptr: np.ndarray,
    start: np.ndarray,
    end: np.ndarray,
) -> tuple[int, int]:
    """Words of documents first.. as byte spans; returns (documents done, words needed by then).

    Stops before the first document whose words do not fit into `start`; doc_ptr is filled up to the documents done.
    """
    n = doc_ptr[first]
    for doc in range(first, offsets.size - 1):
        i = offsets[doc]
        stop = offsets[doc + 1]
        while i < stop:
            code, width = decode(data, i)
            kind = before_mark = classes[code]
            if kind & SPACE:
                i += width
                continue
            chunk = i
            while kind & (LETTERISH | DIGIT):
                before_mark = kind
                i += width
                if i + 8 <= stop and data[i] < 0x80:  # over up to eight letters and digits of ASCII at once
                    skipped = leading_alnum(load8(data, i))
                    if skipped:
                        i += skipped
                        before_mark = classes[data[i - 1]]
                if i >= stop:
                    break
                code, width = decode(data, i)
                kind = classes[code]
            if i >= stop or kind & SPACE:  # letters and digits only: three chunks of four
                n = put(start, end, n, chunk, i)
                continue
            mark = i
            i += width
            # One code point, or letters and one mark that rule 2 takes off: most of the rest, decided without split_chunk.
            if i >= stop or classes[decode(data, i)[0]] & SPACE:
                if mark == chunk:
                    n = put(start, end, n, chunk, i)
                    continue
                if kind & (TRAIL | ICON) or (code == 0x2E and before_mark & (LOWER | DIGIT)):
                    short = i - chunk <= LONGEST_WHOLE
                    if short and in_exceptions(data, chunk, exceptions) & in_exceptions(data, mark - 1, exceptions):
                        whole = find_exception(string_hash(data, chunk, i, _WORD), exceptions) == 0
                    else:
                        whole = False
                    if whole:
                        n = put(start, end, n, chunk, i)
                        continue
                    n = put(start, end, n, chunk, mark)
                    n = put(start, end, n, mark, i)
                    continue
            while i < stop:
                code, width = decode(data, i)
                if classes[code] & SPACE:
                    break
                i += width
            n = split_chunk(data, chunk, i, classes, exceptions, start, end, n)
        if n > start.size:
            return doc, n
        doc_ptr[doc + 1] = n
    return offsets.size - 1, n


@inner
def first_bytes(x: np.uint64, n: Int) -> np.uint64:
    """The first n bytes of x, the others 0; n below 1: none, above 7: all. No branch."""
    kept = ~np.uint64(0) >> np.uint64(64 - 8 * max(1, min(n, 8)))
    return x & kept & (np.uint64(0) - np.uint64(n > 0))


@inner
def bytes_hash(data: np.ndarray, i: Int, stop: Int) -> np.uint64:
    """Hash of the bytes [i, stop), i < stop."""
    h = _WORD
    for k in range(i, stop, 8):
        h = absorb(h, up_to_8(data, k, stop))
    return mix(h ^ np.uint64(stop - i))


@inner
def lower_hash(data: np.ndarray, i: Int, stop: Int, lower_delta: np.ndarray) -> np.uint64:
    """`bytes_hash` of the UTF-8 of the word [i, stop) in simple lower case."""
    h = _WORD
    held = np.uint64(0)  # bytes that are not absorbed yet
    n_held = 0
    n = 0
    while i < stop:
        c, width = decode(data, i)
        i += width
        x, size = encoded(c + lower_delta[c])
        n += size
        h, held, n_held = hold(h, held, n_held, x, size)
    if n_held:
        h = absorb(h, held)
    return mix(h ^ np.uint64(n))


@kernel
def word_attributes(
    data: np.ndarray,
    start: np.ndarray,
    end: np.ndarray,
    classes: np.ndarray,
    lower_delta: np.ndarray,
    chars: np.ndarray,
    flags: np.ndarray,
    exact: np.ndarray,
    lower: np.ndarray,
) -> None:
    """Per word: code points, flags, 64-bit hash of its UTF-8 bytes and of those of its simple lower-case form.

    Words of ASCII of up to 16 bytes, most of all, go without a branch that depends on them: what is guessed wrong costs more than the rest."""
    for word in range(start.size):
        i = start[word]
        stop = end[word]
        n = stop - i
        if n <= 16 and i + 16 <= data.size:
            x = first_bytes(load8(data, i), n)
            y = first_bytes(load8(data, i + 8), n - 8)
            h = absorb(_WORD, x)
            h = absorb(h, y) if n > 8 else h
            exact[word] = mix(h ^ np.uint64(n))
            if not (x | y) & HIGH:
                small_x = x | between(x, 0x41, 0x5A) >> np.uint64(2)
                small_y = y | between(y, 0x41, 0x5A) >> np.uint64(2)
                h = absorb(_WORD, small_x)
                h = absorb(h, small_y) if n > 8 else h
                lower[word] = mix(h ^ np.uint64(n))
                chars[word] = n
                letters = between(small_x, 0x61, 0x7A) | between(small_y, 0x61, 0x7A)
                alnum = letters | between(x, 0x30, 0x39) | between(y, 0x30, 0x39)
                blank = between(x, 0x09, 0x0A) | between(y, 0x09, 0x0A) | between(x, 0x20, 0x20) | between(y, 0x20, 0x20)
                flags[word] = (
                    HAS_LETTER * (letters != 0) | HAS_ALNUM * (alnum != 0) | HAS_NON_SYMBOL * ((alnum | blank) != 0)
                )  # of ASCII only letters, digits, tab, line feed and space are no SYMBOL
                continue
        else:
            exact[word] = bytes_hash(data, i, stop)
        seen = np.uint32(0)
        symbols = 0
        n = 0
        changed = 0
        k = i
        while k < stop:
            c, width = decode(data, k)
            kind = classes[c]
            seen |= kind
            symbols += kind & SYMBOL != 0
            changed |= lower_delta[c]
            n += 1
            k += width
        chars[word] = n
        flags[word] = (
            (HAS_LETTER if seen & LETTER else 0) | (HAS_ALNUM if seen & ALNUM else 0) | (HAS_NON_SYMBOL if symbols < n else 0)
        )
        lower[word] = lower_hash(data, i, stop, lower_delta) if changed else exact[word]


@kernel
def length_counts(
    data: np.ndarray, offsets: np.ndarray, classes: np.ndarray, n_chars: np.ndarray, n_lines: np.ndarray, n_paragraphs: np.ndarray
) -> None:
    """Code points, lines (pieces between \\n; a final \\n ends the last one) and paragraphs (runs of non-blank lines)."""
    for doc in range(offsets.size - 1):
        chars = 0
        lines = 0
        paragraphs = 0
        blank = True  # nothing but white space in the current line
        in_paragraph = False
        i = offsets[doc]
        stop = offsets[doc + 1]
        while i < stop:
            c = data[i]
            if c == 0x0A:
                lines += 1
                if blank:
                    in_paragraph = False
                blank = True
                i += 1
            elif blank:
                code, width = decode(data, i)
                if not classes[code] & SPACE:
                    blank = False
                    if not in_paragraph:
                        paragraphs += 1
                        in_paragraph = True
                i += width
            else:
                i += 1
            chars += c & 0xC0 != 0x80
            # A multi-byte code point is stepped over whole only on the blank branch; its later bytes never count.
        if stop > offsets[doc] and data[stop - 1] != 0x0A:
            lines += 1
        n_chars[doc] = chars
        n_lines[doc] = lines
        n_paragraphs[doc] = paragraphs


@kernel
def gopher_line_counts(
    data: np.ndarray,
    offsets: np.ndarray,
    classes: np.ndarray,
    hashes: np.ndarray,
    ellipses: np.ndarray,
    bullets: np.ndarray,
    ellipsis_ends: np.ndarray,
    lines: np.ndarray,
) -> None:
    """Counts of datatrove's GopherQualityFilter that need no words; lines are those of str.splitlines()."""
    for doc in range(offsets.size - 1):
        n_hashes = 0
        n_ellipses = 0
        n_bullets = 0
        n_ends = 0
        n_lines = 0
        run = 0  # full stops directly before byte i
        ends = False  # the text of the line so far, white space at its end aside, ends with an ellipsis
        started = False  # a non-space was seen in the line
        fresh = True  # at the start of a line
        i = offsets[doc]
        stop = offsets[doc + 1]
        while i < stop:
            c = data[i]
            if started and 0x2F <= c < 0x80:  # no space, full stop, # or -: most bytes
                run = 0
                ends = False
                i += 1
                continue
            code, width = decode(data, i)
            kind = classes[code]
            i += width
            if kind & SPACE:
                run = 0
                fresh = False
                if kind & BREAK:
                    if code == 0x0D and i < stop and data[i] == 0x0A:
                        i += 1
                    n_lines += 1
                    n_ends += ends
                    ends = False
                    started = False
                    fresh = True
                continue
            if not started:
                started = True
                fresh = False
                n_bullets += code == 0x2D or code == 0x2022
            if code == 0x2E:
                run += 1
                n_ellipses += run % 3 == 0  # str.count does not overlap
                ends = run >= 3
                continue
            run = 0
            ends = code == 0x2026
            n_ellipses += ends
            n_hashes += code == 0x23
        if not fresh:
            n_lines += 1
            n_ends += ends
        hashes[doc] = n_hashes
        ellipses[doc] = n_ellipses
        bullets[doc] = n_bullets
        ellipsis_ends[doc] = n_ends
        lines[doc] = n_lines


@kernel(allocates=True)
def gopher_word_counts(
    doc_ptr: np.ndarray,
    flags: np.ndarray,
    chars: np.ndarray,
    exact: np.ndarray,
    stop_table: np.ndarray,
    non_symbol: np.ndarray,
    non_symbol_chars: np.ndarray,
    alpha: np.ndarray,
    stop_words: np.ndarray,
) -> None:
    """Counts of datatrove's GopherQualityFilter over words. `stop_table`: open addressing by hash, 0 empty, size 2**k."""
    mask = np.uint64(stop_table.size - 1)
    seen = np.full(stop_table.size, -1, np.int64)
    for doc in range(doc_ptr.size - 1):
        n_non_symbol = 0
        n_chars = 0
        n_alpha = 0
        n_stop = 0
        for word in range(doc_ptr[doc], doc_ptr[doc + 1]):
            flag = flags[word]
            if flag & HAS_NON_SYMBOL:
                n_non_symbol += 1
                n_chars += chars[word]
            n_alpha += flag & HAS_LETTER
            slot = np.int64(exact[word] & mask)
            while stop_table[slot] != 0:
                if stop_table[slot] == exact[word]:
                    if seen[slot] != doc:
                        seen[slot] = doc
                        n_stop += 1
                    break
                slot = (slot + 1) & (stop_table.size - 1)
        non_symbol[doc] = n_non_symbol
        non_symbol_chars[doc] = n_chars
        alpha[doc] = n_alpha
        stop_words[doc] = n_stop


@kernel
def normalised_hashes(
    data: np.ndarray, offsets: np.ndarray, classes: np.ndarray, lower_delta: np.ndarray, held: np.ndarray, normalised: np.ndarray
) -> None:
    """The 128-bit hash (n, 2) of every document's UTF-8 in simple lower case, white space left out. `held`: uint8 (BLOCK + 8,)."""
    for doc in range(offsets.size - 1):
        h1 = _TEXT_1
        h2 = _TEXT_2
        n: Int = 0
        k: Int = 0  # bytes held
        i = offsets[doc]
        stop = offsets[doc + 1]
        while i < stop:
            while i < stop and k < BLOCK:
                c = np.int64(data[i])
                if c < 0x80:
                    held[k] = c + 32 if 0x41 <= c <= 0x5A else c
                    k += 1 - np.int64(classes[c] & SPACE)
                    i += 1
                    continue
                c, width = decode(data, i)
                i += width
                if classes[c] & SPACE:
                    continue
                x, size = encoded(c + lower_delta[c])
                for j in range(size):
                    held[k + j] = x >> np.uint64(8 * j)
                k += size
            whole = k & ~7
            for j in range(0, whole, 8):
                x = load8(held, j)
                h1 = (h1 ^ x) * _MULTIPLY
                h1 ^= h1 >> np.uint64(29)
                h2 = (h2 + x) * BASE
                h2 ^= h2 >> np.uint64(31)
            n += whole
            k -= whole
            for j in range(k):
                held[j] = held[whole + j]
        if k:
            x = up_to_8(held, 0, k)
            h1 = (h1 ^ x) * _MULTIPLY
            h1 ^= h1 >> np.uint64(29)
            h2 = (h2 + x) * BASE
            h2 ^= h2 >> np.uint64(31)
            n += k
        normalised[doc, 0] = mix(h1 ^ np.uint64(n))
        normalised[doc, 1] = mix(h2 ^ np.uint64(n))
