"""Numba kernels of numbers with a meaning: account numbers, bank cards, Estonian personal codes and telephone numbers.

All but account numbers are read from a chain of groups of digits (`chain`) and from what stands around it. The countries' tables
are here and not beside the kernels, because their values are compiled in. Imports words' and text's kernels.
"""

from __future__ import annotations

import re

import numpy as np

from curate.jit import inner
from curate.signals.pii.words.kernels import (
    BEFORE_CARD,
    BEFORE_PHONE,
    CARD,
    CREDENTIAL,
    FLAGS,
    NUMERAL,
    OF_ID,
    PHONE,
    VALUE,
    Int,
    among,
    ends_word,
    is_word,
    peek,
    said_before,
    unit_after,
)
from curate.text.kernels import decode

# What stands between two groups of digits, a bit each.
SPACE, HYPHEN, DOT, SLASH, PAREN = 1, 2, 4, 8, 16
_MARKS = np.zeros((2, 256), np.uint8)  # of code points 0-FF and 2000-20FF: Unicode's spaces and hyphens too
for _chars, _mark in ((" \u00a0\u2009\u202f", SPACE), ("-\u2010\u2011\u2012\u2013", HYPHEN), (".", DOT), ("/", SLASH)):
    for _char in _chars:
        _MARKS[ord(_char) >> 13, ord(_char) & 0xFF] = _mark
GROUPS, DIGITS = 8, 20  # most groups and digits of a number that are looked at
# Rows of the array a chain is written to: its digits; per group k: digits up to its end, the byte there, lengths of the groups
# so far as hexadecimal digits (4-4-4-4: 0x4444), marks so far, the mark behind it (0: none).
DIGIT, TOTAL, END, SHAPE, MARKS, BEHIND = range(6)

