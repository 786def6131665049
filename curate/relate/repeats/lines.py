"""Repeated lines and paragraphs: the lines of texts as places with keys, and what repeated places make of a shard's documents.

In: documents shards, and their counts over the corpus. Out: the stages of the families repeated_lines and repeated_paragraphs. A
shard's text is read twice, for all its families together. Imports text, signals (records, threads), counts, spans and kernels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa

from curate import text
from curate.relate.repeats import kernels
from curate.relate.repeats.counts import Part, Places, Repeated, write_keys
from curate.relate.repeats.spans import Spans, per_row, publish
from curate.signals.family import Family, read_only
from curate.signals.measure import in_threads
from curate.signals.repeats import FAMILIES, MIN_DOCUMENTS, PARAGRAPHS, PER
from curate.store import Stage
from curate.text.unicode import tables


def find(texts: pa.Array, paragraphs: bool) -> Places:
    """The lines, or the paragraphs, of some texts; start and end are bytes of each text."""
    data, offsets = read_only(*text.buffers(texts))
    room = int(offsets[-1] - offsets[0]) // 2 + len(texts)
    row, start, end = np.empty(room, np.int32), np.empty(room, np.int64), np.empty(room, np.int64)
    key, check = np.empty(room, np.uint64), np.empty(room, np.uint32)
    n = kernels.line_keys(data, offsets, tables()[0], paragraphs, row, start, end, key, check)
    first = offsets[row[:n]]
    return Places(row[:n].copy(), start[:n] - first, end[:n] - first, key[:n].copy(), check[:n].copy())


def find_all(part: Part, names: list[str]) -> Iterator[list[Places]]:
    """Batch by batch, the places for each of the families named."""

    def found(given: tuple[int, pa.Array]) -> list[Places]:
        first, texts = given
        here = [find(texts, name == PARAGRAPHS.name) for name in names]
        return [of._replace(row=of.row + np.int32(first)) for of in here]

    yield from in_threads(found, part.texts())


def write_all_keys(part: Part, stages: Mapping[str, Stage]) -> None:
    """The records of every family (by name) whose shard is not published yet."""
    todo = [name for name, stage in stages.items() if not stage.published(part.key)]
    found: list[list[Places]] = [[] for _ in todo]
    for batch in find_all(part, todo):
        for of, places in zip(found, batch, strict=True):
            of.append(places._replace(start=places.start[:0], end=places.end[:0]))
    for name, listed in zip(todo, found, strict=True):
        write_keys(stages[name], part, listed)


def write_families(
    parts: Mapping[str, Part], stages: Mapping[str, Stage], counts: Mapping[str, Stage], keys: Mapping[str, Stage]
) -> None:
    """The tables of every family (by name) whose shard is not published yet. `parts`: the one shard, numbered in each family's corpus."""
    todo = {
        name: Repeated(counts[name], keys[name], part) for name, part in parts.items() if not stages[name].published(part.key)
    }
    found: dict[str, list[Spans]] = {name: [] for name in todo}
    for batch in find_all(next(iter(parts.values())), list(todo)):
        for (name, repeated), places in zip(todo.items(), batch, strict=True):
            found[name].append(Spans.of(places, repeated))
    for name in todo:
        spans, shard = Spans.joined(found.pop(name)), parts[name].shard
        publish(stages[name], shard.key, shard.documents, FAMILIES[name], _columns(FAMILIES[name], spans, shard.rows), spans)


def _columns(family: Family, spans: Spans, n_rows: int) -> dict[str, np.ndarray]:
    columns = {}
    for i, _ in enumerate(PER):
        own = spans.where(spans.n_documents[:, i] >= MIN_DOCUMENTS)
        n_units, n_bytes = family.columns[2 * i : 2 * i + 2]
        columns[n_units.name] = np.bincount(own.row, minlength=n_rows).astype(np.int64)
        columns[n_bytes.name] = per_row(own.row, own.end - own.start, n_rows)
    return columns
