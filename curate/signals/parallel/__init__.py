"""Family parallel: both sides of a translation in, how they fit each other out. Pure; of sources of type parallel.

The measures are OpusFilter's (Aulamo et al. 2020, ACL demos, 2020.acl-demos.20; opusfilter/filters.py), so that its published bounds
hold: words are what white space parts, and a bound on both sides is one on the shorter, longer, lower or higher of them. Its names stand
in the meanings. Imports langid, text, alike and the kernel.
"""

from __future__ import annotations

import difflib
import functools
import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa

from curate import langid, text
from curate.signals.family import Batch, Column, Columns, Family, Measurer, Ratio, read_only
from curate.signals.parallel import alike
from curate.signals.parallel import kernels as k
from curate.text import unicode

# version 2: score of the declared language beside the best one's; OpusFilter's five other filters that need no model
FAMILY = Family("parallel", 2, (
    Column("n_shorter_side_chars", "code points", "of the side with fewer; LengthFilter, unit char"),
    Column("n_longer_side_chars", "code points", "of the side with more"),
    Column("n_shorter_side_words", "words", "of the side with fewer, between white space; LengthFilter, unit word"),
    Column("n_longer_side_words", "words", "of the side with more"),
    Column("n_longest_side_word_chars", "code points", "of the longest word of both sides; LongWordFilter wants fewer than its threshold"),
    Column("lower_side_mean_word_chars", "code points", "mean length of words, of the side where it is lower; AverageWordLengthFilter",
           "float32"),
    Column("higher_side_mean_word_chars", "code points", "the same of the other side", "float32"),
    Column("lower_side_script_ratio", "ratio", "letters that are of the script the source expects of that side, of the side where it is "
           "lower; 1 without letters; CharacterScoreFilter, which counts marks and letter numbers as well", "float32", 0, 1),
    Column("first_side_language", "code", "of the side in the first of parallel.languages, by the recipe's first entry of language_id; "
           "und where nothing says", "string", None),
    Column("second_side_language", "code", "of the other side", "string", None),
    Column("n_sides_in_language", "sides", "sides that are in the language they are declared to be", "int64", 0, 2),
    Column("lower_side_language_score", "probability", "score of the declared language, of the side where it is lower; 0 where another "
           "was found; LanguageIDFilter wants more than its threshold", "float32", 0, 1),
    Column("lower_side_language_ratio", "ratio", "score of the declared language per score of the best one, of the side where it is lower; 1 where "
           "both sides are in their languages, 0 where nothing says or the identifier does not know one. Short sentences are often taken for a "
           "neighbour with little confidence: their ratio stays well above that of a sentence in another language", "float32", 0, 1),
    Column("lower_side_letter_ratio", "ratio", "letters per code point, white space counted, of the side where it is lower; AlphabetRatioFilter, "
           "which counts marks and letter numbers as well", "float32", 0, 1),
    Column("n_sides_with_html", "sides", "sides with an opening HTML tag; HtmlTagFilter wants none", "int64", 0, 2),
    Column("common_substring_ratio", "ratio", f"code points of the longest run that both sides have, per code point of the shorter; of the first "
           f"{alike.MOST_CHARS}; LongestCommonSubstringFilter wants less than its threshold", "float32", 0, 1),
    Column("side_similarity_ratio", "ratio", f"1 - edit distance of the sides per code point of the longer; of the first {alike.MOST_CHARS}; "
           "SimilarityFilter wants less than its threshold", "float32", 0, 1),
    Column("n_side_repetitions", "repetitions", "of 3 to 100 characters that stand there three times or more one after the other, the first not "
           "counted, of the side with more; RepetitionFilter wants fewer than its threshold"),
    Column("terminal_punctuation_penalty", "marks", "difference of the numbers of . ? ! and U+2026 on both sides, and how many each has "
           "beyond one; TerminalPunctuationFilter bounds -ln(1 + this), so that its -2 is at most 6"),
    Column("numerals_ratio", "ratio", "how alike the digits 1 to 9 of both sides are in their order (difflib's ratio); 1 where neither "
           "has any; of the first 2000; NonZeroNumeralsFilter", "float32", 0, 1),
    Column("is_same_on_both_sides", "0 or 1", "the sides are equal but for white space and letter case", "int64", 0, 1),
    Column("pair_score", "score", "of the field that the recipe maps to score, such as a quality estimate; missing where a row has none",
           "float32", None),
), (
    Ratio("side_char_ratio", "n_longer_side_chars", "n_shorter_side_chars", "1 or more; LengthRatioFilter wants less than its threshold"),
    Ratio("side_word_ratio", "n_longer_side_words", "n_shorter_side_words", "1 or more; LengthRatioFilter wants less than its threshold"),
))  # fmt: skip

# Scripts of languages that are not written in Latin letters: kinds of text.unicode without "_letter".
SCRIPTS = {
    **dict.fromkeys(("ru", "uk", "be", "bg", "mk", "kk", "ky", "mn", "tg", "tt", "ba", "cv", "udm", "mhr", "mrj", "kv", "koi", "myv", "mdf"),
                    ("cyrillic",)),
    **dict.fromkeys(("ar", "fa", "ur", "ps", "sd", "ug", "ckb", "arz", "ary"), ("arabic",)), **dict.fromkeys(("he", "yi"), ("hebrew",)),
    **dict.fromkeys(("hi", "mr", "ne", "sa"), ("devanagari",)), "zh": ("han",), "yue": ("han",), "ja": ("han", "kana"),
    "ko": ("hangul", "han"), "el": ("greek",), "th": ("thai",), "ka": ("georgian",), "hy": ("armenian",),
}  # fmt: skip
MOST_DIGITS = 2000  # of a side compared: difflib is quadratic at worst
_DIGITS = re.compile("[1-9]")


