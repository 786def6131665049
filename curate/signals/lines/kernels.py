"""Line rules over a batch of texts: UTF-8 bytes in, spans and counts per document out. Spans are absolute byte positions.

`data` uint8 (valid UTF-8), `offsets` int64 (n_docs + 1), `classes` uint32 of curate.text.unicode. A span is written where there is
room and counted always: the caller comes again with larger arrays. Counts are int64 (n_docs, n_kinds). Definitions: __init__.py.
Every rule looks at no more of a line than it must: that is where the speed comes from. Imports jit and text's kernels.
"""

from __future__ import annotations

import numpy as np

from curate.jit import inner, kernel
from curate.text.kernels import ALNUM, BREAK, CASED_UP, DIGIT, SPACE, Int, before, decode

# Kinds, as columns of `counts` and as they stand in Spans.kind.
LONG, PUNCT, FEW, JAVASCRIPT, POLICY, CITATION, UPPERCASE, NUMERIC, COUNTER, ONE_WORD, EDIT = range(11)
N_KINDS = 11

MAX_WORD_CHARS = 1000  # C4: tfds c4_utils.py _MAX_WORD_LENGTH
MIN_LINE_WORDS = 3  # C4: _MIN_WORDS_PER_LINE; Raffel et al. 2020, section 2.2
MAX_EDIT_WORDS = 10  # RefinedWeb, Penedo et al. 2023, appendix G.2

Line = tuple[Int, Int, Int, Int]  # begin, first and last of the stripped line, end after the line's end
Out = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # row, start, end, kind of the spans; counts


def _bytes(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), np.uint8).copy()


_JAVASCRIPT = _bytes("javascript")
_TERMS, _PRIVACY, _COOKIE = _bytes("terms of use"), _bytes("privacy policy"), _bytes("cookie policy")
_USES_COOKIES, _USE_OF_COOKIES, _USE_COOKIES = _bytes("uses cookies"), _bytes("use of cookies"), _bytes("use cookies")
_EDIT_MARK, _NEEDED_MARK = _bytes("[edit]"), _bytes("[citation needed]")
_SIGN_IN, _READ_MORE, _IN_CART = _bytes("sign-in"), _bytes("read more"), _bytes("items in cart")
_COUNTED = np.array([  # DCLM counter_line_modifier; padded with 0
    list(word.encode().ljust(9, b"\0"))
    for word in ("likes", "shares", "comments", "retweets", "reposts", "quotes", "bookmarks", "upvotes", "downvotes", "downloads",
                 "views", "followers")
], np.uint8)  # fmt: skip

_CASE = np.uint8(0x20)  # the bit that tells a from A; set or not, a digit or mark stays apart from all letters
_CASE = np.uint8(0x20)  # the bit that tells a from A; set or not, other bytes stay apart from letters
_BLOCK = 512  # bytes looked through at once for C4's phrases

_MAY_SPACE = np.zeros(256, np.uint8)  # first bytes of white space (str.isspace())
_MAY_SPACE[[*range(0x09, 0x0E), *range(0x1C, 0x21), 0xC2, 0xE1, 0xE2, 0xE3]] = 1
_MAY_BREAK = np.zeros(256, np.uint8)  # first bytes of the code points at which str.splitlines() ends a line
_MAY_BREAK[[0x0A, 0x0B, 0x0C, 0x0D, 0x1C, 0x1D, 0x1E, 0xC2, 0xE2]] = 1


@inner
def put(out: Out, n: Int, doc: Int, a: Int, b: Int, what: Int) -> Int:
    """Write span n where there is room for it; returns n + 1."""
    row, start, end, kind, _ = out
    if n < start.size:
        row[n] = doc
        start[n] = a
        end[n] = b
        kind[n] = what
    return n + 1


@inner
def add(out: Out, n: Int, doc: Int, a: Int, b: Int, what: Int) -> Int:
    """`put`, and count it."""
    out[4][doc, what] += 1
    return put(out, n, doc, a, b, what)


@inner
def lower(data: np.ndarray, i: Int) -> Int:
    c = np.int64(data[i])
    return c + 32 if 0x41 <= c <= 0x5A else c


