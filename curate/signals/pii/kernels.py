"""Numba kernels of personal data: one pass over UTF-8 bytes in, spans of seven kinds out.

Only @, ( [ and the first digit of a run start any work, so ordinary text costs one table look-up a byte; whatever is looked at
from there reaches a bounded number of bytes to both sides, so time is linear in the text. In: `data` uint8 (validated UTF-8),
`offsets` int64, `classes` of text.unicode, `words` of tables.py. What is taken and what is left: __init__.py.
"""

from __future__ import annotations

import numpy as np

from curate.jit import inner, kernel
from curate.signals.pii.numbers.kernels import DIGITS, TOTAL, card, chain, iban, is_personal_code, phone
from curate.signals.pii.words.kernels import (
    ADDRESS,
    ALNUM,
    BEFORE_CODE,
    BEFORE_IPV4,
    BEFORE_PHONE,
    CAPITAL,
    COMPARES,
    CREDENTIAL,
    ESCAPE,
    FLAGS,
    LATIN,
    NAME_MARK,
    NUMBERING,
    NUMERAL,
    REACH,
    SEED,
    START,
    TLD,
    VALUE,
    Int,
    add,
    among,
    ends_word,
    is_word,
    peek,
    roles_of,
    said_before,
)
from curate.text.kernels import DIGIT, LETTERISH, before, decode

EMAIL, PHONE, IPV4, IPV6, IBAN, CARD, CODE = range(7)  # places in span_kinds
LOCAL, DOMAIN = 64, 253  # most bytes of an address before and after its @ (RFC 5321, 4.5.3.1)
_AT = np.array([(0x40, 0), (0x6174, 0), (0xC3A474, 0), (0xC38474, 0)])  # @ at ät Ät
_DOT = np.array([(0x646F74, 0), (0x70756E6B74, 0)])  # dot punkt

# Blocks that are not global (IANA's registries of special-purpose addresses) or multicast: leading bits, and how many follow.
_LOCAL_IPV4 = np.array([
    (0, 24), (10, 24), (127, 24), (7, 29), (100 << 2 | 1, 22), (169 << 8 | 254, 16), (172 << 4 | 1, 20), (192 << 8 | 168, 16),
    (198 << 7 | 9, 17), (192 << 16, 8), (192 << 16 | 2, 8), (198 << 16 | 51 << 8 | 100, 8), (203 << 16 | 113, 8),
])  # fmt: skip
_LOCAL_IPV6 = np.array([(0x20010000 >> 9, 9), (0x20010DB8, 0), (0x2002, 16), (0x3FFF0000 >> 12, 12)])  # of the first 32 bits


@inner
def name_width(doc: np.ndarray, i: Int, classes: np.ndarray) -> Int:
    """Bytes of the letter or digit at byte i that may stand in an address, 0 for anything else.

    Of alphabetic scripts only: an address written among Chinese characters ends where they begin.
    """
    c = peek(doc, i)
    if c < 0x80:
        return np.int64(FLAGS[c] & ALNUM != 0)
    code, width = decode(doc, i)
    return width if np.int64(classes[code]) & (LETTERISH | DIGIT) and (code < 0x590 or 0x1E00 <= code < 0x2000) else 0


@inner
def name_start(doc: np.ndarray, i: Int, classes: np.ndarray) -> Int:
    """First byte of the name that ends at byte i, a letter or digit; i where there is none: **a@b.ee**, %20a@b.ee, ...a@b.ee."""
    a = i
    j = i
    while j > 0 and i - j <= LOCAL:
        p = before(doc, j)
        if name_width(doc, p, classes):
            a = p
        elif not FLAGS[doc[p]] & NAME_MARK or (doc[p] == 0x2E and peek(doc, j) == 0x2E):
            break
        j = p
    return i if i - a > LOCAL or peek(doc, i - 1) == 0x2E else a


