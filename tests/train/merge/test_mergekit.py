"""The recipes for mergekit: what its documentation asks for, and what its language cannot say. tests/bench/mergekit.py runs them there."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from curate.errors import CurateError
from tests.train.merged import model, vector, write_run
from train.merge.config import load_merge
from train.merge.mergekit import part_of, recipe
from train.merge.run import run


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    for name in "abcde":
        model(tmp_path / name, 1.0)
    return tmp_path


def written(folder: Path, **keys: object) -> dict:
    return recipe(load_merge(write_run(folder, **{"write_mergekit": "kit.yaml", **keys})))


def test_one_base_is_task_arithmetic(folders: Path) -> None:
    a, b, c = (str(folders / name) for name in "abc")
    assert written(folders, vectors=vector(folders, **{"lambda": 0.5})) == {
        "merge_method": "task_arithmetic", "base_model": c,
        "models": [{"model": a, "parameters": {"weight": 1.0}}, {"model": b, "parameters": {"weight": 0.5}}],
        "parameters": {"normalize": False}, "dtype": "float32", "tokenizer": {"source": a},
    }  # fmt: skip


def test_several_bases_are_linear(folders: Path) -> None:
    second = {"b": str(folders / "d"), "c": str(folders / "e"), "lambda": 0.25}
    found = written(folders, vectors=[*vector(folders), second], rows="id")
    weights = {Path(m["model"]).name: m["parameters"]["weight"] for m in found["models"]}
    assert found["merge_method"] == "linear" and weights == {"a": 1.0, "b": 1.0, "c": -1.0, "d": 0.25, "e": -0.25}
    assert "tokenizer" not in found and "base_model" not in found
    with pytest.raises(CurateError, match="mergekit's ties has one base"):
        written(folders, vectors=[*vector(folders), second], write_mergekit={"file": "x", "merge_method": "ties"})


def test_a_more_general_method(folders: Path) -> None:
    found = written(folders, write_mergekit={"file": "x", "merge_method": "ties", "parameters": {"density": 0.5}}, dtype="bf16")
    assert found["merge_method"] == "ties" and found["out_dtype"] == "bfloat16" and "parameters" not in found
    assert [m["parameters"] for m in found["models"]] == [{"weight": 1.0, "density": 0.5}] * 2


def test_blocks_become_filters(folders: Path) -> None:
    """Ours: the last pattern that fits decides. Theirs: the first filter."""
    found = written(folders, vectors=vector(folders, blocks={"model.layers.0.*": 0.5, "*mlp*": 0.25}, exclude=["*norm*"]))
    assert found["models"][1]["parameters"]["weight"] == [
        {"filter": "norm", "value": 0.0}, {"filter": "mlp", "value": 0.25}, {"filter": "model.layers.0.", "value": 0.5}, {"value": 1.0},
    ]  # fmt: skip


@pytest.mark.parametrize("pattern", ["model.layers.[01].*", "*.mlp.*.weight", "*", "lm_head*"])
def test_patterns_that_mergekit_cannot_say(pattern: str) -> None:
    with pytest.raises(CurateError, match="filters are parts of names"):
        part_of(pattern)


def test_the_file_is_written_in_a_dry_run_too(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kit = folders / "kit.yaml"
    run(write_run(folders, write_mergekit=str(kit)), dry_run=True)
    assert yaml.safe_load(kit.read_text())["merge_method"] == "task_arithmetic" and f"mergekit-yaml {kit}" in kit.read_text()
    assert f"mergekit-yaml {kit}" in capsys.readouterr().out and not (folders / "out").exists()
