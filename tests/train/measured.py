"""What a step really takes, by torch's own MemTracker: the trainer's forward, backward and optimizer on real tensors. Test helper.

MemTracker counts the storages of every tensor an operation hands out, so it knows nothing of train/memory.py. `fake`: the same on fake
tensors, for models that no machine of ours could hold.
"""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
from torch.distributed._tools.mem_tracker import MemTracker
from transformers import PretrainedConfig

from train.adapt import adapt
from train.config import RunFile
from train.model import Scorer, build
from train.optimizer import build as build_optimizer
from train.shadow import to_fake


class _NoModules:
    """In place of MemTracker's account by module, which takes one pass only and fails where nothing has a gradient (torch 2.13)."""

    is_bw = False

    def __enter__(self) -> None: ...
    def __exit__(self, *_: object) -> None: ...
    def register_user_hooks(self, *_: object) -> None: ...
    def clear_user_hooks(self) -> None: ...


def run_of(**changes: Any) -> RunFile:
    """A run file around the settings that matter for memory; nested dictionaries are merged."""
    data: dict[str, Any] = {
        "method": "cpt", "name": "tiny", "manifest": "manifest.json", "model": {"init": "a/b"}, "global_batch": "1024 tokens",
        "schedule": {"peak_lr": 1e-3}, "save": {"to": "run"},
    }  # fmt: skip
    for key, value in changes.items():
        data[key] = {**data[key], **value} if isinstance(value, dict) and isinstance(data.get(key), dict) else value
    return RunFile.model_validate(data)


def measure(run: RunFile, config: PretrainedConfig, rows: int, length: int, micro_steps: int = 2, fake: bool = False) -> int:
    """Most bytes in two optimizer steps, the second of which has the state of the first."""
    with FakeTensorMode() if fake else contextlib.nullcontext():
        scorer, optimizer = _of(run, config, fake)
        ids = torch.zeros(rows, length, dtype=torch.long)
        positions = torch.arange(length).remainder(length // 2).expand(rows, length).contiguous()  # two documents a row
        each = torch.ones(rows, length)
        if fake:  # fake positions have no values for a mask to be made from
            _give_mask(scorer, torch.zeros(rows, 1, length, length, dtype=torch.bool))
        tracker = MemTracker()
        tracker._mod_tracker = _NoModules()  # type: ignore[assignment]
        tracker.track_external(scorer, optimizer)
        with tracker:
            for _ in range(2):
                for _ in range(micro_steps):
                    loss, losses = scorer(ids, positions, ids, each)
                    del losses
                    loss.backward()
                    del loss
                optimizer.step()
                optimizer.zero_grad()
        return tracker.get_tracker_snapshot("peak")[torch.device("cpu")]["Total"]


def _of(run: RunFile, config: PretrainedConfig, fake: bool) -> tuple[Scorer, torch.optim.Optimizer]:
    spec = run.model.model_copy(update={"init": {"model_type": config.model_type}})
    if not fake:
        scorer = Scorer(adapt(build(spec, run.adapt, config), run.adapt), spec.dtype).train()
        return scorer, build_optimizer(scorer, run)
    with unset_fake_temporarily(), torch.device("meta"):
        scorer = Scorer(adapt(build(spec, run.adapt, config), run.adapt), spec.dtype).train()
    to_fake(scorer)
    weights = [p for p in scorer.parameters() if p.requires_grad]
    return scorer, torch.optim.AdamW(weights, lr=1e-3, fused=True)  # as on accelerators; the loop over tensors looks at values


def _give_mask(scorer: Scorer, mask: torch.Tensor) -> None:
    scorer.hidden = lambda ids, positions: (
        scorer.decoder(  # type: ignore[method-assign]
            input_ids=ids, position_ids=positions, attention_mask=mask, use_cache=False
        ).last_hidden_state
    )
