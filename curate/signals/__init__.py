"""The signals of a document: which families are measured for a source, and every name a rule may use.

A family is measured and stored as one table, id and its columns; integers stay integers, ratios are computed when read (DERIVED).
Names are unique over families, so that a rule needs only a name. Imports recipe, langid and the families; measuring is measure.py's.
"""

from __future__ import annotations

from curate import langid
from curate.errors import CurateError
from curate.langid.fasttext_model import model_path
from curate.recipe import LanguageId, Recipe, Source
from curate.signals import gopher, language, length
from curate.signals.family import AFTER_CUTS, Batch, Column, Family, Measurer, Ratio, Spans

__all__ = [
    "AFTER_CUTS", "DERIVED", "FAMILIES", "Batch", "Column", "Family", "Measurer", "Ratio", "Spans", "measurers", "signal_names",
]  # fmt: skip

# The families that need no model and no list: measured for every text, always.
FAMILIES: dict[str, Family] = {family.name: family for family in (length.FAMILY, gopher.FAMILY)}

# ratio -> (numerator, denominator) over integer signal columns; 0.0 where the denominator is 0.
DERIVED: dict[str, tuple[str, str]] = {
    r.name: (r.numerator, r.denominator) for f in FAMILIES.values() for r in (*f.ratios, *f.after_cuts().ratios)
}


def measurers(recipe: Recipe, source: Source) -> list[Measurer]:
    """What is measured for one source, in a fixed order. Raises CurateError for a missing model or list, or a name taken twice."""
    stop_words = gopher.stop_words(source.language, recipe.path(source.stop_words) if source.stop_words else None)
    found = [length.measurer(), gopher.measurer(stop_words)]
    found += [language.measurer(entry.name, _spec(entry, recipe)) for entry in recipe.language_id]
    taken: dict[str, str] = {}
    for family in (m.family for m in found):
        for name in (family.name, *(c.name for c in family.columns if c.name != family.name), *(r.name for r in family.ratios)):
            if name in taken:
                what = f"the name {name!r} is taken by the family {taken[name]}"
                raise CurateError(what, where=f"sources.{source.name}: {family.name}", next="give the entry a name of its own")
            taken[name] = family.name
    return found


def signal_names(recipe: Recipe, source: Source) -> dict[str, str]:
    """Every signal a rule may bound for this source, with its type: int64, float32, string, or ratio for the derived ones."""
    found: dict[str, str] = {}
    for family in (m.family for m in measurers(recipe, source)):
        found |= {c.name: c.type for c in family.columns} | dict.fromkeys((r.name for r in family.ratios), "ratio")
    return found


def _spec(entry: LanguageId, recipe: Recipe) -> langid.Spec:
    candidates = tuple(entry.candidates)
    if entry.backend == "py3langid" and not candidates:
        candidates = langid.candidates_for([s.language for s in recipe.sources.values() if s.language])
    model = model_path(entry.model, entry.revision, recipe.base) if entry.model else None
    return langid.Spec(entry.backend, model, candidates, entry.windows, entry.window_bytes)
