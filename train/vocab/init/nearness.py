"""Vectors of new tokens and of old ones in one space in; weights over the old ones out: WECHSEL and OFA by softmax, FOCUS by sparsemax.

Cosines as in all three papers. May import train.vocab.init.mixture; torch, numpy.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from train.vocab.init.mixture import Mixture

CHUNK = 1 << 25  # cosines at once


def by_softmax(
    how: str, new: np.ndarray, old: np.ndarray, old_ids: np.ndarray, neighbours: int, temperature: float
) -> list[Mixture]:
    """exp(cos / temperature), made to sum to 1, over the nearest `neighbours` old tokens: WECHSEL (arXiv 2112.06598, which asks
    for k = 10 and 0.1; wechsel/__init__.py create_target_embeddings) and OFA (arXiv 2311.08849).

    `new` (n, d), `old` (m, d), none of them all zero; `old_ids` (m,). Of equal cosines the lower id comes first."""
    found = []
    for cosines in _cosines(new, old):
        order = torch.sort(cosines, dim=1, descending=True, stable=True)
        values, places = order.values[:, :neighbours], order.indices[:, :neighbours].numpy()
        weights = torch.softmax(values / temperature, dim=1).numpy()
        found += [Mixture(how, old_ids[place].astype(np.int64), weight) for place, weight in zip(places, weights, strict=True)]
    return found


def by_sparsemax(how: str, new: np.ndarray, old: np.ndarray, old_ids: np.ndarray) -> list[Mixture]:
    """sparsemax of the cosines to all old tokens: FOCUS (arXiv 2305.14481). Tokens of weight zero are left out."""
    found = []
    for cosines in _cosines(new, old):
        for weights in sparsemax(cosines):
            places = torch.nonzero(weights).squeeze(1).numpy()
            found.append(Mixture(how, old_ids[places].astype(np.int64), weights.numpy()[places]))
    return found


def sparsemax(z: Tensor) -> Tensor:
    """The nearest point of the simplex to each row of `z` (Martins and Astudillo, arXiv 1602.02068, algorithm 1)."""
    largest = torch.sort(z, dim=1, descending=True).values
    count = torch.arange(1, z.shape[1] + 1, dtype=z.dtype)
    sums = largest.cumsum(1)
    size = (1 + count * largest > sums).sum(1, keepdim=True)  # of the support
    threshold = (sums.gather(1, size - 1) - 1) / size
    return torch.clamp(z - threshold, min=0)


def _cosines(new: np.ndarray, old: np.ndarray) -> Iterator[Tensor]:
    """Blocks of rows of (n, m), float64."""
    theirs = _unit(old)
    for part in _unit(new).split(max(1, CHUNK // len(old))):
        yield part @ theirs.T


def _unit(vectors: np.ndarray) -> Tensor:
    found = torch.from_numpy(np.asarray(vectors, np.float64))
    return found / found.norm(dim=1, keepdim=True)
