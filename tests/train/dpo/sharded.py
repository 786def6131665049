"""Started by torchrun in test_dpo_ranks.py: as ranks.py, the weights divided by FSDP2 on CPUs (tests/train/sharded.py)."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any

from torch.distributed.fsdp import FSDPModule

from tests.train.dpo import ranks
from tests.train.sharded import CONFIG, environment, shard_on_cpu
from train.dpo import run


def count_units() -> None:
    plain = run.selfcheck.check

    def check(looked: Any, model: Any, *others: Any) -> Iterator[str]:
        print(f"{sum(isinstance(module, FSDPModule) for module in model.modules())} units", flush=True)
        yield from plain(looked, model, *others)

    run.selfcheck.check = check


if __name__ == "__main__":
    os.environ |= environment(CONFIG)
    shard_on_cpu()
    count_units()
    sys.exit(ranks.main())
