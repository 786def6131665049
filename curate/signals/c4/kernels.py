"""Numba kernels of the C4 signals: bytes and words of a batch in, what becomes of every line and the kept ones' sentences out.

In: `data` uint8 (validated UTF-8), `offsets` int64 (n_docs + 1), `classes` uint32 and `marks` uint8 (2**21 each, by code point;
curate.text and punctuation.py), words as in text.Segments. Out: `out` int64 (n_docs, 11), columns as numbered below. Definitions in
plain Python: tests/signals/reference.py. Imports jit and the helpers of the other kernels.
"""

from __future__ import annotations

import numpy as np

from curate.jit import kernel
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
_LOREM, _SCRIPT = np.frombuffer(b"lorem ipsum", np.uint8), np.frombuffer(b"javascript", np.uint8)
_TERMS, _PRIVACY = np.frombuffer(b"terms of use", np.uint8), np.frombuffer(b"privacy policy", np.uint8)
_COOK, _IES, _IE_POLICY = (np.frombuffer(phrase, np.uint8) for phrase in (b"cook", b"ies", b"ie policy"))
_USES, _USE_OF, _USE = (np.frombuffer(phrase, np.uint8) for phrase in (b"uses ", b"use of ", b"use "))
_EDIT, _NEEDED = np.frombuffer(b"edit]", np.uint8), np.frombuffer(b"citation needed]", np.uint8)
_BRACKETS, _C2, _E2 = np.uint64(0x5B5B5B5B5B5B5B5B), np.uint64(0xC2C2C2C2C2C2C2C2), np.uint64(0xE2E2E2E2E2E2E2E2)


@kernel
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


@kernel
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


@kernel
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


@kernel
def same(data: np.ndarray, i: Int, stop: Int, phrase: np.ndarray) -> bool:
    """Whether data[i:stop] begins with the ASCII phrase once it is put into lower case."""
    if i + phrase.size > stop:
        return False
    for k in range(phrase.size):
        c = data[i + k]
        if c != phrase[k] and not (0x41 <= c <= 0x5A and c + 32 == phrase[k]):
            return False
    return True


@kernel
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


@kernel
def without_citations(data: np.ndarray, a: Int, b: Int, classes: np.ndarray, to: np.ndarray, n: Int) -> Int:
    """Copies [a, b) to to[n:] without its citation marks; returns the end of the copy."""
    i = a
    while i < b:
        if data[i] == 0x5B:
            e = citation(data, i, b, classes)
            if e > i:
                i = e
                continue
        to[n] = data[i]
        n += 1
        i += 1
    return n


@kernel
def suspicious(data: np.ndarray, a: Int, b: Int) -> bool:
    """Whether [a, b) may hold one of C4's phrases or a {: four letters of each, tried everywhere without a branch (vectorised)."""
    found = False
    for i in range(np.uint64(a), np.uint64(max(a, b - 3))):
        w = data[i] | np.uint8(0x20)
        x = data[i + np.uint64(1)] | np.uint8(0x20)
        y = data[i + np.uint64(2)] | np.uint8(0x20)
        z = data[i + np.uint64(3)] | np.uint8(0x20)
        found |= (w == 0x69) & (x == 0x70) & (y == 0x73) & (z == 0x75)  # ipsu
        found |= (w == 0x61) & (x == 0x73) & (y == 0x63) & (z == 0x72)  # ascr
        found |= (w == 0x66) & (x == 0x20) & (y == 0x75) & (z == 0x73)  # f us
        found |= (w == 0x76) & (x == 0x61) & (y == 0x63) & (z == 0x79)  # vacy
        found |= (w == 0x63) & (x == 0x6F) & (y == 0x6F) & ((z == 0x6B) | (z == 0xE2))  # cook, and k as U+212A
        found |= data[i] == 0x7B  # {
    for i in range(max(a, b - 3), b):
        found |= data[i] == 0x7B
    return found


@kernel
def cookies(data: np.ndarray, a: Int, i: Int, b: Int) -> bool:
    """Whether one of C4's phrases has its cookie at byte i. U+212A (KELVIN SIGN) is the only code point beyond ASCII whose lower
    case is an ASCII letter alone, and this is the only k in the phrases."""
    if i + 6 <= b and data[i + 3] == 0xE2 and data[i + 4] == 0x84 and data[i + 5] == 0xAA:
        tail = i + 6
        if not (data[i] | 0x20 == 0x63 and data[i + 1] | 0x20 == 0x6F and data[i + 2] | 0x20 == 0x6F):
            return False
    elif i + 4 <= b and same(data, i, b, _COOK):
        tail = i + 4
    else:
        return False
    if same(data, tail, b, _IE_POLICY):
        return True
    if not same(data, tail, b, _IES):
        return False
    if i - 5 >= a and same(data, i - 5, b, _USES):
        return True
    if i - 7 >= a and same(data, i - 7, b, _USE_OF):
        return True
    return bool(i - 4 >= a and same(data, i - 4, b, _USE))


