"""`code:` of a source: how its files are read as code. Imports recipe.strict."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from curate.recipe.strict import Strict


class Code(Strict):
    notebooks: Literal["script", "keep"] = "script"  # a .ipynb becomes a script, its outputs dropped, or stays JSON
    # How many folders at the start of a file's path name its repository, where no field does: 2 for trees of owner/name/...
    repository_levels: int = Field(0, ge=0, le=8)
    licenses: Literal["found", "declared"] = (
        "found"  # a file's own licence, or that of files beside it, stands above the declared one
    )
