"""Keys of lines, paragraphs and runs of words, and how often they stand: arrays in, arrays out; no files.

A key is 96 bits: `key` uint64 and `check` uint32. May import curate.jit and text.kernels only. All hash constants are uint64: numba
turns int64 mixed with uint64 into float64.
"""

from __future__ import annotations

import numpy as np

from curate.jit import inner, kernel
from curate.text.kernels import ALNUM, SPACE, before, decode, mix

_START_1, _START_2 = np.uint64(0xBE5466CF34E90C6C), np.uint64(0xC0AC29B7C97C50DD)  # pi's digits
_PRIME_1, _PRIME_2 = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93)  # odd
_BASE_1, _BASE_2 = np.uint64(0x3F84D5B5B5470917), np.uint64(0x9216D5D98979FB1B)  # odd: bases of polynomials over words
_ANCHOR = np.uint64(0xD1310BA698DFB5AC)
_U = np.uint64


# ---- lines and paragraphs


@inner
def bytes_hash(data, a, b):
    """Two 64-bit hashes of the bytes [a, b), eight at a time; their number is hashed with them."""
    h1, h2 = _START_1 ^ _U(b - a), _START_2
    i = a
    while i + 8 <= b:
        x = _U(0)
        for j in range(8):
            x |= _U(data[i + j]) << _U(8 * j)
        h1 = (h1 ^ x) * _PRIME_1
        h1 ^= h1 >> _U(29)
        h2 = (h2 + x) * _PRIME_2
        h2 ^= h2 >> _U(31)
        i += 8
    x = _U(0)
    for j in range(b - i):
        x |= _U(data[i + j]) << _U(8 * j)
    h1 = (h1 ^ x) * _PRIME_1
    h2 = (h2 + x) * _PRIME_2
    return mix(h1), mix(h2)


@inner
def has_alnum(data, a, b, classes):
    while a < b:
        code, width = decode(data, a)
        if classes[code] & ALNUM:
            return True
        a += width
    return False


@kernel
def line_keys(data, offsets, classes, paragraphs, row, start, end, key, check):
    """The lines (or, where `paragraphs`, the runs of lines that are not blank) of every document with a letter or digit in them, in
    the order of the text; returns how many.

    start and end are bytes of `data`: a line with its \\n, a paragraph with its lines and the blank lines after them, so that what
    is left of the text has whole lines and as many blank ones between paragraphs as before. White space at the ends of a line is
    no part of its key. The out arrays have room for one in two bytes, and one more per document.
    """
    n = 0
    for doc in range(offsets.shape[0] - 1):
        at, stop = offsets[doc], offsets[doc + 1]
        inside, is_blank, is_counted = False, True, False  # of the paragraph so far: there is one, its last line is blank, ...
        first, h1, h2 = at, _START_1, _START_2
        while at < stop:
            begin = at
            while at < stop and data[at] != 0x0A:
                at += 1
            a, b = begin, at
            at += at < stop
            while a < b:
                code, width = decode(data, a)
                if not classes[code] & SPACE:
                    break
                a += width
            while b > a:
                i = before(data, b)
                if not classes[decode(data, i)[0]] & SPACE:
                    break
                b = i
            if a == b:
                is_blank = True
                continue
            counted = has_alnum(data, a, b, classes)
            if not paragraphs:
                if counted:
                    k1, k2 = bytes_hash(data, a, b)
                    row[n], start[n], end[n], key[n], check[n] = doc, begin, at, k1, k2 >> _U(32)
                    n += 1
                continue
            if is_blank:
                if inside and is_counted:
                    row[n], start[n], end[n], key[n], check[n] = doc, first, begin, mix(h1), mix(h2) >> _U(32)
                    n += 1
                inside, is_counted, first, h1, h2 = True, False, begin, _START_1, _START_2
            is_blank = False
            is_counted |= counted
            k1, k2 = bytes_hash(data, a, b)
            h1, h2 = (h1 + k1) * _PRIME_1, (h2 ^ k2) * _PRIME_2
        if inside and is_counted:
            row[n], start[n], end[n], key[n], check[n] = doc, first, stop, mix(h1), mix(h2) >> _U(32)
            n += 1
    return n


