"""Adapters are merged into their model first: what comes out is the whole model plus the vector, and the temporary one is gone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from curate.store import read_json
from tests.train.fake import FakeStream
from tests.train.merged import model, vector, write_run
from train import cpt
from train.export import export
from train.merge.run import run

RunFile = Callable[..., Path]


def test_adapters_of_peft(tmp_path: Path) -> None:
    """a = base + B A of r = 1, alpha = 1, B = 1, A = 1: 1 is added to every number of every up_proj; b - c = 3."""
    base = model(tmp_path / "base", 2.0)
    adapted = get_peft_model(
        AutoModelForCausalLM.from_pretrained(base), LoraConfig(r=1, lora_alpha=1, target_modules=["up_proj"])
    )
    for name, p in adapted.named_parameters():
        if "lora_" in name:
            torch.nn.init.ones_(p)
    adapted.save_pretrained(tmp_path / "a")
    model(tmp_path / "b", 5.0), model(tmp_path / "c", 2.0)
    path = write_run(tmp_path, a={"init": str(tmp_path / "a"), "tokenizer": str(base)})
    assert run(path) == 0
    found = load_file(tmp_path / "out" / "model.safetensors")
    assert all(torch.all(t == (6 if "up_proj" in name else 5)) for name, t in found.items())
    assert not (tmp_path / "out" / "adapter_config.json").exists() and not list(tmp_path.glob(".*"))
    parents = read_json(tmp_path / "out" / "receipt.json")["parents"]
    assert [(p["role"], p["folder"]) for p in parents] == [("a", "a"), ("a_base", "base"), ("b1", "b"), ("c1", "c")]


def test_a_checkpoint_of_ours(run_file: RunFile, stream: FakeStream, tmp_path: Path) -> None:
    """With lambda 0 the result is what `curate train export --merge-adapters` gives, and its logits are the adapted model's."""
    path = run_file(save={"to": str(tmp_path / "run")}, adapt={"lora": {"r": 4, "targets": ["q_proj", "down_proj"]}})
    assert cpt.run(path) == 0
    export(path, tmp_path / "whole", merge=True)
    (checkpoint,) = (tmp_path / "run").glob("step-*")
    vectors = vector(tmp_path, **{"lambda": 0}, b=str(tmp_path / "whole"), c=str(tmp_path / "whole"))
    assert run(write_run(tmp_path, a=str(checkpoint), vectors=vectors, rows="id")) == 0
    a, b = (load_file(tmp_path / name / "model.safetensors") for name in ("out", "whole"))
    assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
    assert not (tmp_path / "out" / "adapter_model.safetensors").exists()
