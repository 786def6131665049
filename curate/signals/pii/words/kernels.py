"""Numba kernels of what stands around a number or an @: boundaries of words, and words that say what a number is.

`doc` is the UTF-8 of one document (uint8), positions are bytes of it; every search reaches a bounded number of them. Tests of
bytes are look-ups in FLAGS rather than comparisons: numba takes milliseconds to type each operator. Imports text's kernels.
"""

from __future__ import annotations

import numpy as np

from curate.jit import inner
from curate.text.kernels import CURRENCY, DIGIT, LETTERISH, before, decode, mix

Int = int | np.signedinteger  # Python's for mypy; int64 for numba, which reads no annotations

# Roles of words, a bit each; the same bits shifted by 8 for all words that begin so (tables.py).
TLD, PHONE, LINK, ADDRESS, NUMBERING, CARD, UNIT = 1, 2, 4, 8, 16, 32, 64
REACH = 48  # bytes looked back for a word that says what a number is

# Bits of bytes. BEFORE_*: a byte directly before a number that keeps it from being one.
START, NUMERAL, LATIN, NAME_MARK, CREDENTIAL = 1, 2, 4, 8, 16
BEFORE_IPV4, BEFORE_CARD, BEFORE_CODE, BEFORE_PHONE, OF_ID, COMPARES, PHONE_LETTER, CAPITAL, ESCAPE = (
    1 << x for x in range(5, 14)
)
ALNUM = NUMERAL | LATIN
FLAGS = np.zeros(256, np.uint16)
for _chars, _bit in (
    ("0123456789@([", START), ("0123456789", NUMERAL), ("._+-%", NAME_MARK), (":-_.", CREDENTIAL), (".-+^~$", BEFORE_IPV4),
    (".+", BEFORE_CARD), ("+#$", BEFORE_CODE), (".-/=#", BEFORE_PHONE), ("=/-#&", OF_ID), ("=<>~!", COMPARES),
    ("TMFPtmfp", PHONE_LETTER), ("ABCDEFGHIJKLMNOPQRSTUVWXYZ", CAPITAL), ("nrt", ESCAPE),
):  # fmt: skip
    for _char in _chars:
        FLAGS[ord(_char)] |= _bit
for _code in (*range(0x41, 0x5B), *range(0x61, 0x7B)):
    FLAGS[_code] |= LATIN
# Of digits and letters, as in base 36; 99 for the rest.
VALUE = np.array([int(chr(c), 36) if FLAGS[c] & ALNUM else 99 for c in range(256)], np.uint8)

_MULTIPLY = np.uint64(0x9E3779B97F4A7C15)
SEED = np.uint64(0x452821E638D01377)  # pi
_LOWER = np.array([c + 32 if 0x41 <= c <= 0x5A else c for c in range(256)], np.uint8)


@inner
def among(value: Int, values: np.ndarray) -> bool:
    """`values` (n, 2): the value without so many of its last bits (second column) is in the first one."""
    found = False
    for k in range(values.shape[0]):
        found = found or bool(value >> values[k, 1] == values[k, 0])
    return found


@inner
def peek(doc: np.ndarray, i: Int) -> Int:
    """Byte i; a space outside the document."""
    return np.int64(doc[i]) if 0 <= i < doc.size else np.int64(0x20)


@inner
def is_word(doc: np.ndarray, i: Int, classes: np.ndarray) -> bool:
    """A letter, mark, digit or _ begins at byte i. Unlike \\b of bytes, letters of every script count."""
    if i >= doc.size:
        return False
    code, _ = decode(doc, i)
    return bool(code == 0x5F or np.int64(classes[code]) & (LETTERISH | DIGIT))


@inner
def ends_word(doc: np.ndarray, i: Int, classes: np.ndarray) -> bool:
    return bool(i > 0 and is_word(doc, before(doc, i), classes))


@inner
def add(h: np.uint64, doc: np.ndarray, i: Int, n: Int) -> np.uint64:
    """Hash h of a word, with the n bytes at i after it; only ASCII letters lose their case, tables.py has the others' forms."""
    for j in range(i, i + n):
        h = (h ^ np.uint64(_LOWER[doc[j]])) * _MULTIPLY
    return h


