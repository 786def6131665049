"""The features classifier: logistic regression over features.py. Rows and labels in, a model as JSON out, and scores from it.

Imports errors, store, features. The file names every weight; numbers have 9 digits, so that what is loaded is what was fitted.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from curate.errors import CurateError
from curate.models import features
from curate.store import write_atomic
from curate.text import Segments

KIND = "veski features classifier"
CLIP = 6.0  # standard units: one odd character cannot outvote everything else (a guess)
RIDGE = 100.0  # pull of every weight towards 0; 10 to 1000 differ little across domains (docs/mt_spam.md)
RARE = 0.3  # least scale of a hashed column, as a part of the largest: buckets hardly seen in training stay quiet


class Fitted(NamedTuple):
    """A fitted classifier; arrays (N_FEATURES,) float64."""

    label: str
    mean: np.ndarray
    scale: np.ndarray
    weight: np.ndarray
    bias: float


def fit(rows: np.ndarray, is_positive: np.ndarray, label: str) -> Fitted:
    """Maximum likelihood with ridge by Newton's method (IRLS), rows standardised. Both classes must occur.

    The score is a probability under the classes' shares in `rows`. Converges or stops after 50 steps; the optimum is unique.
    """
    x = rows.astype(np.float64)
    mean, scale = x.mean(axis=0), x.std(axis=0)
    n_shape = len(features.SHAPE)
    scale[n_shape:] = np.maximum(scale[n_shape:], RARE * scale[n_shape:].max(initial=0.0))
    scale[scale < 1e-9] = 1.0
    mean, scale = _rounded(mean), _rounded(scale)
    x = np.clip((x - mean) / scale, -CLIP, CLIP)
    y = is_positive.astype(np.float64)
    x = np.hstack([x, np.ones((len(x), 1))])
    ridge = np.full(x.shape[1], RIDGE)
    ridge[-1] = 1e-6  # the bias is free
    w = np.zeros(x.shape[1])
    w[-1] = np.log(y.mean() / (1 - y.mean()))
    loss = _loss(x, y, w, ridge)
    for _ in range(50):
        p = _sigmoid(x @ w)
        gradient = x.T @ (p - y) + ridge * w
        hessian = (x * (p * (1 - p))[:, None]).T @ x + np.diag(ridge)
        step = np.linalg.solve(hessian, gradient)
        size = 1.0
        while (smaller := _loss(x, y, w - size * step, ridge)) > loss and size > 1e-4:
            size /= 2
        w = w - size * step
        if loss - smaller < 1e-9 * max(loss, 1.0):
            break
        loss = smaller
    w = _rounded(w)
    return Fitted(label, mean, scale, w[:-1], float(w[-1]))


def _loss(x: np.ndarray, y: np.ndarray, w: np.ndarray, ridge: np.ndarray) -> float:
    z = x @ w
    return float(np.logaddexp(0.0, z).sum() - y @ z + 0.5 * (ridge * w * w).sum())


def _sigmoid(z: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-np.clip(z, -500, 500)))


def _rounded(values: np.ndarray) -> np.ndarray:
    return np.array([float(f"{v:.9g}") for v in values])


def scores(model: Fitted, data: np.ndarray, offsets: np.ndarray, seg: Segments) -> np.ndarray:
    """(n,) float32 in [0, 1], rounded to 1e-4: probability of the label; 0.0 for a text without a word."""
    z = features.logits(data, offsets, seg, model.mean, model.scale, model.weight, model.bias, CLIP)
    found = np.round(_sigmoid(z), 4).astype(np.float32)
    found[np.diff(seg.doc_ptr) == 0] = 0.0
    return found


def scores_of(model: Fitted, texts: Sequence[str]) -> np.ndarray:
    """`scores` of some texts."""
    import pyarrow as pa

    from curate import text

    found = [np.empty(0, np.float32)]
    for batch in text.batches(pa.array(list(texts), pa.large_string())):
        data, offsets = text.buffers(batch)
        found.append(scores(model, data, offsets, text.segment(data, offsets)))
    return np.concatenate(found)


def save(model: Fitted, path: Path) -> None:
    """Write the model as JSON; equal models are equal files."""
    names = [*features.SHAPE, *(f"skeleton {i}" for i in range(features.N_BUCKETS))]
    body = {
        "kind": KIND, "features_version": features.VERSION, "label": model.label, "clip": CLIP, "bias": model.bias,
        "features": [
            [name, float(m), float(s), float(w)]
            for name, m, s, w in zip(names, model.mean, model.scale, model.weight, strict=True)
        ],
    }  # fmt: skip
    lines = json.dumps(body, ensure_ascii=False).replace("], [", "],\n[")
    write_atomic(path, (lines + "\n").encode())


@cache
def load(path: Path) -> Fitted:
    """A model of `save`. Raises CurateError for anything else, and for one made with other features."""
    try:
        body = json.loads(path.read_bytes())
        if body["kind"] != KIND:
            raise ValueError(f"kind is {body['kind']!r}")
        version = body["features_version"]
        columns = np.array([[float(v) for v in one[1:]] for one in body["features"]])
        label, bias = str(body["label"]), float(body["bias"])
        is_whole = columns.shape == (features.N_FEATURES, 3) and np.isfinite(columns).all() and (columns[:, 1] > 0).all()
        if version == features.VERSION and not (is_whole and np.isfinite(bias)):
            raise ValueError(f"its weights are not {features.N_FEATURES} finite numbers each")
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise CurateError(
            "this is no features classifier", where=str(path), found=str(error)[:200], next="curate train-classifier OUT --kind features"
        ) from error  # fmt: skip
    if version != features.VERSION:
        raise CurateError(
            "this model was trained on other features", where=str(path), found=f"features version {version}",
            allowed=str(features.VERSION), next="train it again: curate train-classifier OUT --kind features",
        )  # fmt: skip
    return Fitted(label, columns[:, 0].copy(), columns[:, 1].copy(), columns[:, 2].copy(), bias)
