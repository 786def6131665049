"""Raw rows in, guesses out about texts that go in twos: translations, preferences, passages with their questions.

Pure functions over the first records, for guess.py. Imports langid's codes, guess_text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from curate.langid.codes import is_language_code, language_code
from curate.sources.guess_text import is_about

MOST = 0.5  # a field counts where at least so many of the rows have it
CORRECTED = ("corrections", "correction", "corrected")
ANSWERS = ("answers", "responses", "completions")
QA = ("qa", "qas", "qa_pairs")
MACHINE = ("_mt", "_hyp", "_translated", "_translation")  # ends of names of what a machine translated
SCORES = (
    "score",
    "laser_score",
    "laser",
    "bicleaner",
    "comet",
    "cometkiwi",
    "z_mean",
)  # last parts of names of a quality estimate


class Found(NamedTuple):
    type: str
    fields: dict[str, str]
    options: dict[str, Any]  # keys of the source block beside fields
    notes: tuple[str, ...] = ()


def pairs_of(rows: Sequence[dict[str, Any]], values: dict[str, list]) -> Found | None:
    """`values`: field by dotted path -> its values that are not empty. None: these rows are something else."""
    has = {name for name, column in values.items() if len(column) >= MOST * len(rows)}
    if {"chosen", "rejected"} <= has:
        return Found("preference", {}, {"preference": {"of": "pairs"}})
    if {"response1", "response2", "overall_preference"} <= has:
        return Found("preference", {}, {"preference": {"of": "compared"}})
    if "original" in has and (corrected := next((name for name in CORRECTED if name in has), None)):
        fields = {} if corrected in ("corrections", "correction") else {"correction": corrected}
        return Found("preference", fields, {"preference": {"of": "corrections"}})
    return _answers(rows) or _translation(has, values) or _questions(rows, has)


def _answers(rows: Sequence[dict[str, Any]]) -> Found | None:
    """Several answers to one prompt, by name or in a list."""
    name = next(
        (name for name in ANSWERS if all(isinstance(row.get(name), dict | list) and len(row[name]) > 1 for row in rows)), None
    )
    if name is None or not any("prompt" in row or "instruction" in row or "question" in row for row in rows):
        return None
    first = rows[0][name]
    if isinstance(first, dict) and all(isinstance(answer, str) for answer in first.values()):
        order = sorted(first)
        note = "which answer is better is not said: put the names of preference.order from worst to best, or map fields.scores"
        return Found("preference", {}, {"preference": {"of": "answers", "order": order}}, (note,))
    if isinstance(first, list) and all(isinstance(answer, str | dict) for answer in first):
        return Found(
            "preference", {}, {"preference": {"of": "answers"}}, ("answers are compared by their scores: fields.scores",)
        )
    return None


def _translation(has: set[str], values: dict[str, list]) -> Found | None:
    """Two fields that are named by languages: et and en, translation.et and translation.en, text_et and text_en; or text and text_en,
    where the rows say that they are in another language than that."""
    by_stem: dict[str, dict[str, str]] = {}
    for name in sorted(has):
        stem, code = _parted(name.removesuffix(_machine(name)))
        if is_language_code(code) and code != "id" and _mean_chars(values[name]):
            by_stem.setdefault(stem, {})[code] = name
    for stem, found in by_stem.items():
        own = _language_of(values)
        if len(found) == 1 and stem in has and _mean_chars(values[stem]) and own and own not in map(language_code, found):
            found[own] = stem
    sides = next((found for found in by_stem.values() if len(found) == 2), None)
    longest = max((_mean_chars(values[name]) for name in values if not is_about(name)), default=0.0)
    if sides is None or longest > max(_mean_chars(values[name]) for name in sides.values()):
        return None  # what is longer than they are is the text
    first, second = sorted(sides, key=lambda code: (code not in ("en", "eng"), code))  # from English, as most are translated
    fields = {code: name for code, name in sides.items() if name not in (code, f"translation.{code}")}
    if score := next(
        (name for last in SCORES for name in sorted(has) if name.rpartition(".")[2] == last and _is_number(values[name])), None
    ):
        fields["score"] = score
    notes = [f"parallel.languages is from {first} to {second}: turn it round, or set reverse:, for the other direction"]
    notes += [f"{name} is a machine's translation by its name: better as the side that is read than as the one that is learnt"
              for name in sides.values() if _machine(name)]  # fmt: skip
    return Found("parallel", fields, {"parallel": {"languages": [first, second]}}, tuple(notes))


def _machine(name: str) -> str:
    """The end of a name that says a machine translated."""
    return next((end for end in MACHINE if name.lower().endswith(end) and _parted(name.removesuffix(end))[0]), "")


def _language_of(values: dict[str, list]) -> str | None:
    """The language that all rows say they are in."""
    said = next((values[name] for name in ("lang", "language") if values.get(name)), [])
    codes = {language_code(value) if isinstance(value, str) else "" for value in said}
    return codes.pop() if len(codes) == 1 else None


def _is_number(column: list) -> bool:
    try:
        return bool([float(value) for value in column])
    except (TypeError, ValueError):
        return False


def _mean_chars(column: list) -> float:
    """0 where something is no text."""
    return sum(map(len, column)) / len(column) if column and all(isinstance(value, str) for value in column) else 0.0


def _parted(name: str) -> tuple[str, str]:
    """(what stands before the language, the language): ("text", "et") of text_et and text.et."""
    for mark in (".", "_"):
        stem, found, code = name.rpartition(mark)
        if found and is_language_code(code):
            return stem, code
    return "", name


def _questions(rows: Sequence[dict[str, Any]], has: set[str]) -> Found | None:
    """A passage with a list of questions that have answers."""
    passage = next((name for name in ("text", "passage", "context") if name in has), None)
    listed = [row.get(name) for row in rows for name in QA if isinstance(row.get(name), list) and row[name]]
    if passage is None or len(listed) < MOST * len(rows):
        return None
    if not all(isinstance(item, dict) and {"question", "q"} & set(item) for items in listed if items for item in items):
        return None
    return Found("instruction_text", {}, {"render": "qa_after_text"})
