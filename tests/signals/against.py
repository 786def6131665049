"""datatrove 0.10.1's own filters over our words: what they count, and what they decide and why.

A text and its words in, a dict of counts and {filter: reason or None} out. Only the splitting of texts is replaced (`patch`); every
count comes from datatrove's functions, or from the expression that stands in its filter.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from datatrove.data import Document
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
    c4_filters,
    fineweb_quality_filter,
    gopher_quality_filter,
    gopher_repetition_filter,
)
from datatrove.utils.text import PUNCTUATION_SET, TERMINAL_PUNCTUATION

from curate import text
from curate.signals.kernels import SENTENCE_END
from tests.signals.measuring import members
from tests.signals.reference import n_sentences

# datatrove's reason -> our preset's rule
REASONS = {
    "gopher_quality": {
        "gopher_short_doc": "min_n_non_symbol_words",
        "gopher_long_doc": "max_n_non_symbol_words",
        "gopher_below_avg_threshold": "min_mean_word_chars",
        "gopher_above_avg_threshold": "max_mean_word_chars",
        "gopher_too_many_hashes": "max_hash_word_ratio",
        "gopher_too_many_ellipsis": "max_ellipsis_word_ratio",
        "gopher_too_many_bullets": "max_bullet_line_ratio",
        "gopher_too_many_end_ellipsis": "max_ellipsis_line_ratio",
        "gopher_below_alpha_threshold": "min_alpha_word_ratio",
        "gopher_enough_stop_words": "min_n_stop_words",
    },
    "gopher_repetition": {
        "empty": "min_n_repetition_paragraphs",
        "dup_para_frac": "max_duplicate_paragraph_ratio",
        "dup_para_char_frac": "max_duplicate_paragraph_char_ratio",
        "dup_line_frac": "max_duplicate_line_ratio",
        "dup_line_char_frac": "max_duplicate_line_char_ratio",
        **{f"top_{n}_gram": f"max_top_{n}gram_char_ratio" for n in (2, 3, 4)},
        **{f"duplicated_{n}_n_grams": f"max_duplicate_{n}gram_char_ratio" for n in range(5, 11)},
    },
    "fineweb_quality": {
        "empty": "min_n_nonblank_lines",
        "line_punct_ratio": "min_punctuated_line_ratio",
        "short_line_ratio": "max_short_line_ratio",
        "char_dup_ratio": "max_duplicate_nonblank_line_char_ratio",
        "list_ratio": "max_newline_word_ratio",
    },
    "c4": {
        "lorem_ipsum": "max_n_lorem_ipsum_lines",
        "curly_bracket": "max_n_curly_bracket_lines",
        "too_few_sentences": "min_n_c4_sentences",
    },
}
_LINE_STATS = {
    "line-total": "n_c4_lines",
    "line-kept": "n_c4_kept_lines",
    "line-filter-too_long_word": "n_too_long_word_lines",
    "line-filter-no_terminal_punc": "n_no_terminal_punct_lines",
    "line-filter-too_few_words": "n_few_word_lines",
    "line-filter-javascript": "n_javascript_lines",
    "line-filter-policy": "n_policy_lines",
}


class Rival:
    """datatrove's four filters with their defaults; the words of the text at hand are handed in with it."""

    def __init__(self, stop_words: list[str], patch: Any) -> None:
        """`patch`: pytest's monkeypatch, or anything with its setattr."""
        self.quality = GopherQualityFilter(stop_words=stop_words)
        self.repetition, self.fineweb, self.c4 = GopherRepetitionFilter(), FineWebQualityFilter(), C4QualityFilter()
        self.stop_words = set(stop_words)
        self._words: list[str] = []
        self._memo: dict[int, int] = {}
        self._stats: Counter = Counter()
        self._ends = members(SENTENCE_END)
        for module in (gopher_quality_filter, gopher_repetition_filter, fineweb_quality_filter):
            patch.setattr(module, "split_into_words", lambda *_: self._words)
        patch.setattr(c4_filters, "split_into_sentences", self._sentences)
        patch.setattr(gopher_repetition_filter, "find_all_duplicate", self._find_all_duplicate)
        patch.setattr(self.c4, "stat_update", lambda *names: self._stats.update(names))

    def _sentences(self, line: str, _language: str) -> list[str]:
        n = n_sentences(text.words(line), self._ends)
        self._stats["sentences"] += n
        return [""] * n

    def _find_all_duplicate(self, words: list[str], n: int) -> int:
        """datatrove's own, taken once a text: the filter asks again for what `counts` has asked."""
        if n not in self._memo:
            self._memo[n] = _FIND_ALL_DUPLICATE(words, n)
        return self._memo[n]

    def take(self, document: str, words: list[str]) -> tuple[dict[str, int], dict[str, str | None]]:
        self._words, self._memo = words, {}
        found: dict[str, str | None] = {}
        for name, filter_ in (
            ("gopher_quality", self.quality), ("gopher_repetition", self.repetition), ("fineweb_quality", self.fineweb),
            ("c4", self.c4),
        ):  # fmt: skip
            self._stats.clear()
            kept = filter_.filter(Document(document, ""))
            found[name] = None if kept is True else REASONS[name][kept[1]]
        return self._counts(document, words, found["c4"]), found

    def _counts(self, document: str, words: list[str], c4_reason: str | None) -> dict[str, int]:
        non_symbol = [w for w in words if any(ch not in PUNCTUATION_SET for ch in w)]
        unicode_lines = document.splitlines()
        paragraphs = self.repetition.paragraph_exp.split(document.strip())
        lines = self.repetition._line_splitter.split(document)
        filled = [line for line in document.split("\n") if line.strip() != ""]
        of_paragraphs, of_lines, of_filled = map(gopher_repetition_filter.find_duplicates, (paragraphs, lines, filled))
        counts = {
            "n_non_symbol_words": len(non_symbol),
            "n_non_symbol_word_chars": sum(map(len, non_symbol)),
            "n_alpha_words": sum(any(c.isalpha() for c in w) for w in words),
            "n_stop_words": len(self.stop_words.intersection(words)),
            "n_hash_chars": document.count("#"),
            "n_ellipsis_units": document.count("...") + document.count("…"),
            "n_bullet_lines": sum(s.lstrip().startswith("•") or s.lstrip().startswith("-") for s in unicode_lines),
            "n_ellipsis_lines": sum(s.rstrip().endswith("...") or s.rstrip().endswith("…") for s in unicode_lines),
            "n_unicode_lines": len(unicode_lines),
            "n_repetition_paragraphs": len(paragraphs),
            "n_duplicate_paragraphs": of_paragraphs[0],
            "n_duplicate_paragraph_chars": of_paragraphs[1],
            "n_repetition_lines": len(lines),
            "n_duplicate_lines": of_lines[0],
            "n_duplicate_line_chars": of_lines[1],
            "n_nonblank_lines": len(filled),
            "n_punctuated_lines": sum(1 for line in filled if line.endswith(tuple(TERMINAL_PUNCTUATION))),
            "n_short_lines": sum(1 for line in filled if len(line) <= self.fineweb.short_line_length),
            "n_duplicate_nonblank_line_chars": of_filled[1],
            "n_newlines": document.count("\n"),
            "n_non_newline_chars": len(document.replace("\n", "")),
            "n_citations": len(c4_filters.CITATION_REGEX.findall(document)),
        }
        for n in (2, 3, 4):
            if n_grams := gopher_repetition_filter.get_n_grams(words, n):
                counts[f"n_top_{n}gram_chars"] = gopher_repetition_filter.find_top_duplicate(n_grams)
        counts |= {f"n_duplicate_{n}gram_chars": self._find_all_duplicate(words, n) for n in range(5, 11)}
        return counts | self._line_counts(document, c4_reason in ("max_n_lorem_ipsum_lines", "max_n_curly_bracket_lines"))

    def _line_counts(self, document: str, refused: bool) -> dict[str, int]:
        """C4's statistics; a refusal stops them, so they are then taken line by line, each line as a text of its own."""
        reasons: Counter = Counter()
        if refused:
            self._stats.clear()
            for line in document.splitlines():
                verdict = self.c4.filter(Document(line or " ", ""))  # the empty text has no line, the empty line is one
                reasons[verdict[1] if isinstance(verdict, tuple) else ""] += 1
        return {column: self._stats[stat] for stat, column in _LINE_STATS.items()} | {
            "n_lorem_ipsum_lines": reasons["lorem_ipsum"],
            "n_curly_bracket_lines": reasons["curly_bracket"],
            "n_c4_sentences": self._stats["sentences"],
        }


_FIND_ALL_DUPLICATE = gopher_repetition_filter.find_all_duplicate
