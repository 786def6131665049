"""Stopping is the same as not stopping, whatever is trained and by which optimizer; and what a checkpoint does not fit is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from curate.errors import CurateError
from curate.store import read_json
from tests.train.conftest import TINY, last, optimizer_state, residual, same_bits, weights
from tests.train.test_cpt import stop_after
from train import cpt

RunFile = Callable[..., Path]
Patch, Said = pytest.MonkeyPatch, pytest.CaptureFixture[str]

TIED = {"init": {**TINY, "tie_word_embeddings": True}, "seed": 1}
WAYS: dict[str, dict] = {
    "lora": {"adapt": {"lora": {"r": 4}}},
    "lora with dropout": {"adapt": {"lora": {"r": 4, "dropout": 0.2}}},
    "dora": {"adapt": {"lora": {"r": 4, "dora": True, "dropout": 0.2}}},
    "rslora on some": {"adapt": {"lora": {"r": 4, "rslora": True, "targets": ["q_proj", "v_proj"]}}},
    "lora and whole matrices": {"adapt": {"lora": {"r": 4, "train_also": ["embed_tokens", "lm_head"]}}},
    "lora and tied matrices": {"adapt": {"lora": {"r": 4, "train_also": ["embed_tokens", "lm_head"]}}, "model": TIED},
    "a part frozen": {"adapt": {"full": {"freeze": "model.layers.0.*"}}},
    "tied": {"model": TIED},
    "bf16": {"model": {"init": TINY, "seed": 1, "dtype": "bf16", "weights": "bf16"}},
    "lora on bf16": {"model": {"init": TINY, "seed": 1, "dtype": "bf16"}, "adapt": {"lora": {"r": 4}}},
    "adafactor": {"optimizer": {"name": "adafactor"}},
    "muon": {"optimizer": {"name": "muon"}},
    "muon on lora": {"optimizer": {"name": "muon"}, "adapt": {"lora": {"r": 4}}},
    "checkpointing": {"model": {"init": TINY, "seed": 1, "checkpointing": True}},
}


@pytest.mark.parametrize("way", WAYS)
def test_resume_gives_the_same_bits(run_file: RunFile, tmp_path: Path, monkeypatch: Patch, way: str) -> None:
    """After the first step and in the middle; at least three steps compared after each load."""
    assert cpt.run(run_file("whole", **WAYS[way])) == 0
    whole = tmp_path / "whole" / "step-000006"
    assert any(value.abs().max() > 0 for name, value in optimizer_state(whole).items() if not name.endswith(" step"))
    for k in (1, 3):
        with monkeypatch.context() as patched:
            stop_after(patched, k)
            assert cpt.run(run_file(f"at{k}", **WAYS[way])) == 0
        assert last(tmp_path / f"at{k}").name == f"step-00000{k}"
        before = weights(last(tmp_path / f"at{k}"))
        assert cpt.run(run_file(f"at{k}", **WAYS[way])) == 0
        assert same_bits(last(tmp_path / f"at{k}"), whole)
        after = weights(whole)
        assert before.keys() == after.keys() and any(not torch.equal(before[name], after[name]) for name in after)


def begun(run_file: RunFile, monkeypatch: Patch, to: str = "run", step: int = 2, **changes: object) -> Path:
    """A run that was stopped after a step; its run file."""
    with monkeypatch.context() as patched:
        stop_after(patched, step)
        cpt.run(run_file(to, **changes))
    return run_file(to, **changes)


LORA = {"adapt": {"lora": {"r": 4}}}
REFUSED: dict[str, tuple[dict, dict, str]] = {
    "another optimizer": ({}, {"optimizer": {"name": "adafactor"}}, "optimizer was adamw and is now adafactor"),
    "adapters": ({}, LORA, "adapt"),
    "another rank": (LORA, {"adapt": {"lora": {"r": 8}}}, r"adapt\.lora\.r was 4 and is now 8"),
    "another frozen model": ({**LORA}, {**LORA, "model": {"init": TINY, "seed": 2}}, "base was fresh, seed 1 and is now fresh, seed 2"),
    "another part frozen": ({}, {"adapt": {"full": {"freeze": "model.layers.1.*"}}}, r"adapt\.full\.freeze"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_checkpoint_that_does_not_fit_is_refused(run_file: RunFile, monkeypatch: Patch, case: str) -> None:
    before, after, said = REFUSED[case]
    begun(run_file, monkeypatch, **before)
    with pytest.raises(CurateError, match=said) as error:
        cpt.run(run_file(**after))
    assert error.value.next and "save.to" in error.value.next


def test_what_may_differ_is_named(run_file: RunFile, monkeypatch: Patch, capsys: Said, tmp_path: Path) -> None:
    """Other settings of the model that leave its weights as they are."""
    begun(run_file, monkeypatch)
    model = {"init": {**TINY, "attention_dropout": 0.3}, "seed": 1}
    with pytest.raises(CurateError, match=r"model_config\.attention_dropout was 0\.1 and is now 0\.3"):
        cpt.run(run_file(model=model))
    assert cpt.run(run_file(model=model, allow="model_config")) == 0
    assert "allowed: model_config.attention_dropout was 0.1 and is now 0.3" in capsys.readouterr().err
    assert last(tmp_path / "run").name == "step-000006"


def test_the_frozen_part_is_as_it_was(run_file: RunFile, monkeypatch: Patch, tmp_path: Path) -> None:
    cpt.run(begun(run_file, monkeypatch, adapt={"full": {"freeze": ["model.layers.0.*", "lm_head*"]}}))
    cpt.run(run_file("other", stop={"after": "1 steps"}, schedule={"peak_lr": 1e-30}, optimizer={"weight_decay": 0.0}))
    first, after = weights(tmp_path / "other" / "step-000001"), weights(last(tmp_path / "run"))
    moved = {name for name in first if not torch.equal(first[name], after[name])}
    assert moved == {name for name in first if not name.startswith(("model.layers.0.", "lm_head"))} and moved


@pytest.mark.parametrize("way", ["full", "lora with dropout"])
def test_another_micro_batch_after_the_load(run_file: RunFile, monkeypatch: Patch, tmp_path: Path, way: str) -> None:
    """Elastic: 1e-6 in the mean; draws of dropout are by row."""
    model = {"init": {**TINY, "attention_dropout": 0.0}, "seed": 1}
    changes = {**WAYS.get(way, {}), "model": model}
    cpt.run(run_file("whole", **changes))
    begun(run_file, monkeypatch, micro_batch=1, **changes)
    cpt.run(run_file(micro_batch=4, **changes))
    whole, parts = tmp_path / "whole" / "step-000006", tmp_path / "run" / "step-000006"
    assert (whole / "receipt.json").read_bytes() == (parts / "receipt.json").read_bytes()
    mean, largest = residual(weights(whole), weights(parts))
    assert mean < 1e-6 and largest < 1e-5


def test_start_from_goes_on_in_another_folder(run_file: RunFile, monkeypatch: Patch, tmp_path: Path) -> None:
    """Its step, weights, optimizer and receipt; then the folder's own checkpoints count."""
    cpt.run(run_file("whole"))
    begun(run_file, monkeypatch, "first", 2)
    start = str(tmp_path / "first" / "step-000002")
    begun(run_file, monkeypatch, "second", 4, start_from=start)
    assert sorted(path.name for path in (tmp_path / "second").glob("step-*")) == ["step-000004"]
    assert cpt.run(run_file("second", start_from=start)) == 0
    assert same_bits(tmp_path / "second" / "step-000006", tmp_path / "whole" / "step-000006")
    assert last(tmp_path / "first").name == "step-000002"


