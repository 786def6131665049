"""The compiled part of decontamination: words, look-up of n-grams, windows of hits, local alignment, weighted scores.

Arrays in, arrays out; knows neither files nor recipes. May import curate.jit and curate.text.kernels (helpers) only. All hash
constants are uint64: numba turns int64 mixed with uint64 into float64.
"""

from __future__ import annotations

import numpy as np

from curate.jit import inner, kernel
from curate.text.kernels import Int, decode, mix

# Kinds of code points, of folding.kinds().
INSIDE = 1  # letters and digits: a run of them is a word
MARK = 2  # goes with the letter before it
ALONE = 3  # a word by itself: scripts that put no space between words

PLAIN, MARKED, FOLDED = 0, 1, 2  # what a word's hash tells apart: see folding.py

# Parts of an item.
QUESTION, ANSWER, OPTION, PASSAGE = 0, 1, 2, 3

# Local alignment (Smith and Waterman 1981): a match, a word for another word, a word more in the document, a word of the item left out.
# A sentence of a dozen words put in between costs less than what it parts; every third word in common gains nothing.
_MATCH, _OTHER, _MORE, _LESS = 4, -3, -1, -2
_STOP, _DIAGONAL, _UP, _LEFT = 0, 1, 2, 3

WHOLE_WORDS = 128  # a part of no more words is aligned in one piece, a longer one in pieces of so many
PIECE_DRIFT_WORDS = 16  # n-grams of one piece are this far from one line at most

_BACKSLASH = 0x5C
_START = np.uint64(0x452821E638D01377)  # pi, continued from curate.text.kernels
_MULTIPLY = np.uint64(0x9E3779B97F4A7C15)
_BASE = np.uint64(0xD6E8FEB86659FD93)


@kernel
def words(data, offsets, kinds, lower_delta, base_delta, mark_index, mark_values, mode, ptr, start, end, key):
    """Words of every document: byte spans in `data` and hashes; ptr (n_docs + 1,). Returns their number, which may exceed the room in
    `start`: then nothing behind it was written, and the caller asks again with more."""
    n = 0
    for d in range(offsets.size - 1):
        ptr[d] = n
        i = offsets[d]
        stop = offsets[d + 1]
        first: Int = -1
        h = _START
        seen = np.uint64(0)
        while i < stop:
            c = np.int64(data[i])
            width = 1
            if c >= 0x80:
                c, width = decode(data, i)
            elif c == _BACKSLASH and i + 1 < stop:
                c, width = _escaped(data, i, stop)
            kind = kinds[c]
            if first >= 0 and (kind == 0 or kind == ALONE):
                if n < start.size:
                    start[n] = first
                    end[n] = i
                    key[n] = mix(_with_marks(h, seen))
                n += 1
                first = -1
            if kind in (INSIDE, ALONE) or (kind == MARK and first >= 0):
                if first < 0:
                    first = i
                    h = _START
                    seen = np.uint64(0)
                c += lower_delta[c]
                if mode == PLAIN:
                    h = (h ^ np.uint64(c)) * _MULTIPLY
                else:
                    if kinds[c] != MARK:
                        h = (_with_marks(h, seen) ^ np.uint64(c + base_delta[c])) * _MULTIPLY
                        seen = np.uint64(0)
                    if mode == MARKED:
                        seen += mark_values[mark_index[c]]
                if kind == ALONE:
                    if n < start.size:
                        start[n] = first
                        end[n] = i + width
                        key[n] = mix(_with_marks(h, seen))
                    n += 1
                    first = -1
            i += width
        if first >= 0:
            if n < start.size:
                start[n] = first
                end[n] = stop
                key[n] = mix(_with_marks(h, seen))
            n += 1
    ptr[offsets.size - 1] = n
    return n


