"""Whole or absent; the last good one; only as many as asked."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from curate.errors import CurateError
from tests.train.test_cpt import stop_after
from train import checkpoint, cpt

RunFile = Callable[..., Path]
Patch, Said = pytest.MonkeyPatch, pytest.CaptureFixture[str]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_dir())


def test_keeps_the_newest(run_file: RunFile, tmp_path: Path) -> None:
    cpt.run(run_file(save={"to": str(tmp_path / "run"), "every": "1 steps", "keep": 2}))
    assert names(tmp_path / "run") == ["step-000005", "step-000006"]


def test_every_in_tokens(run_file: RunFile, tmp_path: Path) -> None:
    cpt.run(run_file(save={"to": str(tmp_path / "run"), "every": "256 tokens", "keep": 9}))
    assert names(tmp_path / "run") == ["step-000002", "step-000004", "step-000006"]


@pytest.mark.parametrize("damage", ["model.safetensors", "optimizer/__0_0.distcp", "receipt.json", "checkpoint.json", "missing"])
def test_goes_back_behind_a_damaged_one(
    run_file: RunFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    save = {"to": str(tmp_path / "run"), "every": "2 steps"}
    with monkeypatch.context() as patched:
        stop_after(patched, 4)
        cpt.run(run_file(save=save))
    newest = tmp_path / "run" / "step-000004"
    if damage == "missing":
        (newest / "optimizer" / ".metadata").unlink()
    else:
        data = bytearray((newest / damage).read_bytes())
        data[len(data) // 2] ^= 1
        (newest / damage).write_bytes(data)
    assert cpt.run(run_file(save=save)) == 0
    said = capsys.readouterr().err
    assert "step-000004 is damaged" in said and "going on from" in said and "step 2 of 6" in said
    assert names(tmp_path / "run") == ["step-000002", "step-000004", "step-000006"]
    whole = tmp_path / "whole"
    cpt.run(run_file("whole"))
    a, b = (folder / "step-000006" / "model.safetensors" for folder in (whole, tmp_path / "run"))
    assert a.read_bytes() == b.read_bytes()


def test_all_damaged_is_said_not_hidden(run_file: RunFile, tmp_path: Path) -> None:
    cpt.run(run_file())
    (tmp_path / "run" / "step-000006" / "model.safetensors").write_bytes(b"")
    with pytest.raises(CurateError, match="no checkpoint here is whole"):
        cpt.run(run_file())


def test_an_interrupted_save_is_no_checkpoint(run_file: RunFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(path: Path, value: dict) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patched, pytest.raises(OSError, match="disk full"):
        patched.setattr(checkpoint, "write_json", broken)
        cpt.run(run_file())
    assert names(tmp_path / "run") == [".step-000006.writing"]
    assert cpt.run(run_file()) == 0
    assert names(tmp_path / "run") == ["step-000006"]


def test_every_file_is_listed(run_file: RunFile, tmp_path: Path) -> None:
    cpt.run(run_file())
    folder = tmp_path / "run" / "step-000006"
    listed = {file["name"] for file in json.loads((folder / "checkpoint.json").read_text())["files"]}
    assert listed | {"checkpoint.json"} == {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_changed_settings_are_named(run_file: RunFile, monkeypatch: Patch, capsys: Said) -> None:
    with monkeypatch.context() as patched:
        stop_after(patched, 2)
        cpt.run(run_file())
    cpt.run(run_file(micro_batch=4))
    assert "(changed since: micro_batch)" in capsys.readouterr().err
