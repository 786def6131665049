"""Started by torchrun in test_ranks.py: one rank of a run over the fake stream. Arguments: world size to expect, run file."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

os.environ["ACCELERATE_USE_CPU"] = "true"

import torch
import yaml

from curate.store import read_json
from tests.train.fake import FakeStream
from train import cpt
from train.streams import Streams


def main() -> int:
    torch.set_num_threads(1)
    made = FakeStream()
    made.manifest = read_json(Path(yaml.safe_load(Path(sys.argv[2]).read_text())["manifest"]))
    if seconds := os.environ.get("SECONDS_A_STEP"):
        plain = cpt.read
        cpt.read = lambda *given: time.sleep(float(seconds)) or plain(*given)  # type: ignore[func-returns-value]
    cpt.open_streams = lambda paths: Streams([made])  # type: ignore[assignment, arg-type, list-item]
    code = cpt.run(sys.argv[2])
    # `accelerate launch --cpu --num_processes 2` starts one process and says nothing: whoever tests ranks counts them
    assert torch.distributed.get_world_size() == int(sys.argv[1])
    return code


if __name__ == "__main__":
    sys.exit(main())
