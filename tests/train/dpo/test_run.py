"""Whole runs on the CPU: the receipt, exact resume, how micro batches are cut, what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from tests.train.conftest import last
from train.dpo import run

RunFile = Callable[..., Path]


def steps_of(folder: Path) -> list[dict]:
    events = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [event for event in events if event["event"] == "step"]


def test_a_run_trains_every_pair_once_and_its_receipt_says_so(run_file: RunFile, tmp_path: Path, pairs) -> None:
    assert run.run(run_file()) == 0
    receipt = json.loads((last(tmp_path / "run") / "receipt.json").read_text())
    assert receipt["differences"] == [] and receipt["method"] == "dpo" and receipt["sequences"] == 22 and receipt["steps"] == 6
    assert receipt["streams"][0]["stream_sha256"] == pairs.manifest["roots"]["stream"]
    trained = pairs.pairs[:22]
    assert receipt["tokens"] == sum(2 * len(p.prompt_ids) + len(p.chosen_ids) + len(p.rejected_ids) for p in trained)
    assert receipt["loss_tokens"] == sum(len(p.chosen_ids) + len(p.rejected_ids) for p in trained)
    lines = steps_of(tmp_path / "run")
    assert [line["pairs"]["all"]["n"] for line in lines] == [4, 4, 4, 4, 4, 2]
    assert abs(lines[0]["loss_sum"] / 4 - 0.6931472) < 1e-5  # ln 2: before the first step nothing has parted from the reference
