"""A signal or the clock in; the reason to stop between two steps out, the same on every process. torch, accelerate."""

from __future__ import annotations

import math
import signal
import threading
import time
from types import FrameType
from typing import Any

import torch
from accelerate import Accelerator

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


class Stop:
    """Why to stop between two steps: the hours are over, or a signal came to any process. A second Ctrl-C ends at once.

    SIGTERM is what machines send before they are taken away, SIGUSR1 what Slurm is told to send before the time is over."""

    def __init__(self, max_hours: float | None, started: float) -> None:
        self.deadline = started + max_hours * 3600 if max_hours else math.inf
        self.signal = 0
        self.before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Stop:
        if threading.current_thread() is threading.main_thread():
            self.before = {number: signal.signal(number, self._came) for number in SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _came(self, number: int, frame: FrameType | None) -> None:
        if self.signal and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = number

    def why(self, accelerator: Accelerator, done: int) -> str:
        mine = [float(self.signal), float(time.monotonic() > self.deadline)]
        signals, late = accelerator.reduce(torch.tensor(mine, device=accelerator.device), "sum").tolist()
        return "asked to by a signal" if signals else "max_hours is over" if late else ""
