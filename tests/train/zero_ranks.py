"""Started by torchrun in test_zero.py: one rank of a run over the fake stream under DeepSpeed's ZeRO, on CPUs.

accelerate turns DeepSpeed on for accelerators alone, so it is put in its place here, with the stage that the shipped config names; all that
follows is the trainer's, accelerate's and DeepSpeed's own. Arguments: world size to expect, run file.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

os.environ |= {"DS_ACCELERATOR": "cpu", "ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_USE_CPU": "true"}

import deepspeed
import yaml
from accelerate.state import AcceleratorState, DistributedType, PartialState

from tests.train import ranks
from train.stop import Stop

CONFIG = Path(__file__).resolve().parents[2] / "recipes" / "train" / "accelerate" / "deepspeed-zero2.yaml"


def deepspeed_on_cpu() -> None:
    plain = AcceleratorState.__init__

    def state(self: AcceleratorState, *args: Any, deepspeed_plugin: Any = None, **kwargs: Any) -> None:
        plain(self, *args, deepspeed_plugin=deepspeed_plugin, **kwargs)
        if deepspeed_plugin is not None and self.distributed_type != DistributedType.DEEPSPEED:
            deepspeed.init_distributed(dist_backend="gloo", auto_mpi_discovery=False)
            self.distributed_type, self.deepspeed_plugins = DistributedType.DEEPSPEED, deepspeed_plugin
            PartialState._shared_state["distributed_type"] = DistributedType.DEEPSPEED
            deepspeed_plugin.select(_from_accelerator_state=True)

    AcceleratorState.__init__ = state  # type: ignore[method-assign]


if __name__ == "__main__":
    said = yaml.safe_load(CONFIG.read_text())["deepspeed_config"]
    os.environ |= {
        "ACCELERATE_DEEPSPEED_ZERO_STAGE": str(said["zero_stage"]), "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "1",
        "ACCELERATE_DEEPSPEED_OFFLOAD_OPTIMIZER_DEVICE": said["offload_optimizer_device"],
        "ACCELERATE_DEEPSPEED_OFFLOAD_PARAM_DEVICE": said["offload_param_device"],
    }  # fmt: skip
    deepspeed_on_cpu()
    if step := os.environ.get("STOP_AFTER"):
        Stop.why = lambda self, accelerator, done: "the test says so" if done == int(step) else ""  # type: ignore[method-assign]
    code = ranks.main()
    assert PartialState().distributed_type == DistributedType.DEEPSPEED
    sys.exit(code)