# ---- runs of words


@inner
def power(base, n):
    found = _U(1)
    for _ in range(n):
        found *= base
    return found


@inner
def anchors_of(words, first, last, k, w, lead, ring, position, found):
    """Winnowing (Schleimer, Wilkerson, Aiken 2003): of every w runs of k words in a row, the rightmost with the least hash.

    Two places that share k + w - 1 words in a row share an anchor there: what is chosen depends on these words alone. Fills
    position (of the run's first word, from `first`) and found (uint64); returns how many, about 2 in w + 1.
    """
    n = 0
    h = _U(0)
    best, least, chosen = -1, _U(0), -1
    for i in range(last - first):
        h = h * _BASE_1 + words[first + i]
        g = i - k + 1
        if g < 0:
            continue
        value = mix(h)
        h -= words[first + g] * lead
        ring[g % w] = value
        if best < 0 or value <= least:
            best, least = g, value
        elif best <= g - w:
            best, least = g - w + 1, ring[(g - w + 1) % w]
            for j in range(g - w + 2, g + 1):
                if ring[j % w] <= least:
                    best, least = j, ring[j % w]
        if g >= w - 1 and best != chosen:
            # Least hashes are small ones: mixed again, so that ranges of keys hold equally many.
            position[n], found[n] = best, mix(least ^ _ANCHOR)
            n += 1
            chosen = best
    return n


@kernel(allocates=True)
def anchors(doc_ptr, words, k, w, row, key):
    """The anchors of every document of k + w - 1 words or more; returns how many. row and key: room for one per word."""
    most = 1
    for doc in range(doc_ptr.shape[0] - 1):
        most = max(most, doc_ptr[doc + 1] - doc_ptr[doc])
    ring, position = np.empty(w, np.uint64), np.empty(most, np.int64)
    lead = power(_BASE_1, k - 1)
    n = 0
    for doc in range(doc_ptr.shape[0] - 1):
        first, last = doc_ptr[doc], doc_ptr[doc + 1]
        if last - first < k + w - 1:
            continue
        here = anchors_of(words, first, last, k, w, lead, ring, position, key[n:])
        row[n : n + here] = doc
        n += here
    return n


@kernel(allocates=True)
def hash_table(keys):
    """Open addressing over distinct uint64 keys that are mixed already: slot -> place in `keys` + 1, 0 empty."""
    size = 8
    while size < 2 * keys.shape[0]:
        size *= 2
    table = np.zeros(size, np.int32)
    for i in range(keys.shape[0]):
        slot = np.int64(keys[i] & _U(size - 1))
        while table[slot] != 0:
            slot = (slot + 1) & (size - 1)
        table[slot] = i + 1
    return table


@inner
def look_up(table, keys, key):
    """Place of `key` in `keys` (its first, where it stands there twice), -1 where it is none of them."""
    slot = np.int64(key & _U(table.shape[0] - 1))
    while table[slot] != 0:
        if keys[table[slot] - 1] == key:
            return np.int64(table[slot] - 1)
        slot = (slot + 1) & (table.shape[0] - 1)
    return np.int64(-1)


@kernel(allocates=True)
def windows(doc_ptr, words, k, w, table, anchor_keys, row, position, key, check):
    """Every run of k + w - 1 words that holds one of the anchors `anchor_keys` (`table`: of hash_table), in the order of the text;
    returns how many. position: of its first word in the document. The out arrays have room for one per word."""
    size = k + w - 1
    most = 1
    for doc in range(doc_ptr.shape[0] - 1):
        most = max(most, doc_ptr[doc + 1] - doc_ptr[doc])
    ring, at, found = np.empty(w, np.uint64), np.empty(most, np.int64), np.empty(most, np.uint64)
    lead, lead_1, lead_2 = power(_BASE_1, k - 1), power(_BASE_1, size - 1), power(_BASE_2, size - 1)
    n = 0
    for doc in range(doc_ptr.shape[0] - 1):
        first, last = doc_ptr[doc], doc_ptr[doc + 1]
        if last - first < size:
            continue
        here = anchors_of(words, first, last, k, w, lead, ring, at, found)
        m = 0
        for i in range(here):
            if look_up(table, anchor_keys, found[i]) >= 0:
                at[m] = at[i]
                m += 1
        if m == 0:
            continue
        h1, h2 = _U(0), _U(0)
        i = 0  # the first anchor that begins at the run or after it
        for j in range(last - first):
            h1, h2 = h1 * _BASE_1 + words[first + j], h2 * _BASE_2 + words[first + j]
            p = j - size + 1
            if p < 0:
                continue
            while i < m and at[i] < p:
                i += 1
            if i == m:
                break
            if at[i] + k <= p + size:
                row[n], position[n], key[n], check[n] = doc, p, mix(h1), mix(h2) >> _U(32)
                n += 1
            h1 -= words[first + p] * lead_1
            h2 -= words[first + p] * lead_2
    return n


