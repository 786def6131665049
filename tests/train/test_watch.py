"""The log of a run in several parts, one of which was killed in the middle of a line."""

from __future__ import annotations

import json
from pathlib import Path

from train.watch import Watching


def held_out(folder: Path, done: int, et: float) -> str:
    with Watching(folder, "tiny", 9, ["et"], True) as watching:
        watching.held_out(done, {"et": {"loss": et, "tokens": 10, "bits_per_byte": et / 2}})
        return watching.from_first_to_last()


def test_first_to_last_over_a_half_line(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    assert held_out(tmp_path, 0, 8.0) == "held out, bits per byte, step 0 -> 0: et 4.000 -> 4.000"
    with log.open("a") as file:
        file.write('{"event": "step", "st')
    assert held_out(tmp_path, 9, 5.0) == "held out, bits per byte, step 0 -> 9: et 4.000 -> 2.500"
    assert [json.loads(line)["step"] for line in log.read_text().splitlines()] == [0, 9]


def test_nothing_was_held_out(tmp_path: Path) -> None:
    with Watching(tmp_path, "tiny", 9, ["et"], True) as watching:
        assert watching.from_first_to_last() == ""
