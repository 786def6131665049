"""Family licenses: the licences of documents in, whether `licenses:` of the recipe forbids them or they are not known, out. No text is read.

Measured where a rule asks: `licenses: {forbidden: drop}` brings it. Pure; imports recipe.licenses.
"""

from __future__ import annotations

import functools

import numpy as np

from curate.recipe import Recipe
from curate.recipe.licenses import FORBIDDEN_SIGNAL, UNKNOWN_SAYS, UNKNOWN_SIGNAL, refusal
from curate.signals.family import Batch, Column, Columns, Family, Measurer

FAMILY = Family("licenses", 1, (
    Column(FORBIDDEN_SIGNAL, "0 or 1", "1: a licence that licenses.allow does not allow", high=1),
    Column(UNKNOWN_SIGNAL, "0 or 1", "1: no licence is known", high=1),
))  # fmt: skip


def measurer(recipe: Recipe) -> Measurer:
    """Without `licenses:` every known licence is allowed."""
    allow = tuple(recipe.licenses.allow) if recipe.licenses is not None else ("*",)
    return Measurer(FAMILY, functools.partial(measure, allow), {"allow": list(allow)}, needs_words=False, reads=("license",))


def measure(allow: tuple[str, ...], batch: Batch) -> Columns:
    why = [refusal(name, allow) for name in batch.columns["license"].to_pylist()]
    return {
        FORBIDDEN_SIGNAL: np.array([bool(one) and one != UNKNOWN_SAYS for one in why], np.int64),
        UNKNOWN_SIGNAL: np.array([one == UNKNOWN_SAYS for one in why], np.int64),
    }