@inner
def bracket(doc: np.ndarray, i: Int) -> tuple[Int, Int]:
    """(the text in the bracket at byte i as one number, ASCII in lower case; byte after it); (0, 0) for none of 1-5 bytes."""
    opening = peek(doc, i)
    closing = 0x29 if opening == 0x28 else 0x5D if opening == 0x5B else -1
    value = 0
    for j in range(i + 1, i + 7):
        c = peek(doc, j)
        if c == closing:
            return value, j + 1
        value = value << 8 | (c | 0x20 if FLAGS[c] & LATIN else c)
    return 0, 0


@inner
def domain_end(doc: np.ndarray, i: Int, classes: np.ndarray, words: np.ndarray, spelled: bool) -> Int:
    """End of the domain at byte i where it last could end with a top-level domain that exists; 0 for none.

    `spelled`: its full stops may be written [dot]. A hyphen ends one too: mari@example.ee-le is Estonian grammar.
    """
    found: Int = np.int64(0)
    j = i
    h = SEED
    dots = 0
    label = i
    small = False
    while j - i < DOMAIN:
        width: Int = name_width(doc, j, classes)
        c = peek(doc, j)
        if width == 0:
            capital = FLAGS[peek(doc, label)] & CAPITAL != 0
            if small and capital and found:  # mari@example.ee.Aitäh
                break
            small = not capital
            if dots and j > label and roles_of(words, h) & TLD:
                found = j
            if c == 0x2D:
                width = np.int64(1)
        if width:
            h = add(h, doc, j, width)
            j += width
            continue
        after = j + 1
        if spelled and c != 0x2E:
            value, after = bracket(doc, j + (c == 0x20))
            after += peek(doc, after) == 0x20
            c = 0x2E if among(value, _DOT) else c
        if c != 0x2E or j == label:
            break
        dots += 1
        j = after
        label = j
        h = SEED
    return found


@inner
def email(doc: np.ndarray, i: Int, classes: np.ndarray, words: np.ndarray) -> tuple[Int, Int]:
    """(start, end) of the address around the @ or the bracket at byte i: a@b.ee, a[at]b.ee, a (at) b (dot) ee; (0, 0) for none."""
    name_end = i
    after = i + 1
    spelled = doc[i] != 0x40
    if spelled:
        value, after = bracket(doc, i)
        if not among(value, _AT):
            return 0, 0
        name_end -= peek(doc, i - 1) == 0x20
        after += peek(doc, after) == 0x20
    a = name_start(doc, name_end, classes)
    if a == name_end:
        return 0, 0
    b = domain_end(doc, after, classes, words, spelled)
    c = peek(doc, b)
    # A @ b.dot( multiplies matrices, git@host:path is a folder
    if b == 0 or c == 0x28 or (c == 0x3A and FLAGS[peek(doc, b + 1)] & ALNUM):
        return 0, 0
    if peek(doc, a - 1) == 0x5C:  # \nmari@b.ee in a string of code; \u002Fkey@host and \x01Z@host are no names
        if not FLAGS[doc[a]] & ESCAPE or a + 1 == name_end:
            return 0, 0
        a += 1
    j = a
    while a - j < REACH and FLAGS[peek(doc, j - 1)] & (CREDENTIAL | ALNUM):
        j -= 1
    if peek(doc, j - 1) == 0x2F and peek(doc, j - 2) == 0x2F:  # https://user:word@host
        return 0, 0
    return a, b


@inner
def four_octets(doc: np.ndarray, i: Int) -> tuple[Int, Int]:
    """(end, value) of the dotted IPv4 address at byte i, without leading zeros; (0, 0) for none."""
    value = 0
    for part in range(4):
        j = i
        octet = 0
        while FLAGS[peek(doc, j)] & NUMERAL and j - i < 4:
            octet = octet * 10 + VALUE[doc[j]]
            j += 1
        if j == i or octet > 255 or (VALUE[doc[i]] == 0 and j - i > 1):
            return 0, 0
        value = value << 8 | octet
        i = j + 1
        if part < 3 and peek(doc, j) != 0x2E:
            return 0, 0
    return i - 1, value


