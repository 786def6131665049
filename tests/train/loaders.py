"""Started by torchrun in test_loaders.py: one rank, three ways to load 1000 rows under accelerate. Arguments: world size, manifest, out.

Rank 0 writes {way: stream indices of every rank's rows, step by step}, gathered over real processes.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

os.environ["ACCELERATE_USE_CPU"] = "true"

import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader

from mixture.dataset import Batches, Rows

MICRO = 8  # rows of one micro batch

if __name__ == "__main__":
    torch.set_num_threads(1)
    world, manifest, out = int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])
    accelerator = Accelerator()
    assert torch.distributed.get_world_size() == accelerator.num_processes == world
    rows = Rows(manifest, columns=["input_ids", "labels", "position_ids", "component", "stream_index"])

    own = Batches(rows, sequences=MICRO * world, rank=accelerator.process_index, world=world)
    all_ranks = Batches(rows, sequences=MICRO * world, accumulate=world)
    loaders = {
        "own": DataLoader(rows, batch_sampler=own, num_workers=1),  # not given to prepare
        "prepared": accelerator.prepare(DataLoader(rows, batch_sampler=all_ranks)),
        "plain": accelerator.prepare(DataLoader(rows, batch_size=MICRO)),  # type: ignore[arg-type]  # what people write
    }
    found = {
        way: [accelerator.gather(batch["stream_index"].to(accelerator.device)).tolist() for batch in loader]
        for way, loader in loaders.items()
    }
    if accelerator.is_main_process:
        out.write_text(json.dumps(found))
    accelerator.end_training()
