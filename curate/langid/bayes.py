"""py3langid's embedded model, scored by our kernel: windows of bytes in, probabilities by language out.

The only module that knows py3langid; of it we use the model file and its reader. Imports errors, text (Unicode table), jit.
"""

from __future__ import annotations

import hashlib
import unicodedata
from functools import cache
from typing import Any

import numpy as np
from py3langid.langid import MODEL_DIR, MODEL_FILE
from py3langid.modelio import load_model

from curate.errors import CurateError, nearest
from curate.langid import kernels
from curate.langid.codes import language_code
from curate.text.unicode import tables


@cache
def _model() -> dict[str, Any]:
    """Arrays of the model, about 75 MB, once per process."""
    weights, prior, classes, nextmove, row, feature_of = load_model(MODEL_DIR / MODEL_FILE)
    return {
        "weights": weights,  # (n_features, n_classes) float16
        "prior": prior,  # (n_classes,) float32
        "codes": [language_code(c) for c in classes],
        "nextmove": np.asarray(nextmove).astype(np.uint32),
        "states": np.column_stack([np.asarray(row).astype(np.int32), np.asarray(feature_of, np.int32)]),  # side by side: one miss
    }


@cache
def model_sha256() -> str:
    return hashlib.sha256((MODEL_DIR / MODEL_FILE).read_bytes()).hexdigest()


@cache
def labels() -> tuple[str, ...]:
    """Every language of the model, once, in the order of its classes."""
    return tuple(dict.fromkeys(_model()["codes"]))


@cache
def _restricted(candidates: tuple[str, ...]) -> tuple[tuple[str, ...], np.ndarray, np.ndarray, np.ndarray]:
    """(labels, label of each column, weights float32 (n_features, n_columns), prior): the model's columns of the candidates."""
    model = _model()
    if unknown := sorted(set(candidates) - set(labels())):
        raise CurateError(
            f"py3langid does not know the language {unknown[0]!r}", where="language_id: candidates", found=", ".join(unknown),
            allowed=", ".join(nearest(unknown[0], labels()) or labels()), next="name a fastText model that knows it",
        )  # fmt: skip
    kept = tuple(c for c in labels() if not candidates or c in candidates)
    columns = [i for i, code in enumerate(model["codes"]) if code in kept]
    label_of = np.array([kept.index(model["codes"][i]) for i in columns], np.int64)
    weights = np.ascontiguousarray(model["weights"][:, columns], np.float32)
    return kept, label_of, weights, np.ascontiguousarray(model["prior"][columns], np.float32)


def scores(
    data: np.ndarray, start: np.ndarray, end: np.ndarray, candidates: tuple[str, ...]
) -> tuple[tuple[str, ...], np.ndarray]:
    """(labels, probabilities (n_windows, n_labels) float64) over the candidates, () for all; zeros where nothing is recognised.

    Equals py3langid 0.4.0's `classify` of the window with norm_probs=True after set_languages(candidates).
    """
    kept, label_of, weights, prior = _restricted(candidates)
    data = frozen(data)
    rewrite = np.empty(len(start), np.bool_)
    kernels.needs_rewriting(data, start, end, tables()[0], rewrite)
    out = np.empty((len(start), len(prior)))
    out[~rewrite] = _probabilities(data, start[~rewrite], end[~rewrite], weights, prior)
    if rewrite.any():
        texts = [_normal(data[a:b].tobytes()) for a, b in zip(start[rewrite].tolist(), end[rewrite].tolist(), strict=True)]
        ends = np.cumsum([len(t) for t in texts], dtype=np.int64)
        begins = ends - np.array([len(t) for t in texts], np.int64)
        out[rewrite] = _probabilities(frozen(np.frombuffer(b"".join(texts), np.uint8)), begins, ends, weights, prior)
    merged = np.zeros((len(start), len(kept)))
    for column, label in enumerate(label_of.tolist()):
        merged[:, label] += out[:, column]  # script variants of one language (Serbian, Uzbek) are one label
    return kept, merged


def _normal(text: bytes) -> bytes:
    decoded = text.decode()
    return unicodedata.normalize("NFC", decoded.lower() if decoded.isupper() else decoded).encode()


def _probabilities(data: np.ndarray, start: np.ndarray, end: np.ndarray, weights: np.ndarray, prior: np.ndarray) -> np.ndarray:
    out = np.empty((len(start), len(prior)))
    kernels.probabilities(data, start, end, _model()["nextmove"], _model()["states"], weights, prior, out)
    return out


def frozen(array: np.ndarray) -> np.ndarray:
    """A read-only view: Arrow's buffers are, and numba compiles once more for arrays that are not."""
    view = array.view()
    view.flags.writeable = False
    return view
