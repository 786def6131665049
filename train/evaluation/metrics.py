"""The measures of a task: rows of items.parquet in, one number out; pure.

An item has `extracted` (what was read out of the answer, None where nothing was), `gold` (a list of right answers), `answers`, `details`.
Every measure here is a function of sums over items (bootstrap.OfSums), so that its interval costs one product of matrices. An item
without an answer is wrong, not left out. The one module that knows sacrebleu and rouge-score. Imports bootstrap, code, extract, gec, texts.
"""

from __future__ import annotations

import math
import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from curate.errors import CurateError, nearest
from train.evaluation import extract, gec, texts
from train.evaluation.bootstrap import OfSums, mean, ratio
from train.evaluation.code import pass_at_k

Item = Mapping[str, Any]
VERSION = 1  # of our own measures; raise it when a formula changes


def measure(name: str, language: str = "en") -> OfSums:
    """The measure of that name: of NAMES, or `pass_at_K`, `answer_language.CODE`."""
    if match := re.fullmatch(r"pass_at_([1-9]\d*)", name):
        k = int(match[1])
        return _mean_of(lambda item: pass_at_k(len(item["details"]["passed"]), sum(item["details"]["passed"]), k))
    if match := re.fullmatch(r"answer_language\.([a-z]{2,3})", name):
        code = match[1]
        return _mean_of(lambda item: all(answer.strip() and texts.is_in(answer, code) for answer in item["answers"] or [""]))
    if name not in NAMES:
        raise CurateError(f"no metric {name!r}", allowed=", ".join(nearest(name, NAMES) or sorted(NAMES)))
    return NAMES[name](language)


def signature(name: str, items: Sequence[Item], language: str = "en") -> str:
    """What a published figure needs beside it: sacrebleu's own signature, or our version and the settings."""
    if name in SACREBLEU:
        scorer = SACREBLEU[name]()
        scorer.corpus_score(*_hypotheses_and_references(items))
        return str(scorer.get_signature())
    settings = {
        "rouge_l": f"|tok:{'rouge-score' if language == 'en' else 'veski'}",
        "f1": f"|norm:{language}",
        "exact_match": f"|norm:{language}",
    }
    return f"{name}{settings.get(name, '')}|veski:{VERSION}"


# ---- answers that are right or wrong, or partly right


def _mean_of(score: Callable[[Item], float]) -> OfSums:
    return OfSums(lambda items: mean.statistics([float(score(item)) for item in items]), mean.value)


def normalised(text: str, language: str = "en") -> str:
    """SQuAD's normalisation (Rajpurkar et al. 2016, evaluate-v1.1.py): lower case, no punctuation, single spaces; no articles in English.

    Other languages have no a, an, the to leave out (Estonian `a` is a year); their punctuation is all of Unicode's, and digits grouped
    by spaces (1 234) are one number.
    """
    text = unicodedata.normalize("NFC", text).lower()
    if language == "en":
        text = "".join(c for c in text if c not in string.punctuation)
        return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())
    text = re.sub(rf"(?<=\d)[ {extract.SPACES}](?=\d{{3}}(?!\d))", "", text)
    text = "".join(c for c in text if c not in string.punctuation and unicodedata.category(c)[0] != "P")
    return " ".join(text.split())


def exact_match(answer: str, gold: str, language: str = "en") -> float:
    return float(normalised(answer, language) == normalised(gold, language))


def token_f1(answer: str, gold: str, language: str = "en") -> float:
    """F1 of the words two texts share, after normalisation; where one has none left: 1 if both, else 0 (SQuAD 2.0)."""
    a, b = normalised(answer, language).split(), normalised(gold, language).split()
    if not a or not b:
        return float(a == b)
    common = sum((Counter(a) & Counter(b)).values())
    return 2 * common / (len(a) + len(b))


def _best(score: Callable[[str, str], float]) -> OfSums:
    """Mean over items of the best score over its right answers."""
    return _mean_of(
        lambda item: (
            0.0 if item["extracted"] is None else max((score(item["extracted"], gold) for gold in item["gold"]), default=0.0)
        )
    )


def numeric_match(answer: str, gold: str, language: str = "en") -> float:
    """Whether two answers are the same number, however written: 1 234,50 and 1234.5. Gold answers of GSM8K are read from their ####."""
    found, wanted = extract.numeric_answer(answer, language), extract.numeric_answer(gold, "en" if "####" in gold else language)
    return float(found is not None and found == wanted)


