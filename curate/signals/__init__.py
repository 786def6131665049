"""The signals of a document: which families are measured for a source, and every name a rule may use.

A family is measured and stored as one table, id and its columns; integers stay integers, ratios are computed when read (DERIVED).
Names are unique over families, so that a rule needs only a name. Imports recipe, langid and the families; measuring is measure.py's.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

from curate import langid
from curate.errors import CurateError
from curate.models.files import model_file
from curate.recipe import LanguageId, Recipe, Source, Urls
from curate.signals import (
    bad_words,
    c4,
    characters,
    classifier,
    code,
    contamination,
    conversation,
    datatrove_filter,
    fineweb,
    formulas,
    gopher,
    language,
    length,
    licenses,
    lines,
    lm,
    ocr,
    parallel,
    pii,
    preference,
    repeats,
    repetition,
    secrets,
    urls,
)  # fmt: skip
from curate.signals.family import AFTER_CUTS, Batch, Column, Family, Measurer, Ratio, Spans

__all__ = [
    "AFTER_CUTS", "DERIVED", "FAMILIES", "Batch", "Column", "Family", "Measurer", "Ratio", "Spans", "measurers", "ratio_of",
    "ratios_over", "signal_names",
]  # fmt: skip

# The families that need no model and no list. Those that find spans (their tables are large, up to a fifth of the text) are measured
# where a cut or a rule asks for them, the others for every text.
FAMILIES: dict[str, Family] = {
    module.FAMILY.name: module.FAMILY for module in (length, gopher, repetition, fineweb, c4, lines, characters, pii, secrets)
}

# ratio -> (numerator, denominator) over integer signal columns; 0.0 where the denominator is 0.
DERIVED: dict[str, tuple[str, str]] = {
    r.name: (r.numerator, r.denominator) for f in FAMILIES.values() for r in (*f.ratios, *f.after_cuts().ratios)
} | {r.name: (r.numerator, r.denominator) for r in (
    *urls.DOMAINS.ratios, *language.AGREEMENT.ratios, *bad_words.FAMILY.ratios, *(r for f in repeats.FAMILIES.values() for r in f.ratios),
    *code.FAMILY.ratios, *formulas.FAMILY.ratios, *parallel.FAMILY.ratios, *preference.FAMILY.ratios, *conversation.FAMILY.ratios, *ocr.FAMILY.ratios,
)}  # fmt: skip

# The same of families that an entry of the recipe names; {} stands for the name.
NAMED: dict[str, tuple[str, str]] = {
    r.name: (r.numerator, r.denominator) for f in (lm.family("{}"), language.segments_family("{}")) for r in f.ratios
}


def ratio_of(signal: str) -> tuple[str, str] | None:
    """(numerator, denominator) of a ratio; None for a column."""
    for pattern, (above, below) in NAMED.items():
        name = signal.removesuffix(pattern.removeprefix("{}"))
        if name != signal and signal not in DERIVED:
            return above.format(name), below.format(name)
    return DERIVED.get(signal)


def ratios_over(columns: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Every ratio whose numerator and denominator are among `columns`, and none of which is a column itself."""
    known = set(columns)
    found = dict(DERIVED)
    for pattern, (above, below) in NAMED.items():
        first, last = above.split("{}")
        names = [c[len(first) : len(c) - len(last)] for c in sorted(known) if c.startswith(first) and c.endswith(last)]
        found |= {pattern.format(name): (above.format(name), below.format(name)) for name in names}
    return {name: pair for name, pair in found.items() if known.issuperset(pair) and name not in known}


def measurers(recipe: Recipe, source: Source) -> list[Measurer]:
    """What is measured for one source, in a fixed order. Raises CurateError for a missing model or list, or a name taken twice."""
    stop_words = gopher.stop_words(source.language, recipe.path(source.stop_words) if source.stop_words else None)
    found = [length.measurer(), gopher.measurer(stop_words), repetition.measurer(), fineweb.measurer(), c4.measurer(source.words)]
    found += [characters.measurer()]
    found += [module.measurer() for module in (lines, pii, secrets) if _asked(recipe, source, module.FAMILY)]
    found += [licenses.measurer(recipe)] if _asked(recipe, source, licenses.FAMILY) else []
    found += _languages(recipe)
    mine = (rule for rule in recipe.rules if rule.datatrove and (rule.sources is None or source.name in rule.sources))
    found += [datatrove_filter.measurer(rule) for rule in mine]
    found += [urls.measurer(), _url_lists(recipe)]
    found += _language_models(recipe, source)
    found += _classifiers(recipe, source)
    found += _bad_words(recipe, source)
    found += _pairs(recipe, source)
    if source.type == "code":
        found.append(code.measurer())
    if source.type == "math" or _asked(recipe, source, formulas.FAMILY):
        found.append(formulas.measurer())
    found += [ocr.measurer()] if _asked(recipe, source, ocr.FAMILY) else []
    if source.type == "conversation":
        found.append(
            conversation.measurer(_spec(recipe.language_id[0] if recipe.language_id else LanguageId(), recipe), source.words)
        )
    taken: dict[str, str] = {}
    for family in (*(m.family for m in found), *repeats.FAMILIES.values(), urls.DOMAINS):
        for name in (family.name, *(c.name for c in family.columns if c.name != family.name), *(r.name for r in family.ratios)):
            if name in taken:
                what = f"the name {name!r} is taken by the family {taken[name]}"
                raise CurateError(what, where=f"sources.{source.name}: {family.name}", next="give the entry a name of its own")
            taken[name] = family.name
    return found


