"""Language identification of documents, on a few windows of each: py3langid's model as a kernel, or a fastText model.

In: text as `text.buffers` gives it and a Spec. Out: one row per document: language (text), score, windows, agreeing windows.
Imports errors, text (Unicode table) and jit; py3langid lives in bayes.py, fasttext and huggingface_hub in fasttext_model.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from curate.langid import bayes, fasttext_model, kernels
from curate.langid.codes import NOT_A_LANGUAGE, language_code
from curate.models.files import model_sha256

VERSION = 2  # windows, normalisation of codes, and how windows are summed
MIN_SEGMENT_BYTES = 200  # about thirty words: shorter parts are named wrongly too often (docs/language_identification.md)

# What a text in one of the languages we meet most is easily taken for: Estonian's neighbours and the large languages of the web.
NEIGHBOURS = ("et", "en", "fi", "lv", "lt", "ru", "sv", "de", "no", "pl", "uk", "fr", "es")

__all__ = [
    "MIN_SEGMENT_BYTES",
    "NEIGHBOURS",
    "VERSION",
    "Languages",
    "Spec",
    "candidates_for",
    "identify",
    "identity",
    "known",
    "language_code",
    "relative",
    "segments",
]


@dataclass(frozen=True)
class Spec:
    """One language identifier. `candidates`: codes to choose among, () for all of the model's. `windows` 0: whole documents."""

    backend: Literal["py3langid", "fasttext"] = "py3langid"
    model: Path | None = None  # fastText's file
    candidates: tuple[str, ...] = ()
    windows: int = 3
    window_bytes: int = 700


class Languages(NamedTuple):
    language: np.ndarray  # (n,) object: ISO 639-1 code where one exists; "und" where no window says anything
    score: np.ndarray  # (n,) float32 in [0, 1], rounded to 1e-4: mean probability of that language over the windows
    n_windows: np.ndarray  # (n,) int64 windows with evidence
    n_agreeing: np.ndarray  # (n,) int64 windows whose own best language is that one


def candidates_for(languages: Sequence[str]) -> tuple[str, ...]:
    """Default candidates of py3langid for a recipe's languages: those its model knows, and NEIGHBOURS; sorted."""
    known = set(bayes.labels())
    return tuple(sorted({*NEIGHBOURS, *map(language_code, languages)} & known))


def identity(spec: Spec) -> dict:
    """What a fingerprint needs to know of a Spec: settings and the hash of the model, no path."""
    model = bayes.model_sha256() if spec.backend == "py3langid" else model_sha256(_model(spec))
    return {
        "backend": spec.backend,
        "model_sha256": model,
        "candidates": sorted({language_code(c) for c in spec.candidates}),
        "windows": spec.windows,
        "window_bytes": spec.window_bytes,
        "version": VERSION,
    }


def identify(data: np.ndarray, offsets: np.ndarray, spec: Spec) -> Languages:
    """The language of every document: probabilities are summed over its windows, the best sum wins."""
    doc_ptr, start, end = windows(data, offsets, spec.windows, spec.window_bytes)
    wanted = tuple(sorted({language_code(c) for c in spec.candidates}))
    if spec.backend == "py3langid":
        labels, scores = bayes.scores(data, start, end, wanted)
    else:
        labels, scores = fasttext_model.scores(data, start, end, _model(spec), wanted)
    return _per_document(labels, scores, doc_ptr)


def known(spec: Spec) -> tuple[str, ...]:
    """Codes of the languages that an identifier tells apart."""
    return bayes.labels() if spec.backend == "py3langid" else fasttext_model.codes(_model(spec))