@inner
def _escaped(data, i, stop):
    """(code point, width) at a backslash: texts stand in documents as JSON too, where a line end is \\n and an õ may be \\u00f5."""
    c = data[i + 1]
    if c == 0x6E or c == 0x72 or c == 0x74:  # n r t
        return np.int64(0x20), 2
    if c != 0x75 or i + 6 > stop:  # u
        return np.int64(_BACKSLASH), 1
    code = np.int64(0)
    for j in range(i + 2, i + 6):
        digit = np.int64(data[j])
        if 0x30 <= digit <= 0x39:
            digit -= 0x30
        elif 0x41 <= digit & ~0x20 <= 0x46:
            digit = (digit & ~0x20) - 0x37
        else:
            return np.int64(_BACKSLASH), 1
        code = code * 16 + digit
    return code, 6


@inner
def _with_marks(h, seen):
    """The hash after a letter's marks: their sum, so that their order is nothing."""
    return (h ^ seen) * _MULTIPLY if seen != 0 else h


@kernel
def gram_hashes(key, first, last, n, out):
    """Hashes of the n-grams of words first..last, one for each place; 0 is never one."""
    power = np.uint64(1)
    for _ in range(n):
        power *= _BASE
    h = np.uint64(0)
    for i in range(first, last):
        h = h * _BASE + key[i]
        if i - first >= n:
            h -= power * key[i - n]
        if i - first >= n - 1:
            out[i - n + 1 - first] = _salted(h, n)


@inner
def _salted(h, n):
    x = mix(h ^ (np.uint64(n) * _MULTIPLY))
    return x if x != 0 else np.uint64(1)


@kernel
def fill_table(hashes, table, number, bloom):
    """Open addressing over distinct hashes: `table` uint64 and `number` int32 of a power of two, 0 empty; `bloom` one bit a hash."""
    mask = np.uint64(table.size - 1)
    bits = np.uint64(bloom.size * 64 - 1)
    for i in range(hashes.size):
        h = hashes[i]
        slot = h & mask
        while table[slot] != 0:
            slot = (slot + np.uint64(1)) & mask
        table[slot] = h
        number[slot] = i
        bit = (h >> np.uint64(32)) & bits
        bloom[bit >> np.uint64(6)] |= np.uint64(1) << (bit & np.uint64(63))


@inner
def _find(h, table, number, bloom):
    bit = (h >> np.uint64(32)) & np.uint64(bloom.size * 64 - 1)
    if (bloom[bit >> np.uint64(6)] >> (bit & np.uint64(63))) & np.uint64(1) == 0:
        return np.int64(-1)
    mask = np.uint64(table.size - 1)
    slot = h & mask
    while table[slot] != 0:
        if table[slot] == h:
            return np.int64(number[slot])
        slot = (slot + np.uint64(1)) & mask
    return np.int64(-1)


@kernel(allocates=True)
def scan(ptr, key, lengths, table, number, bloom, doc, place, gram):
    """Every n-gram of the documents that an item has, by (document, place of its first word in the batch); `lengths` are two or one,
    ascending. Returns how many there are; beyond the room nothing is written."""
    n_hits = 0
    powers = np.ones(lengths.size, np.uint64)
    for k in range(lengths.size):
        for _ in range(lengths[k]):
            powers[k] *= _BASE
    rolled = np.zeros(lengths.size, np.uint64)
    for d in range(ptr.size - 1):
        rolled[:] = np.uint64(0)
        first = ptr[d]
        for i in range(first, ptr[d + 1]):
            for k in range(lengths.size):
                n = lengths[k]
                h = rolled[k] * _BASE + key[i]
                if i - first >= n:
                    h -= powers[k] * key[i - n]
                rolled[k] = h
                if i - first >= n - 1:
                    g = _find(_salted(h, n), table, number, bloom)
                    if g >= 0:
                        if n_hits < doc.size:
                            doc[n_hits] = d
                            place[n_hits] = i - n + 1
                            gram[n_hits] = g
                        n_hits += 1
    return n_hits


