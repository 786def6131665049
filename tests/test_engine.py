"""Tasks run once, in process or in a pool; errors arrive as themselves; workers end with their parent."""

import os
import signal
import subprocess
import sys
import time

import pytest

from curate import engine
from curate.engine import Task
from curate.errors import CurateError
from curate.store import Store, digest


def publish(stage, key):
    with stage.shard(key) as shard:
        (shard.path / "pid").write_text(str(os.getpid()))
        shard.done(1, digest(key))


def fail(stage, key):
    raise CurateError("the disk is made of cheese", where=key)


def stage_of(tmp_path):
    return Store(tmp_path).stage("x", version=1, settings={})


@pytest.mark.parametrize("workers", [1, 2])
def test_every_task_publishes_once(tmp_path, workers):
    stage = stage_of(tmp_path)
    keys = [f"{i:05d}" for i in range(5)]
    tasks = [Task(((stage, key),), publish, (stage, key)) for key in keys]
    publish(stage, keys[0])
    before = (stage.shard_path(keys[0]) / "shard.json").stat().st_mtime_ns
    engine.run(tasks, workers=workers, label="test")
    stage.finish(keys)
    assert (stage.shard_path(keys[0]) / "shard.json").stat().st_mtime_ns == before
    pids = {(stage.shard_path(key) / "pid").read_text() for key in keys[1:]}
    assert (pids == {str(os.getpid())}) == (workers == 1)
    assert list((tmp_path / ".tmp").iterdir()) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_arrives_as_itself(tmp_path, workers):
    stage = stage_of(tmp_path)
    tasks = [Task(((stage, key),), fail, (stage, key)) for key in ("a", "b", "c")]
    with pytest.raises(CurateError, match="cheese") as error:
        engine.run(tasks, workers=workers, label="test")
    assert error.value.where in ("a", "b", "c")


SLEEPER = """
import os, sys, time
from pathlib import Path
from curate import engine
from curate.engine import Task
from curate.store import Store
def sleep(folder):
    Path(folder, str(os.getpid())).touch()
    time.sleep(60)
if __name__ == "__main__":
    stage = Store(Path(sys.argv[1])).stage("x", version=1, settings={})
    engine.run([Task(((stage, k),), sleep, (sys.argv[2],)) for k in "ab"], workers=2, label="sleep")
"""


def processes(marker):
    """Living processes whose command line or environment names the marker folder."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                text = open(f"/proc/{entry}/environ", "rb").read()
                state = open(f"/proc/{entry}/stat").read().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if marker.encode() in text and state != "Z" and int(entry) != os.getpid():
                found.append(int(entry))
    return found


@pytest.mark.skipif(not os.path.isdir("/proc"), reason="needs /proc to count processes: run on Linux")
def test_workers_end_when_the_parent_is_killed(tmp_path):
    script, pids = tmp_path / "sleeper.py", tmp_path / "pids"
    script.write_text(SLEEPER)
    pids.mkdir()
    env = {**os.environ, "VESKI_MARK": str(tmp_path)}
    parent = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path / "store"), str(pids)], env=env, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while len(list(pids.iterdir())) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert len(list(pids.iterdir())) == 2
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 10
    while processes(str(tmp_path)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert processes(str(tmp_path)) == []
