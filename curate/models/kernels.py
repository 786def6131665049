"""Numba kernels of the features classifier: text, its words and a model's weights in, feature rows or logits out, per document.

Every row depends on its own document only and sums run in one fixed order, so that neither batches nor threads change a score.
Imports curate.jit, and constants and helpers of curate.text.kernels. The meaning of each column stands in features.py.
"""

from __future__ import annotations

import numpy as np

from curate.jit import inner, kernel
from curate.text.kernels import (
    CURRENCY,
    DIGIT,
    HAS_ALNUM,
    HAS_LETTER,
    ICON,
    LETTER,
    LOWER,
    QUOTE,
    SPACE,
    UPPER,
    before,
    decode,
    mix,
)

N_SHAPE = 44  # columns before the hashed ones; features.SHAPE names them
WINDOW = 50  # words of a type-token window
_SLOTS = 128  # of its hash set: a power of two above twice WINDOW
_STEP = np.uint64(0x9E3779B97F4A7C15)
_NUMBER = np.uint64(0x452821E638D01377)  # pi, further words: the skeleton of any number, and the start of a document
_START = np.uint64(0xBE5466CF34E90C6C)


@inner
def ratio(a, b):
    return a / b if b > 0 else 0.0


@inner(allocates=True)
def character_shape(data, first, stop, classes, row):
    """Columns 0 to 19, and 33 to 35 still as counts; returns the code points of the document."""
    n = letters = digits = upper = spaces = foreign_letters = 0
    counts = np.zeros(14, np.int64)  # , . ! ? : ; quotes brackets dashes currency % marks icons newlines
    web = phones = prices = 0
    run = 0  # digits of a run that spaces, hyphens and a plus may break once
    gap = 0
    since_digit = 9  # code points since the last digit
    since_currency = 9
    i = first
    while i < stop:
        code, width = decode(data, i)
        kind = np.int64(classes[code])
        n += 1
        i += width
        since_digit += 1
        since_currency += 1
        if kind & DIGIT:
            digits += 1
            if since_currency <= 2 and since_digit > 1:
                prices += 1
            since_digit = 0
            run += 1
            gap = 0
            continue
        if run > 0:
            gap += 1
            if gap > 1 or not (code == 0x20 or code == 0x2D or code == 0xA0):
                phones += 7 <= run <= 15
                run = 0
        if kind & LETTER:
            letters += 1
            upper += (kind & UPPER) != 0 and (kind & LOWER) == 0
            foreign_letters += code >= 0x80
            continue
        if kind & SPACE:
            spaces += 1
            counts[13] += code == 0x0A
            continue
        if kind & CURRENCY:
            counts[9] += 1
            prices += since_digit <= 2
            since_currency = 0
        elif code == 0x2C:
            counts[0] += 1
        elif code == 0x2E:
            counts[1] += 1
        elif code == 0x21:
            counts[2] += 1
        elif code == 0x3F:
            counts[3] += 1
        elif code == 0x3A:
            counts[4] += 1
            web += i + 1 < stop and data[i] == 0x2F and data[i + 1] == 0x2F
        elif code == 0x3B:
            counts[5] += 1
        elif kind & QUOTE:
            counts[6] += 1
        elif code == 0x28 or code == 0x29 or code == 0x5B or code == 0x5D or code == 0x7B or code == 0x7D:
            counts[7] += 1
        elif code == 0x2D or code == 0x2013 or code == 0x2014:
            counts[8] += 1
        elif code == 0x25:
            counts[10] += 1
        elif kind & ICON:
            counts[12] += 1
        else:
            counts[11] += 1
            web += code == 0x40
    phones += 7 <= run <= 15
    row[0] = ratio(letters, n)
    row[1] = ratio(digits, n)
    row[2] = ratio(upper, letters)
    row[3] = ratio(spaces, n)
    row[4] = ratio(n - letters - digits - spaces, n)
    row[5] = ratio(foreign_letters, letters)
    for k in range(14):
        row[6 + k] = ratio(counts[k], n)
    row[33] = web
    row[34] = phones
    row[35] = prices
    return n


