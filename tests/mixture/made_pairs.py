"""A small preference mixture by the real road: made pairs in two sources, some of which cannot be trained on."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests import made

# What the tiny ChatML template makes of a pair: `<|im_start|>user\n...<|im_end|>\n<|im_start|>assistant\n` and the answer with `<|im_end|>`.
LONG = 60  # words of the answers that are too long


def rows(n: int, name: str) -> list[dict[str, Any]]:
    return [
        {"id": f"{name}-{i:02}", "prompt": made.text(4, ("p", name, i)), "chosen": made.text(3 + i % 5, ("c", name, i)),
         "rejected": made.text(2 + i % 3, ("r", name, i)), "margin": 1 + i % 3}
        for i in range(n)
    ]  # fmt: skip


def write(folder: Path, *, total: str = "20 examples", length: int = 128, more: list[dict] | None = None, **keys: Any) -> Path:
    """recipe.yaml over sources a (20 pairs, margins) and b (12 pairs, no margins, and `more`)."""
    bare = [{k: v for k, v in row.items() if k != "margin"} for row in rows(12, "b")]
    made.write_source(folder / "raw", "a", rows(20, "a"))
    made.write_source(folder / "raw", "b", [*bare, *(more or [])])
    sources = {
        name: {"read": f"raw/{name}.jsonl", "type": "preference", "language": of, "preference": {"of": "pairs"},
               "license": {"declared": "CC0-1.0"}}
        for name, of in (("a", "et"), ("b", "en"))
    }  # fmt: skip
    number, unit = total.split(" ", 1)
    mixture = {
        "total": total, "sequence_length": length,
        "components": {
            "first": {"from": ["a"], "role": "instruction", "budget": f"{int(number) * 6 // 10} {unit}", "max_epochs": 3},
            "second": {"from": ["b"], "role": "instruction", "budget": f"{int(number) - int(number) * 6 // 10} {unit}", "max_epochs": 3},
        },
    }  # fmt: skip
    data = {"kind": "preference", "sources": sources, "rules": [], "dedup": {"near": None, "exact": "none"}, "mixture": mixture}
    path = made.write_recipe(folder, **{**data, **keys})
    return path


def build(folder: Path, **keys: Any) -> SimpleNamespace:
    return made.build(write(folder, **keys))