@inner
def roles_of(words: np.ndarray, h: np.uint64) -> Int:
    """Roles of the word of hash h: an entry of the table is 48 bits of the mixed hash above 16 bits of roles, 0 where empty."""
    key = mix(h)
    mask = np.uint64(words.size - 1)
    slot = (key >> np.uint64(16)) & mask
    while words[slot]:
        if (words[slot] ^ key) >> np.uint64(16) == 0:
            return np.int64(words[slot] & np.uint64(0xFFFF))
        slot = (slot + np.uint64(1)) & mask
    return np.int64(0)


def key_of(word: str) -> int:
    """mix(add(SEED, word)) in plain Python, without its low 16 bits: what an entry is found by."""
    h, ones = int(SEED), (1 << 64) - 1
    for byte in word.encode():
        h = (h ^ int(_LOWER[byte])) * int(_MULTIPLY) & ones
    h = (h ^ h >> 30) * 0xBF58476D1CE4E5B9 & ones
    h = (h ^ h >> 27) * 0x94D049BB133111EB & ones
    return (h ^ h >> 31) & ~0xFFFF


@inner
def word_roles(doc: np.ndarray, a: Int, b: Int, words: np.ndarray) -> Int:
    """Roles of the word [a, b): its own and those of every beginning of it."""
    h = SEED
    found = np.int64(0)
    whole = np.int64(0)
    for i in range(a, b):
        h = add(h, doc, i, 1)
        whole = roles_of(words, h)
        found |= whole >> 8
    return found | (whole & 0xFF)


@inner
def said_before(doc: np.ndarray, i: Int, classes: np.ndarray, words: np.ndarray, wanted: Int, last_end: Int) -> Int:
    """1: a word of the role `wanted` stands directly before byte i; 2: over linking words or a line end, or a hit ended at last_end.

    Digits, other words and a second end of line stop the search.
    """
    limit = max(0, i - REACH)
    links = 0
    lines = 0
    while i > limit and i != last_end:
        a = i
        p = before(doc, a)
        code, _ = decode(doc, p)
        sign = code
        while a > limit and np.int64(classes[code]) & LETTERISH:
            a = p
            if a > limit:
                p = before(doc, a)
                code, _ = decode(doc, p)
        if a == i:  # no word ends here
            lines += sign == 0x0A
            if sign == 0x3E:  # over <b>, </td>
                while p > limit and doc[p] != 0x3C and p != last_end:
                    p -= 1
            if np.int64(classes[sign]) & DIGIT or lines > 1:
                return 0
            if wanted == PHONE and (sign == 0x260E or sign == 0x2706 or 0x1F4DE <= sign <= 0x1F4F1):  # pictures of telephones
                return 1
            if wanted == NUMBERING and sign == 0xA7:  # §
                return 1
            i = p
            continue
        roles = word_roles(doc, a, i, words)
        if wanted == PHONE and i - a == 1 and doc[i] == 0x3A and FLAGS[doc[a]] & PHONE_LETTER:
            return 2
        if roles & wanted:
            return 2 if links or lines else 1
        links += 1
        if not roles & LINK or links > 3:
            return 0
        i = a
    return 2 if i == last_end else 0


@inner
def unit_after(doc: np.ndarray, i: Int, classes: np.ndarray, words: np.ndarray) -> bool:
    """What stands before byte i is an amount: a currency sign, % or the word of a unit follows."""
    i += peek(doc, i) == 0x20
    i += 2 * (peek(doc, i) == 0xC2 and peek(doc, i + 1) == 0xA0)
    if i >= doc.size:
        return False
    b = i
    code, width = decode(doc, i)
    if code == 0x25 or np.int64(classes[code]) & CURRENCY:
        return True
    while np.int64(classes[code]) & LETTERISH and b - i < REACH:
        b += width
        if b >= doc.size:
            break
        code, width = decode(doc, b)
    return word_roles(doc, i, b, words) & UNIT != 0
