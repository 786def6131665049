"""`curate train-classifier`: texts of two kinds in; a model, its figures on texts it never saw, and a record of both out.

The same files, settings and seed give the same model file. Imports errors, store and the rest of this room.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from fractions import Fraction
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from curate import text
from curate.errors import CurateError
from curate.models import classifier, evaluate, fasttext_files, features
from curate.models.texts import Given, read_all
from curate.store import file_sha256, write_json

OTHER = "other"  # the label of the negative texts
MIN_TEXTS = 20  # of each kind, different ones: below, no figure means anything
BUCKET = 200_000  # rows of hashed n-grams; fastText's own 2,000,000 make files of hundreds of MB
# fastText's defaults but for n-grams, as endings say much in languages like Estonian, and a rate that fits small training sets.
FASTTEXT = {"dim": 50, "epoch": 10, "lr": 0.5, "wordNgrams": 2, "minn": 3, "maxn": 5}

Item = tuple[bytes, str, bool]  # keyed hash of the normalised text, text, is it positive


def train_classifier(
    out: Path, positive: Sequence[str], negative: Sequence[str], *, kind: str, label: str, seed: int, held_out: Fraction,
    parameters: dict[str, float | int],
) -> dict[str, Any]:  # fmt: skip
    """Train on most of the texts, measure on `held_out` of them, write `out` and `out`.json; returns the record written.

    `parameters`: fastText's own, over FASTTEXT; none for features. Texts equal but for case and white space count once; those given
    as both kinds are left out. Raises CurateError for unreadable or one-sided input and too few texts.
    """
    _check(out, kind, label, parameters)
    given = {True: read_all(positive, "--positive"), False: read_all(negative, "--negative")}
    items, left_out = _different(given, seed)
    train, test = _split(items, held_out)
    counts = {
        f"{name}_{side}": sum(p is truth for _, _, p in part)
        for name, part in (("train", train), ("held_out", test)) for side, truth in (("positive", True), ("negative", False))
    }  # fmt: skip
    if kind == "fasttext":
        settings = {**FASTTEXT, "minCount": 1, "bucket": BUCKET, **parameters, "seed": seed + 1}  # fastText takes 0 for 1
        fasttext_files.train([(label if p else OTHER, t) for _, t, p in train], out, settings)
        scores = fasttext_files.label_scores([t for _, t, _ in test], out, label)[0]
        fasttext_files.load.cache_clear()  # the file may be written again
    else:
        settings = {"ridge": classifier.RIDGE, "features": features.N_FEATURES, "features_version": features.VERSION}
        model = classifier.fit(features.rows_of([t for _, t, _ in train]), np.array([p for _, _, p in train]), label)
        classifier.save(model, out)
        scores = classifier.scores_of(model, [t for _, t, _ in test])
    record = {
        "kind": kind, "label": label, "other_label": OTHER, "model": out.name, "sha256": file_sha256(out), "bytes": out.stat().st_size,
        "seed": seed, "held_out": str(held_out), "parameters": settings, "texts": counts | left_out,
        "positive": [g.record for g in given[True]], "negative": [g.record for g in given[False]],
        "metrics": evaluate.report(scores, np.array([p for _, _, p in test])), "versions": _versions(),
    }  # fmt: skip
    write_json(record_path(out), record)
    return record


def record_path(out: Path) -> Path:
    return out.with_name(out.name + ".json")


def _check(out: Path, kind: str, label: str, parameters: dict[str, float | int]) -> None:
    if kind not in ("fasttext", "features"):
        raise CurateError("no such kind of classifier", where="--kind", found=kind, allowed="fasttext, features")
    if not label or label == OTHER or any(c.isspace() for c in label):
        raise CurateError("a label is one word", where="--label", found=repr(label), allowed=f"any word but {OTHER!r}")
    if parameters and kind == "features":
        name = min(parameters)
        raise CurateError("this setting is fastText's", where=f"--{name}", next="--kind fasttext, or leave it out")
    if parameters.get("lr", 1) <= 0:
        raise CurateError("a learning rate is above 0", where="--lr", found=str(parameters["lr"]))
    if out.is_dir():
        raise CurateError("the model is a file", where=str(out), found="a folder", next=f"{out}/model.bin")


def _different(given: dict[bool, list[Given]], seed: int) -> tuple[list[Item], dict[str, int]]:
    """Different texts in the order of a keyed hash (so not of files or rows), and how many were left out and why."""
    key = hashlib.blake2b(b"veski-classifier", digest_size=32, salt=seed.to_bytes(16, "little")).digest()
    found: dict[bytes, tuple[str, bool]] = {}
    both: set[bytes] = set()
    n = {"duplicates": 0, "in_both": 0, "blank": 0}
    for is_positive, inputs in given.items():
        for one in inputs:
            for written in one.texts:
                normal = " ".join(written.casefold().split())
                if not normal:
                    n["blank"] += 1
                    continue
                place = hashlib.blake2b(normal.encode(), digest_size=16, key=key).digest()
                if place not in found:
                    found[place] = (written, is_positive)
                    continue
                n["duplicates"] += 1
                if found[place][1] != is_positive:
                    both.add(place)
                elif written < found[place][0]:
                    found[place] = (written, is_positive)  # of equals the first by spelling, in whatever order they came
    n["in_both"] = len(both)
    items = [(place, *found[place]) for place in sorted(found) if place not in both]
    for truth, side in ((True, "--positive"), (False, "--negative")):
        if (have := sum(p is truth for _, _, p in items)) < MIN_TEXTS:
            raise CurateError(
                "too few different texts to learn from", where=side, found=f"{have}, {n['in_both']} more stand on both sides",
                allowed=f"at least {MIN_TEXTS} of each kind",
            )  # fmt: skip
    return items, n


def _split(items: list[Item], share: Fraction) -> tuple[list[Item], list[Item]]:
    """(train, held out): of each kind the first `share` in the order of the hash, at least one and not all."""
    test: list[Item] = []
    for truth in (True, False):
        mine = [item for item in items if item[2] is truth]
        test += mine[: min(max(1, math.ceil(share * len(mine))), len(mine) - 1)]
    chosen = {item[0] for item in test}
    return [item for item in items if item[0] not in chosen], test


def _versions() -> dict[str, Any]:
    found: dict[str, Any] = {"segmentation": text.SEGMENTATION_VERSION, "unicode": text.UNICODE_VERSION}
    for name in ("veski", "numpy", "fasttext-numpy2-wheel", "fasttext-numpy2"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def render(record: dict[str, Any], out: Path) -> str:
    """The record as a screen: counts, figures, table by threshold, calibration, and the recipe lines to paste."""
    texts, found = record["texts"], record["metrics"]
    lines = [
        f"{out}  {record['kind']}, label {record['label']}, {record['bytes']:,} bytes",
        f"trained on {texts['train_positive']:,} positive and {texts['train_negative']:,} negative texts; left out: "
        f"{texts['duplicates']:,} duplicates, {texts['in_both']:,} of both kinds, {texts['blank']:,} blank",
        f"held out {texts['held_out_positive']:,} and {texts['held_out_negative']:,}: precision {found['precision']:.3f}  recall "
        f"{found['recall']:.3f}  F1 {found['f1']:.3f}  ROC-AUC {_figure(found['roc_auc'])}  (score >= 0.5)",
        "",
        f"{'score >=':>10}{'texts':>8}{'precision':>11}{'recall':>8}{'F1':>8}{'of negatives':>14}",
    ]
    lines += [
        f"{row['threshold']:>10.2f}{row['n_flagged']:>8,}{row['precision']:>11.3f}{row['recall']:>8.3f}{row['f1']:>8.3f}"
        f"{row['false_positive_ratio']:>14.3f}"
        for row in found["by_threshold"]
    ]
    lines += ["", f"{'score':>10}{'texts':>8}{'mean score':>12}{'positive':>10}"]
    lines += [
        f"{row['from']:>6.1f}-{row['from'] + 0.1:.1f}{row['n']:>8,}{row['mean_score']:>12.3f}{row['positive_ratio']:>10.3f}"
        for row in found["calibration"]
    ]
    name = "".join(c if c.isalnum() else "_" for c in out.name.split(".")[0]).lower()
    lines += [
        "", "in a recipe (max: where the label is what you do not want; paths start at the recipe):",
        "models:", f"  {name}: {{kind: {record['kind']}, model: {out}, sha256: {record['sha256']}, label: {record['label']}}}",
        "rules:", f"  - {{signal: {name}_score, min: 0.5}}", f"record: {record_path(out)}",
    ]  # fmt: skip
    return "\n".join(lines)


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