@inner
def matched(data: np.ndarray, i: Int, stop: Int, pattern: np.ndarray, any_case: bool) -> bool:
    """`pattern` (lower-case ASCII) stands at byte i, before `stop`."""
    if i + pattern.size > stop:
        return False
    for p in range(pattern.size):
        c = lower(data, i + p) if any_case else np.int64(data[i + p])
        if c != pattern[p]:
            return False
    return True


@inner
def space_after(data: np.ndarray, i: Int, stop: Int, classes: np.ndarray) -> Int:
    """The first byte from i on that is not white space."""
    while i < stop:
        code, width = decode(data, i)
        if not classes[code] & SPACE:
            break
        i += width
    return i


@inner
def space_before(data: np.ndarray, i: Int, first: Int, classes: np.ndarray, most: Int) -> Int:
    """Where the run of white space before byte i begins, of at most `most` code points and not before `first`."""
    while i > first and most > 0:
        j = before(data, i)
        if not classes[decode(data, j)[0]] & SPACE:
            break
        i = j
        most -= 1
    return i


@kernel
def words_up_to(data: np.ndarray, i: Int, last: Int, classes: np.ndarray, most: Int) -> Int:
    """Words between white space of a stripped line [i, last), not counting beyond `most`."""
    n: Int = 0
    gap = i  # the byte after the last white space
    while i < last:
        if _MAY_SPACE[data[i]]:
            code, width = decode(data, i)
            if classes[code] & SPACE:
                if i > gap:
                    n += 1
                    if n == most:
                        return n
                gap = i + width
            i += width
        else:
            i += 1
    return n + (last > gap)


# ---- C4


@inner
def has_long_word(data: np.ndarray, first: Int, last: Int, classes: np.ndarray) -> bool:
    """A word of more than MAX_WORD_CHARS code points in [first, last). White space is looked for backwards from as far as a word
    of so many bytes would reach, so that nearly nothing is read."""
    while last - first > MAX_WORD_CHARS:
        i = first + MAX_WORD_CHARS + 1
        while i < last and data[i] & 0xC0 == 0x80:
            i += 1
        while i > first:
            j = before(data, i)
            if classes[decode(data, j)[0]] & SPACE:
                break
            i = j
        if i == first:  # no white space in so many bytes: count code points to the word's end
            chars = 0
            while i < last:
                code, width = decode(data, i)
                if classes[code] & SPACE:
                    break
                chars += 1
                i += width
            if chars > MAX_WORD_CHARS:
                return True
            i = space_after(data, i, last, classes)
        first = i
    return False


# The next four have no branch, only unsigned bytes, and a slice, whose indices need no check for negative ones: LLVM makes vector
# code of them, some 20 times faster than a search that can end early.


@inner
def lacks_phrases(text: np.ndarray) -> bool:
    """True only where neither javascript nor a policy phrase is in the text: none of ascr, okie, licy, f use."""
    least = np.uint8(255)
    for i in range(text.size - 4):
        a, b, c, d, e = text[i] | _CASE, text[i + 1] | _CASE, text[i + 2] | _CASE, text[i + 3] | _CASE, text[i + 4] | _CASE
        ascr = (a ^ np.uint8(0x61)) | (b ^ np.uint8(0x73)) | (c ^ np.uint8(0x63)) | (d ^ np.uint8(0x72))
        okie = (a ^ np.uint8(0x6F)) | (b ^ np.uint8(0x6B)) | (c ^ np.uint8(0x69)) | (d ^ np.uint8(0x65))
        licy = (b ^ np.uint8(0x6C)) | (c ^ np.uint8(0x69)) | (d ^ np.uint8(0x63)) | (e ^ np.uint8(0x79))
        f_use = (a ^ np.uint8(0x66)) | (b ^ _CASE) | (c ^ np.uint8(0x75)) | (d ^ np.uint8(0x73)) | (e ^ np.uint8(0x65))
        least = min(least, min(min(np.uint8(ascr), np.uint8(okie)), min(np.uint8(licy), np.uint8(f_use))))
    return least != 0


@inner
def lacks_bracket(text: np.ndarray) -> bool:
    least = np.uint8(255)
    for i in range(text.size):
        least = min(least, np.uint8(text[i] ^ np.uint8(0x5B)))
    return least != 0


