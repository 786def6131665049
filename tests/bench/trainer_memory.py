"""Peak memory as `curate plan` says it, beside torch's MemTracker over the whole model: Llama-3.1-8B on fake tensors, without memory.

    python -m tests.bench.evidence trainer_memory        (about ten minutes)

Real are the model, the trainer's forward pass, loss and backward pass, and a step of fused AdamW; only the numbers are not there.
"""

from __future__ import annotations

import time
from typing import Any

from transformers import AutoConfig

from tests.train.measured import measure, run_of
from train.memory import peak

LLAMA_8B = AutoConfig.for_model(
    "llama", hidden_size=4096, intermediate_size=14336, num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=8,
    vocab_size=128256, max_position_embeddings=131072,
)  # fmt: skip
GEMMA_4B = AutoConfig.for_model(
    "gemma3_text", hidden_size=2560, intermediate_size=10240, num_hidden_layers=34, num_attention_heads=8, num_key_value_heads=4, head_dim=256,
    vocab_size=262208, sliding_window=1024, max_position_embeddings=131072,
)  # fmt: skip
BF16, MIXED, AGAIN = {"dtype": "bf16", "weights": "bf16"}, {"dtype": "bf16"}, {"checkpointing": True}
SETTINGS: dict[str, dict[str, Any]] = {
    "bf16": {"model": BF16},
    "bf16, checkpointing": {"model": {**BF16, **AGAIN}},
    "bf16 over fp32, checkpointing": {"model": {**MIXED, **AGAIN}},
    "LoRA r 16": {"model": MIXED, "adapt": "lora"},
    "LoRA r 16, checkpointing": {"model": {**MIXED, **AGAIN}, "adapt": "lora"},
}
CASES = [("Llama 3.1 8B", LLAMA_8B, name, 1, length, passes) for name in SETTINGS for length, passes in ((4096, 2), (8192, 1))]
CASES += [
    ("Llama 3.1 8B", LLAMA_8B, "bf16, checkpointing", 4, 4096, 1),
    ("Gemma 3 4B", GEMMA_4B, "bf16, checkpointing", 1, 8192, 1),
]


def main() -> None:
    print(
        f"{'model':<13} {'setting':<30} {'rows x length':>13} {'passes':>6} {'planned':>9} {'measured':>9} {'off by':>7} {'in':>6}  peak in the"
    )
    for model, config, name, rows, length, passes in CASES:
        run = run_of(**SETTINGS[name])
        clock = time.monotonic()
        planned = peak(run, config, rows, length, micro_steps=passes)
        seconds = time.monotonic() - clock
        measured = measure(run, config, rows, length, passes, fake=True)
        print(
            f"{model:<13} {name:<30} {f'{rows} x {length}':>13} {passes:>6} {planned.total / 2**30:>5.1f} GiB {measured / 2**30:>5.1f} GiB "
            f"{100 * (planned.total / measured - 1):>+6.1f}% {seconds:>4.1f} s  {planned.at}", flush=True,
        )  # fmt: skip


if __name__ == "__main__":
    main()
