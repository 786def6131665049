"""Hidden states in, the loss of every token out, without the whole logits: 1,024 tokens of them exist at a time.

In: hidden (N, d), the head's weight (V, d) and bias, labels (N,), a weight for every token's loss (N,). Out: their weighted sum, which
is differentiated, and every token's loss in nats, which is not. The gradients are worked out in the forward pass, while a tile's logits
are there; so no softmax is made twice and nothing of size N x V is kept. Full logits of 8,192 tokens over 128k tokens would be 3.9 GiB.
torch only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

IGNORED = -100
TILE = 1024  # tokens whose logits exist at once: 0.5 GB in fp32 at 128k tokens


@dataclass(frozen=True)
class Scale:
    """What some models do to logits: times `factor`, then cap * tanh(x / cap)."""

    factor: float = 1.0
    cap: float | None = None


class _HeadLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        labels: Tensor,
        each: Tensor,
        scale: Scale,
        dtype: torch.dtype,
    ) -> tuple[Tensor, Tensor]:
        """`dtype`: of the products with the head (bf16 under autocast)."""
        losses = torch.zeros(labels.shape, dtype=torch.float32, device=hidden.device)
        wanted = [*ctx.needs_input_grad[:2], bias is not None and ctx.needs_input_grad[2]]
        of = [
            torch.zeros_like(x) if want and x is not None else None
            for x, want in zip((hidden, weight, bias), wanted, strict=True)
        ]
        head = weight.to(dtype)
        for start in range(0, len(labels), TILE):
            part = slice(start, start + TILE)
            _tile(hidden[part].to(dtype), head, bias, labels[part], each[part], scale, losses[part], of, part)
        ctx.of = of
        return (losses * each).sum(), losses

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        made = [None if x is None else x.mul_(upstream[0].to(x.dtype)) for x in ctx.of]
        ctx.of = None
        return (*made, None, None, None, None)


def _tile(
    hidden: Tensor, head: Tensor, bias: Tensor | None, labels: Tensor, each: Tensor, scale: Scale, losses: Tensor,
    of: list[Tensor | None], part: slice,
) -> None:  # fmt: skip
    """Losses of one tile, in place, and its part of the gradients `of` hidden, head and bias."""
    scores = torch.nn.functional.linear(hidden, head, None if bias is None else bias.to(head.dtype)).float()
    if scale.factor != 1.0:
        scores = scores * scale.factor
    if scale.cap:
        scores = scale.cap * torch.tanh(scores / scale.cap)
    asked, target = labels != IGNORED, labels.clamp_min(0).unsqueeze(1)
    log_sum = torch.logsumexp(scores, dim=1)
    losses.copy_(torch.where(asked, log_sum - scores.gather(1, target).squeeze(1), 0.0))
    if all(x is None for x in of):
        return
    gradient = torch.exp(scores - log_sum.unsqueeze(1))
    gradient.scatter_add_(1, target, torch.full_like(target, -1, dtype=gradient.dtype))
    gradient *= torch.where(asked, each, 0.0).unsqueeze(1)
    if scale.cap:
        gradient *= 1 - (scores / scale.cap) ** 2
    if scale.factor != 1.0:
        gradient *= scale.factor
    gradient = gradient.to(head.dtype)
    of_hidden, of_head, of_bias = of
    if of_hidden is not None:
        of_hidden[part] = (gradient @ head).to(of_hidden.dtype)
    if of_head is not None:
        of_head += gradient.T @ hidden
    if of_bias is not None:
        of_bias += gradient.sum(0)


def head_loss(
    hidden: Tensor, weight: Tensor, labels: Tensor, each: Tensor, *, bias: Tensor | None = None, scale: Scale = Scale(),
    dtype: torch.dtype | None = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """(sum of each * loss, losses): hidden (..., d), labels and each (...,); losses float32 (...,), 0 where the label is IGNORED."""
    flat = hidden.reshape(-1, hidden.shape[-1])
    total, losses = _HeadLoss.apply(
        flat, weight, bias, labels.reshape(-1), each.reshape(-1).float(), scale, dtype or weight.dtype
    )
    return total, losses.detach().view(labels.shape)
