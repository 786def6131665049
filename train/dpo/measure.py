"""What a step's pairs did: rewards, margins, accuracy and how much of the margin is mere length; as sums, so that steps and ranks add up.

In: log-probabilities of policy and reference. Out: lines per pair that processes gather, and their sums by component.
The reward of an answer is beta (policy - reference) log-probability, per token of the answer where the loss is normalised by length
(of simpo: beta times the policy's). May import train.*; numpy, torch.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from train.batch import EMPTY
from train.dpo.batch import Micro
from train.dpo.config import Loss
from train.watch.pairs import SUMS

FIELDS = 8  # stream index, component, loss, reward of the chosen and of the rejected answer, their tokens, margin is right


def rewards(loss: Loss, policy: Tensor, said: Tensor | None, lengths: Tensor) -> Tensor:
    """(2k,) float64."""
    ratio = policy.double() - (0.0 if said is None else said.double())
    return loss.beta * (ratio / lengths.clamp_min(1) if loss.is_by_length else ratio)


def lines_of(micro: Micro, loss: Loss, losses: Tensor, policy: Tensor, said: Tensor | None) -> np.ndarray:
    """(k, FIELDS) float64; `losses` (k,), `policy` and `said` (2k,), all on the CPU."""
    chosen, rejected = rewards(loss, policy, said, micro.lengths).chunk(2)
    tokens = micro.lengths.double().chunk(2)
    component = torch.tensor([EMPTY if pair is None else int(pair.component) for pair in micro.pairs])
    columns = (torch.tensor(micro.index), component, losses, chosen, rejected, *tokens, chosen > rejected)
    return torch.stack([column.double() for column in columns], 1).numpy()


def sums(lines: np.ndarray, components: list[str]) -> dict[str, dict[str, float]]:
    """{"all": SUMS, component: SUMS}; components without a pair are left out."""
    lines = lines[lines[:, 0] != EMPTY]
    parts = {name: lines[lines[:, 1] == number] for number, name in enumerate(components)}
    return {name: _sums(part) for name, part in {"all": lines, **parts}.items() if len(part)}


def _sums(lines: np.ndarray) -> dict[str, float]:
    loss, chosen, rejected, chosen_tokens, rejected_tokens, correct = lines[:, 2:].T
    margin, length = chosen - rejected, chosen_tokens - rejected_tokens
    columns = (
        np.ones(len(lines)), loss, chosen, rejected, margin, margin**2, correct, chosen_tokens, rejected_tokens, length, length**2,
        margin * length,
    )  # fmt: skip
    return {name: float(column.sum()) for name, column in zip(SUMS, columns, strict=True)}
