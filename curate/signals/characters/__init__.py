"""Family characters: a batch of text in, how many code points are letters of which script, digits, marks of punctuation, emoji, and
what no good text holds out. Pure; needs no words. Imports the table of kinds (Unicode 18.0) and the kernel.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from curate.signals.characters import kernels
from curate.signals.family import Batch, Column, Columns, Family, Measurer, Ratio
from curate.text import unicode

_CODE_POINTS = "code points"

FAMILY = Family("characters", 1, (
    Column("n_letters", _CODE_POINTS, "letters of all scripts (categories L*); vowel signs and accents of their own (M*) are none"),
    *(Column(f"n_{s}_letters", _CODE_POINTS, f"letters of Script={s.capitalize()}") for s in unicode.SCRIPTS if s != "kana"),
    Column("n_kana_letters", _CODE_POINTS, "letters of Script=Hiragana and Katakana, and U+30FC, U+FF70"),
    Column("n_other_letters", _CODE_POINTS, "letters of every other script, and of none (µ)"),
    Column("n_uppercase_letters", _CODE_POINTS, "upper and title case (Lu, Lt)"),
    Column("n_digits", _CODE_POINTS, "decimal digits of all scripts (Nd)"),
    Column("n_punctuation_chars", _CODE_POINTS, "punctuation (P*)"),
    Column("n_symbols", _CODE_POINTS, "symbols (S*), U+FFFD among them, and most emoji"),
    Column("n_emoji", _CODE_POINTS, "what shows as an emoji by itself (property Emoji_Presentation), and U+FE0F, which makes one of "
           "what it follows; parts of a flag or a family count each; © and ™ are none"),
    Column("n_white_space", _CODE_POINTS, "white space, line ends among it (str.isspace)"),
    Column("n_replacement_chars", _CODE_POINTS, "U+FFFD: bytes somebody could not decode"),
    Column("n_control_chars", _CODE_POINTS, "control characters (Cc) other than tab, line feed and carriage return"),
    Column("n_directional_marks", _CODE_POINTS, "marks, embeddings, overrides and isolates of writing direction (property "
           "Bidi_Control), paired or not: they can hide what a text says"),
    Column("n_unassigned_chars", _CODE_POINTS, "code points without a character in Unicode 18.0 (Cn) and for private use (Co)"),
), (
    Ratio("letter_ratio", "n_letters", "n_chars"),
    *(Ratio(f"{s}_ratio", f"n_{s}_letters", "n_letters", "of all letters") for s in unicode.SCRIPTS),
    Ratio("other_script_ratio", "n_other_letters", "n_letters", "of all letters"),
    Ratio("uppercase_ratio", "n_uppercase_letters", "n_letters", "of all letters; scripts without case have none"),
    Ratio("digit_ratio", "n_digits", "n_chars"),
    Ratio("punctuation_ratio", "n_punctuation_chars", "n_chars"),
    Ratio("symbol_ratio", "n_symbols", "n_chars"),
    Ratio("emoji_ratio", "n_emoji", "n_chars"),
    Ratio("white_space_ratio", "n_white_space", "n_chars"),
    Ratio("replacement_ratio", "n_replacement_chars", "n_chars"),
    Ratio("control_ratio", "n_control_chars", "n_chars"),
    Ratio("directional_mark_ratio", "n_directional_marks", "n_chars"),
    Ratio("unassigned_ratio", "n_unassigned_chars", "n_chars"),
))  # fmt: skip


def measurer() -> Measurer:
    return Measurer(FAMILY, measure, {"unicode": unicode.KINDS_VERSION}, needs_words=False)


def measure(batch: Batch) -> Columns:
    table, members = _table()
    counts = np.empty((len(batch.offsets) - 1, kernels.KINDS), np.int64)
    kernels.kind_counts(batch.data, batch.offsets, table, counts)
    return {name: counts[:, rows].sum(axis=1) for name, rows in members.items()}


@cache
def _table() -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """(kind of every code point, uint8 (2**21,); column -> the kinds it counts): the kinds are those that occur, numbered."""
    found, table = np.unique(unicode.kinds(), return_inverse=True)
    table = table.astype(np.uint8)
    table.flags.writeable = False
    assert len(found) <= kernels.KINDS
    name = np.array(unicode.KINDS)[found & unicode.KIND]
    member = {f"n_{kind}s": name == kind for kind in unicode.KINDS if kind.endswith(("letter", "digit", "mark"))}
    member |= {
        "n_letters": np.char.endswith(name, "_letter"),
        "n_uppercase_letters": found & unicode.UPPER_KIND != 0,
        "n_punctuation_chars": name == "punctuation",
        "n_symbols": (name == "symbol") | (name == "replacement"),
        "n_emoji": found & unicode.EMOJI_KIND != 0,
        "n_white_space": found & unicode.SPACE_KIND != 0,
        "n_replacement_chars": name == "replacement",
        "n_control_chars": name == "control",
        "n_unassigned_chars": name == "unassigned",
    }
    return table, {column.name: np.flatnonzero(member[column.name]) for column in FAMILY.columns}
