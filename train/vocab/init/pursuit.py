"""Orthogonal matching pursuit: vectors and the vectors of anchors in; for each a few anchors and their coefficients out.

Goddard and Fernandes Neto, arXiv 2506.06607, as mergekit-tokensurgeon does it (mergekit/tokensurgeon/omp.py, batch_omp): the anchor with
the largest |inner product| with the residual comes next (anchors are not made unit vectors), then the residual is taken anew against
all that were chosen. May import torch, numpy.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from train.vocab.init.mixture import Mixture

CHUNK = 1 << 26  # inner products at once
LEAST = 1e-9  # of an anchor's length must be new, else it is in the span of those chosen


def by_pursuit(how: str, new: Tensor, anchors: Tensor, old_ids: np.ndarray, atoms: int) -> list[Mixture]:
    """`new` (n, d), `anchors` (m, d), `old_ids` (m,): the old rows that the anchors are in the model."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    given = anchors.to(device, torch.float64)
    found = []
    for part in new.split(max(1, CHUNK // len(anchors))):
        chosen, weights = pursue(part.to(device, torch.float64), given, min(atoms, len(anchors), anchors.shape[1]))
        for places, row in zip(chosen.cpu().numpy(), weights.cpu().numpy(), strict=True):
            found.append(Mixture(how, old_ids[places].astype(np.int64), row))
    return found


def pursue(targets: Tensor, anchors: Tensor, atoms: int) -> tuple[Tensor, Tensor]:
    """(chosen (n, atoms) int64, coefficients (n, atoms)): the least-squares fit of each target by the anchors chosen one after the other.

    An anchor that adds no direction of its own (it is in the span of the chosen) gets the coefficient 0."""
    n, d = targets.shape
    q = targets.new_zeros((n, d, atoms))  # an orthonormal basis of the chosen
    r = targets.new_zeros((n, atoms, atoms))  # the chosen, in that basis
    chosen = torch.zeros((n, atoms), dtype=torch.int64, device=targets.device)
    is_taken = torch.zeros((n, len(anchors)), dtype=torch.bool, device=targets.device)
    residual = targets
    for t in range(atoms):
        products = (residual @ anchors.T).abs().masked_fill_(is_taken, -1.0)
        chosen[:, t] = products.argmax(1)
        is_taken.scatter_(1, chosen[:, t : t + 1], True)
        atom = anchors[chosen[:, t]].unsqueeze(2)
        basis = q[:, :, :t]
        within, rest = basis.transpose(1, 2) @ atom, atom
        rest = atom - basis @ within
        again = basis.transpose(1, 2) @ rest  # twice is enough (Kahan): one pass loses digits where the rest is short
        within, rest = within + again, rest - basis @ again
        length = rest.norm(dim=1, keepdim=True)
        is_new = length > LEAST * atom.norm(dim=1, keepdim=True)
        r[:, :t, t : t + 1] = torch.where(is_new, within, 0.0)
        r[:, t : t + 1, t : t + 1] = torch.where(is_new, length, 1.0)
        q[:, :, t : t + 1] = torch.where(is_new, rest / length.clamp(min=torch.finfo(rest.dtype).tiny), 0.0)
        span = q[:, :, : t + 1]
        residual = targets - (span @ (span.transpose(1, 2) @ targets.unsqueeze(2))).squeeze(2)
    inner = q.transpose(1, 2) @ targets.unsqueeze(2)
    return chosen, torch.linalg.solve_triangular(r, inner, upper=True).squeeze(2)
