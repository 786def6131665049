"""Floating-point operations of training one token: a model's config, what of it is trained and a sequence length in, `Flops` out.

Counted are products of matrices: 2 x weights forward, the same again for the gradient of what goes in, the same for that of the weights.
A frozen matrix has no gradient of its weights; one with nothing trained below it has none of what goes in either. The head counts, the
look-up of embeddings does not. Recompute by gradient checkpointing is work of the hardware and not of the model: it stands apart.
May import train.adapt, train.config, train.devices; torch, transformers.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass

import torch
from transformers import AutoModelForCausalLM, PretrainedConfig

from train.adapt import adapt as adapted
from train.config import Adapt, Full
from train.devices import known

FULL = Adapt(full=Full())
HEAD = 10**9  # number of the "layer" above all others
_AFTER_ATTENTION = re.compile(r"(o_proj|out_proj|c_proj|dense|wo)$")
_AFTER_GATE = re.compile(r"(down_proj|fc2|w2|c_proj|output_linear|dense_4h_to_h)$")
_MLP = re.compile(r"\.(mlp|feed_forward|ffn|block_sparse_moe|moe|experts)\b")
_ADAPTER = re.compile(r"\.(lora_[A-Z]\w*|base_layer|modules_to_save|default|original_module|weight|bias)\b")


@dataclass(frozen=True)
class Flops:
    """Per token, forward and backward. `causal` counts half of the attention, which is what a causal kernel computes."""

    per_token_causal: float
    per_token: float
    recompute_causal: float  # per token, on top, with gradient checkpointing
    recompute: float
    formula: str  # one line for people
    peak: float | None = None  # of the device, dense bf16, flop/s
    source: str = ""  # of the peak

    def mfu(self, tokens_per_second: float, causal: bool = True) -> float | None:
        """The share of the device's peak that the model's own operations take; tokens a second of one device."""
        each = self.per_token_causal if causal else self.per_token
        return each * tokens_per_second / self.peak if self.peak else None


@dataclass(frozen=True)
class Product:
    """A matrix of the model: `macs` multiplications per token, at `place` (layer, position inside it)."""

    place: tuple[int, int]
    macs: float
    is_trained: bool


def on_meta(config: PretrainedConfig, how: Adapt) -> torch.nn.Module:
    """The model with its adapters and frozen parts, without memory."""
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of transformers, about a property that peft reads
        return adapted(AutoModelForCausalLM.from_config(config, attn_implementation="eager"), how)


def count(
    config: PretrainedConfig, length: int, how: Adapt = FULL, device: str = "", model: torch.nn.Module | None = None
) -> Flops:
    """Rows of `length` tokens; documents inside a row are not told apart. `model`: where it is built already, on any device."""
    text = config.get_text_config()
    model = model or on_meta(config, how)
    matrices, trained = products(model, text), sorted(place_of(n) for n, p in model.named_parameters() if p.requires_grad)
    lowest = trained[0] if trained else (HEAD, 9)
    forward = sum(2 * m.macs for m in matrices)
    matrix_backward = sum(2 * m.macs * (m.is_trained + (lowest < m.place)) for m in matrices)
    again = sum(2 * m.macs for m in matrices if 0 <= m.place[0] < HEAD)
    seen = {False: 0.0, True: 0.0}  # forward of attention
    back = dict(seen)
    for layer, width in enumerate(_attention_widths(text)):
        for causal in seen:
            each = 2 * width * _keys(text, layer, length, causal)
            seen[causal] += each
            back[causal] += 2 * each * (lowest < (layer, 2))
    whole, half = (forward + matrix_backward + seen[c] + back[c] for c in (False, True))
    found = known(device)
    said = _formula(matrices, lowest, seen[True] + back[True], length)
    return Flops(half, whole, again + seen[True], again + seen[False], said, found.peak, found.source)


def products(model: torch.nn.Module, config: PretrainedConfig) -> list[Product]:
    """Every matrix that a token is multiplied with; of a mixture of experts the share that is active."""
    active = _active(config)
    found: list[Product] = []
    for name, module in model.named_modules():
        if "original_module" in name:
            continue
        share = active if ".experts." in f"{name}." else 1.0
        if isinstance(module, torch.nn.Linear) or type(module).__name__.endswith("Linear4bit"):
            shape = module.in_features * module.out_features
            found.append(Product(place_of(name), share * shape, module.weight.requires_grad))
        else:  # experts, and routers of some models, hold their matrices themselves
            for key, p in module.named_parameters(recurse=False):
                if (p.ndim == 3 and share != 1.0) or (p.ndim == 2 and key == "weight" and _is_router(module, name)):
                    found.append(Product(place_of(f"{name}.{key}"), share * p.numel(), p.requires_grad))
    return found


def place_of(name: str) -> tuple[int, int]:
    """(layer, position) of a module or a parameter by its name: whatever is smaller is computed before. Embeddings are below layer 0."""
    layer = re.search(r"\.(?:layers|h|blocks)\.(\d+)\.", name)
    bare = _ADAPTER.sub("", name)
    after = 1 if ".lora_B" in name else 0
    if layer is None:
        return (HEAD, 1 if "head" in name or "embed_out" in name else 0) if not re.search(r"embed|wte|wpe", bare) else (-1, 0)
    if _MLP.search(bare):
        place = 7 if _AFTER_GATE.search(bare) else 5
    elif re.search(r"\.(self_)?(attn|attention)\b", bare):
        place = 3 if _AFTER_ATTENTION.search(bare) else 0
    else:
        place = -1 if "input" in bare or "ln_1" in bare else 4
    return int(layer[1]), place + after


def _is_router(module: torch.nn.Module, name: str) -> bool:
    return name.endswith((".gate", ".router")) and not isinstance(module, torch.nn.Linear)


def _active(config: PretrainedConfig) -> float:
    """The share of the experts that a token passes."""
    n = next((n for key in ("num_local_experts", "num_experts", "n_routed_experts") if (n := getattr(config, key, None))), None)
    each = next(
        (k for key in ("num_experts_per_tok", "num_experts_per_token", "moe_topk") if (k := getattr(config, key, None))), None
    )
    return each / n if n and each else 1.0


def _attention_widths(config: PretrainedConfig) -> list[int]:
    """Per layer: multiplications per token and key, both products of all heads together. 0 where a layer has no such attention."""
    heads = config.num_attention_heads
    own = getattr(config, "head_dim", None) or config.hidden_size // heads
    of_keys = (getattr(config, "qk_nope_head_dim", 0) + getattr(config, "qk_rope_head_dim", 0)) or own
    of_values = getattr(config, "v_head_dim", None) or own
    kinds = getattr(config, "layer_types", None) or ["full_attention"] * config.num_hidden_layers
    return [heads * (of_keys + of_values) if kind in ("full_attention", "sliding_attention") else 0 for kind in kinds]


def _keys(config: PretrainedConfig, layer: int, length: int, causal: bool) -> float:
    """Keys that a token of a row meets, on average."""
    kinds = getattr(config, "layer_types", None)
    is_sliding = kinds[layer] == "sliding_attention" if kinds else True  # without kinds, a window is that of every layer
    window = min(length, (getattr(config, "sliding_window", None) or length) if is_sliding else length)
    return window - window * window / (2 * length) if causal else window


def _formula(matrices: list[Product], lowest: tuple[int, int], attention: float, length: int) -> str:
    """Such as: 6 x 7.5B weights + 6.44B of causal attention over 8192 tokens."""
    sums: dict[int, float] = {}
    for m in matrices:
        times = 2 * (1 + m.is_trained + (lowest < m.place))
        sums[times] = sums.get(times, 0.0) + m.macs
    terms = [f"{times} x {_short(n)}" for times, n in sorted(sums.items(), reverse=True)]
    return f"{' + '.join(terms)} weights + {_short(attention)} of causal attention over {length} tokens"


def _short(n: float) -> str:
    """Three figures: 7.5B, 138M."""
    unit, size = next(((unit, size) for unit, size in (("B", 1e9), ("M", 1e6), ("k", 1e3)) if n >= size), ("", 1))
    return f"{n / size:.3g}{unit}"
