"""Numba kernels of the C4 signals: bytes and words of a batch in, what becomes of every line and the kept ones' sentences out.

In: `data` uint8 (validated UTF-8), `offsets` int64 (n_docs + 1), `classes` uint32 and `marks` uint8 (2**21 each, by code point;
curate.text and punctuation.py), words as in text.Segments. Out: `out` int64 (n_docs, 11), columns as numbered below. Definitions in
plain Python: tests/signals/reference.py. Imports jit and the helpers of the other kernels.
"""

from __future__ import annotations

import numpy as np

from curate.jit import inner, kernel
from curate.signals.kernels import (
    HIGH,
    ONES,
    PUNCTUATION,
    SENTENCE_END,
    SPACES,
    code_points,
    first_filled,
    first_high,
    last_filled,
    load8,
)
from curate.text.kernels import BREAK, DIGIT, SPACE, Int, before, decode

LONG_WORD = 1000  # code points; C4's max_word_length
MIN_LINE_WORDS = 3  # C4's min_words_per_line

# What becomes of a line in C4's filter, in the order of its checks: column of `c4_lines`, after n_c4_lines (0).
KEPT, TOO_LONG_WORD, NO_TERMINAL, FEW_WORDS, LOREM_IPSUM, JAVASCRIPT, CURLY_BRACKET, POLICY = 1, 2, 3, 4, 5, 6, 7, 8
SENTENCES, CITATIONS = 9, 10

_ASK_BREAK, _ASK_CITATION = 1, 2
_ASK = np.zeros(256, np.uint8)  # bytes at which a line may end, or a citation begin
_ASK[0x0A:0x20] = _ASK_BREAK
_ASK[[0xC2, 0xE2]] = _ASK_BREAK  # first bytes of U+0085, U+2028, U+2029
_ASK[0x5B] = _ASK_CITATION
_ENDS = np.zeros(256, np.bool_)  # first bytes of sentence ends
_ENDS[[0x21, 0x2E, 0x3F]] = True
_ENDS[0xC2:] = True
_PHRASES = np.frombuffer(
    b"lorem ipsumjavascriptterms of useprivacy policycookie policyuses cookiesuse of cookiesuse cookies",
    np.uint8,
)
_PHRASE_ENDS = np.array([11, 21, 33, 47, 60, 72, 86, 97])
_TRACE = 7  # the letters of `traced` begin at most so far behind the beginning of their phrase: terms o[f us]e
_EDIT, _NEEDED = np.frombuffer(b"edit]", np.uint8), np.frombuffer(b"citation needed]", np.uint8)
_BRACKETS, _C2, _E2 = np.uint64(0x5B5B5B5B5B5B5B5B), np.uint64(0xC2C2C2C2C2C2C2C2), np.uint64(0xE2E2E2E2E2E2E2E2)


@inner
def line_end(data: np.ndarray, i: Int, stop: Int, classes: np.ndarray) -> tuple[Int, Int, bool]:
    """(end of the line of str.splitlines() at i, start of the next one, whether it holds a [)."""
    brackets = False
    while i < stop:
        if i + 8 <= stop:
            x = load8(data, i)
            y = x ^ _BRACKETS
            found = (x - SPACES) & ~x | (y - ONES) & ~y  # high bits: a byte below 0x20, a [
            y = x ^ _C2
            found |= (y - ONES) & ~y
            y = x ^ _E2
            found = (found | (y - ONES) & ~y) & HIGH
            if not found:
                i += 8
                continue
            i += first_high(found)
        ask = _ASK[data[i]]
        if ask == 0:
            i += 1
        elif ask == _ASK_CITATION:
            brackets = True
            i += 1
        else:
            code, width = decode(data, i)
            if classes[code] & BREAK:
                pair = code == 0x0D and i + 1 < stop and data[i + 1] == 0x0A
                return i, i + width + (1 if pair else 0), brackets
            i += width
    return stop, stop, brackets


@inner
def few_words(data: np.ndarray, a: Int, b: Int, classes: np.ndarray) -> bool:
    """Whether the stripped line has fewer than MIN_LINE_WORDS pieces between white space."""
    n = 0
    i = a
    while i < b:
        n += 1
        if n == MIN_LINE_WORDS:
            return False
        while i < b:
            code, width = decode(data, i)
            if classes[code] & SPACE:
                break
            i += width
        i = first_filled(data, i, b, classes)
    return True


