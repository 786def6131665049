"""The chunked cross-entropy beside torch's own, forward and backward."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from train.loss import IGNORED, token_loss


@pytest.mark.parametrize("chunk", [1, 3, 7, 1000])
def test_equals_plain_cross_entropy(chunk: int) -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 7, 11, requires_grad=True)
    labels = torch.randint(0, 11, (2, 7))
    labels[0, 2:5] = IGNORED
    weights = torch.rand(2, 7)
    plain = functional.cross_entropy(logits.view(-1, 11), labels.view(-1), ignore_index=IGNORED, reduction="none").view(2, 7)
    (wanted,) = torch.autograd.grad((plain * weights).sum(), logits)
    ours = token_loss(logits, labels, chunk)
    (got,) = torch.autograd.grad((ours * weights).sum(), logits)
    assert torch.allclose(ours, plain, atol=1e-6, rtol=0) and torch.allclose(got, wanted, atol=1e-7, rtol=0)


def test_gradient_by_differences() -> None:
    torch.manual_seed(0)
    logits = torch.randn(1, 3, 4, requires_grad=True)
    token_loss(logits, torch.tensor([[1, IGNORED, 3]]), 2).sum().backward()
    step = torch.zeros(1, 3, 4)
    step[0, 2, 3] = 1e-2
    with torch.no_grad():
        up, down = (token_loss(logits + sign * step, torch.tensor([[1, IGNORED, 3]])).sum() for sign in (1, -1))
    assert logits.grad is not None
    assert logits.grad[0, 2, 3].item() == pytest.approx((up - down).item() / 2e-2, abs=1e-4)
    assert (logits.grad[0, 1] == 0).all()


def test_bf16_logits_keep_their_type_and_fp32_sums() -> None:
    torch.manual_seed(0)
    logits = torch.randn(1, 5, 64).to(torch.bfloat16).requires_grad_()
    labels = torch.randint(0, 64, (1, 5))
    ours = token_loss(logits, labels, 2)
    assert ours.dtype == torch.float32
    assert torch.allclose(ours, functional.cross_entropy(logits[0].float(), labels[0], reduction="none")[None], atol=1e-5)
    ours.sum().backward()
    assert logits.grad is not None and logits.grad.dtype == torch.bfloat16


def test_nothing_asked_costs_nothing() -> None:
    logits = torch.randn(1, 4, 8, requires_grad=True)
    loss = token_loss(logits, torch.full((1, 4), IGNORED))
    loss.sum().backward()
    assert loss.tolist() == [[0, 0, 0, 0]]
    assert logits.grad is not None and (logits.grad == 0).all()
