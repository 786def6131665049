"""Real instructions (the Estonian seed tasks of VESKI_TEST_DATA) as conversations, through the command line to a manifest of kind sft.

Test helper. Every conversation is longer than a third of a row and no longer than half of one, so that each row holds two of them and a
step of another trainer can be given the same ones.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import yaml
import zstandard
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from mixture.chat import SHIPPED
from tests.command import build
from tests.mixture import tiny_tokenizer

LENGTH = 1024  # of a row
SYSTEM = "Vasta lühidalt."


@dataclass(frozen=True)
class Chats:
    manifest: Path
    tokenizer: PreTrainedTokenizerBase  # with the template of the manifest
    by_tokens: dict[tuple[int, ...], list[dict]]  # of every conversation


def tasks(data: Path) -> list[tuple[str, str]]:
    """(what is asked, what is answered)."""
    with open(data / "instruct" / "alpaca_est_seed.jsonl.zst", "rb") as file:
        lines = io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(file), encoding="utf-8").read().splitlines()
    found = [(row["instruction"], one["input"], one["output"]) for row in map(json.loads, lines) for one in row["instances"][:1]]
    return [(f"{asked}\n{given}".strip(), answer) for asked, given, answer in found]


def conversations(data: Path, tokenizer: PreTrainedTokenizerBase) -> list[list[dict]]:
    """One task each, or two one after the other; every third with a system turn."""
    turns = [[{"role": "user", "content": a}, {"role": "assistant", "content": b}] for a, b in tasks(data)]
    made = turns + [a + b for a, b in pairwise(turns)]
    made = [[{"role": "system", "content": SYSTEM}, *one] if i % 3 == 0 else one for i, one in enumerate(made)]
    return [one for one in made if LENGTH / 3 < len(ids_of(tokenizer, one)) <= LENGTH // 2]


def ids_of(tokenizer: PreTrainedTokenizerBase, messages: list[dict]) -> list[int]:
    return list(tokenizer.apply_chat_template(messages, return_dict=True)["input_ids"])


def make(data: Path, top: Path, **recipe: object) -> Chats:
    folder = tiny_tokenizer.write(
        top / "tokenizer", config={"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|endoftext|>"}
    )
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = SHIPPED["chatml"].source
    chosen = conversations(data, tokenizer)
    (top / "chats.jsonl").write_text(
        "".join(json.dumps({"id": f"c{i}", "messages": one}) + "\n" for i, one in enumerate(chosen)), encoding="utf-8"
    )
    n = len(chosen) // 8 * 8 - 8
    source = {"read": "chats.jsonl", "type": "conversation", "language": "et", "license": {"declared": "LicenseRef-none-stated"}}
    data_ = {
        "kind": "sft", "name": "chats", "seed": 3, "sources": {"seeds": source},
        "tokenizer": {"model": "tokenizer", "bos": "none", "eos": "none", "chat_template": "chatml"},
        "mixture": {"total": f"{n} examples", "sequence_length": LENGTH,
                    "components": {"et": {"from": ["seeds"], "role": "instruction", "budget": "100 % of examples"}}},
        **recipe,
    }  # fmt: skip
    (top / "chats.yaml").write_text(yaml.safe_dump(data_))
    build(top / "chats.yaml", top)
    return Chats(top / "build" / "manifest.json", tokenizer, {tuple(ids_of(tokenizer, one)): one for one in chosen})
