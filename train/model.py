"""A model spec and a manifest in; config, model and the one forward pass everything uses out.

The trap this room guards: transformers isolates packed documents from `position_ids` alone, only when there is neither a 2D
mask nor a cache (masking_utils, 5.23). With a mask, or with use_cache left on, documents see each other and nothing warns.
For sdpa, eager and flex the detection works for any number of rows; flash kernels get the documents' lengths, all rows in one.
May import curate.errors, train.*; torch, transformers.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

from curate.errors import CurateError
from train.batch import Rows
from train.config import Adapt, ModelSpec
from train.head import IGNORED, Scale, head_loss

_VOLATILE = ("transformers_version", "_name_or_path", "architectures", "dtype", "torch_dtype", "use_cache")
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def fresh_config(spec: ModelSpec) -> dict[str, Any] | None:
    """The config of a model with new weights, or None where the weights are read from a folder or the hub."""
    if isinstance(spec.init, dict):
        return dict(spec.init)
    return json.loads(Path(spec.init).read_text()) if spec.init.endswith(".json") else None


def config_of(spec: ModelSpec, tokenizer: dict, length: int) -> PretrainedConfig:
    """The model's config, checked against the manifest's tokenizer and longest rows; a fresh one gets its vocabulary from there."""
    fresh, vocabulary = fresh_config(spec), tokenizer["vocab_size"]
    if fresh is None:
        config = AutoConfig.from_pretrained(spec.init, revision=spec.revision)
    else:
        if "model_type" not in fresh:
            example = "{model_type: llama, hidden_size: 128, ...}"
            raise CurateError("a fresh model needs its model_type", where="model.init", allowed=example)
        special = {f"{role}_token_id": tokenizer["special"].get(role) for role in ("bos", "eos", "pad")}
        defaults = {"vocab_size": vocabulary, "max_position_embeddings": length, **special}
        config = AutoConfig.for_model(**{**defaults, **fresh})
    text = config.get_text_config()
    if text.vocab_size < vocabulary:
        raise CurateError(
            "the model has fewer embedding rows than the manifest's tokenizer has tokens", where="model.init",
            found=f"{text.vocab_size} rows", allowed=f"at least {vocabulary}",
        )  # fmt: skip
    if (known := getattr(text, "max_position_embeddings", None)) is not None and known < length:
        raise CurateError(
            "the manifest's sequences are longer than the model's positions", where="model.init",
            found=f"{known} positions", allowed=f"at least {length}",
        )  # fmt: skip
    return config


def identity_of(config: PretrainedConfig) -> dict[str, Any]:
    """The config without what may change while the model stays the same."""
    return {key: value for key, value in json.loads(config.to_json_string(use_diff=False)).items() if key not in _VOLATILE}


def build(spec: ModelSpec, adapt: Adapt, config: PretrainedConfig, weights: Path | None = None) -> PreTrainedModel:
    """The model, from `weights` (a checkpoint of ours), pretrained or fresh from `spec.seed`; nothing of it adapted yet.

    Trained weights are `spec.weights`, those frozen under adapters are `spec.dtype`, or four bits."""
    settings: dict[str, Any] = {
        "dtype": DTYPES[spec.dtype if adapt.lora else spec.weights], "attn_implementation": attention_of(spec, config)
    }  # fmt: skip
    if adapt.lora and adapt.lora.quantize == "nf4":
        settings["quantization_config"] = _four_bits(spec)
    torch.manual_seed(spec.seed)  # of a fresh model and of fresh adapters
    if weights is not None:
        model = AutoModelForCausalLM.from_pretrained(weights, **settings)
    elif fresh_config(spec) is None:
        model = AutoModelForCausalLM.from_pretrained(spec.init, revision=spec.revision, **settings)
    else:
        model = AutoModelForCausalLM.from_config(config, **settings)
    if spec.checkpointing:
        model.activation_checkpointing_enable({"use_reentrant": False})
    return model


def attention_of(spec: ModelSpec, config: PretrainedConfig) -> str | None:
    """transformers' name of the attention. auto: flash kernels where they are installed and there is a GPU, else what the model has."""
    if spec.attention == "auto":
        is_there = torch.cuda.is_available() and importlib.util.find_spec("flash_attn") is not None
        return "flash_attention_2" if is_there and spec.dtype == "bf16" else None
    if "flash" in spec.attention and spec.dtype != "bf16":
        raise CurateError(
            "flash attention calculates in bf16", where="model.attention", found=f"dtype: {spec.dtype}", allowed="dtype: bf16"
        )
    known = AutoModelForCausalLM._model_mapping[type(config)]
    if spec.attention == "sdpa" and not known._supports_sdpa:
        raise CurateError(f"{config.model_type} has no sdpa in transformers", where="model.attention", allowed="auto, eager")
    if "/" not in spec.attention and spec.attention not in (
        "sdpa",
        "eager",
        "flex_attention",
        "flash_attention_2",
        "flash_attention_3",
    ):
        raise CurateError(
            "there is no such attention", where="model.attention", found=spec.attention,
            allowed="auto, sdpa, eager, flex_attention, flash_attention_2, flash_attention_3, or a kernel of the hub (owner/name)",
        )  # fmt: skip
    return spec.attention