@kernel
def run_bytes(data, offsets, doc_ptr, start, end, row, first_word, last_word, begin, stop):
    """Bytes of `data` that runs of words take: from the first word to the word after the last, so that two words never become one.
    But a line break after the last word stays, unless one stands before the first word or nothing does."""
    for i in range(row.shape[0]):
        a, b = doc_ptr[row[i]] + first_word[i], doc_ptr[row[i]] + last_word[i]
        begin[i], stop[i] = start[a], end[b]
        until = start[b + 1] if b + 1 < doc_ptr[row[i] + 1] else offsets[row[i] + 1]
        breaks = False
        for j in range(end[b], until):
            breaks |= data[j] == 0x0A
        if breaks and a > doc_ptr[row[i]]:
            breaks = False
            for j in range(end[a - 1], start[a]):
                breaks |= data[j] == 0x0A
            if not breaks:
                continue
        stop[i] = until


# ---- counting equal keys


@inner(allocates=True)
def in_order(order, begin, end):
    """Sorts order[begin:end] in place and returns it: places of one key, most often two or three."""
    if end - begin > 32:
        order[begin:end] = np.sort(order[begin:end])
    else:
        for i in range(begin + 1, end):
            value = order[i]
            j = i
            while j > begin and order[j - 1] > value:
                order[j] = order[j - 1]
                j -= 1
            order[j] = value
    return order[begin:end]


@kernel(allocates=True)
def distinct(order, key, check, row, domain, out_key, out_check, out_domain, out_documents, out_places):
    """One record per (key, check, domain of the row), in this order: in how many rows and places it stands.

    `order` sorts key, and is sorted further; rows ascend in row. Returns how many; the out arrays are as long as key.
    """
    n = -1
    begin, size = 0, order.shape[0]
    while begin < size:
        end = begin + 1
        while end < size and key[order[end]] == key[order[begin]]:
            end += 1
        own = in_order(order, begin, end)
        is_one = True
        for i in own:
            is_one &= check[i] == check[own[0]] and domain[row[i]] == domain[row[own[0]]]
        if not is_one:
            of = np.empty(end - begin, np.uint64)
            for i in range(own.shape[0]):
                of[i] = _U(check[own[i]]) << _U(32) | _U(domain[row[own[i]]] + 1)
            own = own[np.argsort(of, kind="mergesort")]
        last = -1
        for i in range(own.shape[0]):
            p = own[i]
            d = domain[row[p]]
            if i == 0 or check[p] != out_check[n] or d != out_domain[n]:
                n += 1
                out_key[n], out_check[n], out_domain[n], out_documents[n], out_places[n] = key[p], check[p], d, 0, 0
                last = -1
            out_documents[n] += row[p] != last
            out_places[n] += 1
            last = row[p]
        begin = end
    return n + 1


FIRST_IN_CORPUS, FIRST_IN_SOURCE, FIRST_IN_DOMAIN = 1, 2, 4


