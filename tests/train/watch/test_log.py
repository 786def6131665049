"""A log of a run that was killed and resumed, read back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from tests.train.watch.made import record
from train.watch.log import Log, cut_half_line, read_log
from train.watch.record import Sums


def write(path: Path, *events: dict) -> None:
    log = Log(path)
    for event in events:
        log.write(**event)
    log.close()


def step(done: int, et: float = 2.0, joules: float | None = None) -> dict:
    return {"event": "step", **record(done, et).line(joules)}


def test_the_later_line_of_a_step_counts(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    first = [step(k, et=9.0, joules=7.0) for k in (1, 2, 3, 4)]
    write(path, {"event": "start", "name": "a"}, *first[:2], {"event": "held_out", "step": 2, "components": {}},
          {"event": "saved", "step": 2, "path": "p", "seconds": 3.0}, *first[2:], {"event": "held_out", "step": 4, "components": {}})  # fmt: skip
    write(path, {"event": "resumed", "step": 2, "path": "p"}, {"event": "start", "name": "b"}, step(3, et=1.0, joules=5.0))
    history = read_log(path)
    assert history.steps.number("step").tolist() == [1.0, 2.0, 3.0] and history.done == 3
    assert history.steps.of("components", "et", "loss_sum").tolist() == [59 * 9.0, 59 * 9.0, 59 * 1.0]
    assert [event["step"] for event in history.held_out] == [2]
    assert history.start["name"] == "b" and history.n_parts == 2
    assert (history.twice.n_steps, history.twice.joules, history.twice.tokens) == (2, 14.0, 180)
    total = history.totals()
    assert (total.n_steps, total.tokens, total.joules, total.seconds["save"]) == (3, 270, 19.0, 3.0)
    assert total.components["et"] == Sums(59 * 19.0, 177, 180, 354)


def test_without_a_checkpoint_the_run_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    write(
        path, {"event": "start"}, {"event": "held_out", "step": 0, "components": {"et": {"loss": 8.0}}}, step(1), step(2), step(3)
    )
    write(path, {"event": "start"}, {"event": "held_out", "step": 0, "components": {"et": {"loss": 7.0}}}, step(1))
    history = read_log(path)
    assert history.steps.number("step").tolist() == [1.0]
    assert [event["components"]["et"]["loss"] for event in history.held_out] == [7.0]


def test_damaged_lines_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    write(path, step(1))
    with path.open("ab") as file:
        file.write(b'\xff\x00garbage\n[1]\n{"step": 4}\n{"event": "step", "step": "x"}\n')
    write(path, step(2))
    with path.open("ab") as file:
        file.write(b'{"event": "step", "st')
    history = read_log(path)
    assert history.steps.number("step").tolist() == [1.0, 2.0] and history.n_damaged == 5


def test_half_a_line_is_cut_off_whatever_its_length(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    for content, left in (
        (b"", b""),
        (b"half", b""),
        (b"a\nhalf", b"a\n"),
        (b"a\nb\n", b"a\nb\n"),
        (b"a\n" + b"x" * 200_000, b"a\n"),
    ):
        path.write_bytes(content)
        cut_half_line(path)
        assert path.read_bytes() == left


def test_a_component_that_comes_late_has_zeros_before(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    late = step(3)
    late["components"]["new"] = {"loss_sum": 5.0, "loss_tokens": 2, "tokens": 3, "n_bytes": 4}
    write(path, step(1), step(2), late, step(4))
    steps = read_log(path).steps
    assert steps.of("components", "new", "tokens").tolist() == [0.0, 0.0, 3.0, 0.0]
    assert np.isnan(steps.number("joules")).all() and steps.totals().joules is None
    steps.cut(2)
    assert steps.of("components", "new", "tokens").tolist() == [0.0, 0.0]


def test_no_log_is_an_empty_history(tmp_path: Path) -> None:
    history = read_log(tmp_path / "log.jsonl")
    assert history.done == 0 and len(history.steps) == 0 and history.totals().n_steps == 0


def test_lines_begin_with_their_event(tmp_path: Path) -> None:
    write(tmp_path / "log.jsonl", step(1))
    line = (tmp_path / "log.jsonl").read_text()
    assert line.startswith('{"event": "step"') and json.loads(line)["time"] > 1e9
