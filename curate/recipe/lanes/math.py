"""`math:` of a source: how its texts are read as mathematics. Imports recipe.strict."""

from __future__ import annotations

from typing import Literal

from curate.recipe.strict import Strict


class Math(Strict):
    latex: Literal["clean", "keep"] = (
        "clean"  # sources of LaTeX documents become readable text around untouched formulas, or stay
    )
    macros: Literal["expand", "keep"] = "expand"  # simple \newcommand and \def of a LaTeX source, in text and formulas
    # What a main file (with \\begin{document}) reads by \\input, \\include, \\subfile and \\import is read with it, and is no document of its own:
    # in archives, which are papers; in trees too; nowhere.
    inputs: Literal["archives", "follow", "keep"] = "archives"
    delimiters: Literal["keep", "dollars"] = "keep"  # dollars: \( \) become $ $, \[ \] become $$ $$
