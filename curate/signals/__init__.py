"""The signals of a document, family by family: what is measured, in which unit, within which bounds, after which source.

A family is measured and stored as one table, id and its columns; integers stay integers, ratios are schema.DERIVED. Column names
are unique over families, so that a rule needs only a name. Imports errors, recipe and schema; measuring itself is in measure.py.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import pyarrow as pa

from curate.errors import CurateError
from curate.recipe import Recipe
from curate.schema import DERIVED, ID


@dataclass(frozen=True)
class Column:
    name: str
    unit: str
    doc: str
    type: Literal["int64", "float32", "string"] = "int64"
    low: float | None = 0  # None: not a number
    high: float | None = None  # None: no bound


@dataclass(frozen=True)
class Family:
    """Raise `version` when a column's meaning changes; a changed word definition is text.SEGMENTATION_VERSION's business."""

    name: str
    version: int
    columns: tuple[Column, ...]

    def schema(self) -> pa.Schema:
        types = {"int64": pa.int64(), "float32": pa.float32(), "string": pa.string()}
        return pa.schema([("id", ID), *((c.name, types[c.type]) for c in self.columns)])


_LENGTH = Family("length", 1, (
    Column("n_bytes", "bytes", "UTF-8 bytes of the text"),
    Column("n_chars", "code points", "Unicode code points of the text"),
    Column("n_words", "words", "words of the segmentation, punctuation included"),
    Column("n_lines", "lines", "pieces between \\n; a final \\n ends the last line"),
    Column("n_paragraphs", "paragraphs", "runs of lines that are not blank"),
))  # fmt: skip

# Gopher's quality heuristics (Rae et al. 2021, arXiv 2112.11446, A1.1) as datatrove 0.10.1's GopherQualityFilter counts them.
_GOPHER = Family("gopher_quality", 1, (
    Column("n_non_symbol_words", "words", "words with a character outside datatrove's PUNCTUATION_SET; Gopher: 50 to 100,000"),
    Column("n_non_symbol_word_chars", "code points", "code points of those words; Gopher: mean word length 3 to 10"),
    Column("n_alpha_words", "words", "words with a letter; Gopher: at least 80 % of all words"),
    Column("n_stop_words", "words", "different stop words of the source's language present, as written in the list; Gopher: at "
           "least 2. Always 0 where no list exists (signals/stop_words): bound it only for sources with a list"),
    Column("n_hash_chars", "code points", "number of #; Gopher: at most 0.1 per word"),
    Column("n_ellipsis_units", "occurrences", "number of ... (not overlapping) and …; Gopher: at most 0.1 per word"),
    Column("n_bullet_lines", "lines", "Unicode lines that begin with • or - after white space; Gopher: at most 90 %"),
    Column("n_ellipsis_lines", "lines", "Unicode lines that end with ... or … before white space; Gopher: at most 30 %"),
    Column("n_unicode_lines", "lines", "lines of str.splitlines(), which also ends them at \\r, form feed, U+0085, U+2028, ..."),
))  # fmt: skip

_LANGUAGE = Family("language", 1, (
    Column("language", "code", "ISO 639-1 where one exists, else 639-3; und where no window says anything", "string", None),
    Column("language_score", "probability", "mean probability of that language over the windows", "float32", 0, 1),
    Column("n_language_windows", "windows", "windows with evidence for any language"),
    Column("n_agreeing_language_windows", "windows", "windows whose own best language is that one"),
))  # fmt: skip

FAMILIES: dict[str, Family] = {family.name: family for family in (_LENGTH, _GOPHER, _LANGUAGE)}


def language_family(name: str) -> Family:
    """The family of one entry of the recipe's language_id, its columns named after it."""
    columns = tuple(replace(c, name=c.name.replace("language", name)) for c in _LANGUAGE.columns)
    return Family(name, _LANGUAGE.version, columns)


def families(recipe: Recipe) -> dict[str, Family]:
    """The families measured for this recipe: length, gopher_quality, and one for every entry of language_id."""
    found = {"length": _LENGTH, "gopher_quality": _GOPHER}
    for entry in recipe.language_id:
        if entry.name in found:
            allowed = f"none of {', '.join(found)}"
            raise CurateError("this name is taken", where="language_id: name", found=entry.name, allowed=allowed)
        found[entry.name] = language_family(entry.name)
    return found


def signal_names(recipe: Recipe) -> dict[str, str]:
    """Every signal a rule of this recipe may bound, with its type: int64, float32, string, or ratio for the derived ones."""
    stored = {column.name: column.type for family in families(recipe).values() for column in family.columns}
    return stored | dict.fromkeys(DERIVED, "ratio")
