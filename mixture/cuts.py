"""Cuts applied: a text (or the messages of a conversation) and its cuts in, what is trained on out. The only place that applies them.

In: cuts.parquet of a shard (schema.CUTS): bytes of the document's text, by (row, start), without overlaps. The text of a conversation
is what its messages say, joined by blank lines (curate.schema.said): cuts are mapped back to contents, reasoning and arguments.
Imports schema and store.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate.schema import CUTS, map_said
from curate.store import canonical_json

JOIN = b"\n\n"  # between what messages say


class Cut(NamedTuple):
    start: int  # bytes
    end: int
    replacement: bytes


class ShardCuts:
    """The cuts of one documents shard."""

    def __init__(self, path: Path) -> None:
        table = pq.read_table(path, schema=CUTS).combine_chunks()
        self.rows = table["row"].to_numpy()
        self._start, self._end = table["start"].to_numpy(), table["end"].to_numpy()
        self._replacement = table["replacement"].combine_chunks()

    def of(self, row: int) -> list[Cut]:
        first, last = np.searchsorted(self.rows, [row, row + 1]).tolist()
        replaced = [text.encode() for text in self._replacement.slice(first, last - first).to_pylist()]
        starts, ends = self._start[first:last].tolist(), self._end[first:last].tolist()
        return [Cut(*one) for one in zip(starts, ends, replaced, strict=True)]

    def apply(self, rows: np.ndarray, values: pa.Array, is_conversation: bool) -> tuple[pa.Array, np.ndarray]:
        """(`values`, texts or messages as JSON, of these rows of the shard, each after its cuts; which of them have any)."""
        touched = np.isin(rows, self.rows)
        if not touched.any():
            return values, touched
        found: list[Any] = values.to_pylist()
        for i in np.flatnonzero(touched).tolist():
            cuts = self.of(int(rows[i]))
            if is_conversation:
                found[i] = canonical_json(apply_to_messages(json.loads(found[i]), cuts)).decode()
            else:
                found[i] = apply(found[i].encode(), cuts).decode()
        return pa.array(found, values.type), touched


def apply(text: bytes, cuts: Sequence[Cut]) -> bytes:
    """UTF-8 with every cut's bytes replaced; `cuts` in order, without overlaps."""
    pieces: list[bytes] = []
    at = 0
    for start, end, replacement in cuts:
        pieces += (text[at:start], replacement)
        at = end
    return b"".join([*pieces, text[at:]])


def apply_to_messages(messages: list[dict[str, Any]], cuts: Sequence[Cut]) -> list[dict[str, Any]]:
    """The messages with what they say cut. A message that nothing is left of keeps its place and role, with the content "".

    A cut that reaches over several texts leaves its replacement in the first one it takes something of. Names of tools stay, and arguments
    that were JSON and would be none any more become {}. Raises ValueError where a cut lies beyond the text: then the cuts are not those of this
    document.
    """
    left, first = list(cuts), 0

    def change(text: str, before: str) -> str:
        nonlocal left, first
        data = text.encode()
        first += len(before.encode())
        last = first + len(data)
        own: list[Cut] = []
        rest: list[Cut] = []
        for cut in left:
            start, end = max(cut.start, first), min(cut.end, last)
            if start < end:
                own.append(Cut(start - first, end - first, cut.replacement))
                cut = cut._replace(replacement=b"")
            if cut.end > last:
                rest.append(cut)
        first, left = last + len(JOIN), rest
        made = apply(data, own).decode()
        return "{}" if before and own and _is_json(text) and not _is_json(made) else made

    found = [map_said(message, change) for message in messages]
    if any(cut.end > first - len(JOIN) for cut in left):
        raise ValueError(f"a cut ends at byte {left[-1].end} of a conversation of {max(first - len(JOIN), 0)} bytes")
    return found


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