@kernel(allocates=True)
def windows(
    doc, place, gram, gram_n, postings_ptr, postings, part_of, part_ptr, unit_of, unit_ptr, least, slack_words, most_postings, out
):
    """Where a unit's n-grams stand close together: rows (document, unit, first place, end place) of `out` int64 (room, 4).

    A window is at most half as long again as the unit, and `slack_words` more; in it n-grams cover `least` words of one of its parts
    or more. An n-gram in more than `most_postings` places of the items finds none of them: it is their template. Of windows that
    overlap the one that covers most words. Returns their number; beyond the room nothing is written.
    """
    n_out = 0
    longest = np.int64(0)
    most_parts = np.int64(0)
    for u in range(unit_ptr.size - 1):
        longest = max(longest, part_ptr[unit_ptr[u + 1]] - part_ptr[unit_ptr[u]])
        most_parts = max(most_parts, unit_ptr[u + 1] - unit_ptr[u])
    cover = np.zeros(longest + 1, np.int32)
    covered = np.zeros(most_parts + 1, np.int32)
    begin = 0
    while begin < doc.size:
        stop = begin
        n = 0
        while stop < doc.size and doc[stop] == doc[begin]:
            size = postings_ptr[gram[stop] + 1] - postings_ptr[gram[stop]]
            n += size if size <= most_postings else 0
            stop += 1
        unit = np.empty(n, np.int32)
        at = np.empty(n, np.int64)
        word = np.empty(n, np.int32)
        width = np.empty(n, np.int32)
        n = 0
        for h in range(begin, stop):
            a = postings_ptr[gram[h]]
            b = postings_ptr[gram[h] + 1]
            if b - a <= most_postings:
                for p in range(a, b):
                    unit[n] = unit_of[part_of[postings[p]]]
                    at[n] = place[h]
                    word[n] = postings[p]
                    width[n] = gram_n[gram[h]]
                    n += 1
        order = np.argsort(unit, kind="mergesort")
        s = 0
        while s < n:
            u = unit[order[s]]
            t = s
            while t < n and unit[order[t]] == u:
                t += 1
            n_out = _windows_of_unit(
                doc[begin],
                u,
                order[s:t],
                at,
                word,
                width,
                part_of,
                part_ptr,
                unit_ptr,
                least,
                slack_words,
                cover,
                covered,
                out,
                n_out,
            )
            s = t
        begin = stop
    return n_out


@inner
def _windows_of_unit(
    doc, u, order, at, word, width, part_of, part_ptr, unit_ptr, least, slack_words, cover, covered, out, n_out
):  # fmt: skip
    first_part = unit_ptr[u]
    n_parts = unit_ptr[u + 1] - first_part
    base = part_ptr[first_part]
    size = part_ptr[unit_ptr[u + 1]] - base
    span = size + size // 2 + slack_words
    left = 0
    right = 0
    best = 0
    best_a = np.int64(-1)
    best_b = np.int64(-1)
    while right < order.size or best > 0:
        if best > 0 and (right >= order.size or at[order[right]] - best_a > span):
            if n_out < out.shape[0]:
                out[n_out, 0] = doc
                out[n_out, 1] = u
                out[n_out, 2] = best_a
                out[n_out, 3] = best_b
            n_out += 1
            best = 0
            cover[:size] = 0
            covered[:n_parts] = 0
            right = left
            while right < order.size and at[order[right]] < best_b:
                right += 1
            left = right
            continue
        h = order[right]
        part = part_of[word[h]]
        for x in range(word[h] - base, word[h] - base + width[h]):
            if cover[x] == 0:
                covered[part - first_part] += 1
            cover[x] += 1
        right += 1
        while left < right - 1 and at[h] + width[h] - at[order[left]] > span:
            g = order[left]
            for x in range(word[g] - base, word[g] - base + width[g]):
                cover[x] -= 1
                if cover[x] == 0:
                    covered[part_of[word[g]] - first_part] -= 1
            left += 1
        total = 0
        enough = False
        for k in range(n_parts):
            total += covered[k]
            enough = enough or covered[k] >= least[first_part + k]
        if enough and total > best:
            best = total
            best_a = at[order[left]]
            best_b = at[h] + width[h]
    cover[:size] = 0
    covered[:n_parts] = 0
    return n_out


