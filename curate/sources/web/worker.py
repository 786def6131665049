"""Work that may hang, crash or eat memory, in a process of its own: one job in, one result out, or `Refused`.

A task's process has one worker per kind of work, started when it is first needed and again after it was killed. The worker limits
itself, so that it also ends when nobody is left to kill it: the kernel kills it when a job has used its CPU seconds (CPU time, not the
clock: a busy machine must not change a result), refuses it memory beyond its limit, and an idle one reads the end of its pipe when its
parent is gone. Imports records.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import importlib
import os
import pickle
import select
import signal
import struct
import subprocess
import sys
import threading
import time
from typing import Any, BinaryIO

from curate.sources.records import Refused

LENGTH = struct.Struct("<Q")
MEMORY_BYTES = 2 << 30  # of data a worker may hold: a page of 20 MB takes 0.4 GB as a tree (measured with lxml 6.1)
# The clock is only the last resort, for what waits without computing. A machine 60 times overbooked does not change a result.
CLOCK_PER_CPU_SECOND, START_SECONDS = 60, 300
RECURSION = 5000  # Python frames: pages may be 512 levels deep
FRESH_AFTER = 5000  # jobs after which a worker is replaced: libraries leak


class _Died(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Worker:
    """A process that runs `function` ("module:name") on what it is sent."""

    def __init__(self, function: str, memory: int = MEMORY_BYTES) -> None:
        self.function, self.memory = function, memory
        self._process: subprocess.Popen[bytes] | None = None
        self._owner, self._n_jobs = 0, 0
        self._lock = threading.Lock()

    def __call__(self, job: Any, seconds: float) -> Any:
        """The function's result. Raises Refused: its own, `time_limit` past `seconds` of CPU, `extractor_failed` for a crash."""
        with self._lock:
            for is_last in (False, True):
                try:
                    said, value = self._send(job, seconds)
                    break
                except _Died as died:
                    self.close()
                    if died.code == -signal.SIGPROF:
                        raise Refused("time_limit", f"more than {seconds:g} s of CPU time") from None
                    if is_last:  # twice in a row: it is this job, and nobody from outside who killed the worker
                        raise Refused("extractor_failed", f"its process ended: {_ending(died.code)}") from None
        if said == "refused":
            raise Refused(*value)
        return value

    def close(self) -> None:
        """End the process, if it is ours and runs."""
        process, self._process = self._process, None
        if process is not None and self._owner == os.getpid():
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe:
                    with contextlib.suppress(OSError):
                        pipe.close()

    def _send(self, job: Any, seconds: float) -> tuple[str, Any]:
        if self._owner != os.getpid() or self._n_jobs >= FRESH_AFTER:  # a fork has its parent's pipes, not its worker
            self.close()
        if self._process is None:
            self._start()
        assert self._process and self._process.stdin and self._process.stdout
        self._n_jobs += 1
        data = pickle.dumps((job, seconds))
        try:
            self._process.stdin.write(LENGTH.pack(len(data)) + data)
            self._process.stdin.flush()
        except OSError:
            raise _Died(self._process.wait()) from None
        return self._answer(START_SECONDS + seconds * CLOCK_PER_CPU_SECOND)

    def _answer(self, clock: float) -> Any:
        assert self._process and self._process.stdout
        until = time.monotonic() + clock
        pipe, data, wanted = self._process.stdout.fileno(), bytearray(), LENGTH.size
        while len(data) < wanted:
            if not select.select([pipe], [], [], max(0.0, until - time.monotonic()))[0]:
                self._process.kill()
                self._process.wait()
                raise _Died(-signal.SIGPROF)
            piece = os.read(pipe, 1 << 20)
            if not piece:
                raise _Died(self._process.wait())
            data += piece
            if wanted == LENGTH.size and len(data) >= wanted:
                wanted += LENGTH.unpack_from(data)[0]
        return pickle.loads(memoryview(data)[LENGTH.size :])

    def _start(self) -> None:
        self._owner, self._n_jobs = os.getpid(), 0
        # one hash seed: sets of strings in a library must not make two runs differ
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": "0"}
        command = [sys.executable, "-m", "curate.sources.web.worker", self.function, str(self.memory)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
        )
        atexit.register(self.close)


@functools.cache
def worker(function: str, memory: int = MEMORY_BYTES) -> Worker:
    """The one worker of this process for `function`."""
    return Worker(function, memory)


def _ending(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def main(function: str, memory: int) -> None:
    """The worker's side: read a job, run it, write the answer, until the pipe ends."""
    pipe_in, pipe_out = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what a library prints is no answer
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    _end_with_parent()
    module, _, name = function.partition(":")
    found = importlib.import_module(module)
    run, prepare = getattr(found, name), getattr(found, "prepare", None)
    _limit_memory(memory)
    sys.setrecursionlimit(RECURSION)
    while (data := _read(pipe_in)) is not None:
        job, seconds = pickle.loads(data)
        if prepare is not None:  # what is done once is not the first job's time
            prepare(job)
            prepare = None
        signal.setitimer(signal.ITIMER_PROF, seconds)
        answer = _run(run, job)
        signal.setitimer(signal.ITIMER_PROF, 0)
        pickled = pickle.dumps(answer)
        pipe_out.write(LENGTH.pack(len(pickled)) + pickled)
        pipe_out.flush()


def _run(run: Any, job: Any) -> tuple[str, Any]:
    try:
        return "done", run(job)
    except Refused as refused:
        return "refused", (refused.cause, refused.detail)
    except MemoryError:
        return "refused", ("extractor_failed", "out of memory")
    except RecursionError:
        return "refused", ("extractor_failed", "nested too deeply for the extractor")
    except Exception as error:  # a library's, on what somebody wrote: that is this record's fate, not the build's
        return "refused", ("extractor_failed", f"{type(error).__name__}: {error}"[:180])


def _read(pipe: BinaryIO) -> bytes | None:
    head = pipe.read(LENGTH.size)
    if len(head) < LENGTH.size:
        return None
    return pipe.read(LENGTH.unpack(head)[0])


def _limit_memory(n_bytes: int) -> None:
    """On Linux the data segment counts what is really taken, private mappings included, but no libraries; elsewhere there is no such limit."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (n_bytes, n_bytes))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _end_with_parent() -> None:
    """On Linux the kernel ends the worker with the thread that started it; elsewhere its CPU limit and the end of the pipe do."""
    with contextlib.suppress(OSError, AttributeError):
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
