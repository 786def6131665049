"""The optimizer of a run: torch's own, bitsandbytes' 8-bit AdamW, or torchao's AdamW that rounds bf16 weights by lot.

Why rounding by lot: a weight of 0.02 in bf16 has neighbours 1e-4 apart, and a step of 2e-5 to the nearest is no step at all. Weight decay
is on matrices only (norms and biases have one dimension). May import curate.errors, train.config; torch.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch

from curate.errors import CurateError
from train.config import RunFile


class Both(torch.optim.Optimizer):
    """Muon for the hidden matrices, AdamW for the rest, as one optimizer (Muon takes two-dimensional weights only)."""

    def __init__(self, muon: torch.optim.Optimizer, adamw: torch.optim.Optimizer) -> None:
        self.parts = [muon, adamw]
        self.defaults: dict[str, Any] = {}
        super().__init__([group for part in self.parts for group in part.param_groups], {})
        for part, groups in zip(
            self.parts, (self.param_groups[: len(muon.param_groups)], self.param_groups[len(muon.param_groups) :]), strict=True
        ):
            part.param_groups, part.state = groups, self.state

    @torch.no_grad()
    def step(self, closure: Callable | None = None) -> None:
        for part in self.parts:
            part.step()


def build(model: torch.nn.Module, run: RunFile, device: torch.device | None = None) -> torch.optim.Optimizer:
    """Over the trained weights of `model`; the learning rate is set before every step. `device`: where they will be, if not where they are."""
    spec, rate = run.optimizer, run.schedule.peak_lr
    weights = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    groups = [
        {"params": [p for _, p in weights if p.ndim >= 2], "weight_decay": spec.weight_decay},
        {"params": [p for _, p in weights if p.ndim < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    common: dict[str, Any] = {"lr": rate, "betas": spec.betas, "eps": spec.eps}
    if spec.rounding == "stochastic":
        return _library("torchao.optim", "torchao", "optimizer.rounding")._AdamW(groups, bf16_stochastic_round=True, **common)
    if spec.name == "adamw_8bit":
        return _library("bitsandbytes.optim", "bitsandbytes", "optimizer.name").AdamW8bit(groups, **common)
    if spec.name == "adafactor":
        return torch.optim.Adafactor(groups, lr=rate)
    if spec.name == "muon":
        return _muon(weights, run, common)
    fused = all((device or p.device).type != "cpu" for _, p in weights)
    return torch.optim.AdamW(groups, fused=fused, **common)


def _muon(weights: list[tuple[str, torch.nn.Parameter]], run: RunFile, common: dict[str, Any]) -> torch.optim.Optimizer:
    hidden = [p for name, p in weights if p.ndim == 2 and not any(part in name for part in ("embed", "lm_head"))]
    chosen = {id(p) for p in hidden}
    rest = [p for _, p in weights if id(p) not in chosen]
    decay = run.optimizer.weight_decay
    # match_rms_adamw: the same rates do as for AdamW (Moonlight, arXiv 2502.16982)
    muon = torch.optim.Muon(hidden, lr=common["lr"], weight_decay=decay, adjust_lr_fn="match_rms_adamw")
    return Both(muon, torch.optim.AdamW([
        {"params": [p for p in rest if p.ndim >= 2], "weight_decay": decay}, {"params": [p for p in rest if p.ndim < 2], "weight_decay": 0.0},
    ], **common))  # fmt: skip


def _library(module: str, package: str, key: str) -> Any:
    try:
        return import_module(module)
    except ModuleNotFoundError:
        raise CurateError(f"this needs {package}", where=key, next=f"pip install {package}") from None
