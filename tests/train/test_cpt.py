"""Promises 6 and 7: stopping is the same as not stopping, and the receipt says what entered."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Container, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from transformers import AutoModelForCausalLM

from curate.errors import CurateError
from curate.store import read_json
from mixture.batches import Share, in_rows
from tests.train.conftest import TINY, last, optimizer_state, weights
from tests.train.fake import FakeStream, write_fake_manifest
from train import batch, cpt
from train.stop import Stop
from train.streams import Streams

RunFile = Callable[..., Path]
Patch, Said = pytest.MonkeyPatch, pytest.CaptureFixture[str]


def stop_after(monkeypatch: Patch, step: int) -> None:
    monkeypatch.setattr(Stop, "why", lambda self, accelerator, done: "the test says so" if done == step else "")


@pytest.mark.parametrize("k", [1, 3, 5])
def test_resume_at_any_step_gives_the_same_bits(run_file: RunFile, tmp_path: Path, monkeypatch: Patch, k: int) -> None:
    assert cpt.run(run_file("whole")) == 0
    with monkeypatch.context() as patched:
        stop_after(patched, k)
        assert cpt.run(run_file("parts")) == 0
    assert last(tmp_path / "parts").name == f"step-00000{k}"
    assert cpt.run(run_file("parts")) == 0
    whole, parts = tmp_path / "whole" / "step-000006", tmp_path / "parts" / "step-000006"
    assert (whole / "model.safetensors").read_bytes() == (parts / "model.safetensors").read_bytes()
    assert (whole / "receipt.json").read_bytes() == (parts / "receipt.json").read_bytes()
    a, b = optimizer_state(whole), optimizer_state(parts)
    assert len(a) == 3 * len(weights(whole)) and all(torch.equal(a[name], b[name]) for name in a)


def test_training_moves_the_weights_and_lowers_the_loss(run_file: RunFile, tmp_path: Path) -> None:
    cpt.run(run_file())
    events = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    held_out = [e["components"]["et"]["loss"] for e in events if e["event"] == "held_out"]
    assert len(held_out) == 2 and held_out[1] < held_out[0] - 0.05
    steps = [e for e in events if e["event"] == "step"]
    assert [e["step"] for e in steps] == [1, 2, 3, 4, 5, 6]
    assert sum(part["loss_tokens"] for e in steps for part in e["components"].values()) == sum(e["loss_tokens"] for e in steps)


def test_receipt_equals_plan(run_file: RunFile, stream: FakeStream, tmp_path: Path, capsys: Said) -> None:
    assert cpt.run(run_file()) == 0
    receipt = read_json(tmp_path / "run" / "step-000006" / "receipt.json")
    rows = stream.rows[:22]
    assert receipt["tokens"] == sum(r.n_tokens for r in rows) and receipt["loss_tokens"] == sum(r.n_loss_tokens for r in rows)
    assert [c["sequences"] for c in receipt["components"]] == [15, 7]
    (own,) = receipt["streams"]
    assert own["stream_sha256"] == own["manifest"]["stream"] and receipt["differences"] == []
    odd = sum(int((row.document[: row.n_tokens] % 2).sum()) for row in rows)
    spoken = {entry["name"]: entry["tokens"] for entry in receipt["languages"]}
    assert spoken == {"eesti": receipt["tokens"] - odd, "english": odd}
    assert "matches plan to the token" in capsys.readouterr().out


def test_a_skipped_row_shows(run_file: RunFile, tmp_path: Path, monkeypatch: Patch, capsys: Said) -> None:
    def without_row_8(stream: Streams, share: Share, skipped: Container[int]) -> batch.Rows:
        rows = [i for i in share.rows if i != 8]
        return batch.read(stream, share._replace(rows=rows, n_empty=share.size - len(rows)))  # a masked row in its place

    monkeypatch.setattr(cpt, "read", without_row_8)
    assert cpt.run(run_file()) == 1
    receipt = read_json(tmp_path / "run" / "step-000006" / "receipt.json")
    (own,) = receipt["streams"]
    assert own["stream_sha256"] != own["manifest"]["stream"]
    assert receipt["sequences"] == 21
    assert "DIFFERS" in capsys.readouterr().out


def test_a_row_exchanged_on_the_way_into_the_model_shows(run_file: RunFile, tmp_path: Path, monkeypatch: Patch) -> None:
    """The loop believes it fed row 8; the model got one other token."""
    before = cpt._micro_batches

    def exchanged(rows: batch.Rows, size: int, accelerator: Accelerator) -> Iterator[tuple[int, batch.Rows]]:
        for first, part in before(rows, size, accelerator):
            if 8 in part.index.tolist():
                part.input_ids[part.index.tolist().index(8), 3] += 1
            yield first, part

    monkeypatch.setattr(cpt, "_micro_batches", exchanged)
    assert cpt.run(run_file()) == 1
    receipt = read_json(tmp_path / "run" / "step-000006" / "receipt.json")
    assert receipt["differences"] == ["what entered the model differs from the stream between rows 5 and 10"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("manifest", "stream_roots"),
        ("tokenizer", "tokenizer_sha256"),
        ("batch", "global_batch"),
        ("model", "model_config.hidden_size"),
    ],
)
def test_resume_refuses_another_training(
    run_file: RunFile, stream: FakeStream, tmp_path: Path, monkeypatch: Patch, change: str, said: str
) -> None:
    with monkeypatch.context() as patched:
        stop_after(patched, 2)
        cpt.run(run_file())
    changes: dict = {}
    if change == "manifest":
        stream.rows[9] = FakeStream(seed=1).rows[9]
        write_fake_manifest(tmp_path / "manifest.json", stream)
    elif change == "tokenizer":
        tokenizer = {"name": "none", "sha256": "1" * 64, "vocab_size": 64, "special": {}}
        write_fake_manifest(tmp_path / "manifest.json", stream, tokenizer=tokenizer)
    elif change == "batch":
        changes["global_batch"] = "256 tokens"
    else:
        changes["model"] = {"init": {**TINY, "hidden_size": 16}, "seed": 1}
    with pytest.raises(CurateError, match=said):
        cpt.run(run_file(**changes))


def test_sigterm_finishes_the_step_and_saves(run_file: RunFile, tmp_path: Path, monkeypatch: Patch, capsys: Said) -> None:
    def read(stream: Streams, share: Share, skipped: Container[int]) -> batch.Rows:
        if share.rows[0] == 8:
            os.kill(os.getpid(), signal.SIGTERM)
        return batch.read(stream, share)

    monkeypatch.setattr(cpt, "read", read)
    assert cpt.run(run_file()) == 0
    assert last(tmp_path / "run").name == "step-000003"
    assert "the same command goes on from there" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_max_hours_saves_and_ends_well(run_file: RunFile, tmp_path: Path) -> None:
    path = run_file(stop={"max_hours": 1e-9})
    assert cpt.run(path) == 0
    assert last(tmp_path / "run").name == "step-000001"


def test_finished_run_says_so_again(run_file: RunFile, capsys: Said) -> None:
    assert cpt.run(run_file()) == 0
    said = capsys.readouterr().out
    assert said.startswith("held out, loss, step 0 -> 6: et ")
    assert cpt.run(run_file()) == 0
    again = capsys.readouterr()
    assert again.out == said and "tiny is complete: all 6 steps were done before" in again.err


def test_accumulation_does_not_matter(run_file: RunFile, tmp_path: Path) -> None:
    model = {"init": {**TINY, "attention_dropout": 0.0}, "seed": 1}
    for size in (1, 4):
        cpt.run(run_file(f"m{size}", micro_batch=size, model=model))
    a, b = (weights(tmp_path / f"m{size}" / "step-000006") for size in (1, 4))
    assert max((a[name] - b[name]).abs().max().item() for name in a) < 1e-6
    receipts = [(tmp_path / f"m{size}" / "step-000006" / "receipt.json").read_bytes() for size in (1, 4)]
    assert receipts[0] == receipts[1]


def test_the_last_batch_is_filled_with_empty_rows(stream: FakeStream) -> None:
    rows = batch.read(stream, in_rows(stream.phases, 4).share(5))
    assert rows.index.tolist() == [20, 21, -1, -1]
    assert (rows.labels[2:] == -100).all() and (rows.document[2:] == -1).all()


def test_checkpoint_opens_with_transformers(run_file: RunFile, tmp_path: Path) -> None:
    cpt.run(run_file())
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "run" / "step-000006")
    assert model.config.vocab_size == 64 and np.isfinite(model(torch.tensor([[1, 2]])).logits.detach().numpy()).all()


def test_equals_a_plain_loop(run_file: RunFile, stream: FakeStream, tmp_path: Path) -> None:
    """One document at a time through transformers' own loss, the same steps: the same weights.

    Mean residual 1e-6 (issue 7's measure). The largest is allowed ten times that: Adam divides by the size of gradients that are
    themselves rounding, measured 1.3e-6.
    """
    spec = {**TINY, "attention_dropout": 0.0}
    cpt.run(run_file(model={"init": spec, "seed": 1}))
    from transformers import AutoConfig

    torch.manual_seed(1)
    special = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"))
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**special, vocab_size=64, max_position_embeddings=32, **spec))
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim == 1]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.95))
    for step in range(6):
        rows = stream.rows[step * 4 : min(step * 4 + 4, 22)]
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * ((step + 1) / 2 if step < 2 else (1 + np.cos(np.pi * (step - 2) / 4)) / 2)
        total, n = torch.tensor(0.0), sum(row.n_loss_tokens for row in rows)
        for row in rows:
            for k in range(row.document.max() + 1):
                ids = torch.from_numpy(row.input_ids[row.document == k].astype(np.int64))[None]
                total = total + model(input_ids=ids, labels=ids).loss * (ids.shape[1] - 1) / n
        optimizer.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    ours = weights(tmp_path / "run" / "step-000006")
    differences = torch.cat([(ours[name] - value).abs().flatten() for name, value in model.state_dict().items()])
    assert differences.mean() < 1e-6 and differences.max() < 1e-5
