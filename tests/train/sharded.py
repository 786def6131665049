"""Started by torchrun in test_sharded.py: one rank of a run over the fake stream whose weights are divided by FSDP2, on CPUs.

accelerate turns FSDP on for accelerators alone, so what the shipped fsdp2.yaml says is put in its place here; all that follows is the
trainer's and accelerate's own. Arguments: world size to expect, run file.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import torch
from accelerate.commands.launch import _validate_launch_command, launch_command_parser
from accelerate.state import AcceleratorState, DistributedType, PartialState
from accelerate.utils.launch import prepare_multi_gpu_env
from torch.distributed.fsdp import FSDPModule

from tests.train import ranks
from train import cpt
from train.stop import Stop

CONFIG = Path(__file__).resolve().parents[2] / "recipes" / "train" / "accelerate" / "fsdp2.yaml"


def environment(config: Path) -> dict[str, str]:
    """What `accelerate launch --config_file` would hand to the processes about FSDP."""
    arguments = launch_command_parser().parse_args(["--config_file", str(config), "-m", "train"])
    arguments, _, _ = _validate_launch_command(arguments)
    return {name: value for name, value in prepare_multi_gpu_env(arguments).items() if "FSDP" in name}


def shard_on_cpu() -> None:
    plain = AcceleratorState.__init__

    def state(self: AcceleratorState, *args: Any, fsdp_plugin: Any = None, **kwargs: Any) -> None:
        plain(self, *args, fsdp_plugin=fsdp_plugin, **kwargs)
        if fsdp_plugin is not None:  # the first; later ones find what is shared
            self.distributed_type, self.fsdp_plugin = DistributedType.FSDP, fsdp_plugin
            PartialState._shared_state["distributed_type"] = DistributedType.FSDP

    AcceleratorState.__init__ = state  # type: ignore[method-assign]


def count_units() -> None:
    """Before the self-check, which gets the wrapped model: say how it is divided."""
    plain = cpt.selfcheck.check

    def check(streams: Any, sizes: Any, tokenizer: Any, scorer: Any, model: torch.nn.Module, device: Any) -> Any:
        units = sum(isinstance(module, FSDPModule) for module in model.modules())
        weights = list(model.parameters())
        here, all_of_them = sum(p.to_local().numel() for p in weights), sum(p.numel() for p in weights)
        print(f"{units} units, {here} of {all_of_them} numbers here", flush=True)
        return plain(streams, sizes, tokenizer, scorer, model, device)

    cpt.selfcheck.check = check


if __name__ == "__main__":
    os.environ |= environment(CONFIG)
    shard_on_cpu()
    count_units()
    if step := os.environ.get("STOP_AFTER"):
        Stop.why = lambda self, accelerator, done: "the test says so" if done == int(step) else ""  # type: ignore[method-assign]
    sys.exit(ranks.main())
