"""Families of classifiers, one per entry of the recipe's `models` of kind fasttext or features: a batch of text in, scores out.

Imports models and recipe.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from curate.errors import CurateError
from curate.models import classifier, fasttext_files, features
from curate.models.files import model_sha256
from curate.recipe import Model
from curate.signals.family import Batch, Column, Columns, Family, Measurer

VERSION = 1
# What the labels of texts nobody wants are called by convention: DCLM's cc, RedPajama's, our own `other`.
NEGATIVE = {"cc", "lq", "low", "low_quality", "neg", "negative", "no", "other", "bad", "0", "false", "random"}


def family(name: str, kind: str, label: str) -> Family:
    """`<name>_score`, and for fastText `<name>_label`."""
    score = Column(
        f"{name}_score", "probability", f"of the label {label!r}, by the {kind} model, under its training's share of that label; of "
        "the whole text, a fastText model reading its lines joined by spaces (DCLM); rounded to 1e-4; 0 for a text without a word",
        "float32", 0, 1,
    )  # fmt: skip
    best = Column(f"{name}_label", "label", "the model's likeliest label; empty for a blank text", "string", None)
    return Family(name, VERSION, (score, best) if kind == "fasttext" else (score,))


def measurer(model: Model, path: Path) -> Measurer:
    """`path`: the model's file. Raises CurateError where it is damaged or has no such label."""
    where = f"models.{model.name}"
    if model.kind == "fasttext":
        label = _label(model, path, where)
        measure = functools.partial(measure_fasttext, model.name, path, label)
        settings: dict[str, Any] = {"kind": model.kind, "model_sha256": model_sha256(path), "label": label}
        return Measurer(family(model.name, model.kind, label), measure, settings, needs_words=False)
    label = classifier.load(path).label
    if model.label not in (None, label):
        raise CurateError(f"this model has no label {model.label!r}", where=f"{where}.label", allowed=label)
    settings = {"kind": model.kind, "model_sha256": model_sha256(path), "features_version": features.VERSION}
    return Measurer(family(model.name, model.kind, label), functools.partial(measure_features, model.name, path), settings)


def _label(model: Model, path: Path, where: str) -> str:
    """The recipe's label, else the one label that is no negative by convention."""
    known = fasttext_files.labels(path)
    if model.label is not None:
        label = model.label.removeprefix(fasttext_files.PREFIX)
        if label not in known:
            raise CurateError(
                f"this model has no label {label!r}", where=f"{where}.label", found=str(path), allowed=_listed(known)
            )
        return label
    positive = [label for label in known if label.lower() not in NEGATIVE]
    if len(positive) != 1 or len(known) < 2:
        raise CurateError("say which label's probability is the score", where=f"{where}.label", allowed=_listed(known))
    return positive[0]


def _listed(labels: list[str]) -> str:
    return ", ".join(labels[:20]) + (f", ... ({len(labels)} labels)" if len(labels) > 20 else "")


def measure_fasttext(name: str, path: Path, label: str, batch: Batch) -> Columns:
    scores, best = fasttext_files.label_scores(batch.texts.to_pylist(), path, label)
    return {f"{name}_score": scores, f"{name}_label": best}


def measure_features(name: str, path: Path, batch: Batch) -> Columns:
    assert batch.segments is not None
    return {f"{name}_score": classifier.scores(classifier.load(path), batch.data, batch.offsets, batch.segments)}