# ---- classes


def _labels(items: Sequence[Item]) -> list[str]:
    return sorted({item["gold"][0] for item in items})


def _confusion(items: Sequence[Item]) -> np.ndarray:
    """(n, (k + 1) ** 2) float64: a one where gold label (row) meets answer (column); the last of each is any other answer."""
    place = {label: i for i, label in enumerate(_labels(items))}
    side = len(place) + 1
    counts = np.zeros((len(items), side * side))
    for n, item in enumerate(items):
        counts[n, place[item["gold"][0]] * side + place.get(item["extracted"], side - 1)] = 1.0
    return counts


def _square(sums: np.ndarray) -> np.ndarray:
    side = math.isqrt(sums.shape[1])
    return sums.reshape(-1, side, side)


def _mcc(sums: np.ndarray) -> np.ndarray:
    """Matthews' coefficient of any number of classes (Gorodkin 2004, R_K); 0 where it is undefined, as scikit-learn has it."""
    matrix = _square(sums)
    correct, total = matrix.trace(axis1=1, axis2=2), matrix.sum(axis=(1, 2))
    gold, answered = matrix.sum(axis=2), matrix.sum(axis=1)
    above = correct * total - (gold * answered).sum(axis=1)
    below = np.sqrt((total**2 - (gold**2).sum(axis=1)) * (total**2 - (answered**2).sum(axis=1)))
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)


def _macro_f1(sums: np.ndarray) -> np.ndarray:
    """Mean of the F1 of every gold label; 0 of a label that is neither right nor answered."""
    matrix = _square(sums)
    right = np.diagonal(matrix, axis1=1, axis2=2)
    together = matrix.sum(axis=1) + matrix.sum(axis=2)
    of_each = np.divide(2 * right, together, out=np.zeros_like(right), where=together > 0)
    return of_each[:, :-1].mean(axis=1)


# ---- texts


def _sacrebleu(name: str, **settings: Any) -> Callable[[], Any]:
    def scorer() -> Any:
        from sacrebleu import metrics

        return getattr(metrics, name)(**settings)

    return scorer


SACREBLEU = {"bleu": _sacrebleu("BLEU"), "chrf": _sacrebleu("CHRF"), "chrf++": _sacrebleu("CHRF", word_order=2)}


def _hypotheses_and_references(items: Sequence[Item]) -> tuple[list[str], list[list[str | None]]]:
    """Answers, and streams of references: the n-th of every item, None where an item has fewer."""
    most = max((len(item["gold"]) for item in items), default=0)
    streams = [[item["gold"][n] if n < len(item["gold"]) else None for item in items] for n in range(most)]
    return [item["extracted"] or "" for item in items], streams


def _of_corpus(name: str) -> OfSums:
    """A corpus score of sacrebleu (0 to 100) from its own counts per sentence: their sum gives the score of any resample."""
    scorer = SACREBLEU[name]()

    def counts(items: Sequence[Item]) -> np.ndarray:
        return np.array(scorer._extract_corpus_statistics(*_hypotheses_and_references(items)), float)

    def value(sums: np.ndarray) -> np.ndarray:
        return np.array([scorer._compute_score_from_stats([round(x) for x in row]).score for row in sums.tolist()])

    return OfSums(counts, value)


class _Words:
    """rouge-score's own tokenizer keeps a to z only (õde becomes de); this one keeps words of any language whole."""

    def tokenize(self, text: str) -> list[str]:
        return [word.lower() for word in texts.spoken(text)]


def rouge_l(answer: str, gold: str, language: str = "en") -> float:
    """F of the longest common subsequence of words (Lin 2004), 0 to 1; English as rouge-score cuts it, nothing stemmed."""
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rougeL"], tokenizer=None if language == "en" else _Words())
    return float(scorer.score(gold, answer)["rougeL"].fmeasure)


# ---- MultiLoKo (Hupkes and Bogoychev 2025, arXiv 2504.10356): parity across languages

LOCAL, LOCAL_IN_ENGLISH, ENGLISH_IN_LANGUAGE = "local", "local_in_english", "english_in_language"


