"""`group:` of a source: rows that are sentences or pages become documents again. Imports recipe.strict."""

from __future__ import annotations

from curate.recipe.strict import Strict


class Group(Strict):
    """`by`: field that rows of one document share; `order`: field they are sorted by, None as they stand; `scattered`: not side by side."""

    by: str
    order: str | None = None
    join: str = "\n"
    scattered: bool = False
