"""fastText language models: windows of bytes in, probabilities by language out. The only module that knows fasttext.

`model_path` finds the file: a path, or a file of the Hugging Face hub at a pinned revision. Imports errors, store.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from curate.errors import CurateError
from curate.langid.codes import language_code
from curate.store import file_sha256


def model_path(model: str, revision: str | None, base: Path) -> Path:
    """The model's file: `model` as a path (from `base` where relative), else hub id `owner/name[/file]`, file `model.bin`."""
    path = base / model
    if path.is_file():
        return path
    parts = model.split("/")
    if len(parts) < 2 or (path.suffix in (".bin", ".ftz") and len(parts) == 2):
        allowed = "a file, or owner/name of the hub"
        raise CurateError("no such fastText model", where="language_id: model", found=str(path), allowed=allowed)
    if revision is None:
        raise CurateError(
            "a model of the hub needs a pinned revision", where="language_id: revision", found=f"model: {model}",
            allowed="revision: a commit of the repository",
        )  # fmt: skip
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download("/".join(parts[:2]), "/".join(parts[2:]) or "model.bin", revision=revision))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise CurateError(
            "the fastText model could not be fetched", where="language_id: model", found=f"{model} at {revision}: {error}",
            next="download the file and give its path, or run once with network",
        ) from error  # fmt: skip


@cache
def _load(path: Path) -> Any:
    import fasttext

    try:
        return fasttext.load_model(str(path))
    except ValueError as error:
        raise CurateError("fastText cannot read this model", where=str(path), found=str(error)) from error


@cache
def model_sha256(path: Path) -> str:
    return file_sha256(path)


@cache
def _labels(path: Path, candidates: tuple[str, ...]) -> tuple[str, ...]:
    known = sorted({language_code(label) for label in _load(path).get_labels()})
    if unknown := sorted(set(candidates) - set(known)):
        raise CurateError(f"this model does not know the language {unknown[0]!r}", where=str(path), allowed=", ".join(known))
    return candidates or tuple(known)


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
    found, probabilities = _load(path).predict(texts, k=-1 if candidates else 5)
    codes: dict[str, int | None] = {}
    for row, names, values in zip(out, found, probabilities, strict=True):
        for name, value in zip(names, values, strict=True):
            if name not in codes:
                codes[name] = place.get(language_code(name))
            if (column := codes[name]) is not None:
                row[column] += min(float(value), 1.0)  # fastText's probabilities reach 1.00001
    if candidates:
        totals = out.sum(axis=1, keepdims=True)
        np.divide(out, totals, out=out, where=totals > 0)
    return labels, out
