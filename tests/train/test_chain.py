"""Chains: what is checked before anything runs, what is done again and what is not, where a chain ends, how receipts link. The stages here are
made by a stand-in for their commands; tests/bench/chain.py runs real ones."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from curate.errors import CurateError
from curate.store import file_sha256, write_json
from tests import command
from train.chain import run as room
from train.chain.config import load_chain

CPT = {
    "method": "cpt", "name": "c", "manifest": "m.json", "model": {"init": "base"}, "global_batch": "64 tokens",
    "schedule": {"kind": "constant", "peak_lr": 1e-3}, "save": {"to": "elsewhere"},
}  # fmt: skip
MERGE = {"method": "merge", "name": "m", "a": "base", "vectors": [{"b": "x", "c": "y"}], "to": "elsewhere"}
EVALUATE = {"method": "evaluate", "name": "e", "model": {"init": "base"}, "suite": "s.yaml", "to": "elsewhere"}


def stage(name: str, run: Any, **sets: Any) -> dict[str, Any]:
    return {"name": name, "run": run, **({"set": sets} if sets else {})}


class Stages:
    """In place of the commands: writes what each stage would, and notes that it was called."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.codes: dict[str, int] = {}
        self.half: set[str] = set()
        self.forgets: set[str] = set()

    def __call__(self, line: list[str], check: bool) -> SimpleNamespace:
        file = Path(line[-1])
        data = yaml.safe_load(file.read_text())
        name = file.stem
        self.calls.append(name)
        if code := self.codes.get(name, 0):
            return SimpleNamespace(returncode=code)
        if data["method"] == "evaluate":
            folder = Path(data["to"])
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "results.parquet").write_text(json.dumps(data))
        else:
            self._model(name, data)
        return SimpleNamespace(returncode=0)

    def _model(self, name: str, data: dict[str, Any]) -> None:
        """Weights and a receipt that are a function of the settings; the parents are the folders that the settings name."""
        to, places = (data["save"]["to"], [data["model"]["init"]]) if data["method"] == "cpt" else (data["to"], [data["a"]])
        folder = Path(to) / "step-000002" if data["method"] == "cpt" else Path(to)
        folder.mkdir(parents=True, exist_ok=True)
        known = [Path(place) / "receipt.json" for place in places if (Path(place) / "receipt.json").is_file()]
        parents = [] if name in self.forgets else [{"role": "init", "receipt_sha256": file_sha256(path)} for path in known]
        write_json(folder / "receipt.json", {"method": data["method"], "parents": parents, "of": data["name"]})
        (folder / "model.safetensors").write_bytes(hashlib.sha256(json.dumps(data, sort_keys=True).encode()).digest())
        if data["method"] == "cpt":
            done = 1 if name in self.half else 2
            lines = [{"event": "start", "steps": 2, "name": name}, *({"event": "step", "step": n + 1} for n in range(done))]
            (Path(to) / "log.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch) -> Stages:
    made = Stages()
    monkeypatch.setattr(room.subprocess, "run", made)
    monkeypatch.setattr(room, "_is_complete", lambda folder: len((folder / "log.jsonl").read_text().splitlines()) == 3)
    return made


@pytest.fixture
def chain(tmp_path: Path) -> Callable[..., Path]:
    def write(*given: dict[str, Any], **more: Any) -> Path:
        path = tmp_path / "chain.yaml"
        path.write_text(
            yaml.safe_dump({"method": "chain", "name": "c", "to": str(tmp_path / "out"), "stages": list(given), **more})
        )
        return path

    return write


def three(rate: float = 1e-3) -> list[dict[str, Any]]:
    return [
        stage("first", CPT),
        stage("second", CPT, **{"model.init": "{first}", "schedule.peak_lr": rate}),
        stage("asked", EVALUATE, **{"model.init": "{second}"}),
    ]


def test_each_stage_gets_what_those_before_made_and_none_runs_twice(
    chain: Callable[..., Path], stages: Stages, tmp_path: Path
) -> None:
    assert room.run(chain(*three())) == 0 and stages.calls == ["first", "second", "asked"]
    written = yaml.safe_load((tmp_path / "out/runs/second.yaml").read_text())
    assert written["model"]["init"] == str(tmp_path / "out/first/step-000002") and written["save"]["to"] == str(
        tmp_path / "out/second"
    )
    record = {entry["name"]: entry for entry in json.loads((tmp_path / "out/chain.json").read_text())["stages"]}
    assert record["second"]["parents"][0]["receipt_sha256"] == record["first"]["receipt_sha256"]
    assert record["first"]["receipt_sha256"] == file_sha256(tmp_path / "out/first/step-000002/receipt.json")
    assert room.run(chain(*three())) == 0 and len(stages.calls) == 3


def test_a_setting_redoes_what_depends_on_it_and_deletes_nothing(
    chain: Callable[..., Path], stages: Stages, tmp_path: Path
) -> None:
    room.run(chain(*three()))
    weights = (tmp_path / "out/second/step-000002/model.safetensors").read_bytes()
    assert room.run(chain(*three(rate=2e-3))) == 0
    assert stages.calls == ["first", "second", "asked", "second", "asked"]
    assert (tmp_path / "out/second.old-1/step-000002/model.safetensors").read_bytes() == weights
    assert (tmp_path / "out/second/step-000002/model.safetensors").read_bytes() != weights
    assert (tmp_path / "out/asked.old-1/results.parquet").is_file()


def test_a_failed_gate_ends_the_chain_and_the_same_command_begins_there(chain: Callable[..., Path], stages: Stages) -> None:
    stages.codes["second"] = 1
    assert room.run(chain(*three())) == 1 and stages.calls == ["first", "second"]
    stages.codes.clear()
    assert room.run(chain(*three())) == 0 and stages.calls == ["first", "second", "second", "asked"]


def test_a_stage_that_ran_out_of_hours_ends_the_chain_well(chain: Callable[..., Path], stages: Stages) -> None:
    stages.half.add("first")
    assert room.run(chain(*three())) == 0 and stages.calls == ["first"]
    stages.half.clear()
    assert room.run(chain(*three())) == 0 and stages.calls == ["first", "first", "second", "asked"]


def test_a_receipt_that_does_not_name_its_parent_is_no_link(chain: Callable[..., Path], stages: Stages) -> None:
    stages.forgets.add("second")
    with pytest.raises(CurateError, match="does not name the model") as caught:
        room.run(chain(*three()))
    assert caught.value.exit_code == 1


def test_a_manifest_that_was_built_anew_is_trained_anew(chain: Callable[..., Path], stages: Stages, tmp_path: Path) -> None:
    manifest = tmp_path / "m.json"
    manifest.write_text("{}")
    own = {**CPT, "manifest": str(manifest)}
    room.run(chain(stage("one", own)))
    manifest.write_text("{ }")
    room.run(chain(stage("one", own)))
    assert stages.calls == ["one", "one"] and (tmp_path / "out/one.old-1").is_dir()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([stage("a", CPT, **{"model.init": "{b}"}), stage("b", CPT)], ["no stage before this one", "{b} in '{b}' (it comes later)"]),
        ([stage("first", CPT), stage("b", CPT, **{"model.init": "{frist}"})], ["no stage before this one", "allowed: first"]),
        ([stage("a", CPT), stage("a", CPT)], ["two stages have one name", "found:   a"]),
        ([stage("a", {**CPT, "method": "bake"})], ["no stage of a chain", "method: bake"]),
        ([stage("a", {**CPT, "globel_batch": "1 tokens"})], ["unknown key 'globel_batch'", "chain.yaml:"]),
        ([stage("a", CPT, **{"schedule.peek_lr": 1})], ["unknown key 'schedule.peek_lr'", "chain.yaml:"]),
        ([{"name": "a"}], ["one of run, build"]),
        ([], ["stages"]),
    ],
)  # fmt: skip
def test_mistakes_are_named_before_anything_runs(
    chain: Callable[..., Path], stages: Stages, given: list, said: list[str]
) -> None:
    with pytest.raises(CurateError) as caught:
        room.run(chain(*given))
    assert all(text in str(caught.value) for text in said), str(caught.value)
    assert stages.calls == [] and caught.value.exit_code == 2


def test_environment_variables_and_braces_of_others_stay(chain: Callable[..., Path]) -> None:
    own = {**EVALUATE, "roots": {"eval": "${VESKI_EVAL}"}}
    (only,) = load_chain(chain(stage("a", own))).stages
    assert only.uses == () and only.data["roots"] == {"eval": "${VESKI_EVAL}"}


def test_a_dry_run_lists_and_writes_nothing(chain: Callable[..., Path], tmp_path: Path) -> None:
    done = command.curate("train", "chain", chain(*three()), "--dry-run")
    assert done.returncode == 0, done.stderr
    assert [line.split()[:3] for line in done.stdout.splitlines()[1:]] == [
        ["first", "cpt", "to"], ["second", "cpt", "to"], ["asked", "evaluate", "to"],
    ]  # fmt: skip
    assert not (tmp_path / "out").exists()
