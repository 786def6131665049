"""Sums over the pairs of a step, as the log keeps them; means for people out. They add up over steps, processes and parts of a run.

No imports of ours: the loop, the report and trackers all read them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

SUMS = (
    "n", "loss", "chosen", "rejected", "margin", "margin2", "correct", "chosen_tokens", "rejected_tokens", "length", "length2",
    "margin_length",
)  # fmt: skip  # length: tokens of the chosen answer less those of the rejected; 2: squared
FEWEST = 8  # pairs that a correlation is worked out from


def means(of: Mapping[str, float]) -> dict[str, float]:
    """For people: means over pairs, and the correlation of margin and difference of lengths where both vary."""
    n = of["n"]
    found = {
        "loss": of["loss"] / n, "accuracy": of["correct"] / n, "margin": of["margin"] / n, "reward_chosen": of["chosen"] / n,
        "reward_rejected": of["rejected"] / n, "chosen_tokens": of["chosen_tokens"] / n, "rejected_tokens": of["rejected_tokens"] / n,
        "length_difference": of["length"] / n,
    }  # fmt: skip
    bias = length_bias(of)
    return found if bias is None else {**found, "length_bias": bias}


def length_bias(of: Mapping[str, float]) -> float | None:
    """Pearson's r of the reward margin and (chosen - rejected) tokens; None of too few pairs, or where one of the two does not vary."""
    n, m, d = of["n"], of["margin"], of["length"]
    spread = (n * of["margin2"] - m * m) * (n * of["length2"] - d * d)
    if n < FEWEST or spread <= 1e-12 * max(1.0, n * of["margin2"] * n * of["length2"]):
        return None
    return (n * of["margin_length"] - m * d) / math.sqrt(spread)
