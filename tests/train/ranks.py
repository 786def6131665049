"""Started by torchrun in test_ranks.py and test_sft_ranks.py: one rank of a run over the fake stream. Arguments: world size to expect, run
file, whose method says which trainer."""

from __future__ import annotations

import importlib
import os
import sys
import time
from pathlib import Path

os.environ["ACCELERATE_USE_CPU"] = "true"

import torch
import yaml

from curate.store import read_json
from tests.train.fake import FakeStream
from train.streams import Streams


def main() -> int:
    torch.set_num_threads(1)
    made = FakeStream()
    asked = yaml.safe_load(Path(sys.argv[2]).read_text())
    made.manifest = read_json(Path(asked["manifest"]))
    room = importlib.import_module(f"train.{asked['method']}")
    if seconds := os.environ.get("SECONDS_A_STEP"):
        plain = room.read
        room.read = lambda *given: time.sleep(float(seconds)) or plain(*given)
    room.open_streams = lambda paths: Streams([made])  # type: ignore[list-item]
    code = room.run(sys.argv[2])
    # `accelerate launch --cpu --num_processes 2` starts one process and says nothing: whoever tests ranks counts them
    assert torch.distributed.get_world_size() == int(sys.argv[1])
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
