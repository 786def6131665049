"""Repeated substrings: runs of at least min_words equal words, found by sorting keys, range by range; nothing quadratic.

In: documents shards. Out: the stage of the family repeated_substrings. Two steps on the way, besides those of counts:

1. "anchors" (per shard): of every document, the fingerprints of k words in a row that winnowing chooses (Schleimer, Wilkerson,
   Aiken 2003), one of (w + 1) / 2 words, 12 bytes each. k = (min_words + 1) // 2 and w = min_words - k + 1, so any run of
   min_words words holds one, and equal runs hold the same. "anchor_repeats" (per range of keys): those that stand more than once.
2. Of the documents with a repeated anchor, every run of min_words words (a window) that holds one has a key of 96 bits. Windows
   that stand in one place only go; windows in a row with the same counts and first places become one span.

What a cut of such spans does, exactly. With `keep: none` a word is cut where it lies in any window that stands in two places or
more. With `keep: first` it is cut where it lies in a window which is not at its first place in canonical order (source in the
recipe's order, id, word). So for every window of the corpus:
- at most one of its places is left whole, the first one: after the cut no run of min_words words that stood side by side in the
  input stands twice. Words that a cut brought side by side are not looked at again.
- every word that is cut stands, as an equal word of an equal window, at an earlier place. That place may be cut for another
  window, whose first place is earlier still: the chain ends at a word that is left. Nothing is cut whose words do not stay.
- but a window may be lost whole: where its first place lies across the end of another copy, only a part of it is left there. The
  same befalls windows that stand once. No choice of cuts can both take every copy and leave every window.
- a document that has no window in common with an earlier one, nor with itself, is not touched.
The choice does not know which documents are kept: a rule, or a near duplicate, may drop the document with the first place; its
copies are cut all the same. `keep: first` by source or domain means the first place in each of them.
Imports text, signals (records, threads), counts, spans and kernels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from curate import engine, text
from curate.engine import Task
from curate.relate.repeats import kernels
from curate.relate.repeats.counts import Part, Places, Repeated, ranges, rows_of, slice_of, write_keys
from curate.relate.repeats.spans import Spans, per_row, publish
from curate.signals.family import read_only
from curate.signals.measure import in_threads
from curate.signals.repeats import SUBSTRINGS
from curate.store import Stage, Store, array_root

VERSION = 1
_ANCHOR_BYTES = 12


class Batch(NamedTuple):
    """Some documents of a shard and their words."""

    rows: np.ndarray  # (n_docs,) int32 of the shard
    data: np.ndarray
    offsets: np.ndarray
    words: text.Segments


def winnowing(min_words: int) -> tuple[int, int]:
    """(k, w): words of an anchor, and of how many in a row one is chosen."""
    k = (min_words + 1) // 2
    return k, min_words - k + 1


def _batch(texts: pa.Array, rows: np.ndarray, words: str) -> Batch:
    data, offsets = read_only(*text.buffers(texts))
    return Batch(rows.astype(np.int32), data, offsets, text.segment(data, offsets, words))


# ---- anchors


def write_anchors(stage: Stage, part: Part, min_words: int) -> None:
    def found(given: tuple[int, pa.Array]) -> tuple[np.ndarray, np.ndarray]:
        first, texts = given
        batch = _batch(texts, np.arange(first, first + len(texts)), part.words)
        row, key = np.empty(len(batch.words.hash), np.int32), np.empty(len(batch.words.hash), np.uint64)
        n = kernels.anchors(*read_only(batch.words.doc_ptr, batch.words.hash), *winnowing(min_words), row, key)
        return key[:n].copy(), batch.rows[row[:n]]

    parts = [(np.empty(0, np.uint64), np.empty(0, np.int32)), *in_threads(found, part.texts())]
    key, row = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.lexsort((row, key))
    key, row = key[order], row[order]
    with stage.shard(part.key) as writer:
        np.save(writer.path / "key.npy", key)
        np.save(writer.path / "row.npy", row)
        writer.done(len(key), array_root(key, row))


def repeat_anchors(store: Store, anchors: dict[str, Stage], parts: Sequence[Part], workers: int) -> Stage:
    """The finished stage "anchor_repeats" over the stages "anchors" by source."""
    stage = store.stage("anchor_repeats", version=VERSION, settings={}, parents=[of.root for of in anchors.values()])
    total = sum(of.info()["rows"] for of in anchors.values())
    wanted = {f"{i:05d}": limits for i, limits in enumerate(ranges(total * _ANCHOR_BYTES))}
    folders = [anchors[part.source].shard_path(part.key) for part in parts]
    weight = 1 + total * _ANCHOR_BYTES // len(wanted)
    tasks = [Task(((stage, key),), _repeat_range, (stage, key, folders, limits), weight) for key, limits in wanted.items()]
    engine.run(tasks, workers=workers, label="anchors")
    stage.finish(list(wanted))
    return stage


def _repeat_range(stage: Stage, key: str, folders: list[Path], limits: tuple[int, int]) -> None:
    """Places of the shards' sorted anchors whose key stands twice or more, shard after shard."""
    slices = [slice_of(folder, *limits) for folder in folders]
    anchors = np.concatenate([rows_of(folder, "key", own) for folder, own in zip(folders, slices, strict=True)])
    order = np.argsort(anchors)
    same = anchors[order[1:]] == anchors[order[:-1]]
    is_again = np.zeros(len(anchors), bool)
    is_again[order[1:][same]] = is_again[order[:-1][same]] = True
    again = np.flatnonzero(is_again)
    ends = np.cumsum([0, *(own.stop - own.start for own in slices)])
    ptr = np.searchsorted(again, ends)
    begins = np.array([own.start for own in slices]) - ends[:-1]
    index = (again + np.repeat(begins, np.diff(ptr))).astype(np.int32)
    with stage.shard(key) as writer:
        np.save(writer.path / "ptr.npy", ptr)
        np.save(writer.path / "index.npy", index)
        writer.done(len(index), array_root(ptr, index))


