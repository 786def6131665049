"""Our reader and writer of safetensors beside the library; what is missing, cut or damaged is named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from curate.errors import CurateError
from tests.train.merged import model, save
from train.merge import shards
from train.merge.shards import Weights, header_bytes, header_in, in_order, read_header

KINDS = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


@pytest.fixture
def mixed(tmp_path: Path) -> tuple[Path, dict[str, torch.Tensor]]:
    torch.manual_seed(5)
    tensors = {f"t{i}": torch.randn(7, 3, 2).to(kind) for i, kind in enumerate(KINDS)}
    tensors |= {"one": torch.randn(5), "scalar": torch.tensor(3.5), "empty": torch.zeros(0, 4)}
    save(tmp_path, tensors)
    return tmp_path, tensors


def test_rows_are_those_of_the_library(mixed: tuple[Path, dict[str, torch.Tensor]]) -> None:
    folder, tensors = mixed
    weights = Weights(folder)
    for name, wanted in tensors.items():
        tensor = weights.tensors[name]
        assert tensor.shape == tuple(wanted.shape) and tensor.n_bytes == wanted.nbytes
        found = weights.rows(name, 0, tensor.n_rows)
        assert found.dtype == wanted.dtype and torch.equal(found.view(wanted.shape), wanted)
    assert torch.equal(weights.rows("t1", 2, 5), tensors["t1"][2:5])


def test_gathered_rows_keep_their_order(mixed: tuple[Path, dict[str, torch.Tensor]]) -> None:
    folder, tensors = mixed
    ids = np.array([5, 6, 0, 0, 3, 2, 1, 4])
    assert torch.equal(Weights(folder).gathered("t2", ids), tensors["t2"][torch.from_numpy(ids)])


def test_blocks_cover_every_row_once(mixed: tuple[Path, dict[str, torch.Tensor]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "BLOCK", 13)  # two rows of six numbers
    weights = Weights(mixed[0])
    assert list(weights.tensors["t0"].blocks()) == [(0, 2), (2, 4), (4, 6), (6, 7)]
    assert list(weights.tensors["scalar"].blocks()) == [(0, 1)]
    assert list(weights.tensors["empty"].blocks()) == []


def test_a_header_in_another_dtype_is_read_by_the_library(mixed: tuple[Path, dict[str, torch.Tensor]], tmp_path: Path) -> None:
    folder, tensors = mixed
    save_file({**tensors, "ids": torch.arange(6)}, folder / "model.safetensors", {"format": "pt"})
    _, old = read_header(folder / "model.safetensors")
    header = header_in(old, "BF16")
    data = {**{name: t.to(torch.bfloat16) for name, t in tensors.items()}, "ids": torch.arange(6)}
    parts = [data[name].contiguous().view(-1).view(torch.uint8).numpy().tobytes() for name in in_order(header)]
    (folder / "other.safetensors").write_bytes(header_bytes(header) + b"".join(parts))
    found = load_file(folder / "other.safetensors")
    assert found.keys() == data.keys() and all(torch.equal(found[name], data[name]) for name in data)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    folder = model(tmp_path / "a", 1.0, shards=3)
    (folder / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(CurateError, match="shards of this checkpoint are missing") as caught:
        Weights(folder)
    assert caught.value.found == "no model-00002-of-00003.safetensors"
    (folder / "model.safetensors.index.json").unlink()  # the names alone say how many there are
    with pytest.raises(CurateError, match="shards of this checkpoint are missing") as caught:
        Weights(folder)
    assert caught.value.found == "2 files" and "the 3 that" in caught.value.allowed


def test_a_tensor_that_the_index_lists_and_no_file_has(tmp_path: Path) -> None:
    folder = model(tmp_path / "a", 1.0, shards=2)
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    index["weight_map"]["model.layers.7.mlp.up_proj.weight"] = "model-00001-of-00002.safetensors"
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CurateError, match="tensors of this checkpoint are missing") as caught:
        Weights(folder)
    assert "model.layers.7.mlp.up_proj.weight" in caught.value.found


@pytest.mark.parametrize(("keep", "said"), [(-1, "is cut"), (40, "no file of safetensors"), (0, "no file of safetensors")])
def test_a_cut_file(tmp_path: Path, keep: int, said: str) -> None:
    file = model(tmp_path / "a", 1.0) / "model.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(CurateError, match=said) as caught:
        Weights(tmp_path / "a")
    assert caught.value.where == str(file)


def test_pickled_weights_are_not_opened(tmp_path: Path) -> None:
    folder = model(tmp_path / "a", 1.0)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(CurateError, match="no weights here") as caught:
        Weights(folder)
    assert "pytorch_model.bin, which is no safetensors" in caught.value.found
