"""The shipped sbatch file, run by bash with a pretended srun and scontrol: two tasks on CPUs, signals, and what is queued again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.train.conftest import TINY, last, weights
from tests.train.sharded import CONFIG, environment
from train import cpt

TOP = Path(__file__).resolve().parents[2]
SCRIPT = TOP / "recipes" / "train" / "cluster" / "cpt.sbatch"
MODEL = {"init": {**TINY, "attention_dropout": 0.0}, "seed": 1}

# As srun does: as many tasks as asked for, each with its number; signals go on to all of them; the worst exit code is its own.
SRUN = """#!/usr/bin/env python3
import os, signal, subprocess, sys
tasks = []
def passed_on(number, frame):
    for task in tasks:
        task.send_signal(number)
signal.signal(signal.SIGUSR1, passed_on)
signal.signal(signal.SIGTERM, passed_on)
for k in range(int(os.environ["SLURM_NTASKS"])):
    own = {**os.environ, "SLURM_PROCID": str(k), "SLURM_LOCALID": str(k)}
    tasks.append(subprocess.Popen([a for a in sys.argv[1:] if not a.startswith("--")], env=own))
sys.exit(max(task.wait() for task in tasks))
"""
SCONTROL = """#!/bin/bash
case "$1" in
  show) if [ "$2" = hostnames ]; then echo localhost; else echo "JobId=$3 JobState=${JOB_STATE:-RUNNING}"; fi ;;
  requeue) echo "$2" >> "$QUEUE" ;;
esac
"""


@pytest.fixture
def slurm(tmp_path: Path, run_file: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The run file; the environment is that of a job of two tasks on one node."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    run = run_file("job", model=MODEL)
    for name, value in {
        "PATH": f"{tools}:{os.environ['PATH']}", "PYTHON": sys.executable, "TRAIN": f"{sys.executable} -m tests.train.ranks 2",
        "RUN": str(run), "QUEUE": str(tmp_path / "queue"), "PYTHONPATH": str(TOP), "SLURM_JOB_ID": str(os.getpid()),
        "SLURM_JOB_NODELIST": "n1", "SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2", "SLURM_CPUS_PER_TASK": "1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    return run


def begin() -> subprocess.Popen[str]:
    return subprocess.Popen(["bash", SCRIPT], cwd=TOP, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def end(job: subprocess.Popen[str]) -> str:
    said = job.communicate(timeout=200)[0]
    assert job.returncode == 0, said
    return said


def after_two_steps(job: subprocess.Popen[str], log: Path, number: signal.Signals) -> None:
    """A signal to the batch shell, as --signal=B:USR1 and scancel send it."""
    while job.poll() is None and (not log.exists() or log.read_text().count('"event": "step"') < 2):
        time.sleep(0.02)
    job.send_signal(number)


def same_as_undisturbed(run_file: Callable[..., Path], tmp_path: Path) -> None:
    cpt.run(run_file("whole", model=MODEL))
    whole, job = tmp_path / "whole" / "step-000006", tmp_path / "job" / "step-000006"
    assert (whole / "receipt.json").read_bytes() == (job / "receipt.json").read_bytes()
    a, b = weights(whole), weights(job)
    assert max((a[name] - b[name]).abs().max().item() for name in a) < 1e-6


@pytest.mark.slow
def test_queued_again_before_the_time_is_over(
    slurm: Path, run_file: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as slow:
        slow.setenv("SECONDS_A_STEP", "0.5")
        job = begin()
        after_two_steps(job, tmp_path / "job" / "log.jsonl", signal.SIGUSR1)
        said = end(job)
    done = int(last(tmp_path / "job").name.removeprefix("step-"))
    assert 2 <= done < 6 and "the time is almost over" in said and f"step-{done:06d}: queued again" in said
    assert (tmp_path / "queue").read_text() == f"{os.getpid()}\n"
    said = end(begin())
    assert "going on from" in said and "matches plan to the token" in said and "all is trained" in said
    assert (tmp_path / "queue").read_text().count("\n") == 1
    same_as_undisturbed(run_file, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("state", ["RUNNING", "PREEMPTED"])
def test_sigterm_is_scancel_unless_slurm_needs_the_nodes(
    slurm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    monkeypatch.setenv("SECONDS_A_STEP", "0.5")
    monkeypatch.setenv("JOB_STATE", state)
    job = begin()
    after_two_steps(job, tmp_path / "job" / "log.jsonl", signal.SIGTERM)
    said = end(job)
    assert last(tmp_path / "job").name < "step-000006"
    assert (tmp_path / "queue").exists() == (state == "PREEMPTED") == ("sbatch again to go on" not in said)


@pytest.mark.slow
def test_max_hours_are_queued_again_too(slurm: Path, run_file: Callable[..., Path], tmp_path: Path) -> None:
    """Over after every first step."""
    run_file("job", model=MODEL, stop={"max_hours": 1e-9})
    for _ in range(2):
        assert "queued again" in end(begin())
    assert last(tmp_path / "job").name == "step-000002" and (tmp_path / "queue").read_text().count("\n") == 2


@pytest.mark.slow
def test_a_failure_is_not_queued_again(slurm: Path, tmp_path: Path) -> None:
    slurm.write_text(slurm.read_text().replace("128 tokens", "96 tokens"))  # three rows: not for two tasks
    job = begin()
    said = job.communicate(timeout=200)[0]
    assert job.returncode != 0 and "does not divide among the processes" in said and "not queued again" in said
    assert not (tmp_path / "queue").exists()


def test_divided_as_the_config_for_accelerate_says() -> None:
    said = dict(pair.split("=") for line in SCRIPT.read_text().splitlines() if "FSDP_" in line and "export" in line
                for pair in line.split()[1:])  # fmt: skip
    known = environment(CONFIG)
    assert said and all(known[name] == value for name, value in said.items())
