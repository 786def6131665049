"""How a threshold tuned on one language becomes another language's: FineWeb2's methods, as arithmetic over measured values.

In: a bound's direction (`max`: a document fails above it; `min`: below it), the bound where it was tuned, the values of a signal in
both distributions. Out: the bound for the new language, or None where the arithmetic has none. Pure numpy; imports nothing of ours.
Source: Penedo et al. 2025, FineWeb2, arXiv 2506.20920, section on filtering; huggingface/fineweb-2 for which method serves which filter.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np

Op = Literal["min", "max"]
METHODS = {
    "10tail": "the bound that the worst tenth fails; meant for text that nothing has filtered",
    "meanstd": "as many standard deviations from the mean as the base bound is in the reference",
    "quantile": "the bound that as large a share fails as fails the base bound in the reference",
    "medianratio": "the base bound times the ratio of the medians, here and in the reference",
    "unchanged": "the base bound",
}
NEED_REFERENCE = ("meanstd", "quantile", "medianratio")
TAIL = 0.1  # FineWeb2's 10Tail
SCORE_RANGE = (0.3, 0.9)  # FineWeb2's clamp of the language score


class Part(NamedTuple):
    """One filter of FineWeb2: the preset its base bounds come from, and what FineWeb2 does with each of them."""

    name: str
    preset: str
    method: str  # FineWeb2's choice for the bounds that it adapts
    adapted: tuple[str, ...]
    off: tuple[str, ...] = ()
    fixed: tuple[tuple[str, float], ...] = ()  # another value than the base, the same for every language


# In the order in which FineWeb2 filters. Bounds that stand in none of the three lists keep their base value.
PARTS = (
    Part("Gopher repetition", "gopher/repetition", "10tail",
         ("max_duplicate_line_ratio", *(f"max_top_{n}gram_char_ratio" for n in (2, 3, 4)),
          *(f"max_duplicate_{n}gram_char_ratio" for n in range(5, 11))),
         off=("max_duplicate_paragraph_ratio", "max_duplicate_line_char_ratio", "max_duplicate_paragraph_char_ratio")),
    Part("FineWeb quality", "fineweb/quality", "10tail", ("min_punctuated_line_ratio", "max_newline_word_ratio"),
         off=("max_short_line_ratio",), fixed=(("max_duplicate_nonblank_line_char_ratio", 0.1),)),
    Part("Gopher quality", "gopher/quality", "meanstd", ("min_mean_word_chars", "max_mean_word_chars", "min_alpha_word_ratio")),
)  # fmt: skip


def propose(method: str, op: Op, base: float, values: np.ndarray, reference: np.ndarray | None = None) -> float | None:
    """The bound, not rounded. None: the reference has no spread (meanstd) or its median is 0 (medianratio).

    values, reference: float64 (n,), in any order, none of them NaN; `values` is not empty. `reference` is the distribution in which
    `base` was tuned. Standard deviations are those of the population.
    """
    if method == "unchanged":
        return base
    if method == "10tail":
        return _failed_by(TAIL, op, values)
    assert reference is not None and method in NEED_REFERENCE
    if method == "quantile":
        fails = reference > base if op == "max" else reference < base
        return _failed_by(float(fails.mean()), op, values)
    if method == "meanstd":
        spread = float(reference.std())
        return None if spread == 0 else float(values.mean() + (base - reference.mean()) / spread * values.std())
    median = float(np.median(reference))
    return None if median == 0 else base * float(np.median(values)) / median


def language_score(scores: np.ndarray) -> float:
    """FineWeb2's bound of the language score: median - standard deviation, held between 0.3 and 0.9."""
    low, high = SCORE_RANGE
    return min(high, max(low, float(np.median(scores) - scores.std())))


def rounded(bound: float, op: Op, digits: int) -> float:
    """To so many decimals, away from the documents: a rounded bound drops nothing that the exact one keeps. Never below 0."""
    scale = 10**digits
    whole = round(bound * scale, 6)  # 0.1 * 1000 is not quite 100
    return max(0.0, (math.ceil(whole) if op == "max" else math.floor(whole)) / scale)


def _failed_by(share: float, op: Op, values: np.ndarray) -> float:
    """The tightest observed value that at most `share` of the values fails."""
    n = len(values)
    k = min(n - 1, int(share * n + 1e-9))
    return float(np.partition(values, n - 1 - k)[n - 1 - k] if op == "max" else np.partition(values, k)[k])