@inner
def ipv4(doc: np.ndarray, i: Int, classes: np.ndarray, words: np.ndarray, last_end: Int) -> Int:
    """End of the global IPv4 address at byte i that is no number of a section or a version, nor one of a list of decimals; else 0.

    `last_end`: end of the hit before it.
    """
    end, value = four_octets(doc, i)
    if end == 0 or among(value, _LOCAL_IPV4) or is_word(doc, end, classes):
        return 0
    c = peek(doc, end)
    if (c == 0x2E or c == 0x2D) and is_word(doc, end + 1, classes):  # a fifth part, a name
        return 0
    b = peek(doc, i - 1)
    p = peek(doc, i - 2)
    if FLAGS[b] & BEFORE_IPV4 or (b == 0x3D and FLAGS[p] & COMPARES):
        return 0
    if b == 0x2F and FLAGS[p] & ALNUM and ((value >> 16) & 255 < 10 or (value >> 8) & 255 < 10):  # Chrome/120.0.0.0
        return 0
    if said_before(doc, i, classes, words, NUMBERING, -1):
        return 0
    if b == 0x20 and c == 0x20 and FLAGS[p] & FLAGS[peek(doc, end + 1)] & NUMERAL and i != last_end + 1:  # 4.407 1.247.86.127 1.6
        j = i - 2
        while i - j < 16 and FLAGS[peek(doc, j)] & NUMERAL:
            j -= 1
        if peek(doc, j) == 0x2E:
            return 0
    # Numbers of sections and versions are small; of all addresses 0.4 % are: these need a sign that they are one.
    if value & 0xC0C0C0C0 or b == 0x40 or (b == 0x2F and p == 0x2F) or said_before(doc, i, classes, words, ADDRESS, -1):
        return end
    port = (c == 0x3A or c == 0x2F) and FLAGS[peek(doc, end + 1)] & FLAGS[peek(doc, end + 2)] & NUMERAL
    return end if port else 0


@inner
def ipv6(doc: np.ndarray, i: Int, classes: np.ndarray) -> Int:
    """End of the IPv6 address at byte i, `::` and an IPv4 tail read as RFC 4291 2.2, a zone (RFC 4007) included; 0 for none.

    Global unicast (2000::/3) without the blocks for protocols, documentation and 6to4; or an IPv4 tail that is global.
    """
    head = 0  # the first two groups
    tail = np.int64(-1)
    groups = 0
    gap = -1
    p = i
    while groups < 8:
        if gap < 0 and peek(doc, p) == 0x3A and peek(doc, p + 1) == 0x3A:
            gap = groups
            p += 2
        q = p
        value = 0
        while q - p < 4 and VALUE[peek(doc, q)] < 16:
            value = value << 4 | VALUE[doc[q]]
            q += 1
        if q == p:
            break
        if peek(doc, q) == 0x2E and groups < 7:
            end, octets = four_octets(doc, p)
            if end:
                tail = octets
                groups += 2
                p = end
                break
        if groups == 0 or (groups == 1 and gap != 1):
            head |= value << (16 - 16 * groups)
        groups += 1
        p = q
        if peek(doc, p) != 0x3A:
            break
        if peek(doc, p + 1) != 0x3A:
            if VALUE[peek(doc, p + 1)] > 15:
                break
            p += 1
        elif gap >= 0:
            return 0
    if (groups < 8) != (gap >= 0) or groups > 8 or is_word(doc, p, classes):
        return 0
    c = peek(doc, p)
    if (c == 0x3A or c == 0x2E) and is_word(doc, p + 1, classes):
        return 0
    if tail >= 0 and (head == 0x64FF9B or (gap == 0 and groups == 3 and head >> 16 == 0xFFFF)):
        if among(tail, _LOCAL_IPV4):
            return 0
    elif head >> 29 != 1 or among(head, _LOCAL_IPV6):
        return 0
    if c == 0x25 and FLAGS[peek(doc, p + 1)] & ALNUM:
        p += 1
        while p - i < 64 and FLAGS[peek(doc, p)] & ALNUM:
            p += 1
    return p


