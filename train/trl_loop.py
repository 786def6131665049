"""TRL's trainers take our steps: their loss and their loop; our rows, order, rates, clock, checkpoints. For train/sft.py and train/dpo.

In: `Steps`, what a step is. Out: `OurSteps`, to be put before a trainer of TRL's in a class's bases, and `arguments` for its config.
Only what transformers and TRL leave open to subclasses is overridden: the loader, get_batch_samples, training_step, log, callbacks. Their
own resume, schedule, checkpoints and counters are not used: a run goes on by our step number (Steps.start), and every rate is set.
One batch of the loader is a whole step of this process, a list of micro batches that may be of any number: so phases of other lengths and
batches planned by tokens need nothing more. May import train.*; torch, accelerate, transformers.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from transformers import PrinterCallback, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from curate.errors import CurateError
from train import optimizer, processes
from train.between import Clock
from train.config import RunFile
from train.model import DTYPES


class Steps(Protocol):
    """What the trainer is told. `start` steps are done, the next is number `start`, counted from 0."""

    settings: RunFile
    start: int
    n_steps: int
    clock: Clock  # a new one for every step, made by `step`

    def ready(self, trainer: Any) -> None:
        """Model and optimizer are where they train, nothing has been trained: check, load the optimizer's state, measure."""

    def step(self, step: int) -> tuple[list[dict[str, Any]], int]:
        """(micro batches of this process as keywords of compute_loss, what the loss of the whole step is divided by)."""

    def rate(self, step: int) -> float: ...

    def before_update(self, step: int) -> bool:
        """Gradients are there and clipped. False: the step moves nothing, not even by weight decay."""

    def after(self, step: int, norm: float) -> bool:
        """The step is done, its gradient's norm was `norm`. False: no further step."""


def arguments(settings: RunFile, n_left: int, device: torch.device) -> dict[str, Any]:
    """Keywords for SFTConfig, DPOConfig and so on: whatever they would do by themselves is off."""
    return {
        "output_dir": settings.save.to, "max_steps": n_left, "per_device_train_batch_size": 1, "gradient_accumulation_steps": 1,
        "max_grad_norm": settings.optimizer.clip or 0.0, "learning_rate": settings.schedule.peak_lr, "seed": settings.seed % 2**32,
        "use_cpu": device.type == "cpu", "bf16": False, "activation_checkpointing": False, "remove_unused_columns": False,
        "save_strategy": "no", "eval_strategy": "no", "report_to": "none", "disable_tqdm": True, "logging_strategy": "steps",
        "logging_steps": 1, "logging_nan_inf_filter": False, "ddp_find_unused_parameters": False,
        "accelerator_config": {"use_configured_state": True},  # train/processes.py has made it
        "average_tokens_across_devices": True,
    }  # fmt: skip


def check(accelerator: Accelerator, method: str) -> None:
    """Raises CurateError for ways to share out a model that TRL's trainers do not take, or that its loop is not tried with."""
    if accelerator.distributed_type == DistributedType.DEEPSPEED:
        raise CurateError(
            f"{method} does not train under DeepSpeed", found="DeepSpeed", allowed="one process, DDP or FSDP2",
            next=f"accelerate launch --config_file {processes.CONFIGS}/fsdp2.yaml -m train {method} RUN.yaml",
        )  # fmt: skip
    if accelerator.device.type == "cuda" and accelerator.distributed_type == DistributedType.NO and torch.cuda.device_count() > 1:
        raise CurateError(  # else transformers would wrap the model in nn.DataParallel, which TRL refuses
            f"{method} in one process sees several devices", found=f"{torch.cuda.device_count()} devices", allowed="one device a process",
            next=f"CUDA_VISIBLE_DEVICES=0 curate train {method} RUN.yaml, or torchrun --nproc_per_node N -m train {method} RUN.yaml",
        )  # fmt: skip