@inner(allocates=True)
def _align(part_key, p0, p1, key, d0, d1, found, shift):
    """Best local alignment of words p0..p1 of the items with words d0..d1 of the documents: found[p + shift] = d of each match.
    Returns how many words match. Of equal alignments the one that ends first in the item, then in the document."""
    m = p1 - p0
    n = d1 - d0
    if m <= 0 or n <= 0:
        return 0
    trace = np.zeros((m + 1, n + 1), np.int8)
    row = np.zeros(n + 1, np.int32)
    best = 0
    best_i = 0
    best_j = 0
    for i in range(1, m + 1):
        diagonal = row[0]
        own = part_key[p0 + i - 1]
        for j in range(1, n + 1):
            up = row[j] + _LESS
            left = row[j - 1] + _MORE
            score = diagonal + (_MATCH if own == key[d0 + j - 1] else _OTHER)
            way = _DIAGONAL
            if up > score:
                score = up
                way = _UP
            if left > score:
                score = left
                way = _LEFT
            if score <= 0:
                score = 0
                way = _STOP
            diagonal = row[j]
            row[j] = score
            trace[i, j] = way
            if score > best:
                best = score
                best_i = i
                best_j = j
    count = 0
    i = best_i
    j = best_j
    while i > 0 and j > 0 and trace[i, j] != _STOP:
        way = trace[i, j]
        if way == _DIAGONAL:
            i -= 1
            j -= 1
            if part_key[p0 + i] == key[d0 + j]:
                found[p0 + i + shift] = d0 + j
                count += 1
        elif way == _UP:
            i -= 1
        else:
            j -= 1
    return count


@inner
def _align_pieces(part_key, p0, p1, key, d0, d1, place, gram, postings_ptr, postings, h0, h1, found, shift):
    """A long part piece by piece, each where most of its n-grams stand (a majority vote): linear in the part's length."""
    count = 0
    for first in range(p0, p1, WHOLE_WORDS):
        last = min(first + WHOLE_WORDS, p1)
        drift = np.int64(0)
        votes = 0
        for h in range(h0, h1):
            if place[h] >= d0 and place[h] < d1:
                for q in range(postings_ptr[gram[h]], postings_ptr[gram[h] + 1]):
                    if first <= postings[q] < last:
                        own = place[h] - postings[q]
                        if votes == 0:
                            drift = own
                        votes += 1 if votes == 0 or abs(own - drift) <= PIECE_DRIFT_WORDS else -1
        if votes > 0:
            a = max(d0, first + drift - 4 * PIECE_DRIFT_WORDS)
            b = min(d1, last + drift + 4 * PIECE_DRIFT_WORDS)
            count += _align(part_key, first, last, key, a, b, found, shift)
    return count


