"""Texts to signals without a store: what the tests of single families share."""

from __future__ import annotations

import itertools

import numpy as np
import pyarrow as pa

from curate import text
from curate.signals import Batch, Measurer
from curate.signals.punctuation import marks


def batch(texts: list[str]) -> Batch:
    array = pa.array(texts, pa.large_string())
    data, offsets = text.buffers(array)
    return Batch(array, data, offsets, text.segment(data, offsets))


def measured(measurer: Measurer, texts: list[str]) -> list[dict[str, int]]:
    """One dict of columns per text; the columns are those the family declares, int64."""
    columns = measurer.measure(batch(texts))
    assert list(columns) == [column.name for column in measurer.family.columns]
    assert all(str(values.dtype) == "int64" and len(values) == len(texts) for values in columns.values())
    return [{name: int(values[i]) for name, values in columns.items()} for i in range(len(texts))]


def words(texts: list[str]) -> list[list[str]]:
    """Our words of every text, with one segmentation for all."""
    given = batch(texts)
    seg = given.segments
    assert seg is not None
    raw, start, end, ptr = given.data.tobytes(), seg.start.tolist(), seg.end.tolist(), seg.doc_ptr.tolist()
    return [[raw[start[w] : end[w]].decode() for w in range(a, b)] for a, b in itertools.pairwise(ptr)]


def members(bit: int) -> set[str]:
    """The code points of one of the sets of punctuation.py."""
    return {chr(x) for x in np.flatnonzero(marks() & bit)}
