"""The plan's peak beside torch's own count of real steps (measured.py), and parts of it by hand."""

from __future__ import annotations

import pytest
from transformers import AutoConfig

from tests.train.measured import measure, run_of
from train.memory import peak

SMALL = {
    "hidden_size": 128, "intermediate_size": 344, "num_hidden_layers": 6, "num_attention_heads": 4, "num_key_value_heads": 2,
    "vocab_size": 3000, "max_position_embeddings": 512,
}  # fmt: skip
LORA = {"lora": {"r": 8}}
BF16 = {"dtype": "bf16", "weights": "bf16"}
MIXED = {"dtype": "bf16"}
AGAIN = {"checkpointing": True}

CASES: dict[str, tuple[str, dict, dict]] = {
    "llama fp32": ("llama", {}, {}),
    "llama fp32, checkpointing": ("llama", {}, {"model": AGAIN}),
    "llama bf16 over fp32": ("llama", {}, {"model": MIXED}),
    "llama bf16 over fp32, checkpointing": ("llama", {}, {"model": {**MIXED, **AGAIN}}),
    "llama bf16": ("llama", {}, {"model": BF16}),
    "llama bf16, checkpointing": ("llama", {}, {"model": {**BF16, **AGAIN}}),
    "llama eager": ("llama", {}, {"model": {"attention": "eager"}}),
    "llama lora": ("llama", {}, {"model": MIXED, "adapt": LORA}),
    "llama lora, checkpointing": ("llama", {}, {"model": {**MIXED, **AGAIN}, "adapt": LORA}),
    "llama lora and dropout": ("llama", {}, {"adapt": {"lora": {"r": 8, "dropout": 0.1}}}),
    "llama lora and head": (
        "llama",
        {},
        {"model": MIXED, "adapt": {"lora": {"r": 8, "train_also": ["embed_tokens", "lm_head"]}}},
    ),
    "llama, low half frozen": (
        "llama",
        {},
        {"adapt": {"full": {"freeze": [f"model.layers.{i}.*" for i in range(3)] + ["*embed*"]}}},
    ),
    "qwen3 fp32": ("qwen3", {"head_dim": 64}, {}),
    "qwen3 bf16 tied": ("qwen3", {"head_dim": 64, "tie_word_embeddings": True}, {"model": {**BF16, **AGAIN}}),
    "gemma3 fp32": ("gemma3_text", {"head_dim": 32, "sliding_window": 64}, {}),
    "gemma3 bf16 over fp32, checkpointing": (
        "gemma3_text",
        {"head_dim": 32, "sliding_window": 64},
        {"model": {**MIXED, **AGAIN}},
    ),
    "mistral fp32": ("mistral", {"sliding_window": None}, {}),
    "adafactor": ("llama", {}, {"model": AGAIN, "optimizer": {"name": "adafactor"}}),
    "muon": ("llama", {}, {"model": AGAIN, "optimizer": {"name": "muon"}}),
}


def _planned_and_measured(case: str, rows: int, length: int, micro_steps: int) -> tuple[int, int]:
    kind, changes, settings = CASES[case]
    config, run = AutoConfig.for_model(kind, **{**SMALL, **changes}), run_of(**settings)
    planned = peak(run, config, rows, length, micro_steps=micro_steps, device="cpu").total
    return planned, measure(run, config, rows, length, micro_steps)


@pytest.mark.parametrize("case", CASES)
def test_within_a_tenth_of_what_torch_counts(case: str) -> None:
    planned, measured = _planned_and_measured(case, 2, 256, 2)
    assert planned == pytest.approx(measured, rel=0.1)


@pytest.mark.parametrize("case", ["llama fp32", "llama bf16 over fp32, checkpointing", "llama lora", "gemma3 fp32", "adafactor"])
def test_without_accumulation_gradients_come_as_activations_go(case: str) -> None:
    planned, measured = _planned_and_measured(case, 1, 64, 1)
    assert planned == pytest.approx(measured, rel=0.1)