@inner
def has_long_word(data: np.ndarray, a: Int, b: Int, classes: np.ndarray) -> bool:
    """Whether some piece between white space has more than LONG_WORD code points. Looks at few bytes where words are short."""
    while b - a > LONG_WORD:
        i = a + LONG_WORD + 1  # white space in [a, i) rules out a long word that begins at a
        while i < b and data[i] & 0xC0 == 0x80:
            i += 1
        e = i
        while e > a:
            j = before(data, e)
            if classes[decode(data, j)[0]] & SPACE:
                break
            e = j
        if e > a:
            a = e
            continue
        n = code_points(data, a, i)
        while i < b and n <= LONG_WORD:
            code, width = decode(data, i)
            if classes[code] & SPACE:
                break
            n += 1
            i += width
        if n > LONG_WORD:
            return True
        a = i
    return False


@inner
def same(data: np.ndarray, i: Int, stop: Int, first: Int, last: Int) -> bool:
    """Whether data[i:stop] in lower case begins with _PHRASES[first:last]. U+212A (KELVIN SIGN) is the only code point beyond ASCII
    whose lower case is an ASCII letter alone: k."""
    for k in range(first, last):
        if i >= stop:
            return False
        c = data[i]
        if c == 0xE2 and _PHRASES[k] == 0x6B and i + 2 < stop and data[i + 1] == 0x84 and data[i + 2] == 0xAA:
            i += 2
        elif c != _PHRASES[k] and not (0x41 <= c <= 0x5A and c + 32 == _PHRASES[k]):
            return False
        i += 1
    return True


@inner
def citation(data: np.ndarray, i: Int, stop: Int, classes: np.ndarray) -> Int:
    """End of the citation mark that begins with the [ at byte i: \\[\\d*] or [edit] or [citation needed]; i where none does."""
    j = i + 1
    while j < stop:
        code, width = decode(data, j)
        if not classes[code] & DIGIT:
            break
        j += width
    if j < stop and data[j] == 0x5D:
        return j + 1
    for phrase in (_EDIT, _NEEDED):
        n = phrase.size
        if i + 1 + n <= stop:
            k = 0
            while k < n and data[i + 1 + k] == phrase[k]:
                k += 1
            if k == n:
                return i + 1 + n
    return i


@inner
def traced(data: np.ndarray, i: np.uint64) -> bool:
    """Whether the four bytes from i are four rare letters in a row of one of C4's phrases; no branch, so that loops vectorise."""
    w = data[i] | np.uint8(0x20)
    x = data[i + np.uint64(1)] | np.uint8(0x20)
    y = data[i + np.uint64(2)] | np.uint8(0x20)
    z = data[i + np.uint64(3)] | np.uint8(0x20)
    found = (w == 0x69) & (x == 0x70) & (y == 0x73) & (z == 0x75)  # ipsu
    found |= (w == 0x61) & (x == 0x73) & (y == 0x63) & (z == 0x72)  # ascr
    found |= (w == 0x66) & (x == 0x20) & (y == 0x75) & (z == 0x73)  # f us
    found |= (w == 0x76) & (x == 0x61) & (y == 0x63) & (z == 0x79)  # vacy
    return found | (w == 0x63) & (x == 0x6F) & (y == 0x6F) & ((z == 0x6B) | (z == 0xE2))  # cook, and k as U+212A


@inner
def phrases(data: np.ndarray, a: Int, b: Int) -> Int:
    """The first of C4's checks on phrases that the line [a, b) meets, or KEPT."""
    bracket = False
    for i in range(np.uint64(a), np.uint64(b)):
        bracket |= data[i] == 0x7B
    found = False
    for i in range(np.uint64(a), np.uint64(max(a, b - 3))):
        found |= traced(data, i)
    script = False
    policy = False
    if found:
        for i in range(a, b - 3):
            if traced(data, np.uint64(i)):
                for begin in range(max(a, i - _TRACE), i + 1):
                    first = 0
                    for p in range(_PHRASE_ENDS.size):
                        if same(data, begin, b, first, _PHRASE_ENDS[p]):
                            if p == 0:
                                return LOREM_IPSUM
                            script |= p == 1
                            policy |= p > 1
                        first = _PHRASE_ENDS[p]
    return JAVASCRIPT if script else CURLY_BRACKET if bracket else POLICY if policy else KEPT


@inner
def ends_well(data: np.ndarray, a: Int, b: Int) -> bool:
    """Whether [a, b) ends with one of . ? ! " ' and not with three full stops."""
    if a == b:
        return False
    c = data[b - 1]
    if c == 0x2E:
        return bool(b - a < 3 or data[b - 2] != 0x2E or data[b - 3] != 0x2E)
    return bool(c == 0x3F or c == 0x21 or c == 0x22 or c == 0x27)


