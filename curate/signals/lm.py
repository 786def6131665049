"""Families of language models, one per recipe entry of kind kenlm: a batch of text and its words in, what the model says out.

Lines are those of models/lm_lines.py. Imports models.
"""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pyarrow as pa

from curate.models import lm
from curate.models.files import model_sha256
from curate.models.lm_lines import NORMALISATION, Lines, lines_of
from curate.signals.family import Batch, Column, Columns, Family, Measurer, Ratio

MIN_WORDS = 5  # of a line that can be the worst: the end of a line and one rare word make any shorter one dear
HIGHEST = 1e9  # perplexities end here: an ARPA file may give <unk> a log10 of -100

VERSION = 1


def family(name: str, has_cutoffs: bool = True) -> Family:
    """The family of one model, its columns named after it; without cutoffs of lines it has no head, middle and tail lines."""
    columns = [
        Column(f"{name}_bits_per_byte", "bits per byte", "bits of a code by the model (log2 of KenLM's probability, and the bytes of "
               "unknown words at a fixed price) over the bytes of the normalised lines; null where a text has no words", "float32"),
        Column(f"{name}_word_perplexity", "words", "10 ** (-log10 p / (words + lines)), as KenLM and CCNet (Wenzek et al. 2020) "
               "reckon it, unknown words as <unk>; at most 1e9; null where a text has no words", "float32"),
        Column(f"{name}_worst_line_bits_per_byte", "bits per byte", f"the highest of a line of {MIN_WORDS} words or more, where there "
               "is none of any line; null where a text has no words", "float32"),
        Column(f"n_{name}_lm_words", "words", "words the model scored"),
        Column(f"n_{name}_oov_words", "words", "of these not in the model's vocabulary"),
        Column(f"n_{name}_lm_lines", "lines", "lines the model scored: those with a word"),
    ]  # fmt: skip
    ratios = [Ratio(f"{name}_oov_ratio", f"n_{name}_oov_words", f"n_{name}_lm_words", "words the model does not know")]
    if has_cutoffs:
        thirds = {"head": "the 30th", "middle": "the 60th, above the 30th,", "tail": ""}
        columns += [
            Column(f"n_{name}_{third}_lines", "lines", f"lines of bits per byte up to {upto} percentile of lines held out in training"
                   if upto else "lines above the 60th percentile of lines held out in training")
            for third, upto in thirds.items()
        ]  # fmt: skip
        ratios.append(Ratio(f"{name}_tail_line_ratio", f"n_{name}_tail_lines", f"n_{name}_lm_lines"))
    return Family(name, VERSION, tuple(columns), tuple(ratios))


def measurer(name: str, path: Path, words: str = "rules") -> Measurer:
    """`path`: the model's file, its JSON beside it where it has one; `words`: how the source cuts words.

    Raises CurateError where either file cannot be read, or they do not fit each other or the words.
    """
    lm.load(path)
    facts = lm.facts(path, words)
    settings = {"model_sha256": model_sha256(path), "normalisation": NORMALISATION, "facts": list(facts)}
    return Measurer(family(name, facts.head is not None), functools.partial(measure, name, path, facts), settings)


def measure(name: str, path: Path, facts: lm.Facts, batch: Batch) -> Columns:
    assert batch.segments is not None
    lines = lines_of(batch.data, batch.offsets, batch.segments)
    scores = lm.score(lines, path, facts.unknown_byte_bits)
    n = len(batch.offsets) - 1
    n_lines, n_words, n_unknown, n_bytes = (
        np.bincount(lines.doc, weights, n).astype(np.int64) for weights in (None, scores.n_words, scores.n_unknown, lines.n_bytes)
    )
    bits, log10 = (np.bincount(lines.doc, weights, n) for weights in (scores.bits, scores.log10))
    of_line = np.round(scores.bits / lines.n_bytes, 4)
    with np.errstate(over="ignore"):
        perplexity = np.minimum(10 ** (-log10 / np.maximum(n_words + n_lines, 1)), HIGHEST)
    columns: Columns = {
        f"{name}_bits_per_byte": _scores(bits / np.maximum(n_bytes, 1), n_words),
        f"{name}_word_perplexity": _scores(perplexity, n_words),
        f"{name}_worst_line_bits_per_byte": _scores(_worst(lines, scores.n_words, of_line, n), n_words),
        f"n_{name}_lm_words": n_words,
        f"n_{name}_oov_words": n_unknown,
        f"n_{name}_lm_lines": n_lines,
    }
    if facts.head is not None and facts.middle is not None:
        third = np.searchsorted([facts.head, facts.middle], of_line)  # a line on a cutoff is below it
        for i, word in enumerate(("head", "middle", "tail")):
            columns[f"n_{name}_{word}_lines"] = np.bincount(lines.doc[third == i], minlength=n)
    return columns


def _worst(lines: Lines, n_words: np.ndarray, of_line: np.ndarray, n: int) -> np.ndarray:
    """(n,) float64: the highest bits per byte of a long enough line, else of any."""
    is_long = n_words >= MIN_WORDS
    worst, worst_long = np.full(n, -np.inf), np.full(n, -np.inf)
    np.maximum.at(worst, lines.doc, of_line)
    np.maximum.at(worst_long, lines.doc[is_long], of_line[is_long])
    return np.where(np.isfinite(worst_long), worst_long, worst)


def _scores(values: np.ndarray, n_words: np.ndarray) -> pa.Array:
    """float32 rounded to 1e-4, null without words."""
    return pa.array(np.round(values, 4).astype(np.float32), mask=n_words == 0)
