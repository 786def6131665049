"""Started by torchrun in test_dpo_ranks.py: one rank of a run over fake pairs. Arguments: world size to expect, run file."""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ["ACCELERATE_USE_CPU"] = "true"

import torch
import yaml

from curate.store import read_json
from tests.train.dpo.fake import FakePairs
from train.dpo import run
from train.dpo.pairs import Pairs


def main() -> int:
    torch.set_num_threads(1)
    made = FakePairs()
    made.manifest = read_json(Path(yaml.safe_load(Path(sys.argv[2]).read_text())["manifest"]))
    run.open_pairs = lambda paths: Pairs([made])  # type: ignore[list-item]
    code = run.run(sys.argv[2])
    assert torch.distributed.get_world_size() == int(sys.argv[1])
    return code


if __name__ == "__main__":
    sys.exit(main())
