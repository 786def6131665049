"""Peak memory of work in a process of its own. Linux only: /proc says what a process itself held (ru_maxrss begins at its parent's).

`measured(code)` runs Python code that has `reset()`, from when on the peak counts; `resident()`, bytes now; `peak()`, most since
then. `Anonymous()` samples what is not mapped from files: memory maps are the page cache's, which any other use may have.
"""

from __future__ import annotations

import ctypes
import gc
import re
import subprocess
import sys
import threading
from pathlib import Path

import pyarrow as pa
import pytest

needs_proc = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc")


def status(field: str) -> int:
    """Bytes."""
    found = re.search(rf"^{field}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None, field
    return int(found[1]) * 1024


def resident() -> int:
    return status("VmRSS")


def peak() -> int:
    return status("VmHWM")


def reset() -> None:
    """What is freed goes back to the system first, so that it does not stand ready for what is measured."""
    gc.collect()
    pa.default_memory_pool().release_unused()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")


class Anonymous:
    """`with Anonymous() as seen: work()`; then seen.most - seen.first is how many bytes it held at most, maps left out."""

    def __init__(self, every_s: float = 0.002) -> None:
        self._every, self._stop = every_s, threading.Event()
        self.first = self.most = 0

    def __enter__(self) -> Anonymous:
        self.first = self.most = status("RssAnon")
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(self._every):
            self.most = max(self.most, status("RssAnon"))


def measured(code: str, *args: object) -> list[float]:
    """The numbers the code prints; sys.argv[1:] are `args`."""
    command = [sys.executable, "-c", f"import sys\nfrom tests.memory import *\n{code}", *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).resolve().parent.parent)
    assert done.returncode == 0, done.stderr
    return [float(x) for x in done.stdout.split()]
