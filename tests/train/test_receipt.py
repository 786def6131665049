"""Rows that the run file skips: in the receipt, in the log, and nowhere else; what is lost besides is still found."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Container
from pathlib import Path

import pytest
import torch

from curate.store import read_json
from mixture.batches import Share
from tests.train.conftest import last, same_bits, weights
from tests.train.fake import FakeStream
from tests.train.test_cpt import stop_after
from train import batch, cpt
from train.streams import Streams

RunFile = Callable[..., Path]
Patch, Said = pytest.MonkeyPatch, pytest.CaptureFixture[str]


def lose(monkeypatch: Patch, row: int) -> None:
    """The trainer with a mistake: this row never enters, an empty one in its place."""

    def without(streams: Streams, share: Share, skipped: Container[int]) -> batch.Rows:
        rows = [i for i in share.rows if i != row]
        return batch.read(streams, share._replace(rows=rows, n_empty=share.size - len(rows)), skipped)  # type: ignore[arg-type]

    monkeypatch.setattr(cpt, "read", without)


def test_skipped_rows_are_recorded(run_file: RunFile, stream: FakeStream, tmp_path: Path, capsys: Said) -> None:
    assert cpt.run(run_file(skip=["5", "8-9"])) == 0
    assert "matches plan to the token, but for 3 rows that the run file skips" in capsys.readouterr().out
    receipt = read_json(last(tmp_path / "run") / "receipt.json")
    rows = [row for i, row in enumerate(stream.rows[:22]) if i not in (5, 8, 9)]
    assert receipt["skipped"] == [5, 8, 9] and receipt["differences"] == [] and receipt["sequences"] == 19
    assert receipt["tokens"] == sum(row.n_tokens for row in rows)
    state = hashlib.sha256(b"veski-stream-1").digest()  # of the empty stream (mixture.stream)
    for row in rows:
        state = hashlib.sha256(state + row.row_hash).digest()
    (own,) = receipt["streams"]
    assert (own["stream_sha256"], own["n_skipped"]) == (state.hex(), 3)
    events = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [(e["step"], e["rows"]) for e in events if e["event"] == "skipped"] == [(2, [5]), (3, [8, 9])]
    assert [e["tokens"] for e in events if e["event"] == "step"][1] == sum(stream.rows[i].n_tokens for i in (4, 6, 7))


@pytest.mark.parametrize("row", [3, 10, 20, 21])
@pytest.mark.parametrize("skip", [[], ["8"], ["8", "18-19"]], ids=["none skipped", "one", "three"])
def test_a_row_lost_besides_is_found(run_file: RunFile, monkeypatch: Patch, capsys: Said, skip: list[str], row: int) -> None:
    """The last ones of the stream too, after which no mark stands."""
    lose(monkeypatch, row)
    assert cpt.run(run_file(skip=skip)) == 1
    assert "DIFFERS from the plan" in capsys.readouterr().out


def test_a_row_lost_before_an_early_end_is_found(run_file: RunFile, monkeypatch: Patch, capsys: Said) -> None:
    """3 steps are 12 rows; the last mark before is at 10."""
    lose(monkeypatch, 11)
    assert cpt.run(run_file(stop={"after": "3 steps"})) == 1
    assert "11 rows entered the model, 12 were due" in capsys.readouterr().out


def test_resume_with_skipped_rows(run_file: RunFile, tmp_path: Path, monkeypatch: Patch) -> None:
    cpt.run(run_file("whole", skip=["5", "8-9"]))
    for k in (1, 2, 3):
        with monkeypatch.context() as patched:
            stop_after(patched, k)
            cpt.run(run_file(f"at{k}", skip=["5", "8-9"]))
        cpt.run(run_file(f"at{k}", skip=["5", "8-9"]))
        assert same_bits(last(tmp_path / f"at{k}"), last(tmp_path / "whole"))


def test_a_skip_that_comes_too_late_is_none(run_file: RunFile, tmp_path: Path, monkeypatch: Patch) -> None:
    """Row 5 was trained before the run file named it."""
    with monkeypatch.context() as patched:
        stop_after(patched, 2)
        cpt.run(run_file())
    assert cpt.run(run_file(skip=["5", "9"])) == 0
    receipt = read_json(last(tmp_path / "run") / "receipt.json")
    assert receipt["skipped"] == [9] and receipt["sequences"] == 21


def test_a_step_without_rows_moves_nothing(run_file: RunFile, tmp_path: Path) -> None:
    """Neither by weight decay nor by what Adam keeps of the steps before; the next step goes on."""
    cpt.run(run_file(skip=["8-11"], save={"to": str(tmp_path / "run"), "every": "1 steps", "keep": 9}))
    two, three, four = (weights(tmp_path / "run" / f"step-00000{n}") for n in (2, 3, 4))
    assert all(torch.equal(value, three[name]) for name, value in two.items())
    assert all(not torch.equal(value, four[name]) for name, value in three.items())
    assert read_json(tmp_path / "run" / "step-000006" / "receipt.json")["steps"] == 6