@inner
def sentences(
    data: np.ndarray,
    start: np.ndarray,
    end: np.ndarray,
    chars: np.ndarray,
    word: Int,
    last: Int,
    stop: Int,
    classes: np.ndarray,
    marks: np.ndarray,
) -> tuple[Int, Int]:
    """(sentences of the words word.. that begin before byte `stop`, the first word after them), by the sentencizer's rule:

    after a sentence end, the first word that is neither one nor punctuation alone begins a sentence.
    """
    n = 1
    armed = False
    while word < last and start[word] < stop:
        i = start[word]
        if (chars[word] == 1) & _ENDS[data[i]] and marks[decode(data, i)[0]] & SENTENCE_END:
            armed = True
        elif armed:
            while i < end[word]:
                code, width = decode(data, i)
                if not marks[code] & PUNCTUATION:
                    n += 1
                    armed = False
                    break
                i += width
        word += 1
    return n, word


@kernel(allocates=True)
def c4_lines(
    data: np.ndarray,
    offsets: np.ndarray,
    classes: np.ndarray,
    marks: np.ndarray,
    doc_ptr: np.ndarray,
    start: np.ndarray,
    end: np.ndarray,
    chars: np.ndarray,
    out: np.ndarray,
) -> np.ndarray:
    """Fills the columns numbered at the top, but leaves lines with citation marks to c4_cited_lines: taking the marks out gives
    them other words. Returns those lines: int64 (n, 3), first byte, end, document."""
    cited = np.empty((16, 3), np.int64)
    n_cited = 0
    for doc in range(offsets.size - 1):
        for column in range(out.shape[1]):
            out[doc, column] = 0
        word = doc_ptr[doc]
        last_word = doc_ptr[doc + 1]
        i = offsets[doc]
        stop = offsets[doc + 1]
        while i < stop:
            a = i
            b, i, brackets = line_end(data, a, stop, classes)
            a = first_filled(data, a, b, classes)
            b = last_filled(data, a, b, classes)
            out[doc, 0] += 1
            n_marks = 0
            if brackets:
                for k in range(a, b):
                    n_marks += data[k] == 0x5B and citation(data, k, b, classes) > k
                out[doc, CITATIONS] += n_marks
            if b - a > LONG_WORD and has_long_word(data, a, b, classes):
                out[doc, TOO_LONG_WORD] += 1
            elif n_marks:
                if n_cited == len(cited):
                    larger = np.empty((2 * n_cited, 3), np.int64)
                    for k in range(n_cited):
                        for column in range(3):
                            larger[k, column] = cited[k, column]
                    cited = larger
                cited[n_cited, 0] = a
                cited[n_cited, 1] = b
                cited[n_cited, 2] = doc
                n_cited += 1
            elif not ends_well(data, a, b):
                out[doc, NO_TERMINAL] += 1
            elif few_words(data, a, b, classes):
                out[doc, FEW_WORDS] += 1
            else:
                fate = phrases(data, a, b)
                out[doc, fate] += 1
                if fate == KEPT:
                    while word < last_word and start[word] < a:
                        word += 1
                    n, word = sentences(data, start, end, chars, word, last_word, b, classes, marks)
                    out[doc, SENTENCES] += n
    return cited[:n_cited]


@kernel
def clean_lines(data: np.ndarray, cited: np.ndarray, classes: np.ndarray, cleaned: np.ndarray, offsets: np.ndarray) -> None:
    """The cited lines without their citation marks, one after another; `cleaned` has room for them with the marks."""
    n = 0
    offsets[0] = 0
    for line in range(len(cited)):
        i = cited[line, 0]
        stop = cited[line, 1]
        while i < stop:
            e = citation(data, i, stop, classes) if data[i] == 0x5B else i
            if e > i:
                i = e
            else:
                cleaned[n] = data[i]
                n += 1
                i += 1
        offsets[line + 1] = n


@kernel
def c4_cited_lines(
    data: np.ndarray,
    cited: np.ndarray,
    cleaned: np.ndarray,
    offsets: np.ndarray,
    classes: np.ndarray,
    marks: np.ndarray,
    doc_ptr: np.ndarray,
    start: np.ndarray,
    end: np.ndarray,
    chars: np.ndarray,
    out: np.ndarray,
) -> None:
    """Adds the cited lines to their documents' columns; the words are those of the cleaned lines, each a text of its own."""
    for line in range(len(cited)):
        a = offsets[line]
        b = offsets[line + 1]
        fate = FEW_WORDS
        if not ends_well(cleaned, a, b):
            fate = NO_TERMINAL
        elif not few_words(data, cited[line, 0], cited[line, 1], classes):
            fate = phrases(cleaned, a, b)
        out[cited[line, 2], fate] += 1
        if fate == KEPT:
            n, _ = sentences(cleaned, start, end, chars, doc_ptr[line], doc_ptr[line + 1], b, classes, marks)
            out[cited[line, 2], SENTENCES] += n
