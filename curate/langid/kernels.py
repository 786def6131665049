"""Numba kernels of language identification: windows of documents, and py3langid's naive Bayes over byte n-grams.

Self-contained, like every kernels.py; the class bits repeat those of curate/text/kernels.py (a test holds them equal).
Imports curate.jit only.
"""

from __future__ import annotations

import numpy as np

from curate.jit import inner, kernel

NFC_UNSAFE = 1 << 14
CASED_UP = 1 << 15
CASED_DOWN = 1 << 16

LANES = 4  # windows walked in step


@kernel
def window_spans(
    data: np.ndarray,
    offsets: np.ndarray,
    windows: int,
    window_bytes: int,
    doc_ptr: np.ndarray,
    start: np.ndarray,
    end: np.ndarray,
) -> None:
    """Byte spans of each document's windows: `windows` of them, evenly spread, cut inwards to whole characters.

    A document shorter than all its windows together, or windows == 0, is one window; an empty document has none.
    """
    n = 0
    doc_ptr[0] = 0
    for doc in range(offsets.size - 1):
        a = offsets[doc]
        b = offsets[doc + 1]
        if b > a and (windows == 0 or b - a <= windows * window_bytes):
            start[n] = a
            end[n] = b
            n += 1
        elif b > a:
            for j in range(windows):
                at = a + (b - a - window_bytes) * j // (windows - 1) if windows > 1 else a
                stop = at + window_bytes
                while at < stop and data[at] & 0xC0 == 0x80:
                    at += 1
                while stop < b and stop > at and data[stop] & 0xC0 == 0x80:
                    stop -= 1
                start[n] = at
                end[n] = stop
                n += 1
        doc_ptr[doc + 1] = n


@kernel
def segment_bounds(data: np.ndarray, offsets: np.ndarray, min_bytes: int, doc_ptr: np.ndarray, bounds: np.ndarray) -> None:
    """Ends of the segments of all documents behind bounds[0]: whole lines, together at least `min_bytes`.

    The rest of a document joins its last segment; a document shorter than `min_bytes` is one, an empty document has none.
    """
    n = 0
    doc_ptr[0] = 0
    bounds[0] = offsets[0]
    for doc in range(offsets.size - 1):
        start = offsets[doc]
        for i in range(offsets[doc], offsets[doc + 1]):
            if data[i] == 0x0A and i + 1 - start >= min_bytes:
                n += 1
                bounds[n] = i + 1
                start = i + 1
        if start < offsets[doc + 1]:
            if n == doc_ptr[doc] or offsets[doc + 1] - start >= min_bytes:
                n += 1
            bounds[n] = offsets[doc + 1]
        doc_ptr[doc + 1] = n


@kernel
def needs_rewriting(data: np.ndarray, start: np.ndarray, end: np.ndarray, classes: np.ndarray, flag: np.ndarray) -> None:
    """True where a window may be outside NFC or is all capitals: py3langid normalises and lower-cases those first."""
    for window in range(start.size):
        i = start[window]
        seen = np.uint32(0)
        while i < end[window]:
            c = np.int64(data[i])
            if c < 0x80:
                i += 1
            elif c < 0xE0:
                c = ((c & 0x1F) << 6) | (np.int64(data[i + 1]) & 0x3F)
                i += 2
            elif c < 0xF0:
                c = ((c & 0x0F) << 12) | ((np.int64(data[i + 1]) & 0x3F) << 6) | (np.int64(data[i + 2]) & 0x3F)
                i += 3
            else:
                c = ((c & 0x07) << 18) | ((np.int64(data[i + 1]) & 0x3F) << 12)
                c |= ((np.int64(data[i + 2]) & 0x3F) << 6) | (np.int64(data[i + 3]) & 0x3F)
                i += 4
            seen |= classes[c]
        flag[window] = bool(seen & NFC_UNSAFE) or (bool(seen & CASED_UP) and not seen & CASED_DOWN)


@inner(allocates=True)
def walk(
    data: np.ndarray, start: np.ndarray, end: np.ndarray, nextmove: np.ndarray, states: np.ndarray, found: np.ndarray
) -> None:
    """The feature that ends at every byte (or -1) of up to LANES windows.

    Every step waits for memory (the automaton has 39 MB), so the windows go in step as far as the shortest reaches: their waits
    overlap.
    """
    common = end[0] - start[0]
    for lane in range(start.size):
        common = min(common, end[lane] - start[lane])
    state = np.zeros(LANES, np.int64)
    if start.size == LANES:
        for i in range(common):
            for lane in range(LANES):
                to = nextmove[(np.int64(states[state[lane], 0]) << 8) + data[start[lane] + i]]
                found[lane, i] = states[to, 1]
                state[lane] = to
    else:
        common = 0
    for lane in range(start.size):
        at = state[lane]
        for i in range(common, end[lane] - start[lane]):
            at = np.int64(nextmove[(np.int64(states[at, 0]) << 8) + data[start[lane] + i]])
            found[lane, i] = states[at, 1]


@kernel(allocates=True)
def probabilities(
    data: np.ndarray,
    start: np.ndarray,
    end: np.ndarray,
    nextmove: np.ndarray,
    states: np.ndarray,
    weights: np.ndarray,
    prior: np.ndarray,
    out: np.ndarray,
) -> None:
    """Per window the probabilities (n_windows, n_classes) of a model restricted to its columns; zeros without any feature.

    nextmove (n_rows * 256) and states (n_states, 2: row, feature that ends there or -1) are the automaton, weights (n_features,
    n_classes) and prior (n_classes) the log-probabilities. Counts enter as log(1 + n) and the scores are divided by the square
    root of the bytes, as py3langid 0.4.0 does.
    """
    counts = np.zeros(weights.shape[0], np.int32)
    most = 1
    for window in range(start.size):
        most = max(most, end[window] - start[window])
    touched = np.empty(most, np.int64)
    found = np.empty((LANES, most), np.int32)
    scores = np.empty(prior.size, np.float64)
    for window in range(start.size):
        lane = window % LANES
        if lane == 0:
            last = min(window + LANES, start.size)
            walk(data, start[window:last], end[window:last], nextmove, states, found)
        n = 0
        for i in range(end[window] - start[window]):
            feature = found[lane, i]
            if feature >= 0:
                if counts[feature] == 0:
                    touched[n] = feature
                    n += 1
                counts[feature] += 1
        out[window, :] = 0.0
        if n == 0:
            continue
        for j in range(prior.size):
            scores[j] = prior[j]
        for t in range(n):
            feature = touched[t]
            factor = np.log(1.0 + counts[feature])
            counts[feature] = 0
            for j in range(prior.size):
                scores[j] += factor * weights[feature, j]
        scale = 1.0 / np.sqrt(np.float64(end[window] - start[window]))
        best = scores.max()
        total = 0.0
        for j in range(prior.size):
            scores[j] = np.exp((scores[j] - best) * scale)
            total += scores[j]
        for j in range(prior.size):
            out[window, j] = scores[j] / total
