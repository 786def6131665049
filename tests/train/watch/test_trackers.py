"""Trackers through accelerate: what tensorboard's file says when it is read back, and what is said where one is missing or fails."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from accelerate import Accelerator
from accelerate.utils import LoggerType
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from curate.errors import CurateError
from tests.train.watch.made import record, watching
from train.watch import trackers


def read_back(folder: Path) -> dict[str, list[tuple[int, float]]]:
    found = EventAccumulator(str(folder / "run" / "tensorboard" / "veski"))
    found.Reload()
    return {tag: [(e.step, pytest.approx(e.value, rel=1e-6)) for e in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


def test_tensorboard(tmp_path: Path) -> None:
    with watching(tmp_path, of=Accelerator(cpu=True), to=["jsonl", "tensorboard"]) as watch:
        watch.step(record(1))
        watch.step(record(2, et=4.0))
        watch.held_out(2, {"et": {"loss": 1.5, "tokens": 9, "bits_per_byte": 0.75}})
    scalars = read_back(tmp_path)
    assert scalars["loss/et"] == [(1, 2.0), (2, 4.0)]
    assert scalars["loss/all"] == [(1, 205 / 88), (2, 323 / 88)]
    assert scalars["loss/language/en"] == [(1, 3.0), (2, 3.0)]
    assert scalars["bits_per_byte/en"] == [(1, 1.5 / 0.6931471805599453)] * 1 + [(2, 1.5 / 0.6931471805599453)]
    assert scalars["tokens_per_second/loss"] == [(1, 44.0), (2, 44.0)]
    assert scalars["tokens"] == [(1, 90.0), (2, 180.0)]
    assert scalars["held_out/bits_per_byte/et"] == [(2, 0.75)]
    assert scalars["learning_rate"] == [(1, 1e-3), (2, 1e-3)]


def test_a_missing_package_is_said_before_the_first_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accelerate.tracking.get_available_trackers", lambda: [])
    with pytest.raises(CurateError) as error:
        watching(tmp_path, to=["jsonl", "wandb", "mlflow"])
    assert "pip install wandb mlflow-skinny" in str(error.value) and "wandb, mlflow" in str(error.value)


def test_a_tracker_that_fails_does_not_end_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with watching(tmp_path, of=Accelerator(cpu=True), to=["tensorboard"]) as watch:
        watch.step(record(1))

        def fail(values: dict, step: int) -> None:
            raise OSError("disk full")

        watch.accelerator.trackers[0].log = fail
        watch.step(record(2))
        watch.step(record(3))
        assert watch.accelerator.trackers == []
    assert capsys.readouterr().err.count("tracker tensorboard failed and is left out from now on: OSError: disk full") == 1


def test_a_tracker_that_cannot_start_keeps_no_other_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(self: object) -> None:
        raise ConnectionError("no server")

    monkeypatch.setattr("accelerate.tracking.MLflowTracker.start", fail)
    monkeypatch.setattr("accelerate.tracking.get_available_trackers", lambda: [LoggerType.MLFLOW, LoggerType.TENSORBOARD])
    with watching(tmp_path, of=Accelerator(cpu=True), to=["mlflow", "tensorboard"]) as watch:
        watch.step(record(1))
    assert "tracker mlflow failed and is left out from now on: ConnectionError: no server" in capsys.readouterr().err
    assert read_back(tmp_path)["loss/et"] == [(1, 2.0)]


def test_no_network_unless_the_environment_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_MODE", "MLFLOW_TRACKING_URI", "MLFLOW_ALLOW_FILE_STORE"):
        monkeypatch.setenv(name, "")  # so that it is as before after the test
        monkeypatch.delenv(name)
    trackers.environment(tmp_path)
    assert os.environ["WANDB_MODE"] == "offline" and os.environ["MLFLOW_TRACKING_URI"] == (tmp_path / "mlruns").as_uri()
    monkeypatch.setenv("WANDB_MODE", "online")
    trackers.environment(tmp_path)
    assert os.environ["WANDB_MODE"] == "online"


def test_settings_become_scalars() -> None:
    assert trackers.flat({"a": {"b": 1, "c": [1, 2]}, "d": None, "e": True}) == {
        "a.b": 1,
        "a.c": "[1, 2]",
        "d": "None",
        "e": True,
    }