def script_of(language: str, asked: str | None = None) -> tuple[str, ...]:
    """Scripts the letters of a language are expected in; `asked`: the recipe's word for it."""
    return (asked.lower(),) if asked else SCRIPTS.get(langid.language_code(language), ("latin",))


def measurer(languages: tuple[str, str], scripts: dict[str, str], spec: langid.Spec) -> Measurer:
    """`languages`: of the sides, by which `parts` has them; `scripts`: language -> script, where it is not the usual one."""
    masks = tuple(
        sum(1 << unicode.KINDS.index(f"{script}_letter") for script in script_of(language, scripts.get(language)))
        for language in languages
    )
    settings = {"languages": list(languages), "scripts": list(masks), "unicode": unicode.KINDS_VERSION, **langid.identity(spec)}
    return Measurer(FAMILY, functools.partial(measure, languages, masks, spec), settings, needs_words=False, reads=("parts",))


def measure(languages: tuple[str, str], masks: tuple[int, ...], spec: langid.Spec, batch: Batch) -> Columns:
    parts = [json.loads(one) for one in batch.columns["parts"].to_pylist()]
    sides = [part[language] for part in parts for language in languages]  # first, second, first, ...
    data, offsets = read_only(*text.buffers(pa.array(sides, pa.large_string())))
    counts = np.empty((len(sides), k.N_COUNTS), np.int64)
    k.side_counts(data, offsets, unicode.kinds(), np.tile(np.array(masks, np.int64), len(parts)), counts)
    both = counts.reshape(len(parts), 2, k.N_COUNTS)
    lower, higher = both.min(axis=1), both.max(axis=1)
    mean = both[:, :, k.WORD_CHARS] / np.maximum(both[:, :, k.WORDS], 1)
    in_script = np.where(both[:, :, k.LETTERS] == 0, 1.0, both[:, :, k.SCRIPT_LETTERS] / np.maximum(both[:, :, k.LETTERS], 1))
    marks = both[:, :, k.MARKS]
    hashes = text.normalised_hashes(data, offsets).reshape(len(parts), 2, 2)
    return {
        "n_shorter_side_chars": lower[:, k.CHARS],
        "n_longer_side_chars": higher[:, k.CHARS],
        "n_shorter_side_words": lower[:, k.WORDS],
        "n_longer_side_words": higher[:, k.WORDS],
        "n_longest_side_word_chars": higher[:, k.LONGEST_WORD],
        "lower_side_mean_word_chars": _rounded(mean.min(axis=1)),
        "higher_side_mean_word_chars": _rounded(mean.max(axis=1)),
        "lower_side_script_ratio": _rounded(in_script.min(axis=1)),
        **_languages(languages, langid.identify(data, offsets, spec)),
        "lower_side_language_ratio": _lower(langid.relative(data, offsets, spec, list(languages) * len(parts))),
        "lower_side_letter_ratio": _lower(counts[:, k.LETTERS] / np.maximum(counts[:, k.CHARS], 1)),
        "n_sides_with_html": _of_sides(alike.has_tag, sides, np.int64).sum(axis=1),
        "common_substring_ratio": _of_pairs(alike.common_substring_ratio, sides),
        "side_similarity_ratio": _of_pairs(alike.similarity_ratio, sides),
        "n_side_repetitions": _of_sides(alike.n_repetitions, sides, np.int64).max(axis=1),
        "terminal_punctuation_penalty": np.abs(marks[:, 0] - marks[:, 1]) + np.maximum(marks - 1, 0).sum(axis=1),
        "numerals_ratio": _of_pairs(numerals_ratio, sides),
        "is_same_on_both_sides": (hashes[:, 0] == hashes[:, 1]).all(axis=1).astype(np.int64),
        "pair_score": scores(part.get("score") for part in parts),
    }


def numerals_ratio(first: str, second: str) -> float:
    """difflib.SequenceMatcher's ratio of the digits other than 0, in [0, 1]."""
    a, b = _DIGITS.findall(first), _DIGITS.findall(second)
    return 1.0 if a == b else difflib.SequenceMatcher(None, a[:MOST_DIGITS], b[:MOST_DIGITS]).ratio()


def scores(values: Any) -> list[float | None]:
    """Scores as they are stored: rounded to 1e-4, missing where there is none."""
    return [None if value is None else round(float(value), 4) for value in values]


def _languages(declared: tuple[str, str], found: langid.Languages) -> Columns:
    language, score = found.language.reshape(-1, 2), found.score.reshape(-1, 2)
    fits = np.stack([language[:, side] == langid.language_code(declared[side]) for side in (0, 1)], axis=1)
    return {
        "first_side_language": language[:, 0],
        "second_side_language": language[:, 1],
        "n_sides_in_language": fits.sum(axis=1).astype(np.int64),
        "lower_side_language_score": np.where(fits, score, np.float32(0)).min(axis=1),
    }


def _of_sides(function: Callable[[str], Any], sides: list[str], dtype: type) -> np.ndarray:
    """(n_pairs, 2)."""
    return np.array([function(side) for side in sides], dtype).reshape(-1, 2)


def _of_pairs(function: Callable[[str, str], float], sides: list[str]) -> np.ndarray:
    return _rounded(np.array([function(a, b) for a, b in zip(sides[::2], sides[1::2], strict=True)], float))


def _lower(of_sides: np.ndarray) -> np.ndarray:
    return _rounded(of_sides.reshape(-1, 2).min(axis=1))


def _rounded(values: np.ndarray) -> np.ndarray:
    return np.round(values, 4).astype(np.float32)