@kernel
def align(
    window, ptr, key, hit_doc, place, gram, postings_ptr, postings, part_key, part_ptr, part_kind, unit_ptr, near_words, found_ptr, found
):  # fmt: skip
    """found[found_ptr[w] + x] = place in the batch of word x of the unit of window w, -1 where it does not stand there.

    A question is looked for in its window; where half of it or more was found, answers and options before and after it, and else in
    the window. Windows are in the order of documents.
    """
    found[:] = -1
    h0 = 0
    for w in range(window.shape[0]):
        d = window[w, 0]
        first_part = unit_ptr[window[w, 1]]
        last_part = unit_ptr[window[w, 1] + 1]
        base = part_ptr[first_part]
        size = part_ptr[last_part] - base
        shift = found_ptr[w] - base
        low = max(ptr[d], window[w, 2] - near_words)
        high = min(ptr[d + 1], window[w, 3] + near_words)
        while h0 < hit_doc.size and hit_doc[h0] < d:
            h0 += 1
        h1 = h0
        while h1 < hit_doc.size and hit_doc[h1] == d and place[h1] < high:
            h1 += 1
        asked = np.int64(-1)
        until = np.int64(-1)
        for part in range(first_part, last_part):
            p0 = part_ptr[part]
            p1 = part_ptr[part + 1]
            kind = part_kind[part]
            if p1 - p0 > WHOLE_WORDS:
                n = _align_pieces(part_key, p0, p1, key, low, high, place, gram, postings_ptr, postings, h0, h1, found, shift)
            elif asked < 0 or kind == QUESTION:
                n = _align(part_key, p0, p1, key, low, high, found, shift)
            else:
                a = max(ptr[d], asked - near_words - (p1 - p0))
                b = min(ptr[d + 1], until + near_words + size)
                before = _align(part_key, p0, p1, key, a, asked, found, shift)
                found[p0 + shift : p1 + shift] = -1
                n = _align(part_key, p0, p1, key, until, b, found, shift)
                if before > n:
                    found[p0 + shift : p1 + shift] = -1
                    n = _align(part_key, p0, p1, key, a, asked, found, shift)
            if kind == QUESTION and 2 * n >= p1 - p0:
                for x in range(p0 + shift, p1 + shift):
                    if found[x] >= 0:
                        asked = found[x] if asked < 0 or found[x] < asked else asked
                        until = max(until, found[x] + 1)


@kernel(allocates=True)
def scores(
    unit, found_ptr, is_found, weight, part_ptr, part_kind, is_proof, unit_ptr, is_beside, doubt, asked, beside, score, overlap
):
    """score float64 (w,) of every match, and overlap float64 by its parts, one after another.

    overlap is the weight of a part's words that were found over that of all its words. score is the same for the parts that speak for
    the item together, as if `doubt` more words had not been found: doubt[0] for a part alone, doubt[1] for an answer alone, doubt[2]
    for a question (found to `asked` or more) beside an answer or option (found to `beside` of its weight or more), doubt[3] for one
    beside its passage (is_beside).
    """
    n_done = 0
    for w in range(unit.size):
        first_part = unit_ptr[unit[w]]
        last_part = unit_ptr[unit[w] + 1]
        shift = found_ptr[w] - part_ptr[first_part]
        n_parts = last_part - first_part
        have = np.zeros(n_parts)
        whole = np.zeros(n_parts)
        best = 0.0
        question = -1
        for k in range(n_parts):
            part = first_part + k
            for p in range(part_ptr[part], part_ptr[part + 1]):
                whole[k] += weight[p]
                if is_found[p + shift]:
                    have[k] += weight[p]
            overlap[n_done + k] = have[k] / whole[k] if whole[k] > 0 else 0.0
            if part_kind[part] == QUESTION:
                question = k
            if is_proof[part]:
                best = max(best, have[k] / (whole[k] + doubt[1 if part_kind[part] == ANSWER else 0]))
        if question >= 0 and overlap[n_done + question] >= asked:
            above = have[question]
            below = whole[question] + doubt[2]
            if is_beside[w]:
                best = max(best, above / (whole[question] + doubt[3]))
            used = np.zeros(n_parts, np.bool_)
            used[question] = True
            is_first = True
            while True:
                next_ = -1
                for k in range(n_parts):
                    if not used[k] and (next_ < 0 or overlap[n_done + k] > overlap[n_done + next_]):
                        next_ = k
                if next_ < 0 or overlap[n_done + next_] < beside:
                    break
                used[next_] = True
                if not is_first and (above + have[next_]) / (below + whole[next_]) <= above / below:
                    break
                above += have[next_]
                below += whole[next_]
                is_first = False
                best = max(best, above / below)
        score[w] = best
        n_done += n_parts
