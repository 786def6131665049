"""NaN and Inf stop a run, the documents of the step named; without those rows it goes on. On a real build with its selection.parquet."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from transformers import PreTrainedModel

from curate.errors import CurateError
from curate.store import read_json
from mixture.stream import Stream
from tests.mixture import made_stream, two_phases
from tests.train.conftest import TINY, last, weights
from train import cpt

Patch, Said = pytest.MonkeyPatch, pytest.CaptureFixture[str]
Write = Callable[..., Path]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return two_phases.build(tmp_path_factory.mktemp("two"))


@pytest.fixture
def write(tmp_path: Path, built: Path) -> Write:
    def write(to: str = "run", **changes: object) -> Path:
        data = {
            "method": "cpt", "name": "two", "manifest": str(built / "manifest.json"), "global_batch": "120 tokens",
            "model": {"init": {**TINY, "hidden_size": 8, "intermediate_size": 8, "attention_dropout": 0.0}, "seed": 1},
            "micro_batch": 2, "schedule": {"kind": "constant", "peak_lr": 1e-3}, "stop": {"after": "8 steps"},
            "save": {"to": str(tmp_path / to), "every": "1 steps", "keep": 99}, **changes,
        }  # fmt: skip
        path = tmp_path / f"{to}.yaml"
        path.write_text(yaml.safe_dump(data))
        return path

    return write


def poison(monkeypatch: Patch, row: np.ndarray, value: float, where: str) -> None:
    """A model whose hidden states, or their gradients, are `value` for this row of ids alone, in training."""
    before, wanted = cpt.build, torch.from_numpy(row.astype(np.int64))

    def spoil(decoder: torch.nn.Module, args: tuple, kwargs: dict[str, Any], out: Any) -> Any:
        ids = kwargs["input_ids"]
        hit = (ids == wanted).all(1) if ids.shape[1] == len(wanted) else torch.zeros(len(ids), dtype=torch.bool)
        if decoder.training and hit.any():
            hidden = out.last_hidden_state
            if where == "gradient":
                hidden.register_hook(lambda gradient: gradient * value)
            else:
                out.last_hidden_state = torch.where(hit[:, None, None], value, hidden)
        return out

    def build(*settings: Any) -> PreTrainedModel:
        model = before(*settings)
        model.get_decoder().register_forward_hook(spoil, with_kwargs=True)
        return model

    monkeypatch.setattr(cpt, "build", build)


def listed(built: Path, row: int) -> list[dict]:
    """Documents of a row of the stream, from the build's files alone."""
    sequences = built / "sequences"
    sequence = int(np.load(sequences / "order.npy")[row])
    first, end = np.load(sequences / "row_ptr.npy")[sequence : sequence + 2].tolist()
    table = pq.read_table(built / "selection.parquet").to_pylist()
    chosen = [table[int(number)] for number in np.load(sequences / "chunks.npy")["document"][first:end]]
    return [{"row": row, **{key: line[key] for key in ("component", "source", "id", "pass", "chunk")}} for line in chosen]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number(write: Write, built: Path, tmp_path: Path, monkeypatch: Patch, value: float) -> None:
    poison(monkeypatch, Stream(built / "manifest.json").row(22).input_ids, value, "loss")
    with pytest.raises(CurateError, match="step 5 gave no finite loss") as error:
        cpt.run(write())
    documents = listed(built, 22)
    assert error.value.exit_code == 1 and error.value.where == "stream rows 22 to 22" and len(documents) > 0
    assert documents[0]["id"][:16] in str(error.value) and f"{len(documents)} documents" in str(error.value)
    assert "skip=[22-22]" in str(error.value)
    file = read_json(tmp_path / "run" / "not-finite-step-000005.json")
    assert (file["step"], file["rows"], file["documents"]) == (5, [22], documents)
    assert last(tmp_path / "run").name == "step-000004"  # what was good is kept, nothing after it


def test_a_gradient_that_is_no_number(write: Write, built: Path, tmp_path: Path, monkeypatch: Patch) -> None:
    """No loss says which row it was: all of the step are named."""
    poison(monkeypatch, Stream(built / "manifest.json").row(22).input_ids, float("inf"), "gradient")
    with pytest.raises(CurateError, match=r"step 5 gave no finite gradient \((inf|nan)\)") as error:
        cpt.run(write())
    file = read_json(tmp_path / "run" / "not-finite-step-000005.json")
    assert file["rows"] == [20, 21, 22, 23, 24] and error.value.where == "stream rows 20 to 24"
    assert file["documents"] == [document for row in range(20, 25) for document in listed(built, row)]


def test_without_the_row_it_goes_on(write: Write, built: Path, tmp_path: Path, monkeypatch: Patch, capsys: Said) -> None:
    poison(monkeypatch, Stream(built / "manifest.json").row(22).input_ids, float("nan"), "loss")
    with pytest.raises(CurateError):
        cpt.run(write())
    capsys.readouterr()
    assert cpt.run(write(), ["skip=[22-22]"]) == 0
    said = capsys.readouterr()
    assert "going on from" in said.err and "but for 1 rows that the run file skips" in said.out
    receipt = read_json(last(tmp_path / "run") / "receipt.json")
    assert receipt["skipped"] == [22] and receipt["sequences"] == 39 and receipt["differences"] == []
    assert all(value.isfinite().all() for value in weights(last(tmp_path / "run")).values())
    events = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [(e["step"], e["rows"]) for e in events if e["event"] == "skipped"] == [(5, [22])]


def test_tokens_without_their_build_name_rows_alone(tmp_path: Path, write: Write, monkeypatch: Patch) -> None:
    made = made_stream.write(tmp_path / "made", [("main", 32, 20)])
    poison(monkeypatch, Stream(made.manifest).row(9).input_ids, float("nan"), "loss")
    with pytest.raises(CurateError, match="step 3 gave no finite loss") as error:
        cpt.run(write(manifest=str(made.manifest), global_batch="128 tokens", stop={"after": "5 steps"}))
    assert error.value.where == "stream rows 9 to 9"
    assert read_json(tmp_path / "run" / "not-finite-step-000003.json")["documents"] == []