@inner
def word_skeleton(data, a, b, classes, lower_delta, chars, flag, lower):
    """What a word is to the hashed columns: itself up to four letters, its last three letters where longer, one mark for numbers."""
    if not flag & HAS_ALNUM:
        return lower
    code, _ = decode(data, a)
    if np.int64(classes[code]) & DIGIT:
        return _NUMBER
    if chars <= 4:
        return lower
    h = np.uint64(3)
    i = b
    for _ in range(3):
        i = before(data, i)
        code, _w = decode(data, i)
        h = (h ^ np.uint64(code + lower_delta[code])) * _STEP
    return mix(h)


@inner
def has_foreign_letter(data, a, b):
    """c, q, w, x or y: not letters of native Estonian, Finnish, Latvian or Lithuanian words (y is Finnish, c Baltic)."""
    for i in range(a, b):
        c = data[i] | 0x20
        if c == 0x63 or c == 0x71 or c == 0x77 or c == 0x78 or c == 0x79:
            return True
    return False


@inner
def ends_sentence(data, a, b):
    """A word of full stops, ! or ?, or an ellipsis."""
    code, _ = decode(data, a)
    return code == 0x2E or code == 0x21 or code == 0x3F or code == 0x2026


@inner
def fill_row(data, first, stop, classes, lower_delta, w0, w1, start, end, flags, lower, chars, row, slots):
    """One document's features into `row` (float64; N_SHAPE columns, then the hashed ones). `slots`: uint64 scratch of _SLOTS."""
    row[:] = 0.0
    n_buckets = np.uint64(row.size - N_SHAPE)
    character_shape(data, first, stop, classes, row)
    n = total = short = long = very_long = title = caps = mixed = numbers = repeats = foreign = 0
    squares = 0
    n_windows = in_window = distinct = 0
    variety = 0.0
    sentences = same_start = low_start = in_sentence = 0
    sentence_sum = sentence_squares = 0.0
    lines = open_lines = short_lines = in_line = 0
    previous = np.uint64(0)
    sentence_start = np.uint64(0)
    skeleton = _START
    hashed = 0
    at = first  # where the text between words begins
    for w in range(w0, w1 + 1):
        # white space before the word: a newline ends the line and its sentence
        until = start[w] if w < w1 else stop
        broken = w == w1
        for i in range(at, until):
            if data[i] == 0x0A:
                broken = True
        if broken and in_line > 0:
            lines += 1
            short_lines += in_line <= 5
            open_lines += not ends_sentence(data, start[w - 1], end[w - 1])
            in_line = 0
        if in_sentence > 0 and (broken or (w > w0 and ends_sentence(data, start[w - 1], end[w - 1]) and flags[w] & HAS_ALNUM)):
            sentences += 1
            sentence_sum += in_sentence
            sentence_squares += in_sentence * in_sentence
            in_sentence = 0
        if w == w1:
            break
        at = end[w]
        a, b, flag, size = start[w], end[w], flags[w], int(chars[w])
        here = word_skeleton(data, a, b, classes, lower_delta, size, flag, lower[w])
        row[N_SHAPE + np.int64(mix(here) % n_buckets)] += 1.0
        row[N_SHAPE + np.int64(mix(skeleton * _STEP + here) % n_buckets)] += 1.0
        skeleton = here
        hashed += 2
        in_line += 1
        if not flag & HAS_ALNUM:
            continue
        n += 1
        code, width = decode(data, a)
        kind = np.int64(classes[code])
        is_up = (kind & UPPER) != 0 and (kind & LOWER) == 0
        if in_sentence == 0:
            same_start += sentence_start == lower[w]
            sentence_start = lower[w]
            low_start += (kind & LETTER) != 0 and not is_up
        else:
            title += is_up
        in_sentence += 1
        total += size
        squares += size * size
        short += size <= 3
        long += size >= 10
        very_long += size >= 15
        repeats += lower[w] == previous
        previous = lower[w]
        if kind & DIGIT:
            numbers += 1
            mixed += (flag & HAS_LETTER) != 0
        if is_up and size > 1:
            second, _ = decode(data, a + width)
            second_kind = np.int64(classes[second])
            caps += (second_kind & UPPER) != 0 and (second_kind & LOWER) == 0
        foreign += has_foreign_letter(data, a, b)
        if in_window == 0:
            slots[:] = np.uint64(0)
            distinct = 0
        key = lower[w] | np.uint64(1)
        slot = np.int64(key >> np.uint64(57))
        while slots[slot] != np.uint64(0) and slots[slot] != key:
            slot = (slot + 1) & (_SLOTS - 1)
        if slots[slot] == np.uint64(0):
            slots[slot] = key
            distinct += 1
        in_window += 1
        if in_window == WINDOW:
            n_windows += 1
            variety += distinct / WINDOW
            in_window = 0
    if n_windows == 0 and in_window > 0:
        n_windows = 1
        variety = distinct / in_window
    mean = ratio(total, n)
    row[20] = mean
    row[21] = np.sqrt(max(ratio(squares, n) - mean * mean, 0.0))
    row[22] = ratio(short, n)
    row[23] = ratio(long, n)
    row[24] = ratio(very_long, n)
    row[25] = ratio(title, n)
    row[26] = ratio(caps, n)
    row[27] = ratio(mixed, n)
    row[28] = ratio(numbers, n)
    row[29] = ratio(variety, n_windows)
    row[30] = ratio(repeats, n)
    row[31] = ratio(foreign, n)
    row[32] = ratio(w1 - w0 - n, w1 - w0)
    for k in range(33, 36):
        row[k] = ratio(row[k], n)
    mean = ratio(sentence_sum, sentences)
    row[36] = np.log1p(mean)
    row[37] = ratio(np.sqrt(max(ratio(sentence_squares, sentences) - mean * mean, 0.0)), mean)
    row[38] = ratio(same_start, sentences)
    row[39] = ratio(low_start, sentences)
    row[40] = np.log1p(ratio(w1 - w0, lines))
    row[41] = ratio(open_lines, lines)
    row[42] = ratio(short_lines, lines)
    row[43] = ratio(hashed, stop - first)
    if hashed > 0:
        for k in range(N_SHAPE, row.size):
            if row[k] > 0.0:
                row[k] = np.sqrt(row[k] / hashed)