@kernel(allocates=True)
def count_equal(order, key, check, shard, source, domain, documents, places, min_documents, corpus, of_source, of_domain, first):
    """Of some shards' records, each key complete: in how many documents of the corpus, of the record's source (`source`, by shard) and
    of its domain there it stands; all 0 for what stands in fewer than `min_documents` documents or in one place only.

    Records are in the order of shards, which is that of sources. `first`: the bits FIRST_IN_... where this shard has the first place.
    """
    begin, size = 0, order.shape[0]
    while begin < size:
        end = begin + 1
        while end < size and key[order[end]] == key[order[begin]]:
            end += 1
        if end - begin == 1:
            i = order[begin]
            if documents[i] >= min_documents and places[i] > 1:
                corpus[i] = of_source[i] = documents[i]
                first[i] = FIRST_IN_CORPUS | FIRST_IN_SOURCE
                if domain[i] >= 0:
                    of_domain[i] = documents[i]
                    first[i] |= FIRST_IN_DOMAIN
        else:
            own = in_order(order, begin, end)
            is_one = True
            for i in own:
                is_one &= check[i] == check[own[0]]
            if not is_one:
                own = own[np.argsort(check[own], kind="mergesort")]
            a = 0
            while a < own.shape[0]:
                b = a + 1
                while b < own.shape[0] and check[own[b]] == check[own[a]]:
                    b += 1
                n_documents, n_places = 0, 0
                for i in own[a:b]:
                    n_documents += documents[i]
                    n_places += places[i]
                if n_documents >= min_documents and n_places > 1:
                    count_places(own[a:b], shard, source, domain, documents, corpus, of_source, of_domain, first)
                a = b
        begin = end


@inner(allocates=True)
def count_places(own, shard, source, domain, documents, corpus, of_source, of_domain, first):
    """The counts of the records `own`, which have one key."""
    total = 0
    for i in own:
        total += documents[i]
    a = 0
    while a < own.shape[0]:
        b, n_source = a, 0
        while b < own.shape[0] and source[shard[own[b]]] == source[shard[own[a]]]:
            n_source += documents[own[b]]
            b += 1
        mine = own[a:b]
        for i in mine:
            corpus[i], of_source[i] = total, n_source
            first[i] = (FIRST_IN_CORPUS if shard[i] == shard[own[0]] else 0) | (
                FIRST_IN_SOURCE if shard[i] == shard[mine[0]] else 0
            )
        is_one = True
        for i in mine:
            is_one &= domain[i] == domain[mine[0]]
        if not is_one:
            mine = mine[np.argsort(domain[mine], kind="mergesort")]
        c = 0
        while c < mine.shape[0]:
            d, n_domain = c, 0
            while d < mine.shape[0] and domain[mine[d]] == domain[mine[c]]:
                n_domain += documents[mine[d]]
                d += 1
            if domain[mine[c]] >= 0:
                for i in mine[c:d]:
                    of_domain[i] = n_domain
                    first[i] |= FIRST_IN_DOMAIN if shard[i] == shard[mine[c]] else 0
            c = d
        a = b


@kernel
def of_records(key, check, domain, table, group_key, group_check, group_ptr, record_domain, record):
    """record[i]: the record of (key, check, domain)[i], -1 where there is none.

    Records of one (key, check) are a group, rows group_ptr[g]:group_ptr[g + 1], by domain. table: of hash_table(group_key).
    """
    n = group_key.shape[0]
    for i in range(key.shape[0]):
        record[i] = -1
        g = look_up(table, group_key, key[i])
        while 0 <= g < n and group_key[g] == key[i] and group_check[g] != check[i]:
            g += 1
        if g < 0 or g == n or group_key[g] != key[i]:
            continue
        low, last = group_ptr[g], group_ptr[g + 1]
        high = last
        while low < high:
            middle = (low + high) // 2
            if record_domain[middle] < domain[i]:
                low = middle + 1
            else:
                high = middle
        if low < last and record_domain[low] == domain[i]:
            record[i] = low


@kernel
def first_places(record, group, first, seen, bits):
    """bits[i]: which FIRST_IN_... are true of the place i of record[i] >= 0, places in the order of the text.

    group: of every record, its group's first record. `seen`: uint8 per record, zeros before the first call, kept between calls.
    """
    for i in range(record.shape[0]):
        r = record[i]
        whole = group[r]  # the records of a group share the first places in corpus and source
        bits[i] = first[r] & (~(seen[whole] | FIRST_IN_DOMAIN) | (FIRST_IN_DOMAIN & ~seen[r]))
        seen[whole] |= FIRST_IN_CORPUS | FIRST_IN_SOURCE
        seen[r] |= FIRST_IN_DOMAIN
