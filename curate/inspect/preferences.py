"""What `curate stats` says of preference sources: margins, how much longer chosen answers are, what stands in what.

In: an open corpus.duckdb and its build folder, of whose signals family preference alone is read. Out: a row per source for all its
documents, and one for those that are kept; lines for the screen. Imports inspect.corpus, inspect.tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from curate.inspect.corpus import Connection, rows, signals_of
from curate.inspect.tables import count, number, percent, table

_LEAKS = {  # column -> what it is called on the screen
    "is_chosen_in_prompt": "chosen in prompt", "is_rejected_in_prompt": "rejected in prompt", "is_last_turn_in_chosen": "prompt in chosen",
    "is_chosen_in_rejected": "chosen in rejected", "is_rejected_in_chosen": "rejected in chosen",
}  # fmt: skip
_USED = ("preference_margin", "is_chosen_longer", "n_chosen_chars", "n_rejected_chars", "answer_overlap_ratio", "chosen_rejected_char_ratio",
         "n_answers_in_other_language", *_LEAKS)  # fmt: skip

# A pair of equal length is longer on neither side.
_QUERY = """
WITH pairs AS (
  SELECT s.*, d.keep FROM ({signals}) s JOIN decisions d ON d.source = s.source AND d.id = s.id WHERE s.n_chosen_chars IS NOT NULL
), told AS (SELECT *, 'all' AS documents_of FROM pairs UNION ALL SELECT *, 'kept' FROM pairs WHERE keep)
SELECT source, documents_of, count(*) AS pairs, count(preference_margin) AS with_margin,
  {quantiles},
  avg(is_chosen_longer) AS chosen_longer_share, avg((n_rejected_chars > n_chosen_chars)::INT) AS rejected_longer_share,
  avg(n_chosen_chars - n_rejected_chars) AS mean_char_difference, quantile_disc(chosen_rejected_char_ratio, 0.5) AS median_char_ratio,
  quantile_disc(answer_overlap_ratio, 0.5) AS median_answer_overlap,
  {leaks}, sum((n_answers_in_other_language > 0)::INT)::BIGINT AS other_language
FROM told GROUP BY ALL ORDER BY source, documents_of
"""
_QUANTILES = {"p5": 0.05, "p50": 0.5, "p95": 0.95}


def by_source(corpus: Connection, build_dir: Path) -> list[dict[str, Any]]:
    """[] where no source has preferences."""
    if not rows(corpus, "SELECT 1 FROM stages WHERE stage = 'signals' AND family = 'preference' LIMIT 1"):
        return []
    quantiles = ", ".join(f"quantile_disc(preference_margin, {q}) AS margin_{name}" for name, q in _QUANTILES.items())
    leaks = ", ".join(f"sum({name})::BIGINT AS {name}" for name in _LEAKS)
    return rows(corpus, _QUERY.format(signals=signals_of(corpus, build_dir, _USED), quantiles=quantiles, leaks=leaks))


def lines(data: Sequence[dict[str, Any]]) -> list[str]:
    """A table of margins and length, then what stands in what and languages, source by source."""
    if not data:
        return []
    sizes = [
        [r["source"], r["documents_of"], count(r["pairs"]), count(r["with_margin"]), *(number(r[f"margin_{q}"]) for q in _QUANTILES),
         percent(r["chosen_longer_share"], 1), percent(r["rejected_longer_share"], 1), f"{r['mean_char_difference']:+.1f}",
         f"{r['median_char_ratio']:.2f}"] for r in data
    ]  # fmt: skip
    head = ["source", "of", "pairs", "margins", "p5", "p50", "p95", "longer: chosen", "rejected", "chars more", "ratio"]
    shown = table(head, sizes, "<<" + ">" * 9, "  ")
    for r in data:
        leaks = ", ".join(f"{said} {count(r[name])}" for name, said in _LEAKS.items())
        shown += ["", f"  {r['source']} ({r['documents_of']}): stands whole in the other: {leaks};",
                  f"    median share of words in both answers {r['median_answer_overlap']:.2f}; pairs with an answer in another language "
                  f"than the prompt {count(r['other_language'])}"]  # fmt: skip
    return shown