def _four_bits(spec: ModelSpec) -> Any:
    if importlib.util.find_spec("bitsandbytes") is None:
        raise CurateError("four-bit weights need bitsandbytes", where="adapt.lora.quantize", next="pip install bitsandbytes")
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=DTYPES[spec.dtype]
    )


class Scorer(torch.nn.Module):
    """The model with its loss inside its forward pass, so that sharding and data parallelism see one call.

    bf16 is autocast here: accelerate's mixed_precision would turn whole logits into fp32 on the way out.
    """

    def __init__(self, model: torch.nn.Module, dtype: str) -> None:
        super().__init__()
        self.model, self.dtype = model, DTYPES[dtype]
        config = self.causal.config.get_text_config()
        self.scale = Scale(_factor(config), getattr(config, "final_logit_softcapping", None))
        self.is_flat = "flash" in (config._attn_implementation or "")
        self._no_split_modules = list(
            self.causal._no_split_modules or ()
        )  # what FSDP2 divides as one: accelerate asks for it by this name

    @property
    def causal(self) -> PreTrainedModel:
        """The transformers model, without peft's wrapper (its layers stay in place)."""
        return self.model.get_base_model() if hasattr(self.model, "peft_config") else self.model

    @property
    def decoder(self) -> torch.nn.Module:
        return self.causal.get_decoder()

    def forward(self, input_ids: Tensor, position_ids: Tensor, labels: Tensor, each: Tensor) -> tuple[Tensor, Tensor]:
        """(sum of each * loss, -ln p of every label float32 (B, T)). `each` (B, T): what a token's loss weighs."""
        device = input_ids.device.type
        with torch.autocast(device, torch.bfloat16, enabled=self.dtype == torch.bfloat16):
            hidden = self.hidden(input_ids, position_ids)
            head = _whole(self.causal.get_output_embeddings())
            dtype = self.dtype if self.dtype == torch.bfloat16 else head.weight.dtype
            return head_loss(hidden, head.weight, labels, each, bias=head.bias, scale=self.scale, dtype=dtype)

    def hidden(self, input_ids: Tensor, position_ids: Tensor) -> Tensor:
        """(B, T, d) before the head, documents isolated by their positions."""
        out = self.decoder(**self._given(input_ids, position_ids)).last_hidden_state
        return out.view(*input_ids.shape, -1)

    def _given(self, input_ids: Tensor, position_ids: Tensor) -> dict[str, Any]:
        """What a transformers model isolates documents by: positions; flash kernels get all rows in one and where documents begin."""
        if not self.is_flat:
            return {"input_ids": input_ids, "position_ids": position_ids, "use_cache": False}
        starts = torch.nonzero(position_ids.reshape(-1) == 0).squeeze(1)
        bounds = torch.cat([starts, starts.new_tensor([position_ids.numel()])]).to(torch.int32)
        longest = int((bounds[1:] - bounds[:-1]).max())
        return {
            "input_ids": input_ids.reshape(1, -1), "position_ids": position_ids.reshape(1, -1), "use_cache": False,
            "cu_seq_lens_q": bounds, "cu_seq_lens_k": bounds, "max_length_q": longest, "max_length_k": longest,
        }  # fmt: skip

    def logits(self, rows: Rows) -> Tensor:
        """(B, T, V) by the model's own head: what the loss is compared with before step one."""
        with torch.autocast(rows.input_ids.device.type, torch.bfloat16, enabled=self.dtype == torch.bfloat16):
            logits = self.causal(**self._given(rows.input_ids, rows.position_ids)).logits
            return logits.view(*rows.input_ids.shape, -1)

    def losses(self, rows: Rows) -> Tensor:
        """-ln p of every label, (B, T) float32."""
        each = (rows.labels != IGNORED).float()
        return self(rows.input_ids, rows.position_ids, rows.labels, each)[1]


def _whole(head: Any) -> Any:
    """The head's own Linear, where peft keeps a trained copy of it (train_also)."""
    return head.modules_to_save[head.active_adapters[0]] if hasattr(head, "modules_to_save") else head


def _factor(config: PretrainedConfig) -> float:
    """Granite divides its logits, Cohere multiplies them."""
    if divisor := getattr(config, "logits_scaling", None):
        return 1 / divisor
    return getattr(config, "logit_scale", None) or 1.0


def compile_layers(scorer: Scorer) -> None:
    """torch.compile of each layer: one graph for all of them, compiled in seconds rather than minutes.

    After the self-check, whose rows have many lengths: beyond a limit of graphs torch goes on uncompiled and says so in its own log only
    (8; training and measuring need fewer for each row length: with gradient and without, first layer and others, mask and none).
    """
    torch._dynamo.config.recompile_limit = max(64, torch._dynamo.config.recompile_limit)
    for layer in scorer.decoder.layers:
        layer.compile()
