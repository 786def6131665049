"""Copies of a component: how often a document stands in one epoch.

Plain data in, a checked object out. Imports recipe.strict.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any, Literal

from pydantic import Field, model_validator

from curate.recipe.strict import Strict

MOST_COPIES = 100  # more is a component of its own with more epochs


def _bound(value: object) -> float:
    try:
        return float(str(value))
    except ValueError:
        raise ValueError(f"{value!r} is no number: a table is {{lower bound: copies}}") from None


class Copies(Strict):
    """How often a document stands in one epoch of its component, by the bin of a number it has (curate/copies.py).

    Bins begin at the bounds of `table`, or at `bins`, whose copies come `from` the share of documents that the rules remove.
    """

    by: str = "cluster_size"  # or a signal, or a field that the sources map to `extra`
    table: dict[str, int] | None = None  # lower bound of a bin -> copies
    from_: Literal["filter_rate"] | None = Field(None, alias="from")
    bins: list[float] | None = None
    most: int | None = None  # of filter_rate: copies of the bin with the lowest rate; 10 in FineWeb2's paper
    origin: str = "recipe"

    @model_validator(mode="after")
    def _one_kind(self) -> Copies:
        if (self.table is None) == (self.from_ is None):
            raise ValueError("copies are either a table: {lower bound: copies} or from: filter_rate")
        if self.from_ is not None and (not self.bins or self.most is None):
            raise ValueError("from: filter_rate needs bins: [lower bounds]; most: is 10 unless it is given")
        if self.table is not None and (self.bins is not None or self.most is not None):
            raise ValueError("a table says its bins and copies itself: bins: and most: belong to from: filter_rate")
        if not all(a < b for a, b in pairwise(self.lowers)) or not all(math.isfinite(bound) for bound in self.lowers):
            raise ValueError("the bounds of the bins are numbers, the smallest first, none twice")
        given = [*(self.table or {}).values(), *([] if self.most is None else [self.most])]
        if self.table == {} or not all(1 <= n <= MOST_COPIES for n in given):
            raise ValueError(f"copies are whole numbers from 1 to {MOST_COPIES}")
        return self

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        data = dict(data)
        if isinstance(data.get("table"), dict):  # bounds are numbers in the order of their size, each written in one way
            by_bound = sorted(((_bound(key), n) for key, n in data["table"].items()), key=lambda item: item[0])
            data["table"] = {str(int(b)) if b.is_integer() else repr(b): n for b, n in by_bound}
        if data.get("from", data.get("from_")) is not None:
            data.setdefault("most", 10)
        return data

    @property
    def lowers(self) -> list[float]:
        """The lower bounds of the bins."""
        return [float(key) for key in self.table] if self.table is not None else list(self.bins or [])
