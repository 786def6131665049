"""Family formulas: a batch of text in, how much of it is mathematics out. Pure; needs no words. Imports text.symbols, which says what a
formula is. Measured for sources of type math, and where a rule, a component or the priority of duplicates asks.
"""

from __future__ import annotations

import numpy as np

from curate.signals.family import Batch, Column, Columns, Family, Measurer, Ratio
from curate.text import symbols

FAMILY = Family("formulas", 1, (
    Column("n_formulas", "formulas", "between $ $, $$ $$, \\( \\), \\[ \\], or in an environment such as equation and align; prices are none"),
    Column("n_display_formulas", "formulas", "of those, the ones that stand on lines of their own: $$, \\[, environments"),
    Column("n_formula_chars", "code points", "code points of formulas between their marks"),
    Column("n_latex_commands", "commands", "a backslash and letters, in formulas and outside"),
    Column("n_unclosed_formulas", "marks", "marks that begin a formula whose end does not follow: a price, or a broken formula"),
), (
    Ratio("formula_char_ratio", "n_formula_chars", "n_chars", "how dense the formulas are"),
    Ratio("formula_word_ratio", "n_formulas", "n_words", "formulas a word"),
    Ratio("latex_command_ratio", "n_latex_commands", "n_words", "commands a word; above 1 is possible"),
))  # fmt: skip


def measurer() -> Measurer:
    return Measurer(FAMILY, measure, {"symbols": symbols.VERSION}, needs_words=False)


def measure(batch: Batch) -> Columns:
    found = symbols.formulas(batch.data, batch.offsets)
    n = len(batch.offsets) - 1
    starts = batch.data & 0xC0 != 0x80  # one a code point
    chars = np.concatenate([[0], np.cumsum(starts)])
    inside = chars[found.inside[:, 1]] - chars[found.inside[:, 0]]
    return {
        "n_formulas": np.bincount(found.row, minlength=n).astype(np.int64),
        "n_display_formulas": np.bincount(found.row[found.is_display], minlength=n).astype(np.int64),
        "n_formula_chars": np.bincount(found.row, weights=inside, minlength=n).astype(np.int64),
        "n_latex_commands": found.n_commands, "n_unclosed_formulas": found.n_open,
    }  # fmt: skip
