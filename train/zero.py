"""DeepSpeed's ZeRO 1 and 2 under accelerate: every process holds the weights, gradients and optimizer state are divided. In: a run file,
accelerate's DeepSpeed configuration. Out: settings that are the run file's, and an optimizer state by the names of the weights, as torch
has it, so that checkpoints are those of every other way to train.

The state of a weight is gathered by DeepSpeed's own `safe_get_full_optimizer_state`. With several parameter groups DeepSpeed 0.19 links weights
to their state after the first group's step, so all but the first are linked to nothing; they are linked again here, by names that are its own.
May import curate.errors, train.config; torch, accelerate, deepspeed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import Accelerator

from curate.errors import CurateError
from train.config import RunFile

KEPT = ("exp_avg", "exp_avg_sq")  # of AdamW, beside its step


def configure(accelerator: Accelerator, settings: RunFile) -> None:
    """What DeepSpeed is told: one forward pass is one micro batch, the loop says which is the last; clipping is the run file's."""
    config = accelerator.state.deepspeed_plugin.deepspeed_config
    zero = config.get("zero_optimization", {})
    offload = [name for name in ("offload_optimizer", "offload_param") if zero.get(name, {}).get("device", "none") != "none"]
    for is_wrong, what, found, allowed in (
        (zero.get("stage") not in (1, 2), "this stage of ZeRO", f"zero_stage: {zero.get('stage')}", "1, 2; FSDP2 divides weights too"),
        (bool(offload), "DeepSpeed's offloading", ", ".join(offload), "none; FSDP2 has fsdp_offload_params"),
        ("optimizer" in config or "scheduler" in config, "an optimizer of DeepSpeed's", "optimizer or scheduler in its config", "none"),
        (settings.optimizer.name != "adamw" or settings.optimizer.rounding != "nearest", "this optimizer under DeepSpeed",
         settings.optimizer.name, "adamw with rounding: nearest"),
        (settings.adapt.lora is not None, "adapters under DeepSpeed", "adapt.lora", "plain data parallel: there is little to divide"),
        (settings.model.weights != "fp32", "these weights under DeepSpeed", settings.model.weights, "model.weights: fp32"),
    ):  # fmt: skip
        if is_wrong:
            raise CurateError(f"the trainer does not vouch for {what}", found=found, allowed=allowed)
    config |= {
        "train_micro_batch_size_per_gpu": 1, "gradient_accumulation_steps": 1, "gradient_clipping": settings.optimizer.clip or 0.0,
    }  # fmt: skip


@contextmanager
def not_the_last(accelerator: Accelerator) -> Iterator[None]:
    """Around all passes of a step but the last: after that one, accelerate's backward makes DeepSpeed's step."""
    accelerator.sync_gradients = False
    try:
        yield
    finally:
        accelerator.sync_gradients = True


def is_zero(optimizer: torch.optim.Optimizer) -> bool:
    return hasattr(optimizer, "single_partition_of_fp32_groups")


def state_of(model: torch.nn.Module, optimizer: Any, *, keep: bool = True) -> dict:
    """As torch's `get_optimizer_state_dict`. Every process calls it; those that do not `keep` the tensors help to gather them."""
    from deepspeed.utils import safe_get_full_optimizer_state

    _link(optimizer)
    names = {p: name for name, p in model.named_parameters()}
    state: dict[str, dict] = {}
    for group, parts in enumerate(optimizer.bit16_groups):
        step = _of_partition(optimizer, group)["step"].cpu()
        for p in parts:
            found = {key: safe_get_full_optimizer_state(p, key).view_as(p).cpu() for key in KEPT}
            if keep:
                state[names[p]] = {"step": step.clone(), **found}
    return {"state": state, "param_groups": _groups(optimizer, names)}


def empty_state(model: torch.nn.Module, optimizer: Any) -> dict:
    """What `state_of` would give, with nothing in it yet: to be filled from a checkpoint."""
    names = {p: name for name, p in model.named_parameters()}
    state = {
        names[p]: {"step": torch.zeros(()), **{key: torch.empty(p.shape) for key in KEPT}}
        for g in optimizer.bit16_groups
        for p in g
    }
    return {"state": state, "param_groups": _groups(optimizer, names)}


def set_state(model: torch.nn.Module, optimizer: Any, whole: dict) -> None:
    """Each process takes its part."""
    from deepspeed.utils import safe_set_full_optimizer_state

    names = {p: name for name, p in model.named_parameters()}
    for group, parts in enumerate(optimizer.bit16_groups):
        own = _of_partition(optimizer, group)
        partition = optimizer.single_partition_of_fp32_groups[group]
        own |= {key: torch.zeros_like(partition) for key in KEPT} | {"step": whole["state"][names[parts[0]]]["step"].clone()}
    _link(optimizer)
    for parts in optimizer.bit16_groups:
        for p in parts:
            for key in KEPT:
                safe_set_full_optimizer_state(p, whole["state"][names[p]][key].to(p.device), key)


def _of_partition(optimizer: Any, group: int) -> dict:
    """The state of this process's part of a group's weights, in one row."""
    return optimizer.optimizer.state[optimizer.single_partition_of_fp32_groups[group]]


def _link(optimizer: Any) -> None:
    optimizer._hp_optimizer_states_linked = False
    optimizer._lazy_init_hp_params_optimizer_state()


def _groups(optimizer: Any, names: dict) -> list[dict]:
    return [
        {**{key: value for key, value in of.items() if key != "params"}, "params": [names[p] for p in parts]}
        for of, parts in zip(optimizer.optimizer.param_groups, optimizer.bit16_groups, strict=True)
    ]