class Rates:
    """In the place of a scheduler: rates are set before each step, and this only says what they are."""

    def __init__(self) -> None:
        self.rate = 0.0

    def step(self) -> None: ...

    def get_last_lr(self) -> list[float]:
        return [self.rate]


class OurSteps:
    """Before a trainer of TRL's: `class Trainer(OurSteps, SFTTrainer)`; made with `steps=` besides the trainer's own arguments."""

    def __init__(self, *args: Any, steps: Steps, torch_optimizer: torch.optim.Optimizer, **kwargs: Any) -> None:
        self.steps, self.rates, self.ours = steps, Rates(), torch_optimizer
        super().__init__(*args, **kwargs)
        self.remove_callback(PrinterCallback)  # type: ignore[attr-defined]
        self.add_callback(_Hooks(self))  # type: ignore[attr-defined]
        # rows are tokens already; with a tokenizer here transformers would write its special tokens into the model's config
        self.processing_class = None

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """Not given to the constructor, which refuses it where FSDP divides the model."""
        self.optimizer = self.ours
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Rates:
        self.lr_scheduler = self.rates
        return self.rates

    def get_train_dataloader(self) -> _Numbers:
        return _Numbers(self.steps.start, self.steps.n_steps)

    def get_batch_samples(self, epoch_iterator: Iterator[int], num_batches: int, device: torch.device) -> tuple[list, int]:
        """The next step, as one batch, and what its loss is divided by."""
        step = next(epoch_iterator)
        parts, n = self.steps.step(step)
        self.rates.rate = self.steps.rate(step)
        optimizer.set_rate(self.optimizer.optimizer, self.rates.rate)
        self.steps.clock.lap("data")
        return [{"parts": parts}], n

    def training_step(self, model: torch.nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        """All micro batches of a step; gradients are summed over the processes with the last."""
        parts, total = inputs["parts"], torch.zeros((), device=self.args.device)  # type: ignore[attr-defined]
        for number, part in enumerate(parts):
            is_last = number + 1 == len(parts)
            with contextlib.nullcontext() if is_last else processes.summing_later(model, self.accelerator):  # type: ignore[attr-defined]
                total += super().training_step(model, part, num_items_in_batch)  # type: ignore[misc]
        return total

    def compute_loss_context_manager(self) -> contextlib.ExitStack:
        """bf16 as model.dtype says."""
        stack, dtype = super().compute_loss_context_manager(), DTYPES[self.steps.settings.model.dtype]  # type: ignore[misc]
        if dtype == torch.bfloat16:
            stack.enter_context(torch.autocast(self.args.device.type, torch.bfloat16))  # type: ignore[attr-defined]
        return stack

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Called once a step with the gradient's norm, which nothing else hands out; and at the end, without."""
        super().log(logs, start_time)  # type: ignore[misc]
        if "grad_norm" in logs:
            state, control = self.state, self.control  # type: ignore[attr-defined]
            if not self.steps.after(self.steps.start + state.global_step - 1, float(logs["grad_norm"])):
                control.should_training_stop = True

    def floating_point_ops(self, inputs: Any) -> int:
        return 0  # train/flops.py counts

    def create_model_card(self, *args: Any, **kwargs: Any) -> None: ...


class _Numbers:
    """The loader: the numbers of the steps that are left. transformers asks for its length."""

    def __init__(self, start: int, end: int) -> None:
        self.range = range(start, end)

    def __len__(self) -> int:
        return len(self.range)

    def __iter__(self) -> Iterator[int]:
        return iter(self.range)


class _Hooks(TrainerCallback):
    def __init__(self, trainer: Any) -> None:
        self.trainer = trainer

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.trainer.steps.ready(self.trainer)

    def on_pre_optimizer_step(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        steps = self.trainer.steps
        steps.clock.lap("forward_backward", args.device)
        if not steps.before_update(steps.start + state.global_step):
            self.trainer.optimizer.zero_grad()  # no gradient: torch's optimizers leave such a weight alone

    def on_optimizer_step(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.trainer.steps.clock.lap("optimizer", args.device)