@inner
def lacks_cart(text: np.ndarray) -> bool:
    """True only where items in cart is not in the text: no `n car`."""
    least = np.uint8(255)
    for i in range(text.size - 4):
        a, b, c, d, e = text[i] | _CASE, text[i + 1] | _CASE, text[i + 2] | _CASE, text[i + 3] | _CASE, text[i + 4] | _CASE
        n_ca = (a ^ np.uint8(0x6E)) | (b ^ _CASE) | (c ^ np.uint8(0x63)) | (d ^ np.uint8(0x61)) | (e ^ np.uint8(0x72))
        least = min(least, np.uint8(n_ca))
    return least != 0


@inner
def n_plain(text: np.ndarray) -> Int:
    """ASCII bytes that are no upper-case letters."""
    n = 0
    for i in range(text.size):
        n += (text[i] < np.uint8(0x41)) | ((text[i] > np.uint8(0x5A)) & (text[i] < np.uint8(0x80)))
    return n


@inner
def phrase_at(data: np.ndarray, i: Int, first: Int, stop: Int, pattern: np.ndarray) -> bool:
    return False if i < first else matched(data, i, stop, pattern, True)


@inner
def policy_at(data: np.ndarray, i: Int, first: Int, stop: Int) -> bool:
    """One of C4's policy phrases has its first blank at byte i of the line [first, stop)."""
    if i + 1 >= stop:
        return False
    c = lower(data, i + 1)
    if c == 0x70:  # p
        return phrase_at(data, i - 7, first, stop, _PRIVACY) or phrase_at(data, i - 6, first, stop, _COOKIE)
    if c == 0x63:  # c
        return phrase_at(data, i - 4, first, stop, _USES_COOKIES) or phrase_at(data, i - 3, first, stop, _USE_COOKIES)
    if c == 0x6F:  # o
        return phrase_at(data, i - 5, first, stop, _TERMS) or phrase_at(data, i - 3, first, stop, _USE_OF_COOKIES)
    return False


@inner
def citation_end(data: np.ndarray, i: Int, stop: Int, classes: np.ndarray) -> Int:
    r"""End of the citation mark (\[\d*\], [edit], [citation needed]) that begins at byte i, which is [; -1 where there is none."""
    if matched(data, i, stop, _EDIT_MARK, False):
        return i + _EDIT_MARK.size
    if matched(data, i, stop, _NEEDED_MARK, False):
        return i + _NEEDED_MARK.size
    i += 1
    while i < stop:
        if data[i] == 0x5D:
            return i + 1
        code, width = decode(data, i)
        if not classes[code] & DIGIT:
            return -1
        i += width
    return -1


@inner
def has_terminal(data: np.ndarray, first: Int, last: Int) -> bool:
    """The stripped line ends with . ? ! " or ' and not with ... ."""
    if last <= first:
        return False
    c = data[last - 1]
    if c == 0x2E:
        return not (last - first >= 3 and data[last - 2] == 0x2E and data[last - 3] == 0x2E)
    return c == 0x3F or c == 0x21 or c == 0x22 or c == 0x27


@inner
def phrases(data: np.ndarray, first: Int, last: Int) -> tuple[bool, bool]:
    """(javascript, a policy phrase) in the line [first, last)."""
    javascript = False
    policy = False
    for i in range(first, last):
        c = data[i]
        if c == 0x20:
            policy |= policy_at(data, i, first, last)
        elif c | 0x20 == 0x6A:
            javascript |= matched(data, i, last, _JAVASCRIPT, True)
    return javascript, policy


@inner(allocates=True)
def without_citations(data: np.ndarray, first: Int, last: Int, classes: np.ndarray) -> np.ndarray:
    """The bytes of the line [first, last) without its citation marks."""
    line = np.empty(last - first, np.uint8)
    n = 0
    i = first
    while i < last:
        end = citation_end(data, i, last, classes) if data[i] == 0x5B else -1
        if end < 0:
            line[n] = data[i]
            n += 1
            end = i + 1
        i = end
    return line[:n]