class Anchors:
    """The repeated anchors of one shard, and the documents they stand in."""

    def __init__(self, repeats: Stage, anchors: Stage, part: Part) -> None:
        index = [np.empty(0, np.int32)]
        for folder in (repeats.shard_path(key) for key in repeats.keys):
            first, last = rows_of(folder, "ptr", slice(part.number, part.number + 2)).tolist()
            index.append(rows_of(folder, "index", slice(first, last)))
        own = np.concatenate(index)
        folder = anchors.shard_path(part.key)
        self.keys = np.unique(rows_of(folder, "key", own))
        self.rows = np.unique(rows_of(folder, "row", own))
        self.table = kernels.hash_table(self.keys)


# ---- windows


def _batches(part: Part, rows: np.ndarray) -> Iterator[tuple[np.ndarray, pa.Array]]:
    """The texts of the sorted `rows`, about a MB at a time."""
    for first, texts in part.texts():
        own = rows[np.searchsorted(rows, first) : np.searchsorted(rows, first + len(texts))]
        if len(own):
            yield own, texts.take(pa.array(own - first))


def _windows(part: Part, anchors: Anchors, min_words: int) -> Iterator[tuple[Batch, Places]]:
    """Places count words: a window begins at word `start` of its document, `end` is the one after its last."""

    def found(given: tuple[np.ndarray, pa.Array]) -> tuple[Batch, Places]:
        batch = _batch(given[1], given[0], part.words)
        room = len(batch.words.hash)
        row, position = np.empty(room, np.int32), np.empty(room, np.int64)
        key, check = np.empty(room, np.uint64), np.empty(room, np.uint32)
        given_words = read_only(batch.words.doc_ptr, batch.words.hash)
        n = kernels.windows(*given_words, *winnowing(min_words), anchors.table, anchors.keys, row, position, key, check)
        here = position[:n].copy()
        return batch, Places(batch.rows[row[:n]], here, here + min_words, key[:n].copy(), check[:n].copy())

    yield from in_threads(found, _batches(part, anchors.rows))


def write_windows(stage: Stage, part: Part, repeats: Stage, anchors: Stage, min_words: int) -> None:
    windows = (places for _, places in _windows(part, Anchors(repeats, anchors, part), min_words))
    write_keys(stage, part, (of._replace(start=of.start[:0], end=of.end[:0]) for of in windows))


def write_family(
    stage: Stage, part: Part, counts: Stage, keys: Stage, repeats: Stage, anchors: Stage, min_words: int
) -> None:  # fmt: skip
    repeated = Repeated(counts, keys, part)
    n_rows = part.shard.rows
    columns = {column.name: np.zeros(n_rows, np.int64) for column in SUBSTRINGS.columns}
    found: list[Spans] = []
    for batch, places in _windows(part, Anchors(repeats, anchors, part), min_words) if len(repeated) else ():
        of_words = _runs(Spans.of(places, repeated), min_words)
        of_bytes = _in_bytes(of_words, batch)
        is_copy = of_words.first & kernels.FIRST_IN_CORPUS == 0
        names = [column.name for column in SUBSTRINGS.columns]
        for name, spans in zip(names, (of_words, of_bytes, of_words.where(is_copy), of_bytes.where(is_copy)), strict=True):
            columns[name] += _covered(spans, n_rows)
        found.append(of_bytes)
    publish(stage, part.key, part.shard.documents, SUBSTRINGS, columns, Spans.joined(found))


def _runs(windows: Spans, min_words: int) -> Spans:
    """Windows that follow each other with the same counts and first places, as one span of words."""
    row, start, _, counts, first = windows
    if not len(row):
        return windows
    is_new = np.ones(len(row), bool)
    is_new[1:] = (row[1:] != row[:-1]) | (start[1:] != start[:-1] + 1) | (first[1:] != first[:-1])
    is_new[1:] |= (counts[1:] != counts[:-1]).any(axis=1)
    begins = np.flatnonzero(is_new)
    lasts = np.append(begins[1:], len(row)) - 1
    return windows.where(begins)._replace(end=start[lasts] + min_words)


def _in_bytes(spans: Spans, batch: Batch) -> Spans:
    local = np.searchsorted(batch.rows, spans.row)
    begin, stop = np.empty(len(local), np.int64), np.empty(len(local), np.int64)
    of = read_only(batch.data, batch.offsets, batch.words.doc_ptr, batch.words.start, batch.words.end)
    kernels.run_bytes(*of, local, spans.start, spans.end - 1, begin, stop)
    first = batch.offsets[local]
    return spans._replace(start=begin - first, end=stop - first)


def _covered(spans: Spans, n_rows: int) -> np.ndarray:
    """int64 (n_rows,): how much of every row lies in any of the spans, which are by (row, start)."""
    step = int(spans.end.max(initial=0)) + 1
    start, end = spans.row * step + spans.start, spans.row * step + spans.end
    reach = np.maximum.accumulate(end)
    before = np.concatenate([start[:1], reach[:-1]])
    return per_row(spans.row, np.maximum(reach - np.maximum(start, before), 0), n_rows)