@kernel
def phrases(data: np.ndarray, a: Int, b: Int) -> Int:
    """The first of C4's checks on phrases that the line [a, b) meets, or KEPT."""
    if not suspicious(data, a, b):
        return KEPT
    script = False
    bracket = False
    policy = False
    for i in range(a, b):
        c = data[i]
        bracket |= c == 0x7B
        c |= 0x20
        if c == 0x6C:  # l
            if same(data, i, b, _LOREM):
                return LOREM_IPSUM
        elif c == 0x6A:  # j
            script |= same(data, i, b, _SCRIPT)
        elif c == 0x70:  # p
            policy |= same(data, i, b, _PRIVACY)
        elif c == 0x74:  # t
            policy |= same(data, i, b, _TERMS)
        elif c == 0x63:  # c
            policy |= cookies(data, a, i, b)
    return JAVASCRIPT if script else CURLY_BRACKET if bracket else POLICY if policy else KEPT


@kernel
def c4_fate(data: np.ndarray, a: Int, b: Int, cleaned: np.ndarray, first: Int, last: Int, classes: np.ndarray) -> Int:
    """What becomes of the stripped line data[a:b]; cleaned[first:last] is the same line without citation marks."""
    if b - a > LONG_WORD and has_long_word(data, a, b, classes):
        return TOO_LONG_WORD
    if first == last:
        return NO_TERMINAL
    c = cleaned[last - 1]
    if c != 0x2E and c != 0x3F and c != 0x21 and c != 0x22 and c != 0x27:  # . ? ! " '
        return NO_TERMINAL
    if c == 0x2E and last - first >= 3 and cleaned[last - 2] == 0x2E and cleaned[last - 3] == 0x2E:
        return NO_TERMINAL
    if few_words(data, a, b, classes):
        return FEW_WORDS
    return phrases(cleaned, first, last)


@kernel
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


@kernel
def grown(array: np.ndarray, need: Int) -> np.ndarray:
    if need <= array.size:
        return array
    larger = np.empty(max(need, 2 * array.size), array.dtype)
    larger[: array.size] = array
    return larger


@kernel
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
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Columns as numbered at the top. Sentences are left to the caller for kept lines that held citation marks, whose words change
    with the marks taken out: (bytes of those lines one after another, their ends, their documents)."""
    cleaned = np.empty(1024, np.uint8)
    ends = np.empty(16, np.int64)
    docs = np.empty(16, np.int64)
    n_cleaned = 0
    n_ends = 0
    for doc in range(offsets.size - 1):
        out[doc, :] = 0
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
            if n_marks == 0:
                fate = c4_fate(data, a, b, data, a, b, classes)
                out[doc, fate] += 1
                if fate == KEPT:
                    while word < last_word and start[word] < a:
                        word += 1
                    n, word = sentences(data, start, end, chars, word, last_word, b, classes, marks)
                    out[doc, SENTENCES] += n
                continue
            cleaned = grown(cleaned, n_cleaned + b - a)
            e = without_citations(data, a, b, classes, cleaned, n_cleaned)
            fate = c4_fate(data, a, b, cleaned, n_cleaned, e, classes)
            out[doc, fate] += 1
            if fate == KEPT:
                n_cleaned = e
                ends = grown(ends, n_ends + 1)
                docs = grown(docs, n_ends + 1)
                ends[n_ends] = e
                docs[n_ends] = doc
                n_ends += 1
    return cleaned[:n_cleaned], ends[:n_ends], docs[:n_ends]


@kernel
def count_line_sentences(
    data: np.ndarray,
    doc_ptr: np.ndarray,
    start: np.ndarray,
    end: np.ndarray,
    chars: np.ndarray,
    classes: np.ndarray,
    marks: np.ndarray,
    docs: np.ndarray,
    out: np.ndarray,
) -> None:
    """Adds to out[docs[i], SENTENCES] the sentences of line i, a document of its own in doc_ptr, start, end."""
    for i in range(docs.size):
        n, _ = sentences(data, start, end, chars, doc_ptr[i], doc_ptr[i + 1], data.size, classes, marks)
        out[docs[i], SENTENCES] += n
