"""Which weights are trained: a model and `adapt` of the run file in; the model with its adapters, or its frozen parts, out.

Adapters by peft. May import curate.errors, train.config, train.held_rows; torch, peft, transformers (types).
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from curate.errors import CurateError
from train.config import Adapt, Full, Lora, ModelSpec
from train.held_rows import hold

ADAPTER = "adapter_config.json"  # a checkpoint of adapters has it


def adapt(model: PreTrainedModel, how: Adapt, weights: Path | None = None, spec: ModelSpec | None = None) -> torch.nn.Module:
    """`weights`: a checkpoint whose adapters are read. `spec`: where the model is from; a plan, which trains nothing, has none and holds no
    rows. Raises CurateError where a pattern fits nothing or nothing is trained."""
    if how.lora is not None:
        adapted: torch.nn.Module = _with_adapters(model, how.lora, weights)
    else:
        _freeze(model, how.full or Full())
        adapted = model
    one, key = (how.lora, "adapt.lora.train_rows") if how.lora is not None else (how.full, "adapt.full.train_rows")
    if spec is not None and one is not None and one.train_rows == "new":
        hold(adapted, model, spec, key)
    return adapted


def trained(model: torch.nn.Module) -> tuple[int, int]:
    """(parameters, those of them that are trained), tied ones once."""
    return sum(p.numel() for p in model.parameters()), sum(p.numel() for p in model.parameters() if p.requires_grad)


def _freeze(model: torch.nn.Module, how: Full) -> None:
    names = [name for name, _ in model.named_parameters()]
    for key, patterns in (("freeze", how.freeze), ("train_only", how.train_only)):
        for pattern in patterns:
            if not any(fnmatchcase(name, pattern) for name in names):
                raise CurateError(
                    "this pattern fits no parameter", where=f"adapt.full.{key}", found=pattern,
                    allowed=f"such as {names[0]}, model.layers.0.*",
                )  # fmt: skip

    def is_wanted(name: str) -> bool:
        is_chosen = not how.train_only or any(fnmatchcase(name, p) for p in how.train_only)
        return is_chosen and not any(fnmatchcase(name, p) for p in how.freeze)

    for name, parameter in model.named_parameters():
        parameter.requires_grad_(is_wanted(name))
    if not any(p.requires_grad for p in model.parameters()):
        raise CurateError("all weights are frozen", where="adapt.full", allowed="a freeze list that leaves something to train")


def _with_adapters(model: PreTrainedModel, how: Lora, weights: Path | None) -> torch.nn.Module:
    try:
        from peft import LoraConfig, PeftModel, get_peft_model
    except ModuleNotFoundError:
        raise CurateError("adapters need peft", where="adapt.lora", next="pip install -c constraints.txt peft") from None
    if weights is not None:
        return PeftModel.from_pretrained(model, weights, is_trainable=True)
    targets: Any = "all-linear" if how.targets == ("all-linear",) else list(how.targets)
    known = {name.rpartition(".")[2] for name, _ in model.named_modules()}
    for key, names in (("targets", () if targets == "all-linear" else how.targets), ("train_also", how.train_also)):
        for name in names:
            if name not in known:
                raise CurateError(
                    "the model has no such module", where=f"adapt.lora.{key}", found=name,
                    allowed=", ".join(sorted(n for n in known if n and not n.isdigit())),
                )  # fmt: skip
    if "lm_head" in how.targets:
        raise CurateError(
            "an adapter on the head would have to make the whole logits", where="adapt.lora.targets", found="lm_head",
            allowed="train_also: [lm_head], which trains it whole",
        )  # fmt: skip
    tied = bool(model.config.get_text_config().tie_word_embeddings)
    config = LoraConfig(
        task_type="CAUSAL_LM", r=how.r, lora_alpha=how.alpha, lora_dropout=how.dropout, target_modules=targets,
        exclude_modules=list(how.exclude) or None, modules_to_save=list(how.train_also) or None, use_rslora=how.rslora,
        use_dora=how.dora, ensure_weight_tying=tied and bool(how.train_also),
    )  # fmt: skip
    return get_peft_model(model, config)