def relative(data: np.ndarray, offsets: np.ndarray, spec: Spec, declared: Sequence[str]) -> np.ndarray:
    """float32 (n,) in [0, 1], rounded to 1e-4: the score of each document's declared language per score of the best one, 1 where it is the
    best. 0 where no window says anything or the identifier does not know the language. Rivals are the spec's candidates, or all that the
    identifier knows; declared languages are always among them."""
    own = [language_code(code) for code in declared]
    everything = known(spec)
    wanted = {language_code(c) for c in spec.candidates} | set(own) if spec.candidates else set(everything)
    doc_ptr, start, end = windows(data, offsets, spec.windows, spec.window_bytes)
    candidates = tuple(sorted(wanted & set(everything)))
    if spec.backend == "py3langid":
        labels, scores = bayes.scores(data, start, end, candidates)
    else:
        labels, scores = fasttext_model.scores(data, start, end, _model(spec), candidates)
    sums, _, _ = _summed(labels, scores, doc_ptr)
    place = {label: i for i, label in enumerate(labels) if label not in NOT_A_LANGUAGE}
    column = np.array([place.get(code, -1) for code in own], np.int64)
    mine = np.where(column >= 0, sums[np.arange(len(own)), column], 0.0)
    best = sums.max(axis=1, initial=0.0)
    return np.round(np.divide(mine, best, out=np.zeros(len(own)), where=best > 0), 4).astype(np.float32)


def segments(data: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(doc_ptr (n_docs + 1,), bounds (n_segments + 1,)) int64: documents cut into whole lines of MIN_SEGMENT_BYTES or more together.

    The segments of document d are bounds[i] to bounds[i + 1] for i in doc_ptr[d]:doc_ptr[d + 1]; they fill it, so that `bounds` are
    the offsets of texts that `identify` takes.
    """
    n_docs = len(offsets) - 1
    doc_ptr = np.empty(n_docs + 1, np.int64)
    bounds = np.empty(int(offsets[-1] - offsets[0]) // MIN_SEGMENT_BYTES + n_docs + 1, np.int64)
    kernels.segment_bounds(bayes.frozen(data), bayes.frozen(offsets), MIN_SEGMENT_BYTES, doc_ptr, bounds)
    return doc_ptr, bounds[: doc_ptr[-1] + 1].copy()


def windows(data: np.ndarray, offsets: np.ndarray, n: int, n_bytes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(doc_ptr (n_docs + 1,), start, end): byte spans of the windows of all documents, int64."""
    n_docs = len(offsets) - 1
    doc_ptr = np.empty(n_docs + 1, np.int64)
    start, end = (np.empty(n_docs * max(n, 1), np.int64) for _ in range(2))
    kernels.window_spans(bayes.frozen(data), bayes.frozen(offsets), n, n_bytes, doc_ptr, start, end)
    return doc_ptr, start[: doc_ptr[-1]], end[: doc_ptr[-1]]


def _per_document(labels: Sequence[str], scores: np.ndarray, doc_ptr: np.ndarray) -> Languages:
    """Sum windows (n_windows, n_labels) into documents."""
    n_docs = len(doc_ptr) - 1
    sums, scores, doc_of = _summed(labels, scores, doc_ptr)
    evidence = scores.any(axis=1)
    n_windows = np.bincount(doc_of[evidence], minlength=n_docs)
    best = sums.argmax(axis=1)
    agreeing = evidence & (scores.argmax(axis=1) == best[doc_of])
    mean = sums[np.arange(n_docs), best] / np.maximum(n_windows, 1)
    language = np.array([*labels, "und"], object)[np.where(n_windows > 0, best, len(labels))]
    score = np.round(np.minimum(mean, 1.0), 4).astype(np.float32)
    n_agreeing = np.bincount(doc_of[agreeing], minlength=n_docs)
    return Languages(language, score, n_windows.astype(np.int64), n_agreeing.astype(np.int64))


def _summed(labels: Sequence[str], scores: np.ndarray, doc_ptr: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(sums (n_docs, n_labels), the windows' scores that count, document of each window).

    A window without evidence does not count: a row of zeros, or one whose best label is no language.
    """
    doc_of = np.repeat(np.arange(len(doc_ptr) - 1), np.diff(doc_ptr))
    if none := [i for i, label in enumerate(labels) if label in NOT_A_LANGUAGE]:
        scores = np.where(np.isin(scores.argmax(axis=1), none)[:, None], 0.0, scores)
        scores[:, none] = 0.0
    sums = np.zeros((len(doc_ptr) - 1, len(labels)))
    np.add.at(sums, doc_of, scores)
    return sums, scores, doc_of


def _model(spec: Spec) -> Path:
    if spec.model is None:
        raise ValueError("a fastText identifier needs the path of its model")
    return spec.model
