"""What a new row is made of, and the making: ids of old rows with their weights in; the rows of a matrix for the new vocabulary out.

Sums are in float64 and rounded once to the matrix's dtype. Of copied rows not a bit changes. May import torch, numpy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

CHUNK = 1 << 24  # numbers of a matrix that are float64 at once


@dataclass(frozen=True)
class Mixture:
    """sum of weights[i] * old row ids[i]. Without ids: `how` is mean (of all old rows), normal (drawn around it), or padding."""

    how: str
    ids: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))  # (k,) int64
    weights: np.ndarray = field(default_factory=lambda: np.zeros(0))  # (k,) float64


@dataclass(frozen=True)
class Drawn:
    """What is added by lot to made rows: `noise` standard deviations of the old rows, dimension by dimension. `seed`: one for each matrix."""

    noise: float
    seed: int


def of_pieces(pieces: np.ndarray) -> Mixture | None:
    """subword_mean: the plain mean of the rows of the pieces that the old tokenizer writes the token with; None without pieces."""
    if not len(pieces):
        return None
    return Mixture("subword_mean", pieces.astype(np.int64), np.full(len(pieces), 1 / len(pieces)))


def moments(matrix: Tensor, n_old: int) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (over n) of the first `n_old` rows, by dimension, float64."""
    old = matrix[:n_old]
    step = max(1, CHUNK // max(1, old[0].numel()))
    total = sum((part.double().sum(0) for part in old.split(step)), torch.zeros(old.shape[1:], dtype=torch.float64))
    mean = total / n_old
    squares = sum(((part.double() - mean).square().sum(0) for part in old.split(step)), torch.zeros_like(mean))
    return mean, (squares / n_old).sqrt()


def fill(
    matrix: Tensor,
    n_old: int,
    old_ids: np.ndarray,
    made: Mapping[int, Mixture],
    n_rows: int,
    drawn: Drawn,
    rank: int | None = None,
) -> Tensor:
    """(n_rows, ...) of `matrix`'s dtype. `old_ids` (n,) says which rows are copied (-1: none), `made` has the others below n; the rest is padding.

    `matrix`: (rows, d), or (rows,) for a bias, which gets no noise. `n_old`: rows that are tokens, not padding. `rank`: see `directions`."""
    new = torch.empty((n_rows, *matrix.shape[1:]), dtype=matrix.dtype)
    kept = np.flatnonzero(old_ids >= 0)
    new[torch.from_numpy(kept)] = matrix[torch.from_numpy(old_ids[kept].astype(np.int64))]
    new_ids = sorted(made)
    if not new_ids and n_rows == len(old_ids):
        return new
    mean, deviation = moments(matrix, n_old)
    onto = directions(matrix[:n_old], rank) if rank and matrix.ndim == 2 else None
    lot = torch.Generator().manual_seed(drawn.seed)
    for i in new_ids:
        row = _row(matrix, made[i], mean, deviation, lot)
        row = onto @ (onto.T @ row) if onto is not None and made[i].how == "ofa" else row  # not those of its fallback
        if matrix.ndim == 2 and drawn.noise and made[i].how != "normal":
            row = row + drawn.noise * deviation * torch.randn(row.shape, generator=lot, dtype=torch.float64)
        new[i] = row.to(matrix.dtype)
    new[len(old_ids) :] = mean.to(matrix.dtype)
    return new


def _row(matrix: Tensor, of: Mixture, mean: Tensor, deviation: Tensor, lot: torch.Generator) -> Tensor:
    if of.how == "normal":
        return mean + deviation * torch.randn(mean.shape, generator=lot, dtype=torch.float64)
    if not len(of.ids):
        return mean
    return torch.tensordot(torch.from_numpy(of.weights), matrix[torch.from_numpy(of.ids)].double(), 1)


def directions(matrix: Tensor, rank: int) -> Tensor:
    """V_k (d, k), the k leading right singular vectors. OFA (arXiv 2311.08849) writes E = U S V', keeps k columns and mixes
    coordinates U_k over primitives S_k V_k'; a mixture of U_k times S_k V_k' is the mixture of E times V_k V_k', which is taken here."""
    gram = torch.zeros((matrix.shape[1], matrix.shape[1]), dtype=torch.float64)
    for part in matrix.split(max(1, CHUNK // matrix.shape[1])):
        gram += part.double().T @ part.double()
    return torch.linalg.eigh(gram).eigenvectors[:, -min(rank, len(gram)) :]
