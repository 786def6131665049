"""What a signal family is: its columns, ratios and spans, and the function that measures a batch of texts. Records only.

Every family's module offers a `FAMILY` (or builds one per entry of the recipe) and a `measurer`; measure.py runs them in one pass.
Imports schema and text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa

from curate import text
from curate.schema import ID

AFTER_CUTS = "after_cuts_"  # the same signal, measured on the text as it is after the recipe's cuts


@dataclass(frozen=True)
class Column:
    name: str
    unit: str
    doc: str
    type: Literal["int64", "float32", "string"] = "int64"
    low: float | None = 0  # None: not a number
    high: float | None = None  # None: no bound


@dataclass(frozen=True)
class Ratio:
    """numerator / denominator, integer columns of any family, computed when read; 0.0 where the denominator is 0."""

    name: str
    numerator: str
    denominator: str
    doc: str = ""


@dataclass(frozen=True)
class Family:
    """Raise `version` when a column's meaning changes; a changed word definition is text.SEGMENTATION_VERSION's business."""

    name: str
    version: int
    columns: tuple[Column, ...]
    ratios: tuple[Ratio, ...] = ()
    span_kinds: tuple[str, ...] = ()  # not empty: measuring also finds spans of the text, of these kinds

    def schema(self) -> pa.Schema:
        types = {"int64": pa.int64(), "float32": pa.float32(), "string": pa.string()}
        return pa.schema([("id", ID), *((c.name, types[c.type]) for c in self.columns)])

    def after_cuts(self) -> Family:
        """The family of the same measurements on the text after cuts: every name with the prefix `after_cuts_`, no spans."""
        columns = tuple(replace(c, name=AFTER_CUTS + c.name, doc=f"after cuts: {c.doc}") for c in self.columns)
        ratios = tuple(
            replace(r, **{k: AFTER_CUTS + getattr(r, k) for k in ("name", "numerator", "denominator")}) for r in self.ratios
        )
        return Family(AFTER_CUTS + self.name, self.version, columns, ratios)


class Batch(NamedTuple):
    """Some consecutive documents of one shard. `data` and `offsets` are text.buffers(texts)."""

    texts: pa.LargeStringArray
    data: np.ndarray  # uint8
    offsets: np.ndarray  # (n_docs + 1,) int64
    segments: text.Segments | None  # None where no family of the pass needs words
    columns: Mapping[str, pa.Array] = {}  # other columns of the documents, row by row: what the measurers' `reads` name
    shared: dict[Any, Any] | None = None  # what several families of one pass would work out alike; None: each does its own


class Spans(NamedTuple):
    """Parts of texts, in the order of (row, start); they may overlap. All arrays (n_spans,)."""

    row: np.ndarray  # int64, document of the batch
    start: np.ndarray  # int64, bytes from the start of the document's UTF-8
    end: np.ndarray  # int64
    kind: np.ndarray  # int16, index into the family's span_kinds


Columns = dict[str, Any]  # column -> (n_docs,) array; and "spans" -> Spans where the family has span_kinds


@dataclass(frozen=True)
class Measurer:
    """How one family is measured for one source. `measure` is pure and picklable: a function of a module, or functools.partial of
    one with plain arguments. `settings` is whatever else the result depends on (lists, models by sha256), for the fingerprint."""

    family: Family
    measure: Callable[[Batch], Columns]
    settings: dict[str, Any] = field(default_factory=dict)
    needs_words: bool = True
    reads: tuple[str, ...] = ()  # columns of the documents besides the text


def read_only(*arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    """Read-only views: Arrow's are, and numba compiles once more for arrays that are not."""
    views = tuple(array.view() for array in arrays)
    for view in views:
        view.flags.writeable = False
    return views