def _asked(recipe: Recipe, source: Source, family: Family) -> bool:
    """Does a cut, a rule, the priority of duplicates, or a component of this source use the family?"""
    names = {c.name for c in family.columns} | {r.name for r in family.ratios}
    cuts = any(cut.kind == family.name and (cut.sources is None or source.name in cut.sources) for cut in recipe.cuts)
    mine = [rule.signal for rule in recipe.rules if rule.sources is None or source.name in rule.sources]
    mine += [name.removeprefix("-") for name in recipe.dedup.priority]
    mine += sorted(recipe.mixture.values_of(source.name))
    return cuts or any(name.removeprefix(AFTER_CUTS) in names for name in mine)


def signal_names(recipe: Recipe, source: Source) -> dict[str, str]:
    """Every signal a rule may bound for this source, with its type: int64, float32, string, or ratio for the derived ones."""
    found: dict[str, str] = {}
    after_cuts = (family.after_cuts() for family in FAMILIES.values())
    for family in (
        *(m.family for m in measurers(recipe, source)),
        *FAMILIES.values(),
        *repeats.FAMILIES.values(),
        urls.DOMAINS,
        *after_cuts,
    ):
        found |= {c.name: c.type for c in family.columns} | dict.fromkeys((r.name for r in family.ratios), "ratio")
    if recipe.decontaminate and (recipe.decontaminate.sources is None or source.name in recipe.decontaminate.sources):
        found |= {c.name: c.type for c in contamination.FAMILY.columns}
    return found | {urls.DROP_RATIO.name: "ratio"}


def _languages(recipe: Recipe) -> list[Measurer]:
    specs = [_spec(entry, recipe) for entry in recipe.language_id]
    found = [language.measurer(entry.name, spec) for entry, spec in zip(recipe.language_id, specs, strict=True)]
    parted = (pair for pair in zip(recipe.language_id, specs, strict=True) if pair[0].segments)
    found += [language.segments_measurer(entry.name, spec) for entry, spec in parted]
    return [*found, language.agreement_measurer(specs)] if len(specs) > 1 else found


def _language_models(recipe: Recipe, source: Source) -> list[Measurer]:
    found = []
    for m in recipe.models.values():
        if m.kind == "kenlm" and (m.sources is None or source.name in m.sources):
            path = _model_file(recipe, m.model, m.revision, m.sha256, f"models.{m.name}")
            with contextlib.suppress(CurateError):  # on the hub it lies beside the model too; lm.facts warns where it does not
                _model_file(recipe, f"{m.model}.json", m.revision, None, f"models.{m.name}")
            found.append(lm.measurer(m.name, path, source.words))
    return found


def _classifiers(recipe: Recipe, source: Source) -> list[Measurer]:
    wanted = (m for m in recipe.models.values() if m.kind != "kenlm" and (m.sources is None or source.name in m.sources))
    return [classifier.measurer(m, _model_file(recipe, m.model, m.revision, m.sha256, f"models.{m.name}")) for m in wanted]


def _bad_words(recipe: Recipe, source: Source) -> list[Measurer]:
    files = {name: recipe.path(path, f"bad_words.{name}") for name, path in recipe.bad_words.items()}
    found = bad_words.measurer(files, source.language, source.words)
    return [found] if found else []


def _pairs(recipe: Recipe, source: Source) -> list[Measurer]:
    """The families of texts that go together in twos, with the language identification of the recipe's first entry."""
    if source.parallel is None and source.preference is None:
        return []
    spec = _spec(recipe.language_id[0] if recipe.language_id else LanguageId(), recipe)
    if source.parallel is not None:
        return [parallel.measurer(source.parallel.languages, source.parallel.scripts, spec)]
    return [preference.measurer(spec, source.words)]


def _model_file(recipe: Recipe, model: str, revision: str | None, sha256: str | None, where: str) -> Path:
    """The file of a model; its path may start from one of the recipe's roots."""
    path = str(recipe.path(model, where).absolute()) if "{" in model else model
    return model_file(path, revision, recipe.base, sha256=sha256, where=where)


def _url_lists(recipe: Recipe) -> Measurer:
    given = recipe.urls or Urls()
    block_lists = {name: recipe.path(path, f"urls.block_lists.{name}") for name, path in given.block_lists.items()}
    words = {name: recipe.path(path, f"urls.words.{name}") for name, path in given.words.items()}
    return urls.lists_measurer(block_lists, words, recipe.path(given.opt_out, "urls.opt_out") if given.opt_out else None)


def _spec(entry: LanguageId, recipe: Recipe) -> langid.Spec:
    candidates = tuple(entry.candidates)
    if entry.backend == "py3langid" and not candidates:
        declared = [s.language for s in recipe.sources.values() if s.language]
        declared += [language for s in recipe.sources.values() if s.parallel for language in s.parallel.languages]
        candidates = langid.candidates_for(declared)
    model = _model_file(recipe, entry.model, entry.revision, entry.sha256, "language_id") if entry.model else None
    return langid.Spec(entry.backend, model, candidates, entry.windows, entry.window_bytes)
