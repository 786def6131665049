"""A model spec and a manifest in; config, model and the one forward pass everything uses out.

The trap this room guards: transformers isolates packed documents from `position_ids` alone, only when there is neither a 2D
mask nor a cache (masking_utils, 5.23). With a mask, or with use_cache left on, documents see each other and nothing warns.
For sdpa and eager the detection works for any number of rows. May import curate.errors, train.*; torch, transformers.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

from curate.errors import CurateError
from train.batch import Rows
from train.config import ModelSpec
from train.loss import token_loss

_VOLATILE = ("transformers_version", "_name_or_path", "architectures", "dtype", "torch_dtype", "use_cache")


def fresh_config(spec: ModelSpec) -> dict[str, Any] | None:
    """The config of a model with new weights, or None where the weights are read from a folder or the hub."""
    if isinstance(spec.init, dict):
        return dict(spec.init)
    return json.loads(Path(spec.init).read_text()) if spec.init.endswith(".json") else None


def config_of(spec: ModelSpec, manifest: dict) -> PretrainedConfig:
    """The model's config, checked against the manifest; a fresh one gets its vocabulary from the manifest's tokenizer."""
    fresh = fresh_config(spec)
    vocabulary, length = manifest["tokenizer"]["vocab_size"], max(p["sequence_length"] for p in manifest["phases"])
    if fresh is None:
        config = AutoConfig.from_pretrained(spec.init, revision=spec.revision)
    else:
        if "model_type" not in fresh:
            example = "{model_type: llama, hidden_size: 128, ...}"
            raise CurateError("a fresh model needs its model_type", where="model.init", allowed=example)
        special = {f"{role}_token_id": manifest["tokenizer"]["special"].get(role) for role in ("bos", "eos", "pad")}
        defaults = {"vocab_size": vocabulary, "max_position_embeddings": length, **special}
        config = AutoConfig.for_model(**{**defaults, **fresh})
    if config.vocab_size < vocabulary:
        raise CurateError(
            "the model has fewer embedding rows than the manifest's tokenizer has tokens", where="model.init",
            found=f"{config.vocab_size} rows", allowed=f"at least {vocabulary}",
        )  # fmt: skip
    if (known := getattr(config, "max_position_embeddings", None)) is not None and known < length:
        raise CurateError(
            "the manifest's sequences are longer than the model's positions", where="model.init",
            found=f"{known} positions", allowed=f"at least {length}",
        )  # fmt: skip
    return config


def identity_of(config: PretrainedConfig) -> dict[str, Any]:
    """The config without what may change while the model stays the same."""
    return {key: value for key, value in json.loads(config.to_json_string(use_diff=False)).items() if key not in _VOLATILE}


def build(spec: ModelSpec, config: PretrainedConfig, checkpoint: Path | None = None) -> PreTrainedModel:
    """The model in fp32: from a checkpoint of ours, from pretrained weights, or fresh from `spec.seed`."""
    if spec.attention == "sdpa" and not AutoModelForCausalLM._model_mapping[type(config)]._supports_sdpa:
        raise CurateError(f"{config.model_type} has no sdpa in transformers", where="model.attention", allowed="auto, eager")
    # None lets transformers choose: sdpa where the model has it, else eager
    settings = {"dtype": torch.float32, "attn_implementation": None if spec.attention == "auto" else spec.attention}
    if checkpoint is not None:
        return AutoModelForCausalLM.from_pretrained(checkpoint, **settings)
    if fresh_config(spec) is None:
        return AutoModelForCausalLM.from_pretrained(spec.init, revision=spec.revision, **settings)
    torch.manual_seed(spec.seed)
    return AutoModelForCausalLM.from_config(config, **settings)


def losses(model: torch.nn.Module, rows: Rows, dtype: str) -> torch.Tensor:
    """-ln p of every label, (B, T) float32.

    bf16 is autocast here and not accelerate's mixed_precision, which turns the whole logits into fp32 on the way out.
    """
    return token_loss(logits(model, rows, dtype), rows.labels)


def logits(model: torch.nn.Module, rows: Rows, dtype: str) -> torch.Tensor:
    """(B, T, V) of the forward pass, documents isolated by their positions."""
    with torch.autocast(rows.input_ids.device.type, torch.bfloat16, enabled=dtype == "bf16"):
        return model(input_ids=rows.input_ids, position_ids=rows.position_ids, use_cache=False).logits