@inner
def c4_line(
    data: np.ndarray, line: Line, words: Int, may_phrase: bool, may_cite: bool, classes: np.ndarray, out: Out, n: Int, doc: Int
) -> Int:
    """C4's rules over a line of `words` words (3 at most are counted); returns the new n."""
    begin, first, last, end = line
    terminal = has_terminal(data, first, last)
    javascript = False
    policy = False
    cited = n
    if may_cite:
        for i in range(first, last):
            closed = citation_end(data, i, last, classes) if data[i] == 0x5B else -1
            if closed >= 0:
                n = add(out, n, doc, i, closed, CITATION)
    if n > cited:  # C4 takes the marks out, then looks on
        left = without_citations(data, first, last, classes)
        terminal = has_terminal(left, 0, left.size)
        javascript, policy = phrases(left, 0, left.size)
    elif may_phrase:
        javascript, policy = phrases(data, first, last)
    if has_long_word(data, first, last, classes):
        n = add(out, n, doc, begin, end, LONG)
    if not terminal:
        n = add(out, n, doc, begin, end, PUNCT)
    if words < MIN_LINE_WORDS:
        n = add(out, n, doc, begin, end, FEW)
    if javascript:
        n = add(out, n, doc, begin, end, JAVASCRIPT)
    if policy:
        n = add(out, n, doc, begin, end, POLICY)
    return n


# ---- RefinedWeb


@inner
def is_uppercase(data: np.ndarray, first: Int, last: Int, classes: np.ndarray) -> bool:
    """More than half of the code points are upper case."""
    if 2 * n_plain(data[first:last]) >= last - first:  # half of the bytes are half of the code points at least
        return False
    uppers = 0
    others = 0
    i = first
    while i < last:
        code, width = decode(data, i)
        if classes[code] & CASED_UP:
            uppers += 1
        else:
            others += 1
        i += width
    return uppers > others


@inner
def is_numeric(data: np.ndarray, i: Int, last: Int, classes: np.ndarray) -> bool:
    while i < last:
        code, width = decode(data, i)
        if not classes[code] & DIGIT:
            return False
        i += width
    return True


@inner
def mark_after(data: np.ndarray, i: Int, last: Int, classes: np.ndarray) -> Int:
    r"""The first byte from i on that is \w: a letter, a digit or _."""
    while i < last:
        code, width = decode(data, i)
        if classes[code] & ALNUM or code == 0x5F:
            break
        i += width
    return i


@inner
def is_counter(data: np.ndarray, i: Int, last: Int, classes: np.ndarray) -> bool:
    r"""The line [i, last) is ^\W*\d[,.\d]*[kmb]?\s+(likes|...)\W*$ in lower case (DCLM counter_line_modifier)."""
    i = mark_after(data, i, last, classes)
    digits = 0
    while i < last:
        code, width = decode(data, i)
        if not (classes[code] & DIGIT or (digits and (code == 0x2C or code == 0x2E))):
            break
        digits += 1
        i += width
    if digits == 0 or i >= last:
        return False
    c = lower(data, i)
    if c == 0x6B or c == 0x6D or c == 0x62:
        i += 1
    word = space_after(data, i, last, classes)
    if word == i:
        return False
    for w in range(_COUNTED.shape[0]):
        size = 0
        while size < _COUNTED.shape[1] and _COUNTED[w, size] != 0:
            size += 1
        if matched(data, word, last, _COUNTED[w, :size], True):
            return mark_after(data, word + size, last, classes) == last
    return False


@inner
def ends_with_more(data: np.ndarray, first: Int, last: Int) -> Int:
    """Where read more... (or …) begins at the end of the stripped line; -1 where it does not stand there."""
    more = last - 3 - _READ_MORE.size  # ... and … are three bytes both
    if more < first or not matched(data, more, last, _READ_MORE, True):
        return -1
    a, b, c = data[last - 3], data[last - 2], data[last - 1]
    return more if (a == 0x2E and b == 0x2E and c == 0x2E) or (a == 0xE2 and b == 0x80 and c == 0xA6) else -1


