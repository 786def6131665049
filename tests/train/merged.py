"""Folders of a Llama with two numbers a row, for merges that can be worked out by hand. Test helper."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import LlamaConfig

LAYER = {
    "input_layernorm": (2,), "self_attn.q_proj": (2, 2), "self_attn.k_proj": (2, 2), "self_attn.v_proj": (2, 2), "self_attn.o_proj": (2, 2),
    "post_attention_layernorm": (2,), "mlp.gate_proj": (3, 2), "mlp.up_proj": (3, 2), "mlp.down_proj": (2, 3),
}  # fmt: skip
EMBEDDINGS, HEAD, UP = "model.embed_tokens.weight", "lm_head.weight", "model.layers.0.mlp.up_proj.weight"
WORDS = ("<unk>", "maja", "kodu", "tuba")


def shapes(rows: int, layers: int = 2, tied: bool = True) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {EMBEDDINGS: (rows, 2), "model.norm.weight": (2,)}
    found |= {f"model.layers.{i}.{name}.weight": shape for i in range(layers) for name, shape in LAYER.items()}
    return found if tied else found | {HEAD: (rows, 2)}


def model(
    folder: Path, value: float | None = None, *, seed: int = 0, words: Sequence[str] | None = WORDS, rows: int | None = None, tied: bool = True,
    dtype: torch.dtype = torch.float32, layers: int = 2, shards: int = 1, tensors: dict[str, Any] | None = None,
) -> Path:  # fmt: skip
    """All numbers `value`, or drawn; `tensors`: these instead. `rows` of the embeddings: one a word, if nothing is said."""
    folder.mkdir(parents=True)
    n = rows if rows is not None else len(words or WORDS)
    draw = torch.Generator().manual_seed(seed)
    of = {
        name: torch.full(shape, value) if value is not None else torch.randn(shape, generator=draw)
        for name, shape in shapes(n, layers, tied).items()
    }
    of = {name: t.to(dtype) for name, t in of.items()} | {
        name: t if isinstance(t, torch.Tensor) else torch.tensor(t, dtype=dtype) for name, t in (tensors or {}).items()
    }
    save(folder, of, shards)
    LlamaConfig(
        vocab_size=n, hidden_size=2, intermediate_size=3, num_hidden_layers=layers, num_attention_heads=1, num_key_value_heads=1,
        tie_word_embeddings=tied, max_position_embeddings=16, architectures=["LlamaForCausalLM"], dtype=dtype, bos_token_id=None, eos_token_id=None,
    ).save_pretrained(folder)  # fmt: skip
    if words is not None:
        tokenizer(folder, words)
    return folder


def save(folder: Path, tensors: dict[str, torch.Tensor], shards: int = 1) -> None:
    names = sorted(tensors)
    if shards == 1:
        return save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    where = {}
    for k in range(shards):
        file = f"model-{k + 1:05d}-of-{shards:05d}.safetensors"
        save_file({name: tensors[name] for name in names[k::shards]}, folder / file, {"format": "pt"})
        where |= dict.fromkeys(names[k::shards], file)
    size = sum(t.nbytes for t in tensors.values())
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {"total_size": size}, "weight_map": where}))


def tokenizer(folder: Path, words: Sequence[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>")).save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": "<unk>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def write_run(folder: Path, **keys: Any) -> Path:
    """A merge of folder/a, b and c into folder/out, unless `keys` say otherwise."""
    vector = {"b": str(folder / "b"), "c": str(folder / "c")}
    run = {"method": "merge", "name": "made", "a": str(folder / "a"), "vectors": [vector], "to": str(folder / "out"), **keys}
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in run.items() if value is not None}, sort_keys=False))
    return path


def vector(folder: Path, **keys: Any) -> list[dict[str, Any]]:
    return [{"b": str(folder / "b"), "c": str(folder / "c"), **keys}]