@inner
def number(
    doc: np.ndarray, i: Int, j: Int, g: np.ndarray, classes: np.ndarray, words: np.ndarray, last_end: Int, last_phone: Int
) -> tuple[Int, Int, Int]:
    """(kind, start, end) of what the run of digits [i, j) begins or is part of; kind -1 for nothing."""
    c = peek(doc, i - 1)
    p = peek(doc, i - 2)
    if ends_word(doc, i, classes):
        if not FLAGS[c] & FLAGS[p] & LATIN:
            return -1, 0, 0
        alone = not ends_word(doc, i - 2, classes)
        end = iban(doc, i - 2, classes) if alone else 0
        if end:
            return IBAN, i - 2, end
        # EE38..., PNOEE38... of a certificate (ETSI EN 319 412-1)
        if c != 0x45 or p != 0x45 or j - i != 11 or not (alone or (peek(doc, i - 3) == 0x4F and peek(doc, i - 4) == 0x4E)):
            return -1, 0, 0
    else:
        if c == 0x3A and p != 0x3A and peek(doc, i - 6) == 0x3A and not ends_word(doc, i - 7, classes):  # ::ffff:
            end = ipv6(doc, i - 7, classes)
            if end:
                return IPV6, i - 7, end
        if c != 0x3A and c != 0x2E and (peek(doc, i + 4) == 0x3A or peek(doc, i + 2) == 0x3A):
            end = ipv6(doc, i, classes)
            if end:
                return IPV6, i, end
        if j - i < 4 and peek(doc, j) == 0x2E:
            end = ipv4(doc, i, classes, words, last_end)
            if end:
                return IPV4, i, end
    n = chain(doc, i, g)
    total = g[TOTAL, n - 1] if n else 0
    if total < 6:
        return -1, 0, 0
    if total >= 13:
        end = card(doc, i, n, g, classes, words)
        if end:
            return CARD, i, end
    if j - i == 11 and is_personal_code(g) and not FLAGS[c] & BEFORE_CODE:
        inside = FLAGS[p] & NUMERAL and (c == 0x2E or c == 0x2D)
        goes_on = FLAGS[peek(doc, j)] & BEFORE_PHONE and FLAGS[peek(doc, j + 1)] & NUMERAL
        if not inside and not goes_on and not is_word(doc, j, classes):
            return CODE, i, j
    start, end = phone(doc, i, n, g, classes, words, last_phone)
    return (PHONE, start, end) if end else (-1, 0, 0)


@kernel(allocates=True)
def scan(
    data: np.ndarray, offsets: np.ndarray, classes: np.ndarray, words: np.ndarray, counts: np.ndarray, row: np.ndarray,
    start: np.ndarray, end: np.ndarray, kind: np.ndarray,
) -> Int:  # fmt: skip
    """Fill the spans (bytes of the document, by row and start, none overlapping) and their counts by kind (n_docs, 7).

    Returns the number of spans. The arrays of spans must hold one for every 6 bytes: none is shorter (a@b.ee).
    """
    g = np.empty((6, DIGITS), np.int64)
    counts[:] = 0
    n = 0
    for d in range(offsets.size - 1):
        doc = data[offsets[d] : offsets[d + 1]]
        first = n
        last_phone = np.int64(-1)
        i = 0
        while i < doc.size:
            flags = FLAGS[doc[i]]
            if not flags & START:
                i += 1
                continue
            j = i + 1
            if flags & NUMERAL:
                while j < doc.size and FLAGS[doc[j]] & NUMERAL:
                    j += 1
                last_end = end[n - 1] if n > first else np.int64(-1)
                found, a, b = number(doc, i, j, g, classes, words, last_end, last_phone)
                if found == PHONE:
                    last_phone = b
            else:
                a, b = email(doc, i, classes, words)
                found = np.int64(EMAIL if b else -1)
                while b and n > first and end[n - 1] > a:  # digits of the name taken for something else
                    n -= 1
                    counts[d, kind[n]] -= 1
            if found < 0:
                i = j
                continue
            row[n] = d
            start[n] = a
            end[n] = b
            kind[n] = found
            counts[d, found] += 1
            n += 1
            i = b
    return n
