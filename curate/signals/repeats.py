"""Families repeated_lines, repeated_paragraphs and repeated_substrings: what stands in other places of the corpus too. Records only.

relate.repeats measures them, for the sources that a cut or a rule asks a family for: these together are the family's corpus, whose
texts are compared, kept or not. A line is a piece between \\n, a paragraph a run of lines that are not blank. Two are equal where
their text is, but for white space at the ends of their lines: case and digits count, since equal text is what a cut can prove. A
line or paragraph without any letter or digit is neither counted nor cut: braces and rules give a text its shape. A substring is a
run of at least min_words words (one number for a recipe, 50 by default) that are equal as they are written, white space between
them aside. Each span says in how many documents it stands, of the corpus, of its source and of its web domain (there, as family url
has it; 0 where the document has none), and whether it is the first place: by source in the recipe's order, then id, then byte.
"""

from __future__ import annotations

from curate.errors import CurateError
from curate.recipe import Recipe
from curate.signals.family import Column, Family, Ratio

LINE, PARAGRAPH, SUBSTRING = KINDS = ("repeated_line", "repeated_paragraph", "repeated_substring")
PER = ("corpus", "source", "domain")
MIN_DOCUMENTS = 2  # a line of fewer has no span: cuts cannot ask for less
MIN_WORDS = 50  # tokens of Lee et al. 2022 (arXiv 2107.06499, 4.1); a guess that words do as well


def _units(unit: str) -> Family:
    def columns(prefix: str, where: str) -> tuple[Column, Column]:
        return (
            Column(
                f"n_{prefix}repeated_{unit}s", f"{unit}s", f"{unit}s that stand in {MIN_DOCUMENTS} documents of {where} or more"
            ),
            Column(f"n_{prefix}repeated_{unit}_bytes", "bytes", "bytes of them, the ends of their lines included"),
        )

    places = (("", "the corpus"), ("source_", "the source"), ("domain_", "the web domain in the source"))
    return Family(f"repeated_{unit}s", 1, tuple(c for place in places for c in columns(*place)), (
        Ratio(f"repeated_{unit}_ratio", f"n_repeated_{unit}s", f"n_{unit}s", f"share of the {unit}s"),
        Ratio(f"repeated_{unit}_byte_ratio", f"n_repeated_{unit}_bytes", "n_bytes", "share of the bytes"),
        Ratio(f"domain_repeated_{unit}_byte_ratio", f"n_domain_repeated_{unit}_bytes", "n_bytes", "share of the bytes"),
    ), (f"repeated_{unit}",))  # fmt: skip


LINES, PARAGRAPHS = _units("line"), _units("paragraph")

SUBSTRINGS = Family("repeated_substrings", 1, (
    Column("n_repeated_substring_words", "words", "words in runs of min_words words that stand in two places of the corpus or "
           "more, two of one document included"),
    Column("n_repeated_substring_bytes", "bytes", "bytes of these runs, white space between their words included"),
    Column("n_copied_substring_words", "words", "those words that lie in such a run which is not at its first place"),
    Column("n_copied_substring_bytes", "bytes", "bytes of the runs that are not at their first place"),
), (
    Ratio("repeated_substring_word_ratio", "n_repeated_substring_words", "n_words", "share of the words"),
    Ratio("copied_substring_word_ratio", "n_copied_substring_words", "n_words", "share of the words"),
), (SUBSTRING,))  # fmt: skip

FAMILIES = {family.name: family for family in (LINES, PARAGRAPHS, SUBSTRINGS)}
OF_BOILERPLATE = {"line": LINES, "paragraph": PARAGRAPHS}  # what `of:` of a cut of boilerplate_lines may name


def asked(recipe: Recipe, source: str) -> list[Family]:
    """The families that a cut, a rule or a component of this source use, or the priority of duplicates."""
    cuts = [cut for cut in recipe.cuts if cut.sources is None or source in cut.sources]
    wanted = {OF_BOILERPLATE[name].name for cut in cuts if cut.kind == "boilerplate_lines" for name in cut.of or OF_BOILERPLATE}
    wanted |= {SUBSTRINGS.name for cut in cuts if cut.kind == "repeated_substrings"}
    signals = {rule.signal for rule in recipe.rules if rule.sources is None or source in rule.sources}
    signals |= {name.removeprefix("-") for name in recipe.dedup.priority}
    signals |= recipe.mixture.values_of(source)
    return [
        family for family in FAMILIES.values()
        if family.name in wanted or signals.intersection([c.name for c in family.columns] + [r.name for r in family.ratios])
    ]  # fmt: skip


def min_words(recipe: Recipe) -> int:
    """The shortest run that is a repeated substring, the same for all of a recipe. Raises CurateError for two of them."""
    given = {cut.min_words or MIN_WORDS: i for i, cut in enumerate(recipe.cuts) if cut.kind == "repeated_substrings"}
    if len(given) > 1:
        raise CurateError(
            "repeated substrings are looked for in all sources together, with one min_words", where=f"cuts[{max(given.values())}]",
            found=", ".join(map(str, sorted(given))), allowed="the same min_words in every entry of kind repeated_substrings",
        )  # fmt: skip
    return next(iter(given), MIN_WORDS)
