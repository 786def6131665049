"""Runs the tasks of a stage: in this process, or in a pool under datatrove's local executor.

Tasks in, published shards out. A task whose outputs stand in the store is not run again; what an engine remembers is never
asked. Workers end when the process that started them is gone. Imports store, errors and units.
"""

from __future__ import annotations

import contextlib
import functools
import os
import pickle
import shutil
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curate.store import Stage
from curate.units import show_bytes

Output = tuple[Stage, str]  # a stage and the key of one of its shards
# Less stored text than this is done sooner without a pool, which took 4.5 s to start: threads of one process use the cores too.
BYTES_PER_WORKER = 64 << 20
threads = 1  # threads a task of this process may use: cores that no other worker has
most_workers = 1  # processes that worked side by side in this run so far: for the end screen
_QUIET: list[bool] = []  # not empty: no progress is shown


@dataclass(frozen=True)
class Task:
    """`fn(*args)` publishes every output; `weight` (bytes read) orders the work and moves the progress bar."""

    outputs: tuple[Output, ...]
    fn: Callable[..., Any]
    args: tuple
    weight: int = 1

    @property
    def is_done(self) -> bool:
        return all(stage.published(key) for stage, key in self.outputs)


def run(tasks: Sequence[Task], *, workers: int, label: str) -> None:
    """Run what is not published yet, heaviest first, on `workers` processes; 0: one per core where there is work enough.

    An error of a task is raised here, after its neighbours stop.
    """
    open_tasks = sorted((t for t in tasks if not t.is_done), key=lambda t: (-t.weight, [key for _, key in t.outputs]))
    if not open_tasks:
        return
    global threads
    cores = 1 if workers == 1 else os.cpu_count() or 1
    if workers == 0:
        workers = min(os.cpu_count() or 1, 1 + sum(t.weight for t in open_tasks) // BYTES_PER_WORKER)
    workers = min(max(workers, 1), len(open_tasks))
    threads = max(1, cores // workers)
    if workers == 1:
        with progress(label, sum(t.weight for t in open_tasks)) as advance:
            for task in open_tasks:
                task.fn(*task.args)
                advance(task.weight)
    else:
        _run_in_pool(open_tasks, workers, label)


def _run_in_pool(tasks: list[Task], workers: int, label: str) -> None:
    global most_workers
    most_workers = max(most_workers, workers)
    folder = tasks[0].outputs[0][0].store / ".tmp" / f"engine-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    folder.mkdir(parents=True)
    try:
        (folder / "tasks.pickle").write_bytes(pickle.dumps(tasks))
        executor = _executor(folder, len(tasks), workers)
        with progress(label, sum(t.weight for t in tasks)) as advance, _watch_published(tasks, advance):
            executor.run()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if missing := [t.outputs for t in tasks if not t.is_done]:
        raise RuntimeError(f"{label}: {len(missing)} tasks ended without their output, first {missing[0]}")


def _executor(folder: Path, n_tasks: int, workers: int) -> Any:
    """datatrove's LocalPipelineExecutor over our tasks, without its log files and completion markers."""
    import multiprocess.util
    from datatrove.executor.local import LocalPipelineExecutor
    from datatrove.utils.logging import logger
    from datatrove.utils.stats import PipelineStats

    class Executor(LocalPipelineExecutor):
        def _run_for_rank(self, rank: int, local_rank: int = 0, node_rank: int = -1) -> PipelineStats:
            for step in self.pipeline:
                step(None, rank, self.world_size)
            return PipelineStats()

        def is_rank_completed(self, rank: int) -> bool:
            return False

    logger.disable("datatrove")
    die = functools.partial(_end_with, os.getpid())
    multiprocess.util.register_after_fork(_executor, lambda _: die())  # the queue manager is forked, not started by us
    step = functools.partial(_run_rank, str(folder / "tasks.pickle"), os.getpid(), threads)
    return Executor([step], tasks=n_tasks, workers=workers, logging_dir=str(folder), skip_completed=False)


def _run_rank(tasks_file: str, parent: int, n_threads: int, data: object, rank: int, world_size: int) -> None:
    from datatrove.utils.logging import logger

    global threads
    threads = n_threads
    logger.disable("datatrove")
    _end_with(parent)
    task = _load_tasks(tasks_file)[rank]
    task.fn(*task.args)


@functools.lru_cache(maxsize=1)
def _load_tasks(tasks_file: str) -> list[Task]:
    return pickle.loads(Path(tasks_file).read_bytes())


@functools.lru_cache(maxsize=1)
def _end_with(parent: int) -> None:
    """End this process as soon as `parent` is gone, however it went (kill -9 included)."""
    if parent == os.getpid():
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle

    def watch() -> None:
        while _is_alive(parent):
            time.sleep(0.3)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="end-with-parent").start()


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    with contextlib.suppress(OSError):  # a zombie answers signals but works no more (Linux)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return True


@contextlib.contextmanager
def _watch_published(tasks: list[Task], advance: Callable[[float], None]) -> Iterator[None]:
    stop = threading.Event()

    def watch() -> None:
        waiting = list(tasks)
        while waiting:
            stopped = stop.wait(0.2)
            done = [t for t in waiting if t.is_done]
            waiting = [t for t in waiting if t not in done] if done else waiting
            advance(sum(t.weight for t in done))
            if stopped:
                return

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """No progress inside the block: for work that is not expected to take long."""
    _QUIET.append(True)
    try:
        yield
    finally:
        _QUIET.pop()


@contextlib.contextmanager
def progress(label: str, total: float, *, in_bytes: bool = False) -> Iterator[Callable[[float], None]]:
    """A bar on a terminal, two plain lines elsewhere, both on stderr. Yields `advance(weight)`; `in_bytes`: weights are bytes, and shown."""
    if _QUIET:
        yield lambda weight: None
    elif sys.stderr.isatty():
        from rich import progress as bars_of
        from rich.console import Console

        shown = (bars_of.DownloadColumn(), bars_of.TransferSpeedColumn()) if in_bytes else ()
        columns = (bars_of.TextColumn("{task.description:<10}"), bars_of.BarColumn(40), bars_of.TaskProgressColumn(), *shown,
                   bars_of.TimeElapsedColumn(), bars_of.TextColumn("left"), bars_of.TimeRemainingColumn())  # fmt: skip
        with bars_of.Progress(*columns, console=Console(stderr=True)) as bars:
            bar = bars.add_task(label, total=max(total, 1))
            yield lambda weight: bars.advance(bar, weight)
            bars.update(bar, completed=max(total, 1))
    else:
        started = time.monotonic()
        print(f"{label} ...", file=sys.stderr, flush=True)
        yield _plain_lines(label, total, in_bytes)
        print(f"{label} done in {time.monotonic() - started:.1f} s", file=sys.stderr, flush=True)


def _plain_lines(label: str, total: float, in_bytes: bool) -> Callable[[float], None]:
    """At most one line in ten seconds, so that logs of long runs stay short."""
    state = {"done": 0.0, "said": time.monotonic()}

    def advance(weight: float) -> None:
        state["done"] += weight
        if time.monotonic() - state["said"] > 10:
            state["said"] = time.monotonic()
            of = f" ({show_bytes(int(state['done']))} of {show_bytes(int(total))})" if in_bytes else ""
            print(f"{label} {100 * state['done'] / max(total, 1):.0f} %{of}", file=sys.stderr, flush=True)

    return advance
