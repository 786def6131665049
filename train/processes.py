"""How many processes train, and how the model lies in them, as accelerate was told. A run file and its plan in; a checked Accelerator out.

One process, plain data parallel (DDP: every process holds the model), or FSDP2 (weights, gradients and optimizer state divided among the
processes, layer by layer), or DeepSpeed's ZeRO (train/zero.py). accelerate's own mixed precision is never used: model.dtype is what counts.
May import curate.errors, train.config, train.model, train.steps, train.zero; torch, accelerate.
"""

from __future__ import annotations

import contextlib

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from torch.distributed.fsdp import MixedPrecisionPolicy

from curate.errors import CurateError
from train import zero
from train.config import RunFile
from train.model import DTYPES, Scorer
from train.steps import Plan

CONFIGS = "recipes/train/accelerate"


def start(settings: RunFile, plan: Plan) -> Accelerator:
    """Raises CurateError for what the trainer cannot vouch for."""
    accelerator = Accelerator(mixed_precision="no")
    if accelerator.distributed_type == DistributedType.DEEPSPEED:
        zero.configure(accelerator, settings)
    if is_sharded(accelerator):
        _check_sharded(accelerator, settings)
        if settings.model.dtype == "bf16":  # layers travel in bf16, gradients are summed in fp32
            policy = MixedPrecisionPolicy(param_dtype=DTYPES["bf16"], reduce_dtype=torch.float32, cast_forward_inputs=False)
            accelerator.state.fsdp_plugin.mixed_precision_policy = policy
    for rows in plan.steps.rows:
        if rows % (world := accelerator.num_processes):
            raise CurateError(
                "the global batch does not divide among the processes", where="global_batch",
                found=f"{rows} sequences, {world} processes", allowed="a multiple of the number of processes",
            )  # fmt: skip
    one = settings.adapt.lora or settings.adapt.full
    if one and one.train_rows == "new" and accelerator.distributed_type in (DistributedType.FSDP, DistributedType.DEEPSPEED):
        raise CurateError(  # their gradients do not come by the hooks of train/held_rows.py
            "rows are not held where weights are divided", where="train_rows", found=str(accelerator.distributed_type),
            allowed="one process, or data parallel",
        )  # fmt: skip
    return accelerator


def is_sharded(accelerator: Accelerator) -> bool:
    return accelerator.distributed_type == DistributedType.FSDP


def place(scorer: Scorer, accelerator: Accelerator) -> Scorer:
    """On the device; but what is going to be divided stays where it was read, so that no device ever holds it whole."""
    return scorer if is_sharded(accelerator) else scorer.to(accelerator.device)


def summing_later(model: torch.nn.Module, accelerator: Accelerator) -> contextlib.AbstractContextManager:
    """Around all passes of a step but the last: gradients are summed over the processes once. Not where they are divided: until
    then every process would hold them whole."""
    if accelerator.distributed_type == DistributedType.DEEPSPEED:
        return zero.not_the_last(accelerator)
    return contextlib.nullcontext() if is_sharded(accelerator) else accelerator.no_sync(model)


def _check_sharded(accelerator: Accelerator, settings: RunFile) -> None:
    plugin, advice = accelerator.state.fsdp_plugin, f"accelerate launch --config_file {CONFIGS}/fsdp2.yaml"
    if not accelerator.is_fsdp2:
        raise CurateError(
            "sharding is FSDP2's", found="FSDP1", allowed="fsdp_version: 2", next="accelerate to-fsdp2 --config_file FILE"
        )
    if settings.evaluate.suite is not None:
        raise CurateError(
            "a suite is not asked of a model that is divided among processes", where="evaluate.suite",
            next="leave it out here and evaluate the checkpoints: curate train evaluate RUN.yaml",
        )  # fmt: skip
    if plugin.cpu_ram_efficient_loading:
        raise CurateError(
            "every process reads the model itself",
            where="fsdp_cpu_ram_efficient_loading",
            found="true",
            allowed="false",
            next=advice,
        )
    if plugin.activation_checkpointing:
        raise CurateError(
            "activations are computed again where the run file says so", where="fsdp_activation_checkpointing", found="true",
            allowed="false, and model.checkpointing: true", next=advice,
        )  # fmt: skip
    if settings.optimizer.name in ("muon", "adamw_8bit"):
        raise CurateError(
            "this optimizer needs whole matrices",
            where="optimizer.name",
            found=settings.optimizer.name,
            allowed="adamw, adafactor",
        )
    if settings.adapt.lora and settings.adapt.lora.quantize != "none":
        raise CurateError(
            "weights in four bits are not divided", where="adapt.lora.quantize", found=settings.adapt.lora.quantize,
            allowed=f"quantize: none, or accelerate launch --config_file {CONFIGS}/ddp.yaml",
        )  # fmt: skip
