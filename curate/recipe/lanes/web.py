"""`web:` of a source of type web: which extractor makes text of its pages, and what a page may cost. Imports recipe's own modules."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from curate.recipe.strict import Bytes, Strict


class Web(Strict):
    # By docs/evidence/extraction.txt: best F1 on both sets with gold text. datatrove: its own step with its own settings.
    extractor: Literal["trafilatura", "resiliparse", "justext", "datatrove", "whole"] = "trafilatura"
    favour: Literal["balance", "precision", "recall"] = "balance"  # of trafilatura; recall makes resiliparse give all text
    maths: bool = True  # formulas become LaTeX between $ or $$
    time_limit: float = Field(10, gt=0, le=3600)  # seconds of CPU time a page may take
    page_bytes: Bytes = 20 * 10**6  # of one page's HTML; what trafilatura takes at most
    memory: Bytes = 2 * 10**9  # of the process that extracts

    def targets(self) -> dict[str, tuple[str, ...]]:
        """What fields: may map besides the columns of every source, with the fields tried for it where it does not."""
        return {"html": ("html", "raw_html", "text"), "content_type": ("content_type",), "http": ("http",)}

    def needed(self) -> tuple[str, ...]:
        """Of these, what the first file must have."""
        return ("html",)
