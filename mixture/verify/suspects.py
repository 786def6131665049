"""Where a changed token may be, by row hashes alone: it is in every row that uses it, so a row that matches clears its tokens.

In: the rows that do not have their hash, and per chunk its document and which of the document's tokens it is. Out: a finding per row that
names documents and tokens. Needs no text; texts.py names the token itself where there is one. Imports verify.report.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from mixture.verify.report import MOST, Report

NAMED = 5  # documents named for a row


@dataclass(frozen=True)
class Chunks:
    """Per chunk, in the order of the rows. Arrays (n_chunks,), but for ptr."""

    ptr: np.ndarray  # int64 (n_rows + 1,)
    shard: np.ndarray  # index of the token shard
    document: np.ndarray  # int64, any number that tells documents apart, -1 unknown
    start: np.ndarray  # int64, first token, counted in the document
    length: np.ndarray  # int64


def name_rows(
    wrong: np.ndarray, chunks: Chunks, order: np.ndarray, damaged: Mapping[int, str], name: Callable[[int], str], report: Report
) -> None:
    """`damaged`: number of a token shard whose bytes are not those that were written -> its name in findings; `name` of a chunk's
    document. A row without a chunk in such a shard has another hash than it should: that is the finding then."""
    is_wrong = np.zeros(chunks.ptr.size - 1, np.bool_)
    is_wrong[wrong] = True
    stream_index = np.full(chunks.ptr.size - 1, -1, np.int64)
    stream_index[order.astype(np.int64)] = np.arange(order.size)
    for row in wrong[: MOST + 1].tolist():
        own = range(int(chunks.ptr[row]), int(chunks.ptr[row + 1]))
        suspects = [i for i in own if int(chunks.shard[i]) in damaged]
        if not suspects:
            report.add("sequences/row_hash.npy", "it is not the hash of the tokens of this sequence", f"sequence {row}")
            continue
        named = [f"{name(i)}, tokens {a}..{b - 1}" for i in suspects for a, b in _left(i, is_wrong, chunks)]
        more = f" and {len(named) - NAMED} more" if len(named) > NAMED else ""
        where = f"stream index {stream_index[row]}" if stream_index[row] >= 0 else "held out"
        says = f": the change is in {' or '.join(named[:NAMED])}{more}" if named else ""
        report.add(
            damaged[int(chunks.shard[suspects[0]])], f"the tokens of a sequence are not those that were packed{says}",
            f"sequence {row}, {where}",
        )  # fmt: skip
    for row in wrong[MOST + 1 :].tolist():
        report.add("sequences/row_hash.npy", "its tokens do not have this hash", f"sequence {row}")


def _left(chunk: int, is_wrong: np.ndarray, chunks: Chunks) -> list[tuple[int, int]]:
    """Of the tokens of a chunk, counted in its document, the stretches that no matching row has."""
    others = np.flatnonzero(chunks.document == chunks.document[chunk]) if chunks.document[chunk] >= 0 else np.array([chunk])
    good = others[~is_wrong[np.searchsorted(chunks.ptr, others, side="right") - 1]]
    at, end = int(chunks.start[chunk]), int(chunks.start[chunk] + chunks.length[chunk])
    found = []
    for i in good[np.argsort(chunks.start[good], kind="stable")].tolist():
        begin, stop = int(chunks.start[i]), int(chunks.start[i] + chunks.length[i])
        if at < min(begin, end):
            found.append((at, min(begin, end)))
        at = max(at, stop)
    return [*found, *([(at, end)] if at < end else [])]
