"""fastText language models (lid.176, GlotLID, OpenLID, ...): windows of bytes in, probabilities by language out.

Imports errors and models' fastText.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from curate.errors import CurateError
from curate.langid.codes import label_codes
from curate.models import fasttext_files


@cache
def _codes(path: Path) -> dict[str, str]:
    return label_codes(fasttext_files.labels(path))


def codes(path: Path) -> tuple[str, ...]:
    """Every language of the model, sorted."""
    return tuple(sorted(set(_codes(path).values())))


@cache
def _labels(path: Path, candidates: tuple[str, ...]) -> tuple[str, ...]:
    known = codes(path)
    if unknown := sorted(set(candidates) - set(known)):
        raise CurateError(f"this model does not know the language {unknown[0]!r}", where=str(path), allowed=", ".join(known))
    return candidates or known


def scores(
    data: np.ndarray, start: np.ndarray, end: np.ndarray, path: Path, candidates: tuple[str, ...]
) -> tuple[tuple[str, ...], np.ndarray]:
    """(labels, probabilities (n_windows, n_labels) float64) over the candidates, made to sum to 1; () for all, as given."""
    labels = _labels(path, candidates)
    place = {label: i for i, label in enumerate(labels)}
    # fastText refuses \n; windows are valid UTF-8, so no surrogate can reach it.
    texts = [data[a:b].tobytes().decode().replace("\n", " ") for a, b in zip(start.tolist(), end.tolist(), strict=True)]
    out = np.zeros((len(texts), len(labels)))
    if not texts:
        return labels, out
    columns = {label: place.get(code) for label, code in _codes(path).items()}
    for row, found in zip(out, fasttext_files.predict(texts, path, -1 if candidates else 5), strict=True):
        for label, value in found:
            if (column := columns[label]) is not None:
                row[column] += value
    if candidates:
        totals = out.sum(axis=1, keepdims=True)
        np.divide(out, totals, out=out, where=totals > 0)
    return labels, out
