"""FLOPs per token beside published figures, and beside torch's own count of real forward and backward passes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig

from train.adapt import adapt
from train.config import Adapt, Full, Lora
from train.flops import Flops, count, on_meta

FULL = Adapt(full=Full())
LLAMA_8B = {
    "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
    "vocab_size": 128256,
}  # fmt: skip
SMALL = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "vocab_size": 64}


@pytest.fixture(scope="module")
def llama_8b() -> tuple[PretrainedConfig, torch.nn.Module]:
    config = AutoConfig.for_model("llama", **LLAMA_8B)
    return config, on_meta(config, FULL)


@pytest.mark.parametrize(("length", "whole", "causal"), [(8192, 57.9, 51.5), (4096, 51.5, 48.25), (2048, 48.25, 46.6)])
def test_llama_3_1_8b_as_in_the_table_of_published_speeds(llama_8b: Any, length: int, whole: float, causal: float) -> None:
    # reference/trainer.md, section 2; NVIDIA's 711 TF at 12,273 tokens/s is 57.9 GF a token too
    flops = count(llama_8b[0], length, model=llama_8b[1])
    assert flops.per_token / 1e9 == pytest.approx(whole, abs=0.05)
    assert flops.per_token_causal / 1e9 == pytest.approx(causal, abs=0.05)


def test_by_hand(llama_8b: Any) -> None:
    # a layer: q, o 4096 x 4096; k, v 4096 x 1024; gate, up, down 4096 x 14336 = 218,103,808; head 128,256 x 4096 = 525,336,576
    weights = 32 * 218_103_808 + 525_336_576
    attention = 12 * 32 * 4096 * 8192  # per token: two products of 2 x 4096 x 8192, three times, in 32 layers
    flops = count(llama_8b[0], 8192, model=llama_8b[1])
    assert flops.per_token == 6 * weights + attention
    assert flops.per_token_causal == 6 * weights + attention / 2
    assert flops.recompute_causal == 2 * (weights - 525_336_576) + attention / 6  # the layers' forward once more, not the head's
    assert flops.formula == "6 x 7.5B weights + 6.44B of causal attention over 8192 tokens"


def test_mfu_of_published_speeds(llama_8b: Any) -> None:
    # torchtitan, 8 x H100, 6,667 tokens/s: 39.0 % and 34.7 % (reference/trainer.md, section 2)
    flops = count(llama_8b[0], 8192, device="NVIDIA H100 80GB HBM3", model=llama_8b[1])
    assert flops.mfu(6667, causal=False) == pytest.approx(0.390, abs=5e-4)
    assert flops.mfu(6667) == pytest.approx(0.347, abs=5e-4)
    assert count(llama_8b[0], 8192, device="a machine of tomorrow", model=llama_8b[1]).mfu(6667) is None


def test_lora_by_hand() -> None:
    """Frozen weights have no gradient, and below the first adapter nothing has one."""
    config = AutoConfig.for_model("llama", **LLAMA_8B)
    flops = count(config, 4096, Adapt(lora=Lora(r=8)))
    a_layer, head = 218_103_808, 525_336_576
    # A and B of q, o: 8 x 8192; k, v: 8 x 5120; gate, up, down: 8 x 18432, in each of 32 layers
    adapters = 32 * 8 * (2 * 8192 + 2 * 5120 + 3 * 18432)
    lowest = 4096 * (4096 + 1024 + 1024)  # q, k, v of layer 0: what goes in needs no gradient, nor for their A (3 x 8 x 4096)
    expected = 4 * (32 * a_layer + head) + 6 * adapters - 2 * (lowest + 3 * 8 * 4096) + 12 * 32 * 4096 * 4096 / 2
    assert flops.per_token_causal == expected
    assert expected / 1e9 == pytest.approx(33.3, abs=0.05)  # NVIDIA's own count of this model's LoRA: 32.2, two thirds of 48.3


def _measured(config: PretrainedConfig, how: Adapt, length: int, checkpointing: bool = False) -> float:
    """Per token, by torch; eager attention, whose products are all counted (twice a causal kernel's)."""
    model = adapt(AutoModelForCausalLM.from_config(config, attn_implementation="eager"), how).train()
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    ids = torch.arange(2 * length).view(2, length) % 64
    with FlopCounterMode(display=False) as counter:
        model(input_ids=ids, use_cache=False).logits.float().square().mean().backward()
    return counter.get_total_flops() / (2 * length)


CASES: dict[str, tuple[str, dict, Adapt]] = {
    "llama": ("llama", {}, FULL),
    "grouped keys": ("llama", {"num_key_value_heads": 2}, FULL),
    "tied head": ("llama", {"tie_word_embeddings": True}, FULL),
    "qwen3, wide heads": ("qwen3", {"head_dim": 16, "num_key_value_heads": 2}, FULL),
    "gemma3, windows longer than rows": ("gemma3_text", {"head_dim": 16, "num_key_value_heads": 1, "sliding_window": 64}, FULL),
    "gpt-neox, no gate": ("gpt_neox", {}, FULL),
    "lora": ("llama", {"num_key_value_heads": 2}, Adapt(lora=Lora(r=4))),
    "lora of two matrices": ("llama", {}, Adapt(lora=Lora(r=4, targets=("q_proj", "k_proj", "v_proj", "down_proj")))),
    "lora, embeddings trained": ("llama", {}, Adapt(lora=Lora(r=4, train_also=("embed_tokens", "lm_head")))),
    "layer 0 and embeddings frozen": ("llama", {}, Adapt(full=Full(freeze=("model.layers.0.*", "model.embed_tokens.*")))),
    "only the last mlp": ("llama", {}, Adapt(full=Full(train_only=("model.layers.2.mlp.*",)))),
}


@pytest.mark.parametrize("case", CASES)
def test_as_torch_counts(case: str) -> None:
    kind, changes, how = CASES[case]
    config = AutoConfig.for_model(kind, **{**SMALL, "max_position_embeddings": 64, **changes})
    assert count(config, 16, how).per_token == _measured(config, how, 16)


def test_a_kernel_of_attention_has_all_of_its_gradients() -> None:
    """With adapters on v alone, layer 0 needs one of the four products of attention's backward; fused kernels make all four."""
    config, how = AutoConfig.for_model("llama", **SMALL), Adapt(lora=Lora(r=4, targets=("v_proj", "down_proj")))
    assert count(config, 16, how).per_token - 3 * 2 * 32 * 16 == _measured(config, how, 16)


def test_checkpointing_as_torch_counts() -> None:
    """torch stops computing a layer again where nothing more of it is needed: before its last product."""
    config = AutoConfig.for_model("llama", **SMALL)
    flops, last = count(config, 16), 3 * 2 * 32 * 48
    assert flops.per_token + flops.recompute - last == _measured(config, FULL, 16, checkpointing=True)


def test_experts_that_are_active() -> None:
    shape = {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "num_key_value_heads": 4, "head_dim": 8}
    config = AutoConfig.for_model("qwen3_moe", **{**SMALL, **shape})
    # a layer: q, k, v, o 32 x 32; router 32 x 8; two experts of gate, up, down 32 x 24. Head 64 x 32.
    weights = 3 * (4 * 32 * 32 + 32 * 8 + 2 * 3 * 32 * 24) + 64 * 32
    assert count(config, 16).per_token == 6 * weights + 12 * 3 * 32 * 16


def test_windows() -> None:
    # 64 tokens, windows of 16: token i meets min(i, 16) keys; the triangle of 16 is half full: (16 * 64 - 16 * 16 / 2) / 64 = 14
    whole = {"head_dim": 8, "num_key_value_heads": 4, "layer_types": ["full_attention"] * 3}
    flops = count(AutoConfig.for_model("gemma3_text", **{**SMALL, **whole}), 64)
    slid = {**whole, "sliding_window": 16, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}
    windows = count(AutoConfig.for_model("gemma3_text", **{**SMALL, **slid}), 64)
    each = 12 * 32  # of a layer, per token and key
    assert flops.per_token_causal - windows.per_token_causal == 2 * each * (32 - 14)
    assert flops.per_token - windows.per_token == 2 * each * (64 - 16)


@pytest.mark.parametrize(
    ("name", "peak"),
    [("NVIDIA A100-SXM4-80GB", 312e12), ("NVIDIA H100 80GB HBM3", 989e12), ("NVIDIA H100 PCIe", 756e12), ("NVIDIA H200", 989e12),
     ("AMD Instinct MI250X", 191.5e12), ("h200", 989e12), ("NVIDIA GeForce RTX 4090", 165.2e12), ("Tesla T4", None)],
)  # fmt: skip
def test_peaks(llama_8b: Any, name: str, peak: float | None) -> None:
    assert count(llama_8b[0], 8192, device=name, model=llama_8b[1]).peak == peak


def test_mfu_says_nothing_without_a_peak() -> None:
    assert Flops(1.0, 1.0, 0.0, 0.0, "").mfu(1e9) is None
