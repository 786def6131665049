"""The mean of tensors, worked out by hand; files as transformers reads them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from curate.errors import CurateError
from train.average import write_mean


def folder(path: Path, **tensors: torch.Tensor) -> Path:
    path.mkdir()
    save_file(tensors, path / "model.safetensors")
    return path


def test_the_mean_of_three(tmp_path: Path) -> None:
    values = ([1.0, 2.0], [2.0, -2.0], [6.0, 3.0])
    made = [folder(tmp_path / str(k), w=torch.tensor([v]), n=torch.tensor([7])) for k, v in enumerate(values)]
    (tmp_path / "out").mkdir()
    assert write_mean(made, tmp_path / "out") == 3
    found = load_file(tmp_path / "out" / "model.safetensors")
    assert found["w"].tolist() == [[3.0, 1.0]] and found["n"].tolist() == [7]


def test_bf16_is_summed_in_float32(tmp_path: Path) -> None:
    """256 + 1 is 256 in bf16, but (256 + 1 + 1 + 2) / 4 = 65 is not 64."""
    made = [folder(tmp_path / str(k), w=torch.tensor([v], dtype=torch.bfloat16)) for k, v in enumerate((256, 1, 1, 2))]
    (tmp_path / "out").mkdir()
    write_mean(made, tmp_path / "out")
    found = load_file(tmp_path / "out" / "model.safetensors")["w"]
    assert found.dtype == torch.bfloat16 and found.item() == 65


def test_shards_and_dtype(tmp_path: Path) -> None:
    """Three matrices of 16 bytes in bf16, two of which fit a file of 32."""
    tensors = {name: torch.full((2, 4), value) for name, value in (("a", 1.0), ("b", 2.0), ("c", 3.0))}
    (tmp_path / "out").mkdir()
    write_mean([folder(tmp_path / "in", **tensors)], tmp_path / "out", dtype="bf16", shard=32)
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    first, second = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
    assert index == {"metadata": {"total_size": 48}, "weight_map": {"a": first, "b": first, "c": second}}
    found = load_file(tmp_path / "out" / second)
    assert found["c"].dtype == torch.bfloat16 and found["c"].tolist() == [[3.0] * 4] * 2


@pytest.mark.parametrize("other", [{"w": torch.zeros(3)}, {"v": torch.zeros(2)}, {"w": torch.zeros(2), "v": torch.zeros(2)}])
def test_other_models_are_refused(tmp_path: Path, other: dict[str, torch.Tensor]) -> None:
    made = [folder(tmp_path / "a", w=torch.zeros(2)), folder(tmp_path / "b", **other)]
    with pytest.raises(CurateError, match="not checkpoints of one model"):
        write_mean(made, tmp_path)