# Account numbers after the two letters and two check digits: n digits, a letters, c either (ISO 13616-1; SWIFT's IBAN Registry,
# release 100, and python-stdnum's copy of an older one, which agree where both have the country).
IBANS = """
AD 8n12c  AE 19n  AL 8n16c  AT 16n  AZ 4a20c  BA 16n  BE 12n  BG 4a6n8c  BH 4a14c  BI 23n  BR 23n1a1c  BY 4c4n16c  CH 5n12c
CR 18n  CY 8n16c  CZ 20n  DE 18n  DJ 23n  DK 14n  DO 4c20n  EE 16n  EG 25n  ES 20n  FI 14n  FK 2a12n  FO 14n  FR 10n11c2n
GB 4a14n  GE 2a16n  GI 4a15c  GL 14n  GR 7n16c  GT 24c  HN 4a20n  HR 17n  HU 24n  IE 4a14n  IL 19n  IQ 4a15n  IS 22n
IT 1a10n12c  JO 4a4n18c  KW 4a22c  KZ 3n13c  LB 4n20c  LC 4a24c  LI 5n12c  LT 16n  LU 3n13c  LV 4a13c  LY 21n  MC 10n11c2n
MD 20c  ME 18n  MK 3n10c2n  MN 16n  MR 23n  MT 4a5n18c  MU 4a19n3a  NI 4a20n  NL 4a10n  NO 11n  OM 3n16c  PK 4a16c  PL 24n
PS 4a21c  PT 21n  QA 4a21c  RO 4a16c  RS 18n  RU 14n15c  SA 2n18c  SC 4a20n3a  SD 14n  SE 20n  SI 15n  SK 20n  SM 1a10n12c
SO 19n  ST 21n  SV 4a20n  TL 19n  TN 20n  TR 6n16c  UA 6n19c  VA 18n  VG 4a16n  XK 16n  YE 4a4n18c
"""
_IBAN_ROW = np.full(676, -1, np.int8)
_IBAN_PLACE = np.zeros((len(IBANS.split()) // 2, 33), np.uint8)  # check digits first; 1 digit, 2 letter, 3 either, 0 the end
for _row, (_country, _shape) in enumerate(zip(IBANS.split()[::2], IBANS.split()[1::2], strict=True)):
    _IBAN_ROW[(ord(_country[0]) - 65) * 26 + ord(_country[1]) - 65] = _row
    _places = "nn" + "".join(_kind * int(_count) for _count, _kind in re.findall(r"(\d+)([nac])", _shape))
    _IBAN_PLACE[_row, : len(_places)] = [" nac".index(_kind) for _kind in _places]

# First four digits, from and to, and the lengths of an issuer's cards (ISO/IEC 7812 numbers as the schemes publish them).
_ISSUERS = np.array([
    (4000, 4999, 1 << 13 | 1 << 16 | 1 << 19),  # Visa
    (5100, 5599, 1 << 16), (2221, 2720, 1 << 16),  # Mastercard
    (3400, 3499, 1 << 15), (3700, 3799, 1 << 15),  # American Express
    (3000, 3059, 1 << 14), (3600, 3699, 1 << 14), (3800, 3999, 1 << 14 | 1 << 16),  # Diners Club
    (3528, 3589, 15 << 16), (6011, 6011, 15 << 16), (6440, 6599, 15 << 16), (6200, 6299, 15 << 16),  # JCB, Discover, UnionPay
    (2200, 2204, 15 << 16), (5018, 5018, 127 << 13), (5020, 5020, 127 << 13), (5038, 5038, 127 << 13),  # Mir, Maestro
    (5893, 5893, 127 << 13), (6304, 6304, 127 << 13), (6759, 6759, 127 << 13), (6761, 6763, 127 << 13),
])  # fmt: skip
_CARD_SHAPES = np.array([(shape, 0) for shape in (0x4444, 0x44443, 0x465, 0x464, 0x4333)])
_DATE_SHAPES = np.array([(shape, 0) for shape in (0x114, 0x124, 0x214, 0x224, 0x411, 0x412, 0x421, 0x422)])

# Calling codes (ITU-T E.164, list of assigned codes) with the digits of a national number; without a range: 7-10. Ranges are the
# countries' plans as ITU publishes them, wide where old and new numbers live side by side.
CALLING = """
1:10 7:10 20:8-10 27:9 30:10 31:9 32:8-9 33:9 34:9 36:8-9 39:8-11 40:9 41:9 43:7-13 44:9-10 45:8 46:7-10 47:8 48:9 49:7-12
51:8-9 52:10 53:8 54:10-11 55:10-11 56:9 57:8-10 58:10 60:8-10 61:9 62:8-12 63:8-10 64:8-10 65:8 66:8-9 81:9-10 82:8-10
84:9-10 86:10-11 90:10 91:10 92:9-10 93:9 94:9 95:7-10 98:10 211:9 212:9 213:8-9 216:8 218:9 220 221 222 223 224 225:8-10
226 227 228 229:8-10 230 231 232 233 234 235 236 237 238 239 240 241 242 243 244 245 246 247:4-6 248 249 250 251 252:7-9 253
254 255 256 257 258 260 261 262 263 264 265 266 267 268 269 290:4-6 291 297 298:6 299:6 350:8 351:9 352:6-11 353:8-9 354:7-9
355:8-9 356:8 357:8 358:6-11 359:8-9 370:8 371:8 372:7-8 373:8 374:8 375:9 376:6-9 377:8-9 378:8-10 380:9 381:8-9 382:8
383:8-9 385:8-9 386:8 387:8 389:8 420:9 421:9 423:7-9 500:5 501 502:8 503:8 504:8 505:8 506:8 507 508 509:8 590:9 591:8 592
593:8-9 594:9 595:9 596:9 597:6-7 598:8 599 670 672:6 673 674 675 676:5-7 677:5-7 678:5-7 679 680 681:6 682:5 683:4-7
685:5-7 686:5-8 687:6 688:5-7 689:6-8 690:4-7 691 692 850 852:8 853:8 855:8-9 856:8-10 870:9 880:8-10 886:8-9 960:7 961:7-8
962:8-9 963:8-9 964:8-10 965:8 966:9 967:7-9 968:8 970:8-9 971:8-9 972:8-9 973:8 974:8 975:7-8 976:8 977:8-10 992:9 993:8
994:9 995:9 996:9 998:9
"""
_PLAN = np.zeros((1000, 3), np.int8)  # by the first three digits: length of the country's code (0: none), fewest and most digits
for _item in CALLING.split():
    _code, _, _lengths = _item.partition(":")
    _least, _, _most = (_lengths or "7-10").partition("-")
    _first = int(_code) * 10 ** (3 - len(_code))
    _PLAN[_first : _first + 10 ** (3 - len(_code))] = (len(_code), int(_least), int(_most or _least))


@inner
def mark_at(doc: np.ndarray, i: Int) -> tuple[Int, Int]:
    """(mark, byte after it) of a space, hyphen, full stop or stroke at byte i; (0, i) for none."""
    if i >= doc.size:
        return 0, i
    code, width = decode(doc, i)
    page = code >> 8
    mark = np.int64(_MARKS[page >> 5, code & 0xFF]) if page == 0 or page == 0x20 else 0
    return mark, i + width * (mark != 0)


@inner
def chain(doc: np.ndarray, i: Int, g: np.ndarray) -> Int:
    """Groups of digits from byte i on, at most GROUPS and DIGITS, into g (6, DIGITS): returns how many.

    Between them stands a mark, or ) and perhaps a mark, or perhaps a mark and (. A stroke only behind a first group of at most
    5 digits: behind a whole number it begins the next one. Ends before a second group of one digit. 0 where the first group is
    longer than DIGITS.
    """
    total = 0
    shape: Int = 0
    marks: Int = 0
    ones: Int = 0
    mark = np.int64(0)
    for n in range(GROUPS):
        start = i
        while FLAGS[peek(doc, i)] & NUMERAL:
            if total == DIGITS:
                return n
            g[DIGIT, total] = VALUE[doc[i]]
            total += 1
            i += 1
        shape = shape * 16 + i - start
        marks |= mark
        ones += n > 0 and i - start == 1 and mark != PAREN
        if ones > 1:  # 1 2 3 4: nothing here is written so
            return n
        g[TOTAL, n] = total
        g[END, n] = i
        g[SHAPE, n] = shape
        g[MARKS, n] = marks
        g[BEHIND, n] = 0
        closed = peek(doc, i) == 0x29
        mark, i = mark_at(doc, i + closed)
        if n == 0 and mark == SPACE and g[DIGIT, 0] == 0:
            wider, after = mark_at(doc, i)
            if wider & (HYPHEN | SLASH) and peek(doc, after) == 0x20:  # 0220 - 456 48
                mark, i = wider, after + 1
        opened = not closed and peek(doc, i) == 0x28
        i += opened
        if closed or opened:
            mark = np.int64(PAREN)
        if mark == 0 or not FLAGS[peek(doc, i)] & NUMERAL or (mark == SLASH and (n > 0 or total > 5)):
            return n + 1
        g[BEHIND, n] = mark
    return GROUPS


@inner
def iban(doc: np.ndarray, i: Int, classes: np.ndarray) -> Int:
    """End of the account number whose two letters begin at byte i: country's length and places, remainder 1 of 97 (ISO 13616)."""
    a = np.int64(VALUE[doc[i]])
    b = np.int64(VALUE[doc[i + 1]])
    row = _IBAN_ROW[(a - 10) * 26 + b - 10]
    if row < 0 or (doc[i] ^ doc[i + 1]) & 0x20:
        return 0
    rest = 0
    check = 0
    p = i + 2
    for place in range(33):
        wanted = _IBAN_PLACE[row, place]
        if wanted == 0:
            break
        mark, after = mark_at(doc, p)
        if mark & (SPACE | HYPHEN):
            p = after
        value = VALUE[peek(doc, p)]
        if not wanted & (1 if value < 10 else 2 if value < 36 else 0):
            return 0
        if place < 2:
            check = check * 10 + value
        else:
            rest = (rest * (10 if value < 10 else 100) + value) % 97
        p += 1
    if (rest * 1000000 + a * 10000 + b * 100 + check) % 97 != 1 or is_word(doc, p, classes):
        return 0
    return p


@inner
def is_card(g: np.ndarray, n: Int) -> bool:
    """The n digits have an issuer's beginning and length, and the control digit of ISO/IEC 7812-1, annex B (Luhn)."""
    first = 0
    total = 0
    for k in range(n):
        if k < 4:
            first = first * 10 + g[DIGIT, k]
        d = g[DIGIT, k] << ((n - k) & 1 ^ 1)
        total += d - 9 * (d > 9)
    if total % 10:
        return False
    known = False
    for k in range(_ISSUERS.shape[0]):
        known = known or bool(_ISSUERS[k, 0] <= first <= _ISSUERS[k, 1] and _ISSUERS[k, 2] >> n & 1)
    return known


@inner
def card(doc: np.ndarray, i: Int, n: Int, g: np.ndarray, classes: np.ndarray, words: np.ndarray) -> Int:
    """End of the card number at byte i: one group, or 4-4-4-4 (-3), 4-6-5, 4-6-4, 4-3-3-3 with one kind of mark between.

    13 digits in one group are product codes more often than cards, and what follows = / - # & is an id: these need a word.
    """
    c = peek(doc, i - 1)
    if FLAGS[c] & BEFORE_CARD:
        return 0
    for k in range(n - 1, -1, -1):
        size = g[TOTAL, k]
        if size < 13 or size > 19 or not is_card(g, size):
            continue
        end = g[END, k]
        if k:
            one = g[MARKS, k] == SPACE or g[MARKS, k] == HYPHEN
            if not one or not among(g[SHAPE, k], _CARD_SHAPES) or FLAGS[peek(doc, i - 2)] & NUMERAL:
                continue
            if k < n - 1 and g[TOTAL, k + 1] - size == 4:  # a table of numbers goes on
                return 0
        elif (size == 13 or FLAGS[c] & OF_ID) and not said_before(doc, i, classes, words, CARD, -1):
            return 0
        if is_word(doc, end, classes) or (FLAGS[peek(doc, end)] & BEFORE_PHONE and FLAGS[peek(doc, end + 1)] & NUMERAL):
            return 0
        return end
    return 0


@inner
def is_personal_code(g: np.ndarray) -> bool:
    """Estonian personal code (EVS 585:2007): century and sex, yymmdd, three digits of order, control digit.

    Centuries 1-6, births from 1800 to 2099: 7 and 8 are defined, but nobody has them yet.
    """
    century = g[DIGIT, 0]
    year = 1800 + 100 * ((century - 1) // 2) + 10 * g[DIGIT, 1] + g[DIGIT, 2]
    month = 10 * g[DIGIT, 3] + g[DIGIT, 4]
    day = 10 * g[DIGIT, 5] + g[DIGIT, 6]
    if not 1 <= century <= 6 or not 1 <= month <= 12:
        return False
    longest = 30 + ((month + month // 8) & 1)
    if month == 2:
        longest = 29 if year % 4 == 0 and (year % 100 or year % 400 == 0) else 28
    first = 0
    second = 0
    for k in range(10):
        first += (k % 9 + 1) * g[DIGIT, k]  # weights 1 2 3 4 5 6 7 8 9 1
        second += ((k + 2) % 9 + 1) * g[DIGIT, k]  # 3 4 5 6 7 8 9 1 2 3
    control = first % 11
    if control == 10:
        control = second % 11 % 10
    return 1 <= day <= longest and control == g[DIGIT, 10]


@inner
def ends_well(doc: np.ndarray, e: Int, classes: np.ndarray, words: np.ndarray) -> bool:
    """A telephone number may end at byte e: no word, e-mail, time of day, decimals or amount goes on from there."""
    c = peek(doc, e)
    if c == 0x40 or is_word(doc, e, classes) or unit_after(doc, e, classes, words):
        return False
    if not FLAGS[peek(doc, e + 1)] & NUMERAL:
        return True
    if c == 0x2C:  # one or two decimals
        return FLAGS[peek(doc, e + 2)] & FLAGS[peek(doc, e + 3)] & NUMERAL != 0
    return not (c == 0x2E or c == 0x3A or c == 0x2D)


@inner
def international_end(off: Int, n: Int, g: np.ndarray) -> Int:
    """Last group of the number whose country code stands at digit `off`, -1 for none: as long as the country's plan allows."""
    country = 100 * g[DIGIT, off] + 10 * g[DIGIT, off + 1] + g[DIGIT, off + 2]
    first = off + _PLAN[country, 0]
    if first == off:
        return -1
    trunk = g[DIGIT, first] == 0 and country // 10 != 39  # +44 (0)20: the 0 is not dialled; Italy's is
    d = g[DIGIT, first + trunk]
    for k in range(n - 1, -1, -1):
        national = g[TOTAL, k] - first - trunk
        if not _PLAN[country, 1] <= national <= _PLAN[country, 2]:
            continue
        if country == 372 and not (d == 5 or d == 8 or (national == 7 and d > 1)):  # mobile 7-8 digits, the rest 7
            continue
        if country < 200 and (d < 2 or g[DIGIT, first + 3] < 2):  # North America: no area or exchange begins with 0, 1
            continue
        if g[MARKS, k] & DOT and (g[TOTAL, 0] != first or k < 2):  # +59.437000: a decimal number
            continue
        return -1 if trunk and k == 0 else k
    return -1


@inner
def north_american_end(n: Int, g: np.ndarray) -> Int:
    """Last group of 212-555-0123, (212) 555-0123 or 212.555.0123, with a 1 before it or none; -1 for none."""
    k = 3 if g[SHAPE, 0] == 1 else 2
    if k >= n or (g[SHAPE, k] != 0x334 and g[SHAPE, k] != 0x1334) or (k == 3 and g[DIGIT, 0] != 1):
        return -1
    mark = g[BEHIND, k - 2]
    same = mark == PAREN or (mark == g[BEHIND, k - 1] and mark & (HYPHEN | DOT))
    return k if same and g[DIGIT, k - 2] > 1 and g[DIGIT, k + 1] > 1 else -1


@inner
def national_end(said: Int, n: Int, g: np.ndarray) -> Int:
    """Last group of a number without country code after a word that announces one; -1 for none.

    Estonia's lengths first (7 digits, mobile 5 and 8: 7-8), then what is common around it; 6 digits (Estonia to the 1990s) only
    directly after the word.
    """
    d = g[DIGIT, 0]
    last = n - 1
    if d == 1:
        return north_american_end(n, g)
    if g[TOTAL, last] == 11 and (d == 7 or d == 8):
        return last  # Russia
    longer = d == 2 or d == 5 or d == 8
    if d and g[MARKS, last] & SLASH:  # GSM 900/1800
        last = 0
    for step in range(2):
        for k in range(last + 1):
            if d and g[TOTAL, k] == 7 + (longer ^ step) and g[BEHIND, k] != HYPHEN:
                return k
    least = 8 if d == 0 else 6 if said == 1 else 7
    while last >= 0 and not least <= g[TOTAL, last] <= 11:
        last -= 1
    return last


@inner
def phone(
    doc: np.ndarray, i: Int, n: Int, g: np.ndarray, classes: np.ndarray, words: np.ndarray, last_phone: Int
) -> tuple[Int, Int]:
    """(start, end) of the telephone number that the chain at byte i is; (0, 0) for none.

    With + or 00: by the country's plan. In North America's punctuation: by itself. Else only after a word that announces it.
    """
    s = i
    closed = peek(doc, g[END, 0]) == 0x29
    opened = closed and peek(doc, s - 1) == 0x28
    s -= opened
    plus = peek(doc, s - 1) == 0x2B or peek(doc, i - 1) == 0x2B
    if plus:
        s -= 1
        s -= closed and not opened and peek(doc, s - 1) == 0x28  # (+372) 5...
    c = peek(doc, s - 1)
    p = peek(doc, s - 2)
    if ends_word(doc, s, classes) or c == 0x2B or c == 0x24 or (FLAGS[p] & NUMERAL and (c == 0x2E or c == 0x2C or c == 0x2D)):
        return 0, 0
    said = 0 if plus else said_before(doc, s, classes, words, PHONE, last_phone)
    k = np.int64(-1)
    if plus:
        k = international_end(0, n, g)
    elif said and c == 0x20 and p == 0x2B:  # tel + 372 5...
        k = international_end(0, n, g)
        s -= 2 * (k >= 0)
    elif g[DIGIT, 0] == 0 and g[DIGIT, 1] == 0 and g[TOTAL, n - 1] >= 10:
        k = international_end(2, n, g)
        near = g[DIGIT, 2] * 100 + g[DIGIT, 3] * 10 + g[DIGIT, 4] == 372
        if not said and (FLAGS[c] & BEFORE_PHONE or g[MARKS, n - 1] & DOT or not (near or g[TOTAL, 0] <= 5)):
            k = np.int64(-1)
    if k < 0 and said and c != 0x2F:
        date = n > 2 and among(g[SHAPE, 2], _DATE_SHAPES) and g[MARKS, 2] != SPACE and g[MARKS, 2] & PAREN == 0
        # 1 234 567: no subscriber's number of seven digits begins so
        thousands = n > 2 and g[SHAPE, 2] == 0x133 and (g[DIGIT, 0] < 3 or g[DIGIT, 0] == 9)
        if n == 1 and not FLAGS[peek(doc, s - 1 - (c == 0x20))] & CREDENTIAL:  # a number of telephones; tel. 441234 and tel: stay
            said = 2
        if not date and not thousands:
            k = national_end(said, n, g)
    if k < 0 and not plus and not FLAGS[c] & BEFORE_PHONE:
        k = north_american_end(n, g)
    if k < 0 or not ends_well(doc, g[END, k], classes, words):
        return 0, 0
    return s, g[END, k]