@inner
def short_edit(data: np.ndarray, line: Line, may_have_cart: bool, classes: np.ndarray, out: Out, n: Int, doc: Int) -> Int:
    """Spans of the phrases in a line that is not blank; the whole line where nothing else is in it. Returns the new n."""
    begin, first, last, end = line
    begun = n
    more = ends_with_more(data, first, last)
    has_sign_in = matched(data, first, last, _SIGN_IN, True)
    if (
        not (has_sign_in or more >= 0 or may_have_cart)
        or words_up_to(data, first, last, classes, MAX_EDIT_WORDS + 1) > MAX_EDIT_WORDS
    ):
        return n
    rest = first  # what lies before is cut or white space
    if has_sign_in:
        rest = first + _SIGN_IN.size
        blank = rest
        if rest < last:
            code, width = decode(data, rest)
            blank = rest + width if classes[code] & SPACE else rest
        n = put(out, n, doc, first, blank, EDIT)
        rest = space_after(data, rest, last, classes)
    i = first
    while i + _IN_CART.size <= last:
        if matched(data, i, last, _IN_CART, True):
            n = put(out, n, doc, space_before(data, i, first, classes, 1), i + _IN_CART.size, EDIT)
            if i == rest:
                rest = space_after(data, i + _IN_CART.size, last, classes)
            i += _IN_CART.size
        else:
            i += 1
    if more >= 0:
        n = put(out, n, doc, space_before(data, more, first, classes, 1), last, EDIT)
        if more == rest:
            rest = last
    if n > begun:
        out[4][doc, EDIT] += 1
    return put(out, begun, doc, begin, end, EDIT) if n > begun and rest >= last else n


@inner
def refinedweb_line(
    data: np.ndarray, line: Line, words: Int, may_have_cart: bool, classes: np.ndarray, out: Out, n: Int, doc: Int
) -> Int:
    """RefinedWeb's rules over a line that is not blank; returns the new n."""
    begin, first, last, end = line
    if is_uppercase(data, first, last, classes):
        n = add(out, n, doc, begin, end, UPPERCASE)
    if is_numeric(data, first, last, classes):
        n = add(out, n, doc, begin, end, NUMERIC)
    if is_counter(data, first, last, classes):
        n = add(out, n, doc, begin, end, COUNTER)
    if words == 1:
        n = add(out, n, doc, begin, end, ONE_WORD)
    return short_edit(data, line, may_have_cart, classes, out, n, doc)


@kernel
def line_spans(data: np.ndarray, offsets: np.ndarray, classes: np.ndarray, out: Out) -> Int:
    """All spans, document by document, by the end of their line; returns their number. C4 cuts lines where str.splitlines() does,
    RefinedWeb at \n only, so that its line may hold several of C4's."""
    n: Int = 0
    for doc in range(offsets.size - 1):
        i = offsets[doc]
        stop = offsets[doc + 1]
        may_have_cart = not lacks_cart(data[i:stop])
        block_end = i
        may_phrase = False
        may_cite = False
        web_line = i
        while i < stop:
            begin = i
            last = stop
            at_newline = True
            while i < stop:
                if _MAY_BREAK[data[i]]:
                    code, width = decode(data, i)
                    if classes[code] & BREAK:
                        last = i
                        i += 2 if code == 0x0D and i + 1 < stop and data[i + 1] == 0x0A else width
                        at_newline = data[i - 1] == 0x0A or i == stop
                        break
                i += 1
            first = space_after(data, begin, last, classes)
            last = space_before(data, last, first, classes, last - first)
            words = words_up_to(data, first, last, classes, MIN_LINE_WORDS)
            if i > block_end:  # a line lies in the block that begins with it, or in the block of a line before
                block_end = min(max(i, begin + _BLOCK), stop)
                may_phrase = not lacks_phrases(data[begin:block_end])
                may_cite = not lacks_bracket(data[begin:block_end])
            n = c4_line(data, (begin, first, last, i), words, may_phrase, may_cite, classes, out, n, doc)
            if not at_newline:
                continue
            if web_line < begin:
                first = space_after(data, web_line, i, classes)
                last = space_before(data, i, first, classes, i - first)
                words = words_up_to(data, first, last, classes, MIN_LINE_WORDS)
            if first < last:
                n = refinedweb_line(data, (web_line, first, last, i), words, may_have_cart, classes, out, n, doc)
            web_line = i
    return n
