"""Bits per byte of a manifest's held-out rows: those of train.evaluate, row by row, and by source; and a suite with a gate inside a run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from accelerate import Accelerator

from curate.errors import CurateError
from tests.train.conftest import last, same_bits
from tests.train.evaluation.conftest import Small
from train import cpt
from train import tokenizer as tokenizers
from train.config import ModelSpec
from train.evaluate import HeldOut, means
from train.evaluation import load, results
from train.evaluation.run import run
from train.evaluation.suite import Subject
from train.model import Scorer
from train.streams import open_streams

XCOPA = {
    "name": "xcopa", "kind": "multiple_choice", "language": "et", "limit": 10,
    "template": {"prompt": "{{ premise }}", "choices": ["{{ choice1 }}", "{{ choice2 }}"], "answer": "label"},
}  # fmt: skip


def suite_of(folder: Path, small: Small) -> Path:
    tasks = [{"name": "held", "kind": "bits_per_byte", "data": {"manifest": "run"}},
             {**XCOPA, "data": {"path": str(small.eval / "xcopa_et_test.jsonl")}}]  # fmt: skip
    path = folder / "suite.yaml"
    path.write_text(yaml.safe_dump({"name": "inside", "tasks": tasks}))
    return path


def evaluated(folder: Path, small: Small, model: Path, name: str = "results") -> Path:
    asked = {"method": "evaluate", "name": "r", "model": {"init": str(model)}, "suite": str(suite_of(folder, small)), "to": str(folder / name),
             "manifest": str(small.manifest), "seed": 3}  # fmt: skip
    (folder / "eval.yaml").write_text(yaml.safe_dump(asked))
    assert run(folder / "eval.yaml") == 0
    return folder / name


def values(folder: Path) -> dict[str, float]:
    return {f"{row['task']}.{row['metric']}": row["value"] for row in results.read_results(folder)}


def test_equal_to_the_trainers_own(tmp_path: Path, small: Small) -> None:
    loaded, streams = load.load(Subject(init=str(small.model))), open_streams([small.manifest])
    found = tokenizers.find(streams.manifests[0], small.manifest, ModelSpec(init=str(small.model)))
    accelerator = Accelerator()
    tally = HeldOut(streams, accelerator, 4, found.tokenizer).tally(Scorer(loaded.model, "fp32"), accelerator)
    ours = values(evaluated(tmp_path, small, small.model))
    for kind, sums in (("component", tally.components(streams)), ("language", tally.languages(streams))):
        theirs = means(sums)
        assert {n for n in ours if n.startswith(f"held.{kind}.")} == {f"held.{kind}.{name}.bits_per_byte" for name in theirs}
        for name, of in theirs.items():
            assert ours[f"held.{kind}.{name}.bits_per_byte"] == pytest.approx(of["bits_per_byte"], rel=1e-6)
    # here every component is of one source, so its bits are the source's
    for component, source in (("et", "web"), ("en", "en")):
        assert ours[f"held.source.{source}.bits_per_byte"] == pytest.approx(
            ours[f"held.component.{component}.bits_per_byte"], rel=1e-9
        )


def test_another_tokenizer_is_refused(tmp_path: Path, small: Small, capsys: pytest.CaptureFixture[str]) -> None:
    tokenizer = json.loads((small.model / "tokenizer.json").read_text())
    tokenizer["model"]["merges"].pop()
    other = tmp_path / "other"
    load.load(Subject(init=str(small.model))).model.save_pretrained(other)
    (other / "tokenizer.json").write_text(json.dumps(tokenizer))
    asked = {"method": "evaluate", "name": "r", "model": {"init": str(other)}, "suite": str(suite_of(tmp_path, small)),
             "to": str(tmp_path / "results"), "manifest": str(small.manifest)}  # fmt: skip
    (tmp_path / "eval.yaml").write_text(yaml.safe_dump(asked))
    assert run(tmp_path / "eval.yaml") == 3
    assert "this tokenizer is not the one that made the manifest's tokens" in capsys.readouterr().out
    assert {row["task"] for row in results.read_results(tmp_path / "results")} == {"xcopa"}


def run_file(folder: Path, small: Small, to: str, **changes: object) -> Path:
    data = {
        "method": "cpt", "name": to, "manifest": str(small.manifest), "model": {"init": str(small.model)}, "global_batch": "2048 tokens",
        "schedule": {"kind": "constant", "peak_lr": 1e-3}, "save": {"to": str(folder / to)}, "seed": 3, "stop": {"after": "4 steps"}, **changes,
    }  # fmt: skip
    path = folder / f"{to}.yaml"
    path.write_text(yaml.safe_dump(data))
    return path


def test_a_suite_inside_a_run(tmp_path: Path, small: Small) -> None:
    """Before, in the middle, after; the last as the command measures the checkpoint; the training itself is not touched by it."""
    suite = suite_of(tmp_path, small)
    gate = {"et_bits_per_byte": "+0 %", "held.component.en.bits_per_byte": "<= 20"}
    assert (
        cpt.run(run_file(tmp_path, small, "asked", evaluate={"suite": str(suite), "suite_every": "2 steps", "gate": gate})) == 0
    )
    assert cpt.run(run_file(tmp_path, small, "plain", name="asked")) == 0  # a receipt says the name of its run
    folders = sorted((tmp_path / "asked" / "evaluations").iterdir())
    assert [folder.name for folder in folders] == ["step-000000", "step-000002", "step-000004"]
    before, middle, after = map(values, folders)
    assert (
        before["held.language.et.bits_per_byte"]
        > middle["held.language.et.bits_per_byte"]
        > after["held.language.et.bits_per_byte"]
    )
    assert before == values(evaluated(tmp_path, small, small.model, "first"))
    assert after == pytest.approx(values(evaluated(tmp_path, small, last(tmp_path / "asked"), "last")), rel=1e-6)
    assert same_bits(last(tmp_path / "asked"), last(tmp_path / "plain"))
    (row, *_) = results.read_results(folders[-1])
    assert json.loads(row["receipt"])["step"] == 4 and row["model"] == "asked after step 4"


def test_the_gate_ends_a_run(tmp_path: Path, small: Small) -> None:
    """What it trains on makes Estonian cheaper, so a rule that asks for it to become dearer fails at the first look; the step is saved."""
    evaluate = {
        "suite": str(suite_of(tmp_path, small)),
        "suite_every": "2 steps",
        "gate": {"held.language.et.bits_per_byte": "-99 %"},
    }
    path = run_file(tmp_path, small, "shut", evaluate=evaluate)
    with pytest.raises(CurateError, match="the gate is shut after step 2") as error:
        cpt.run(path)
    assert error.value.exit_code == 1 and last(tmp_path / "shut").name == "step-000002"
    with pytest.raises(CurateError, match="the gate is shut after step 2"):  # the same command does not slip past it
        cpt.run(path)
    assert cpt.run(path, ["evaluate.gate={}"]) == 0
    assert last(tmp_path / "shut").name == "step-000004"


def test_a_gate_that_comes_later(tmp_path: Path, small: Small) -> None:
    """A run that goes on with a gate, but was not asked at step 0: said before it trains on. A bound needs no step 0."""
    assert cpt.run(run_file(tmp_path, small, "later", stop={"after": "2 steps"})) == 0
    evaluate = {"suite": str(suite_of(tmp_path, small)), "gate": {"et_bits_per_byte": "+2 %"}}
    path = run_file(tmp_path, small, "later", evaluate=evaluate)
    with pytest.raises(CurateError, match="compares with step 0") as error:
        cpt.run(path)
    assert "evaluations/step-000000" in error.value.next and last(tmp_path / "later").name == "step-000002"
    assert cpt.run(path, ["evaluate.gate={held.language.et.bits_per_byte: <= 20}"]) == 0


def test_adapters(tmp_path: Path, small: Small) -> None:
    """A checkpoint of adapters is put over the model that it was trained on, and measures as it did inside the run."""
    suite = suite_of(tmp_path, small)
    assert cpt.run(run_file(tmp_path, small, "lora", adapt={"lora": {"r": 4}}, evaluate={"suite": str(suite)})) == 0
    inside = values(tmp_path / "lora" / "evaluations" / "step-000004")
    assert inside == pytest.approx(values(evaluated(tmp_path, small, last(tmp_path / "lora"))), rel=1e-5)
    assert (
        inside["held.language.et.bits_per_byte"]
        < values(tmp_path / "lora" / "evaluations" / "step-000000")["held.language.et.bits_per_byte"]
    )


def test_a_damaged_checkpoint_is_not_evaluated(tmp_path: Path, small: Small) -> None:
    assert cpt.run(run_file(tmp_path, small, "whole")) == 0
    checkpoint = last(tmp_path / "whole")
    data = bytearray((checkpoint / "model.safetensors").read_bytes())
    data[-5] ^= 1
    (checkpoint / "model.safetensors").write_bytes(data)
    with pytest.raises(CurateError, match="is not what was written"):
        load.load(Subject(init=str(checkpoint)))


def test_keys_of_a_run_file(tmp_path: Path, small: Small) -> None:
    with pytest.raises(CurateError, match="gate and suite_every belong to a suite"):
        cpt.run(run_file(tmp_path, small, "a", evaluate={"gate": {"x": "+1 %"}}))
    with pytest.raises(CurateError, match="there is no such suite"):
        cpt.run(run_file(tmp_path, small, "b", evaluate={"suite": "nowhere.yaml"}))