def test_start_from_refuses_what_is_damaged(run_file: RunFile, monkeypatch: Patch, tmp_path: Path) -> None:
    begun(run_file, monkeypatch, "first", 2)
    (tmp_path / "first" / "step-000002" / "receipt.json").write_text("{}")
    with pytest.raises(CurateError, match=r"receipt\.json is not what was written"):
        cpt.run(run_file("second", start_from=str(tmp_path / "first" / "step-000002")))


def test_another_global_batch_goes_on_where_a_step_begins(
    run_file: RunFile, monkeypatch: Patch, capsys: Said, tmp_path: Path
) -> None:
    """4 steps of 4 rows are 2 of 8: rows 16 to 21 are left, one step. 3 steps of 4 are no whole number of them."""
    begun(run_file, monkeypatch, "first", 4)
    start = {"start_from": str(tmp_path / "first" / "step-000004"), "global_batch": "256 tokens"}
    with pytest.raises(CurateError, match="global_batch was 128 and is now 256"):
        cpt.run(run_file("second", **start))
    assert cpt.run(run_file("second", allow="global_batch", **start)) == 0
    assert "allowed: global_batch was 128 and is now 256" in capsys.readouterr().err
    receipt = read_json(tmp_path / "second" / "step-000003" / "receipt.json")
    assert (receipt["steps"], receipt["sequences"], receipt["differences"]) == (5, 22, [])
    assert receipt["streams"][0]["stream_sha256"] == receipt["streams"][0]["manifest"]["stream"]
    begun(run_file, monkeypatch, "third", 3)
    with pytest.raises(CurateError, match="no step of this global batch begins where the checkpoint ends"):
        cpt.run(run_file("third", allow="global_batch", global_batch="256 tokens"))
    with pytest.raises(CurateError, match="steps of another size are counted anew") as error:
        cpt.run(run_file("first", allow="global_batch", global_batch="256 tokens"))
    assert error.value.next and "start_from=" in error.value.next
