"""Runs generated Python against the tests of a benchmark, in two processes that can do nothing else.

In: the candidate's source, the tests, limits. Out: an Outcome with the status, a line of detail and the layers of isolation that held.
The candidate's process holds the generated code, the judge's the tests (child.py); both are confined by the kernel (isolation.py), have
an empty folder, no environment, no other file descriptors, and are killed as a group at the end. Linux. Imports errors and isolation.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from curate.errors import CurateError
from train.evaluation import isolation

Status = Literal["passed", "failed", "error", "died", "timeout"]
SYSTEM_FILES = (
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/share/zoneinfo",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/dev/urandom",
)
NETWORK_LAYERS = {isolation.NAMESPACES, isolation.SECCOMP}  # either closes it
FILE_LAYERS = {isolation.READ_ONLY, isolation.LANDLOCK}


@dataclass(frozen=True)
class Limits:
    """Of each of the two processes. Chen et al. 2021 (arXiv 2107.03374) gave 3 seconds; starting takes part of ours."""

    seconds: float = 10.0  # of the wall clock, for both together
    cpu_seconds: int = 10
    memory_bytes: int = 1 << 30  # address space
    file_bytes: int = 1 << 20  # of one file
    disk_bytes: int = 16 << 20  # of all files, where the kernel gives the folder its own file system
    open_files: int = 64
    processes: int = 16  # only where seccomp does not forbid making any


@dataclass(frozen=True)
class Outcome:
    status: Status  # failed: an assertion; error: another exception; died: the process ended; timeout: of clock or processor
    detail: str
    seconds: float
    held: tuple[str, ...]  # layers that hold for both processes

    @property
    def passed(self) -> bool:
        return self.status == "passed"

    @property
    def open_to(self) -> tuple[str, ...]:
        """What no layer closed on this machine: of "network", "files", "processes"; empty where all is well."""
        layers = {"network": NETWORK_LAYERS, "files": FILE_LAYERS, "processes": NETWORK_LAYERS}
        return tuple(name for name, any_of in layers.items() if not any_of & set(self.held))


def check(source: str, tests: str, before: str = "", names: Sequence[str] = (), limits: Limits | None = None) -> Outcome:
    """Run `tests` against `source`. `before`: the benchmark's own code, run where the tests run; `names`: what the tests call of the
    candidate, by default all they use and nobody defines."""
    if not sys.platform.startswith("linux"):
        raise CurateError(
            "generated code runs on Linux only", found=sys.platform, next="leave the tasks of kind code out of the suite"
        )
    limits = limits or Limits()
    began = time.monotonic()
    to_judge, to_candidate, said, verdict = os.pipe(), os.pipe(), os.pipe(), os.pipe()
    orders = [
        {"role": "candidate", "in": to_candidate[0], "out": to_judge[1], "report": said[1], "source": source},
        {"role": "judge", "in": to_judge[0], "out": to_candidate[1], "report": verdict[1], "before": before, "tests": tests,
         "names": list(names)},
    ]  # fmt: skip
    processes: list[subprocess.Popen] = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        try:
            for order in orders:
                processes.append(_start(order, Path(folder), limits))
            for fd in (*to_judge, *to_candidate, said[1], verdict[1]):
                os.close(fd)
            messages = _read(said[0], verdict[0], began + limits.seconds)
            codes = [_code(process) for process in processes]
        finally:
            for process in processes:
                _kill(process)
            os.close(said[0])
            os.close(verdict[0])
    seconds = time.monotonic() - began
    # The hard limit of the processor kills; the first process of a namespace does not even hear the soft one's signal.
    spent = -signal.SIGXCPU in codes or (-signal.SIGKILL in codes and seconds >= limits.cpu_seconds)
    over = "the time is over" if seconds >= limits.seconds else "the processor's time is over" if spent else ""
    return _outcome(messages, codes, _complaints(processes), seconds, over)


def _start(order: dict, top: Path, limits: Limits) -> subprocess.Popen:
    """One child in a session of its own, with an empty folder, its order on standard input and no other descriptors than its pipes."""
    folder = top / order["role"]
    folder.mkdir()
    packages = sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    readable = [sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), *packages, *SYSTEM_FILES]
    order |= {
        "folder": str(folder), "packages": packages, "readable": readable, "disk_bytes": limits.disk_bytes,
        "limits": {key: getattr(limits, key) for key in ("cpu_seconds", "memory_bytes", "file_bytes", "open_files", "processes")},
    }  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-B", str(Path(__file__).with_name("child.py"))],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=folder, start_new_session=True,
        pass_fds=(order["in"], order["out"], order["report"]),
        env={"LC_ALL": "C.UTF-8", "HOME": str(folder), "TMPDIR": str(folder), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip
    assert process.stdin is not None
    try:
        process.stdin.write(json.dumps(order).encode())
        process.stdin.close()
    except BrokenPipeError:  # it ended at once; its standard error says why
        pass
    return process


def _read(said: int, verdict: int, deadline: float) -> tuple[list[dict], list[dict]]:
    """Messages of the candidate's bootstrap and of the judge, until the judge is done or the time is over."""
    texts = {said: b"", verdict: b""}
    waiting = {said, verdict}
    while verdict in waiting and (left := deadline - time.monotonic()) > 0:
        for fd in select.select(list(waiting), [], [], left)[0]:
            piece = os.read(fd, 1 << 16)
            texts[fd] += piece
            if not piece:
                waiting.discard(fd)
    return _messages(texts[said]), _messages(texts[verdict])


def _messages(text: bytes) -> list[dict]:
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith(b"\n")]


def _code(process: subprocess.Popen) -> int | None:
    """How a process ended: the signal as a negative number, whether it or its watcher met it; None where it still runs."""
    try:
        code = process.wait(timeout=0.2)
    except subprocess.TimeoutExpired:
        return None
    return 128 - code if code > 128 else code


def _kill(process: subprocess.Popen) -> None:
    """The whole session: a watcher takes its namespace of processes with it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _complaints(processes: list[subprocess.Popen]) -> str:
    """What the children said before they were confined: only a bootstrap that failed says anything."""
    texts = [process.stderr.read().decode(errors="replace") for process in processes if process.stderr]
    for process in processes:
        if process.stderr:
            process.stderr.close()
    return "\n".join(text.strip() for text in texts if text.strip())


def _outcome(
    messages: tuple[list[dict], list[dict]], codes: list[int | None], complaints: str, seconds: float, over: str
) -> Outcome:
    reports, verdicts = messages
    layers = [message["held"] for message in (reports[:1] + verdicts[:1])]
    held = tuple(name for name in layers[0] if all(name in other for other in layers)) if len(layers) == 2 else ()
    if complaints:
        raise RuntimeError(f"the sandbox did not start: {complaints}")
    if len(verdicts) > 1 and verdicts[1]["status"] != "died":
        return Outcome(verdicts[1]["status"], verdicts[1]["detail"], seconds, held)
    if over:
        return Outcome("timeout", over, seconds, held)
    ended = next((code for code in codes if code), codes[0])
    detail = f"killed by {signal.Signals(-ended).name}" if ended and ended < 0 else f"the process ended with code {ended}"
    return Outcome("died", detail, seconds, held)
