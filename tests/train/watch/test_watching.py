"""The whole of it: log, counters over a resume, who speaks, and the line at the end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.train.watch.made import record, watching
from train.watch.record import Sums


def events(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "run" / "log.jsonl").read_text().splitlines()]


def held_out(folder: Path, done: int, et: float) -> str:
    with watching(folder) as watch:
        watch.held_out(done, {"et": {"loss": et, "tokens": 10, "bits_per_byte": et / 2}})
        return watch.from_first_to_last()


def test_first_to_last_over_a_half_line(tmp_path: Path) -> None:
    assert held_out(tmp_path, 0, 8.0) == "held out, bits per byte, step 0 -> 0: et 4.000 -> 4.000"
    with (tmp_path / "run" / "log.jsonl").open("a") as file:
        file.write('{"event": "step", "st')
    assert held_out(tmp_path, 9, 5.0) == "held out, bits per byte, step 0 -> 9: et 4.000 -> 2.500"
    assert [event["step"] for event in events(tmp_path) if event["event"] == "held_out"] == [0, 9]


def test_nothing_was_held_out(tmp_path: Path) -> None:
    with watching(tmp_path) as watch:
        assert watch.from_first_to_last() == "" and watch.in_all() == ""


def test_start_is_written_once_with_what_is_known(tmp_path: Path) -> None:
    with watching(tmp_path) as watch:
        watch.event("start", n_parameters=12)
        watch.step(record(1))
    with watching(tmp_path) as watch:
        watch.step(record(1))
    starts = [event for event in events(tmp_path) if event["event"] == "start"]
    assert [event.get("n_parameters") for event in starts] == [12, None]
    assert starts[0]["steps"] == 9 and starts[0]["components"] == ["et", "en"] and starts[0]["world"] == 2
    assert starts[0]["run"]["global_batch"] == "128 tokens" and "torch" in starts[0]["versions"]
    assert [event["event"] for event in events(tmp_path)] == ["start", "step", "start", "step"]


def test_counters_survive_a_resume(tmp_path: Path) -> None:
    with watching(tmp_path) as watch:
        for done in (1, 2, 3):
            watch.step(record(done, et=9.0))
    with watching(tmp_path) as watch:
        watch.event("resumed", step=1, path="p")
        watch.step(record(2))
        assert watch.total.n_steps == 2 and watch.total.tokens == 180
        assert watch.total.components["et"] == Sums(59 * 11.0, 118, 120, 236)
        assert watch.in_all().startswith("tokens/s 50 all, 45 non-padding, 44 loss; packing fill 90.00 %; time: data 25.0 %")


def test_saves_and_measurements_are_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("train.watch.time.monotonic", lambda: now[0])
    with watching(tmp_path) as watch:
        watch.held_out(0, {"et": {"loss": 1.0, "tokens": 1}})
        watch.step(record(1))
        now[0] += 3.0
        watch.held_out(1, {"et": {"loss": 1.0, "tokens": 1}})
        now[0] += 5.0
        watch.event("saved", step=1, path="p")
        assert watch.total.seconds["evaluate"] == 3.0 and watch.total.seconds["save"] == 5.0
    assert [event.get("seconds") for event in events(tmp_path) if event["event"] in ("held_out", "saved")] == [None, 3.0, 5.0]


def test_only_rank_0_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with watching(tmp_path, is_main_process=False) as watch:
        watch.say("nobody hears this")
        watch.event("resumed", step=0, path="p")
        watch.step(record(1))
        watch.held_out(1, {"et": {"loss": 1.0, "tokens": 1}})
    assert not (tmp_path / "run").exists() and capsys.readouterr().err == ""


def test_energy_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readings = iter([1.0, 20.0, 30.0])

    class Meters:
        names = ("made",)

        def __init__(self, uuids: list[str]) -> None:
            assert uuids == []

        def joules(self) -> float:
            return next(readings)

    monkeypatch.setattr("train.watch.Energy", Meters)
    with watching(tmp_path, energy=True) as watch:
        watch.step(record(1))
        watch.step(record(2))
        assert watch.total.joules == 50.0  # the first reading is of the time before the first step
    assert [event["joules"] for event in events(tmp_path) if event["event"] == "step"] == [20.0, 30.0]
    assert events(tmp_path)[0]["energy"] == {"meters": ["made"]}
