"""The loss by tiles beside torch's own cross-entropy of whole logits, forward and backward."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from train import head
from train.head import IGNORED, Scale, head_loss


def made(n: int = 14, d: int = 6, v: int = 11, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(0)
    hidden, weight, bias = (torch.randn(*shape, dtype=dtype, requires_grad=True) for shape in ((2, n // 2, d), (v, d), (v,)))
    labels, each = torch.randint(0, v, (2, n // 2)), torch.rand(2, n // 2)
    labels[0, 2:5] = IGNORED
    return hidden, weight, bias, labels, each


def plainly(hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, labels: torch.Tensor, scale: Scale) -> torch.Tensor:
    logits = functional.linear(hidden, weight, bias) * scale.factor
    if scale.cap:
        logits = scale.cap * torch.tanh(logits / scale.cap)
    return functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="none").view(
        labels.shape
    )


@pytest.mark.parametrize("tile", [1, 3, 14, 1000])
@pytest.mark.parametrize("scale", [Scale(), Scale(0.25), Scale(cap=1.5), Scale(2.0, 0.5)])
def test_equals_cross_entropy_of_whole_logits(tile: int, scale: Scale, monkeypatch: pytest.MonkeyPatch) -> None:
    """float32 inside: the tolerance is its rounding."""
    monkeypatch.setattr(head, "TILE", tile)
    hidden, weight, bias, labels, each = made()
    wanted = plainly(hidden, weight, bias, labels, scale)
    gradients = torch.autograd.grad((wanted * each).sum(), (hidden, weight, bias))
    total, losses = head_loss(hidden, weight, labels, each, bias=bias, scale=scale)
    assert torch.allclose(losses.double(), wanted, atol=1e-6, rtol=0) and total.item() == pytest.approx(
        (wanted * each).sum().item(), abs=1e-5
    )
    assert not losses.requires_grad
    for ours, theirs in zip(torch.autograd.grad(total * 3, (hidden, weight, bias)), gradients, strict=True):
        assert torch.allclose(ours / 3, theirs, atol=1e-6, rtol=0)


def test_gradient_by_differences() -> None:
    hidden, weight, _, labels, each = made()
    total, _ = head_loss(hidden, weight, labels, each)
    (gradient,) = torch.autograd.grad(total, weight)
    step = torch.zeros_like(weight)
    step[3, 2] = 1e-3
    with torch.no_grad():
        up, down = (head_loss(hidden, weight + sign * step, labels, each)[0].item() for sign in (1, -1))
    assert gradient[3, 2].item() == pytest.approx((up - down) / 2e-3, abs=1e-3)


def test_a_frozen_head_has_no_gradient_and_a_hidden_state_still_has() -> None:
    hidden, weight, _, labels, each = made()
    total, _ = head_loss(hidden, weight.detach(), labels, each)
    total.backward()
    assert hidden.grad is not None and hidden.grad[0, 2:5].abs().max() == 0 and hidden.grad[1].abs().min() > 0


def test_without_gradients_none_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden, weight, _, labels, each = made()
    with torch.no_grad():
        total, losses = head_loss(hidden, weight, labels, each)
    assert not total.requires_grad and losses[0, 2:5].tolist() == [0, 0, 0]


def test_bf16_products_and_fp32_sums() -> None:
    """Under autocast the head is applied in bf16: equal to cross-entropy of logits rounded to bf16."""
    hidden, weight, _, labels, each = made(dtype=torch.float32)
    total, losses = head_loss(hidden, weight, labels, each, dtype=torch.bfloat16)
    logits = (hidden.bfloat16() @ weight.bfloat16().T).float()
    wanted = functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="none")
    assert torch.allclose(losses.flatten(), wanted, atol=1e-6) and losses.dtype == torch.float32
    total.backward()
    assert hidden.grad is not None and hidden.grad.dtype == torch.float32 and weight.grad.dtype == torch.float32


def test_nothing_asked_costs_nothing() -> None:
    hidden, weight, _, labels, each = made()
    total, losses = head_loss(hidden, weight, torch.full_like(labels, IGNORED), each)
    total.backward()
    assert total.item() == 0 and losses.abs().sum() == 0 and hidden.grad is not None and (hidden.grad == 0).all()
