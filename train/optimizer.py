"""The optimizer of a run: torch's own, bitsandbytes' 8-bit AdamW, or torchao's AdamW that rounds bf16 weights by lot.

Why rounding by lot: a weight of 0.02 in bf16 has neighbours 1e-4 apart, and a step of 2e-5 to the nearest is no step at all. Weight decay
is on matrices only (norms and biases have one dimension). May import curate.errors, train.config, train.held_rows; torch.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch

from curate.errors import CurateError
from train.config import RunFile
from train.held_rows import HELD


class Both(torch.optim.Optimizer):
    """Muon for the hidden matrices, AdamW for the rest, as one optimizer (Muon takes two-dimensional weights only)."""

    def __init__(self, muon: torch.optim.Optimizer, adamw: torch.optim.Optimizer) -> None:
        self.parts, self.n_first = [muon, adamw], len(muon.param_groups)
        super().__init__([group for part in self.parts for group in part.param_groups], {})

    @torch.no_grad()
    def step(self, closure: Callable | None = None) -> None:
        """The parts work on what is kept here, which load_state_dict (accelerate calls it too) puts in the place of the old."""
        for part, groups in zip(self.parts, (self.param_groups[: self.n_first], self.param_groups[self.n_first :]), strict=True):
            part.param_groups, part.state = groups, self.state
            part.step()


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """torchao keeps its rates in tensors, which its compiled step reads."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], torch.Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def build(model: torch.nn.Module, run: RunFile, device: torch.device | None = None) -> torch.optim.Optimizer:
    """Over the trained weights of `model`; the learning rate is set before every step. `device`: where they will be, if not where they are."""
    spec, rate = run.optimizer, run.schedule.peak_lr
    weights = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    groups = _groups([p for _, p in weights], spec.weight_decay)
    common: dict[str, Any] = {"lr": rate, "betas": spec.betas, "eps": spec.eps}
    if spec.rounding == "stochastic":
        torchao = _library("torchao.optim", "torchao", "optimizer.rounding")
        kind = torchao.AdamW8bit if spec.name == "adamw_8bit" else torchao._AdamW
        return kind(groups, bf16_stochastic_round=True, **common)
    if spec.name == "adamw_8bit":
        return _library("bitsandbytes.optim", "bitsandbytes", "optimizer.name").AdamW8bit(groups, **common)
    if spec.name == "adafactor":
        return torch.optim.Adafactor(groups, lr=rate)
    if spec.name == "muon":
        return _muon(model, weights, run, common)
    fused = all((device or p.device).type != "cpu" for _, p in weights)
    return torch.optim.AdamW(groups, fused=fused, **common)


def _groups(weights: list[torch.nn.Parameter], decay: float) -> list[dict[str, Any]]:
    """None of them empty, which torch's checkpoints do not take."""
    decays = {id(p) for p in weights if p.ndim >= 2 and not getattr(p, HELD, False)}  # rows that are held must not shrink
    matrices, vectors = [p for p in weights if id(p) in decays], [p for p in weights if id(p) not in decays]
    return [{"params": params, "weight_decay": own} for params, own in ((matrices, decay), (vectors, 0.0)) if params]


def _muon(
    model: torch.nn.Module, weights: list[tuple[str, torch.nn.Parameter]], run: RunFile, common: dict[str, Any]
) -> torch.optim.Optimizer:
    of_tokens = {id(p) for module in model.modules() if isinstance(module, torch.nn.Embedding) for p in module.parameters()}
    hidden = [p for name, p in weights if p.ndim == 2 and id(p) not in of_tokens and "lm_head" not in name]
    if not hidden:
        raise CurateError("no matrix of a layer is trained, and muon is for those", where="optimizer.name", allowed="adamw")
    chosen = {id(p) for p in hidden}
    rest = [p for _, p in weights if id(p) not in chosen]
    decay = run.optimizer.weight_decay
    # match_rms_adamw: the same rates do as for AdamW (Moonlight, arXiv 2502.16982)
    muon = torch.optim.Muon(hidden, lr=common["lr"], weight_decay=decay, adjust_lr_fn="match_rms_adamw")
    return Both(muon, torch.optim.AdamW(_groups(rest, decay), **common)) if rest else muon


def _library(module: str, package: str, key: str) -> Any:
    try:
        return import_module(module)
    except ModuleNotFoundError:
        raise CurateError(f"this needs {package}", where=key, next=f"pip install {package}") from None
