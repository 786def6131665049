"""SFT beside TRL's own way with the same conversations, and beside itself: divided otherwise, stopped and gone on.

    python -m tests.bench.sft [DATA]

Real conversations (the Estonian seed tasks of DATA), the template chatml, a Llama of 43 thousand weights from a seed, 5 steps of 8
conversations, float32, one thread. TRL renders, tokenises and masks them itself (assistant_only_loss), one in a padded row; ours are rows of
the stream, two in each. Differences are to TRL's line.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import tempfile
from pathlib import Path

os.environ["ACCELERATE_USE_CPU"] = "true"

import numpy as np
import torch

from tests.train import chats, test_sft
from tests.train.conftest import costs, last, residual, same_bits, weights
from train import sft
from train.stop import Stop

WAYS = {"rows of 1024, 2 in a pass": {}, "1 in a pass": {"micro_batch": 1}, "4 in a pass": {"micro_batch": 4}}


def main() -> None:
    torch.set_num_threads(1)
    data = Path(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("VESKI_TEST_DATA", "../shared/data"))
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder)
        made, base = chats.make(data, top), top / "base"
        test_sft.write_base(made, base)
        with contextlib.redirect_stdout(io.StringIO()):
            wanted, model = test_sft.trained_by_trl(made, base, top / "theirs")
        lines = [("TRL, conversations", wanted, "-", "-")]
        for way, changes in WAYS.items():
            to = top / str(len(lines))
            quietly(test_sft.run_of(made, base, to, **changes))
            mean, largest = residual(weights(last(to)), model.state_dict())
            apart = np.abs(np.subtract(costs(to), wanted)).max()
            lines.append((f"ours, {way}", costs(to), f"{apart:.1e}", f"{mean:.1e}, {largest:.1e}"))
        print(f"{'way':32}{'loss of each step':42}{'loss apart':>12}{'weights apart (mean, most)':>30}")
        for name, losses, apart_, weights_ in lines:
            print(f"{name:32}{' '.join(f'{loss:.5f}' for loss in losses):42}{apart_:>12}{weights_:>30}")
        print(f"\nstopped after each step and gone on: {stopped(made, base, top)}")


def stopped(made: chats.Chats, base: Path, top: Path) -> str:
    plain, to, n = Stop.why, top / "stopped", 0
    path = test_sft.run_of(made, base, to)
    Stop.why = lambda self, accelerator, done: "the bench says so"  # type: ignore[method-assign]
    while not list(to.glob("step-000005")):
        quietly(path)
        n += 1
    Stop.why = plain  # type: ignore[method-assign]
    same = same_bits(last(to), last(top / "1"))
    return f"{n} starts, weights, optimizer and receipt {'the same to the bit' if same else 'DIFFER'}"


def quietly(path: Path) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        sft.run(path)


if __name__ == "__main__":
    main()
