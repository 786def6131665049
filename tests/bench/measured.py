"""Runs a module and says at the end what it took: `python -m tests.bench.measured MODULE ARG...`.

The last line of stdout is JSON: cpu_seconds (user and system, with all children), peak_bytes (the largest resident set of this
process or of one child: no sum over processes). Workers of a pool are children of its fork server, which is ended first: the
kernel counts only children that have been waited for.
"""

from __future__ import annotations

import json
import re
import resource
import runpy
import sys
from pathlib import Path


def own_peak() -> int:
    """Bytes. ru_maxrss would do, but on Linux a process inherits that of the one it was forked from, through exec."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(re.findall(r"VmHWM:\s+(\d+) kB", status.read_text())[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # macOS: bytes


def main() -> None:
    sys.argv = sys.argv[1:]
    try:
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        if ended.code:
            raise
    for name in ("multiprocessing.forkserver", "multiprocess.forkserver"):
        if name in sys.modules:
            sys.modules[name]._forkserver._stop()
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    of_children = used[1].ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    print(json.dumps({"cpu_seconds": sum(u.ru_utime + u.ru_stime for u in used), "peak_bytes": max(own_peak(), of_children)}))


if __name__ == "__main__":
    main()
