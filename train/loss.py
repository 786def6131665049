"""Logits and labels in, one loss per token out (nats), never holding the logits in fp32 as a whole.

In: logits (B, T, V) of the model's dtype, labels (B, T) int64 with IGNORED where nothing is asked.
Out: (B, T) float32, 0 where the label is IGNORED. torch only.
"""

from __future__ import annotations

from typing import Any

import torch

IGNORED = -100


class _TokenLoss(torch.autograd.Function):
    """Cross-entropy by slices of tokens: forward keeps one number per token, backward makes each slice's softmax again.

    `F.cross_entropy` on slices would not do: autograd keeps every slice's log-softmax, in fp32, until backward.
    """

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, labels: torch.Tensor, chunk: int) -> torch.Tensor:
        scale = torch.empty(labels.shape, dtype=torch.float32, device=logits.device)  # log-sum-exp of each token
        losses = torch.zeros_like(scale)
        for start in range(0, len(labels), chunk):
            part = slice(start, start + chunk)
            scores = logits[part].float()
            asked = labels[part] != IGNORED
            target = labels[part].clamp_min(0).unsqueeze(1)
            scale[part] = torch.logsumexp(scores, dim=1)
            losses[part] = torch.where(asked, scale[part] - scores.gather(1, target).squeeze(1), 0.0)
        ctx.save_for_backward(logits, labels, scale)
        ctx.chunk = chunk
        return losses

    @staticmethod
    def backward(ctx: Any, *upstream: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        logits, labels, scale = ctx.saved_tensors
        weight = torch.where(labels != IGNORED, upstream[0].float(), 0.0).unsqueeze(1)
        gradient = torch.empty_like(logits)
        for start in range(0, len(labels), ctx.chunk):
            part = slice(start, start + ctx.chunk)
            softmax = torch.exp(logits[part].float() - scale[part].unsqueeze(1))
            target = labels[part].clamp_min(0).unsqueeze(1)
            softmax.scatter_add_(1, target, torch.full_like(target, -1, dtype=softmax.dtype))
            gradient[part] = (softmax * weight[part]).to(gradient.dtype)
        return gradient, None, None


def token_loss(logits: torch.Tensor, labels: torch.Tensor, chunk: int = 1024) -> torch.Tensor:
    """-ln p(label) of every token; `chunk` tokens are in fp32 at a time (1024 x 128k vocabulary = 0.5 GB)."""
    vocabulary = logits.shape[-1]
    flat = _TokenLoss.apply(logits.reshape(-1, vocabulary), labels.reshape(-1), chunk)
    return flat.view(labels.shape)
