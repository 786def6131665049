"""A run over several phases: one schedule, rows of each phase's length, a receipt over all of them, resumable anywhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from curate.store import read_json
from tests.mixture import made_stream
from tests.train.conftest import TINY, last, residual, weights
from tests.train.test_cpt import stop_after
from tests.train.test_ranks import TOP
from train import cpt, sft
from train.batch import read

# 128 tokens a step: 22 rows of 32 are 6 steps, 5 of 64 are 3, 9 of 16 are 2
PHASES = [("main", 32, 22), ("long", 64, 5), ("short", 16, 9)]
Patch, Said = pytest.MonkeyPatch, pytest.CaptureFixture[str]
Write = Callable[..., Path]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> made_stream.Made:
    return made_stream.write(tmp_path_factory.mktemp("made"), PHASES, held_out_length=48)


@pytest.fixture
def write(tmp_path: Path, made: made_stream.Made) -> Write:
    def write(to: str = "run", **changes: object) -> Path:
        data = {
            "method": "cpt", "name": "phases", "manifest": str(made.manifest), "model": {"init": TINY, "seed": 1},
            "global_batch": "128 tokens", "micro_batch": 2, "schedule": {"kind": "cosine", "peak_lr": 3e-3, "warmup": "2 steps"},
            "save": {"to": str(tmp_path / to)}, "seed": 5, **changes,
        }  # fmt: skip
        path = tmp_path / f"{to}.yaml"
        path.write_text(yaml.safe_dump(data))
        return path

    return write


def test_the_receipt_is_the_plan_over_all_phases(write: Write, made: made_stream.Made, tmp_path: Path, capsys: Said) -> None:
    """`realised` of this manifest is in another unit than tokens: the receipt compares with `tokens`."""
    assert cpt.run(write()) == 0
    receipt = read_json(tmp_path / "run" / "step-000011" / "receipt.json")
    (own,) = receipt["streams"]
    assert receipt["sequences"] == 36 and own["stream_sha256"] == own["manifest"]["stream"] and not receipt["differences"]
    for number, component in enumerate(receipt["components"]):
        assert component["tokens"] == sum(len(row["ids"]) for row in made.rows if row["component"] == number)
    said = capsys.readouterr()
    assert "matches plan to the token" in said.out
    assert "22 sequences of 32 tokens and 5 sequences of 64 tokens and 9 sequences of 16 tokens" in said.err
    assert "11 steps of 4 and 2 and 8 sequences (1 process, 2 and 1 and 4 in one forward pass)" in said.err
    assert "phase long from step 7 on: 2 sequences of 64 tokens a step" in said.err
    assert said.err.count("isolation: ") == 3 and "none sees another (phase long)" in said.err
    events = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    phases = [(e["step"], e["phase"], e["batch_rows"], e["sequence_length"]) for e in events if e["event"] == "phase"]
    assert phases == [(0, "main", 4, 32), (6, "long", 2, 64), (9, "short", 8, 16)]
    steps = [e for e in events if e["event"] == "step"]
    assert [e["step"] for e in steps] == list(range(1, 12)) and steps[-1]["lr"] < steps[6]["lr"] < steps[2]["lr"]
    assert sum(e["tokens"] for e in steps) == receipt["tokens"]
    assert [e["step"] for e in events if e["event"] == "held_out"] == [0, 11]


@pytest.mark.parametrize("k", [2, 6, 7, 9, 10])
def test_resume_anywhere_gives_the_same_bits(write: Write, tmp_path: Path, monkeypatch: Patch, k: int) -> None:
    """In a phase, at its end, after the first step of the next."""
    assert cpt.run(write("whole")) == 0
    with monkeypatch.context() as patched:
        stop_after(patched, k)
        assert cpt.run(write("parts")) == 0
    assert last(tmp_path / "parts").name == f"step-{k:06d}"
    cursors = {2: 8, 6: 22, 7: 24, 9: 27, 10: 35}  # the next row of the stream
    assert read_json(last(tmp_path / "parts") / "checkpoint.json")["cursor"] == cursors[k]
    assert cpt.run(write("parts")) == 0
    whole, parts = tmp_path / "whole" / "step-000011", tmp_path / "parts" / "step-000011"
    assert (whole / "model.safetensors").read_bytes() == (parts / "model.safetensors").read_bytes()
    assert (whole / "receipt.json").read_bytes() == (parts / "receipt.json").read_bytes()


def test_accumulation_does_not_matter(write: Write, tmp_path: Path) -> None:
    """Bounds of test_equals_a_plain_loop: Adam divides by the size of gradients that are rounding; measured 1.2e-6 at most."""
    model = {"init": {**TINY, "attention_dropout": 0.0}, "seed": 1}
    for size in (1, 4):
        cpt.run(write(f"m{size}", micro_batch=size, model=model))
    a, b = (weights(tmp_path / f"m{size}" / "step-000011") for size in (1, 4))
    differences = torch.cat([(a[name] - b[name]).abs().flatten() for name in a])
    assert differences.mean() < 1e-6 and differences.max() < 1e-5
    assert len({(tmp_path / f"m{size}" / "step-000011" / "receipt.json").read_bytes() for size in (1, 4)}) == 1


def test_a_row_skipped_in_the_second_phase_shows(write: Write, tmp_path: Path, monkeypatch: Patch) -> None:
    def without_row_24(stream, share, skipped):  # type: ignore[no-untyped-def]
        rows = [i for i in share.rows if i != 24]
        return read(stream, share._replace(rows=rows, n_empty=share.size - len(rows)))

    monkeypatch.setattr(cpt, "read", without_row_24)
    assert cpt.run(write()) == 1
    assert read_json(tmp_path / "run" / "step-000011" / "receipt.json")["sequences"] == 35


def test_a_stop_after_some_steps_ends_in_a_phase(write: Write, tmp_path: Path, capsys: Said) -> None:
    assert cpt.run(write(stop={"after": "8 steps"})) == 0
    receipt = read_json(tmp_path / "run" / "step-000008" / "receipt.json")
    assert receipt["sequences"] == 26 and "matches plan as far as the manifest's marks go (row 21)" in capsys.readouterr().out


def test_held_out_rows_have_their_own_length(write: Write, made: made_stream.Made, tmp_path: Path) -> None:
    cpt.run(write())
    events = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    asked = sum(label != -100 for row in made.held_out for label in row["labels"])
    assert sum(c["tokens"] for c in next(e for e in events if e["event"] == "held_out")["components"].values()) == asked
    assert torch.tensor([len(row["ids"]) for row in made.held_out]).min() > 32


def on_ranks(n: int, run_file: Path) -> str:
    """The trainer itself in `n` real processes; what it printed."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(n), "-m", "train", "cpt"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(TOP), "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run([*command, str(run_file)], cwd=TOP, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"({n} processes, 2 and 1 and 4 in one forward pass)" in done.stderr
    return done.stdout


@pytest.mark.slow
def test_two_ranks_equal_one_and_go_on_where_it_stopped(write: Write, tmp_path: Path, monkeypatch: Patch) -> None:
    model = {"init": {**TINY, "attention_dropout": 0.0}, "seed": 1}
    cpt.run(write("one", model=model))
    with monkeypatch.context() as patched:
        stop_after(patched, 7)  # in the second phase
        cpt.run(write("both", model=model))
    assert "matches plan to the token" in on_ranks(2, write("two", model=model))
    assert "matches plan to the token" in on_ranks(2, write("both", model=model))
    receipts = {(tmp_path / name / "step-000011" / "receipt.json").read_bytes() for name in ("one", "two", "both")}
    assert len(receipts) == 1
    one = weights(tmp_path / "one" / "step-000011")
    for other in ("two", "both"):
        theirs = weights(tmp_path / other / "step-000011")
        differences = torch.cat([(one[name] - theirs[name]).abs().flatten() for name in one])
        assert differences.mean() < 1e-6 and differences.max() < 1e-5


def test_sft_over_phases_trains_what_cpt_trains(write: Write, tmp_path: Path) -> None:
    """Other rows in a forward pass and other passes a step in each phase."""
    model = {"init": {**TINY, "attention_dropout": 0.0}, "seed": 1}
    assert cpt.run(write("cpt", model=model)) == 0
    assert sft.run(write("sft", model=model, method="sft")) == 0
    mean, largest = residual(weights(last(tmp_path / "cpt")), weights(last(tmp_path / "sft")))
    print(f"weights {mean:.1e}, at most {largest:.1e}")
    assert mean < 1e-6 and largest < 1e-5
    receipts = [read_json(last(tmp_path / name) / "receipt.json") for name in ("cpt", "sft")]
    assert {**receipts[0], "method": "sft"} == receipts[1] and receipts[1]["sequences"] == 36
