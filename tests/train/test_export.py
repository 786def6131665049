"""A run handed over: what is exported is the checkpoint, the mean by hand, the best by the log, the adapters or the model with them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from curate.errors import CurateError
from curate.recipe import TokenizerSpec
from curate.store import file_sha256, read_json, write_json
from mixture.tokenizer import load_tokenizer
from tests.train.conftest import TINY, weights
from tests.train.fake import FakeStream, write_fake_manifest
from tests.train.stories import convert
from train import cpt
from train.average import DTYPES
from train.export import export

RunFile = Callable[..., Path]
LORA = {"lora": {"r": 4, "targets": ["q_proj", "down_proj"]}}


@pytest.fixture
def whole(run_file: RunFile, tmp_path: Path) -> Path:
    """A run of six steps with checkpoints at 2, 4 and 6 and measurements at 0, 3 and 6."""
    path = run_file(save={"to": str(tmp_path / "run"), "every": "2 steps"}, evaluate={"held_out_every": "3 steps"})
    assert cpt.run(path) == 0
    return path


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(torch.arange(12).view(2, 6)).logits.float()


def test_the_newest_checkpoint(whole: Path, tmp_path: Path) -> None:
    said = export(whole, tmp_path / "out")
    last = tmp_path / "run" / "step-000006"
    a, b = (AutoModelForCausalLM.from_pretrained(folder) for folder in (last, tmp_path / "out"))
    assert torch.equal(logits(a), logits(b))
    assert said.kind == "model" and said.n_parameters == sum(p.numel() for p in b.parameters())
    assert (tmp_path / "out" / "receipt.json").read_bytes() == (last / "receipt.json").read_bytes()
    record = read_json(tmp_path / "out" / "export.json")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {of["path"] for of in record["outputs"]} | {"export.json"} == names
    assert names == {"config.json", "generation_config.json", "model.safetensors", "README.md", "receipt.json", "export.json"}
    assert all(of["sha256"] == file_sha256(tmp_path / "out" / of["path"]) for of in record["outputs"])


def test_the_card_has_the_receipts_figures(whole: Path, stream: FakeStream, tmp_path: Path) -> None:
    manifest = read_json(tmp_path / "manifest.json")
    for of, licences in zip(manifest["components"], ({"CC-BY-4.0": 300, "CC0-1.0": 20}, {}), strict=True):
        of["licences"] = licences
    write_json(tmp_path / "manifest.json", manifest)
    export(whole, tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    receipt = read_json(tmp_path / "out" / "receipt.json")
    et, en = receipt["components"]
    assert et["tokens"] == sum(row.n_tokens for row in stream.rows[:22] if row.component == 0)
    share = et["tokens"] / (et["tokens"] + en["tokens"])
    assert f"| et | {et['tokens']:,} | {share:.1%} | {et['loss_tokens']:,} | CC-BY-4.0 300, CC0-1.0 20 |" in card
    assert f"| en | {en['tokens']:,} | {1 - share:.1%} | {en['loss_tokens']:,} | not known here |" in card
    assert f"`{manifest['roots']['stream']}` | 22 | `{manifest['roots']['stream']}`" in card
    events = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    first, last = ([e for e in events if e["event"] == "held_out"][k]["components"]["et"] for k in (0, -1))
    assert f"| et | {first['tokens']} | {first['loss']:.4f} | {last['loss']:.4f} |" in card
    assert card.count("*To be written by its author.*") == 2


def test_the_mean_of_the_newest_two(whole: Path, tmp_path: Path) -> None:
    export(whole, tmp_path / "out", average=["2"])
    a, b, mean = (
        weights(folder) for folder in (tmp_path / "run" / "step-000004", tmp_path / "run" / "step-000006", tmp_path / "out")
    )
    assert all(torch.equal(mean[name], (a[name] + b[name]) / 2) for name in mean) and mean.keys() == a.keys()
    assert "the mean of step-000004, step-000006, in float32" in (tmp_path / "out" / "README.md").read_text()
    named = [str(tmp_path / "run" / f"step-00000{k}") for k in (6, 4)]
    export(whole, tmp_path / "named", average=named)
    assert (tmp_path / "named" / "model.safetensors").read_bytes() == (tmp_path / "out" / "model.safetensors").read_bytes()


def test_the_best_is_among_those_that_were_measured(run_file: RunFile, tmp_path: Path) -> None:
    """Steps 2, 4 and 6 are kept, 0, 2, 4 and 6 measured; the log is then written by hand, so that step 4 is et's best and 2 the mean's."""
    path = run_file(save={"to": str(tmp_path / "run"), "every": "2 steps"})
    cpt.run(path)
    by_step = {0: (1.0, 1.0), 2: (3.0, 2.0), 4: (2.5, 3.0), 5: (0.1, 0.1)}  # 5 was not kept, 6 not measured
    with (tmp_path / "run" / "log.jsonl").open("w") as log:
        for step, (et, en) in by_step.items():
            parts = {"et": {"loss": et, "tokens": 9}, "en": {"loss": en, "tokens": 9}}
            log.write(json.dumps({"event": "held_out", "step": step, "components": parts, "time": 0}) + "\n")
    mean, et = (export(path, tmp_path / name, best=best) for name, best in (("mean", "loss"), ("et", "loss:et")))
    assert mean.checkpoints == ["step-000002"] and et.checkpoints == ["step-000004"]
    assert mean.said[:2] == [
        "loss, mean of the components: step 2 2.5000, step 4 2.7500; the least is step 2's", "not measured there: step 6",
    ]  # fmt: skip
    with pytest.raises(CurateError, match="no kept checkpoint was measured so"):
        export(path, tmp_path / "none", best="bits_per_byte")
    with pytest.raises(CurateError, match="no such measure"):
        export(path, tmp_path / "none", best="accuracy")


def test_bf16(whole: Path, tmp_path: Path) -> None:
    export(whole, tmp_path / "out", dtype="bf16")
    found, kept = weights(tmp_path / "out"), weights(tmp_path / "run" / "step-000006")
    assert all(torch.equal(found[name], kept[name].to(torch.bfloat16)) for name in kept)
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "out").dtype == torch.bfloat16


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_adapters(run_file: RunFile, tmp_path: Path, dtype: str) -> None:
    """As adapters: byte-equal tensors. Merged: the logits of the base with the adapters, both in fp32."""
    torch.manual_seed(4)
    special = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"))
    base = AutoModelForCausalLM.from_config(AutoConfig.for_model(**special, vocab_size=64, max_position_embeddings=32, **TINY))
    base.save_pretrained(tmp_path / "base")
    path = run_file(model={"init": str(tmp_path / "base"), "dtype": dtype}, adapt=LORA, schedule={"kind": "constant", "peak_lr": 0.03},
                    save={"to": str(tmp_path / "run"), "every": "3 steps"})  # fmt: skip
    assert cpt.run(path) == 0
    said = export(path, tmp_path / "adapters")
    last = tmp_path / "run" / "step-000006"
    assert said.kind == "adapters" and "--merge-adapters needs none" in said.said[0]
    export(path, tmp_path / "merged", merge=True)
    of_base = AutoModelForCausalLM.from_pretrained(tmp_path / "base", dtype=DTYPES[dtype]).float()
    bare = logits(of_base)
    adapted = logits(PeftModel.from_pretrained(of_base, str(tmp_path / "adapters")))
    merged = logits(AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32))
    assert (adapted - merged).abs().max() < 1e-5 and (adapted - bare).abs().max() > 1e-2
    a, b = (load_file(folder / "adapter_model.safetensors") for folder in (last, tmp_path / "adapters"))
    assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_the_mean_of_adapters_is_of_merged_models(run_file: RunFile, tmp_path: Path) -> None:
    path = run_file(
        adapt=LORA, schedule={"kind": "constant", "peak_lr": 0.03}, save={"to": str(tmp_path / "run"), "every": "3 steps"}
    )
    cpt.run(path)
    with pytest.raises(CurateError, match="the mean of adapters is not the adapter of the mean"):
        export(path, tmp_path / "mean", average=["2"])
    export(path, tmp_path / "mean", average=["2"], merge=True)
    for step in (3, 6):
        export(tmp_path / "run" / f"step-00000{step}", tmp_path / f"m{step}", merge=True)
    a, b, mean = (weights(tmp_path / name) for name in ("m3", "m6", "mean"))
    assert all(torch.equal(mean[name], (a[name] + b[name]) / 2) for name in a) and mean.keys() == a.keys()
    assert not list(tmp_path.glob(".merge-*"))


def test_refusals(whole: Path, run_file: RunFile, tmp_path: Path) -> None:
    for given, said in (
        ({"average": ["9"]}, "not so many checkpoints"), ({"average": [str(tmp_path / "run" / "step-000004")]}, "different checkpoints"),
        ({"average": ["2"], "best": "loss"}, "either a mean or the best"), ({"dtype": "int8"}, "no such dtype"),
        ({"merge": True}, "has no adapters"),
    ):  # fmt: skip
        with pytest.raises(CurateError, match=said):
            export(whole, tmp_path / "out", **given)
        assert not (tmp_path / "out").exists()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(CurateError, match="never written over"):
        export(whole, tmp_path / "full")
    with pytest.raises(CurateError, match="no checkpoint here"):
        export(tmp_path / "full", tmp_path / "out")
    other = run_file("other", model={"init": {**TINY, "hidden_size": 16}, "seed": 1})
    cpt.run(other)
    both = [str(tmp_path / name / "step-000006") for name in ("run", "other")]
    with pytest.raises(CurateError, match="of different models"):
        export(whole, tmp_path / "out", average=both)


def test_a_damaged_checkpoint_is_not_handed_on(whole: Path, tmp_path: Path) -> None:
    file = tmp_path / "run" / "step-000006" / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(CurateError, match=r"model.safetensors is not what was written"):
        export(whole, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_real_model_with_its_tokenizer(data: Path, stream: FakeStream, run_file: RunFile, tmp_path: Path) -> None:
    """stories260K: what is exported opens with AutoTokenizer, encodes alike and gives the checkpoint's logits."""
    model = convert(data / "models" / "stories260K", tmp_path / "stories")
    tokenizer = load_tokenizer(TokenizerSpec(model=str(model), bos="none", eos="none"))
    said = {
        "name": "stories",
        "sha256": tokenizer.sha256,
        "vocab_size": tokenizer.vocab_size,
        "special": {"bos": 1, "eos": 2, "pad": None},
    }
    (model / "chat_template.jinja").write_text("{% for m in messages %}{{ m.content }}{% endfor %}")
    path = run_file(model={"init": str(model)}, stop={"after": "2 steps"})
    write_fake_manifest(tmp_path / "manifest.json", stream, tokenizer=said)
    assert cpt.run(path) == 0
    export(path, tmp_path / "out")
    opened, kept = (AutoTokenizer.from_pretrained(folder) for folder in (tmp_path / "out", model))
    text = "Once upon a time, a cat sat."
    assert opened(text)["input_ids"] == kept(text)["input_ids"] and opened.chat_template == kept.chat_template
    a, b = (AutoModelForCausalLM.from_pretrained(folder) for folder in (tmp_path / "out", tmp_path / "run" / "step-000002"))
    assert torch.equal(logits(a), logits(b))