def _by_language(variants: Sequence[str], of_means: Callable[[np.ndarray], np.ndarray]) -> OfSums:
    """Mean scores (B, languages, variants) of items whose details.variant (default: local) is one of them; English is no translation."""

    def counts(items: Sequence[Item]) -> np.ndarray:
        place = {code: i for i, code in enumerate(sorted({item["language"] for item in items}))}
        found = np.zeros((len(items), len(place), len(variants), 2))
        for n, item in enumerate(items):
            variant = (item.get("details") or {}).get("variant", LOCAL)
            if variant in variants:
                found[n, place[item["language"]], variants.index(variant)] = item["score"], 1.0
        return found.reshape(len(items), -1)

    def value(sums: np.ndarray) -> np.ndarray:
        table = sums.reshape(len(sums), -1, len(variants), 2)
        with np.errstate(divide="ignore", invalid="ignore"):
            return of_means(np.where(table[..., 1] == 0, np.nan, table[..., 0] / table[..., 1]))

    return OfSums(counts, value)


def _mean_over_languages(values: np.ndarray) -> np.ndarray:
    """(B, languages) -> (B,); languages without both sides are left out, nan where none has them."""
    there = ~np.isnan(values)
    n = there.sum(axis=1)
    return np.divide(np.where(there, values, 0).sum(axis=1), n, out=np.full(len(values), np.nan), where=n > 0)


AVERAGE = _by_language((LOCAL,), lambda means: _mean_over_languages(means[:, :, 0]))
# Best language less the worst.
GAP = _by_language((LOCAL,), lambda means: np.nanmax(means[:, :, 0], axis=1) - np.nanmin(means[:, :, 0], axis=1))
# Mother tongue effect: local questions in their language, less the same questions in English. Positive: the language knows more.
MOTHER_TONGUE = _by_language((LOCAL, LOCAL_IN_ENGLISH), lambda means: _mean_over_languages(means[:, :, 0] - means[:, :, 1]))
# Locality effect: local questions, less English questions translated into the language. Positive: translated data underestimates.
LOCALITY = _by_language((LOCAL, ENGLISH_IN_LANGUAGE), lambda means: _mean_over_languages(means[:, :, 0] - means[:, :, 1]))


# ---- what suites call them


def _of_lists(key: str) -> OfSums:
    """Share of all instructions that were followed, over a list per item."""
    return OfSums(
        lambda items: ratio.statistics([(sum(item["details"][key]), len(item["details"][key])) for item in items]), ratio.value
    )


def _detail(key: str) -> OfSums:
    return _mean_of(lambda item: item["details"][key])


NAMES: dict[str, Callable[[str], OfSums]] = {
    "accuracy": lambda language: _mean_of(lambda item: item["extracted"] in item["gold"]),
    "score": lambda language: _mean_of(lambda item: item["score"]),
    "exact_match": lambda language: _best(lambda a, b: exact_match(a, b, language)),
    "f1": lambda language: _best(lambda a, b: token_f1(a, b, language)),
    "numeric_exact_match": lambda language: _best(lambda a, b: numeric_match(a, b, language)),
    "rouge_l": lambda language: _best(lambda a, b: rouge_l(a, b, language)),
    "mcc": lambda language: OfSums(_confusion, _mcc),
    "macro_f1": lambda language: OfSums(_confusion, _macro_f1),
    "bleu": lambda language: _of_corpus("bleu"),
    "chrf": lambda language: _of_corpus("chrf"),
    "chrf++": lambda language: _of_corpus("chrf++"),
    "f05": lambda language: OfSums(
        lambda items: np.array([item["details"]["counts"] for item in items], float),
        lambda sums: np.array([gec.f_beta(row) for row in sums.tolist()]),
    ),
    "format_valid": lambda language: _mean_of(lambda item: item["extracted"] is not None),
    "ifeval_prompt_strict": lambda language: _mean_of(lambda item: all(item["details"]["strict"])),
    "ifeval_prompt_loose": lambda language: _mean_of(lambda item: all(item["details"]["loose"])),
    "ifeval_instruction_strict": lambda language: _of_lists("strict"),
    "ifeval_instruction_loose": lambda language: _of_lists("loose"),
    "valid": lambda language: _detail("valid"),
    "call_exact": lambda language: _detail("exact"),
    "call_match": lambda language: _detail("match"),
    "call_decision": lambda language: _detail("decision"),
    "average": lambda language: AVERAGE,
    "gap": lambda language: GAP,
    "mother_tongue_effect": lambda language: MOTHER_TONGUE,
    "locality_effect": lambda language: LOCALITY,
}
