"""Lines of texts as keys, and what stands in several documents of a domain: arrays in, arrays out; no files.

May import curate.jit and text.kernels only. All hash constants are uint64: numba turns int64 mixed with uint64 into float64.
"""

from __future__ import annotations

import numpy as np

from curate.jit import kernel
from curate.text.kernels import mix

_LINE = np.uint64(0x452821E638D01377)  # pi's digits, as start of a line's hash
_DOMAIN = np.uint64(0x9E3779B97F4A7C15)
_PRIME = np.uint64(0x100000001B3)  # FNV-1a's


@kernel
def line_keys(data, offsets, domain, min_chars, key, row, size):
    """Lines of at least `min_chars` code points of every document with domain[i] >= 0; returns how many.

    Lines lie between \\n, their ASCII white space at both ends does not count, and digits are all one: a template's dates and
    numbers change (as CCNet's line dedup has it, Wenzek et al. 2020, 3.1). key: uint64 of (domain, line); row: int32, the
    document; size: int32 bytes. They have room for one line in min_chars + 1 bytes, and one more per document.
    """
    n = 0
    for i in range(offsets.shape[0] - 1):
        if domain[i] < 0:
            continue
        start_key = _LINE ^ (np.uint64(domain[i] + 1) * _DOMAIN)
        at, stop = offsets[i], offsets[i + 1]
        while at < stop:
            end = at
            while end < stop and data[end] != 0x0A:
                end += 1
            a, b = at, end
            at = end + 1
            while a < b and data[a] <= 0x20:
                a += 1
            while b > a and data[b - 1] <= 0x20:
                b -= 1
            if b - a < min_chars:
                continue
            h, chars = start_key, 0
            for j in range(a, b):
                c = data[j]
                if 0x30 <= c <= 0x39:
                    c = np.uint8(0x30)
                chars += c & 0xC0 != 0x80
                h = (h ^ np.uint64(c)) * _PRIME
            if chars < min_chars:
                continue
            key[n], row[n], size[n] = mix(h), i, b - a
            n += 1
    return n


@kernel
def distinct_lines(order, key, row, size, domain, out_key, out_domain, out_documents, out_bytes):
    """One record per key, in the order of keys: its domain, in how many documents it stands, its bytes wherever it stands.

    `order` sorts key, and keeps rows of equal keys together. Returns how many; the out arrays are as long as `key`.
    """
    n = -1
    last = -1
    for k in range(order.shape[0]):
        i = order[k]
        if n < 0 or key[i] != out_key[n]:
            n += 1
            out_key[n], out_domain[n], out_documents[n], out_bytes[n] = key[i], domain[row[i]], 0, 0
            last = -1
        out_documents[n] += row[i] != last
        out_bytes[n] += size[i]
        last = row[i]
    return n + 1


@kernel
def add_templates(order, key, domain, documents, size, min_documents, line_bytes, template_bytes):
    """Adds the records of some shards, each key complete: all bytes to line_bytes[domain], and those of keys that stand in at
    least `min_documents` documents to template_bytes[domain]."""
    begin, n = 0, order.shape[0]
    while begin < n:
        end, n_documents, n_bytes = begin, 0, 0
        while end < n and key[order[end]] == key[order[begin]]:
            n_documents += documents[order[end]]
            n_bytes += size[order[end]]
            end += 1
        of = domain[order[begin]]
        line_bytes[of] += n_bytes
        if n_documents >= min_documents:
            template_bytes[of] += n_bytes
        begin = end