@kernel(allocates=True)
def feature_rows(data, offsets, classes, lower_delta, doc_ptr, start, end, flags, lower, chars, out):
    """out (n_docs, n_features) float32."""
    row = np.empty(out.shape[1], np.float64)
    slots = np.empty(_SLOTS, np.uint64)
    for doc in range(offsets.size - 1):
        fill_row(
            data, offsets[doc], offsets[doc + 1], classes, lower_delta, doc_ptr[doc], doc_ptr[doc + 1], start, end, flags, lower,
            chars, row, slots,
        )  # fmt: skip
        for k in range(row.size):
            out[doc, k] = row[k]


@kernel(allocates=True)
def logits(data, offsets, classes, lower_delta, doc_ptr, start, end, flags, lower, chars, mean, scale, weight, bias, clip, out):
    """out (n_docs,) float64: bias + sum of weight * (feature - mean) / scale, each standardised feature cut to +-clip."""
    row = np.empty(weight.size, np.float64)
    slots = np.empty(_SLOTS, np.uint64)
    for doc in range(offsets.size - 1):
        fill_row(
            data, offsets[doc], offsets[doc + 1], classes, lower_delta, doc_ptr[doc], doc_ptr[doc + 1], start, end, flags, lower,
            chars, row, slots,
        )  # fmt: skip
        total = bias
        for k in range(row.size):
            z = (np.float64(np.float32(row[k])) - mean[k]) / scale[k]
            total += weight[k] * min(max(z, -clip), clip)
        out[doc] = total
