"""The trainer's rival: a loop that can be read at a glance, one document at a time through transformers' own loss, without a row.

A model, the rows of every step and its rates in; the loss of every step out, the model trained in place. Test helper; knows nothing of train/.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from mixture.stream import Row


def fresh(config: dict, seed: int, **more: object) -> PreTrainedModel:
    """The model that the trainer makes of `model: {init: config, seed: seed}` for the fake stream."""
    special = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"))
    torch.manual_seed(seed)
    return AutoModelForCausalLM.from_config(
        AutoConfig.for_model(**{**special, "vocab_size": 64, "max_position_embeddings": 32, **config}), **more
    )


def cosine(n_steps: int, peak: float = 3e-3, warmup: int = 2) -> list[float]:
    """Up to the peak, then down to nothing one step after the last."""
    falls = [peak * (1 + np.cos(np.pi * k / (n_steps - warmup))) / 2 for k in range(n_steps - warmup)]
    return [peak * (k + 1) / warmup for k in range(warmup)] + falls


def batches(rows: Sequence[Row], n: int) -> list[Sequence[Row]]:
    return [rows[i : i + n] for i in range(0, len(rows), n)]


def decayed(weights: Sequence[torch.nn.Parameter]) -> list[dict]:
    """Decay on matrices only."""
    return [
        {"params": [p for p in weights if p.ndim > 1], "weight_decay": 0.1},
        {"params": [p for p in weights if p.ndim == 1], "weight_decay": 0.0},
    ]


def train(
    model: PreTrainedModel, steps: Sequence[Sequence[Row]], rates: Sequence[float], *optimizers: torch.optim.Optimizer
) -> list[float]:
    """AdamW if no other, gradients clipped at 1; nats per loss token of every step."""
    weights = [p for p in model.parameters() if p.requires_grad]
    optimizers, costs = optimizers or (torch.optim.AdamW(decayed(weights), betas=(0.9, 0.95)),), []
    for rows, rate in zip(steps, rates, strict=True):
        total, n = torch.tensor(0.0), sum(row.n_loss_tokens for row in rows)
        for row in rows:
            for k in range(row.document.max() + 1):
                ids = torch.from_numpy(row.input_ids[row.document == k].astype(np.int64))[None]
                if ids.shape[1] > 1:
                    total = total + model(input_ids=ids, labels=ids).loss * (ids.shape[1] - 1) / n
        model.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
        costs.append(total.item())
    return costs
