"""Started by torchrun in test_ranks.py: one rank of a run over the fake stream. Arguments: world size to expect, run file."""

from __future__ import annotations

import os
import sys

os.environ["ACCELERATE_USE_CPU"] = "true"

import torch

from tests.train.fake import FakeStream
from train import cpt

if __name__ == "__main__":
    torch.set_num_threads(1)
    cpt.Stream = lambda path: FakeStream()  # type: ignore[assignment, misc]
    code = cpt.run(sys.argv[2])
    # `accelerate launch --cpu --num_processes 2` starts one process and says nothing: whoever tests ranks counts them
    assert torch.distributed.get_world_size() == int(sys.argv[1])
    sys.exit(code)
