"""Chat templates of ours, named in recipes: `tokenizer: {chat_template: llama3.1}`. A name in, Jinja text and what it needs out.

Each writes what the vendor's published template writes, with `{% generation %}` around every assistant turn and its end-of-turn
token, a constant date and no branch for what we never pass. Imports nothing of ours.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

HOME = Path(__file__).parent


@dataclass(frozen=True)
class Shipped:
    """One template: its file, and what the tokenizer must have so that its words become tokens."""

    file: str
    tokens: tuple[str, ...] = ()  # special tokens by name
    roles: tuple[str, ...] = ()  # "bos", "eos": whatever the tokenizer calls them

    @cached_property
    def source(self) -> str:
        return (HOME / self.file).read_text(encoding="utf-8")


LLAMA = ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")
MISTRAL = ("[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_CALLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]")

SHIPPED = {
    "llama3": Shipped("llama3.jinja", LLAMA, ("bos",)),
    "llama3.1": Shipped("llama3.1.jinja", LLAMA, ("bos",)),
    "llama3.2": Shipped("llama3.1.jinja", LLAMA, ("bos",)),  # theirs differ in the date alone, and ours is fixed
    "chatml": Shipped("chatml.jinja", ("<|im_start|>", "<|im_end|>")),
    "gemma": Shipped("gemma.jinja", ("<start_of_turn>", "<end_of_turn>"), ("bos",)),
    "mistral": Shipped("mistral.jinja", MISTRAL, ("bos", "eos")),
    "mistral-v1": Shipped("mistral-v1.jinja", (), ("bos", "eos")),
    "alpaca": Shipped("alpaca.jinja", (), ("eos",)),
}


def by_sha256(sha256: str | None) -> str | None:
    """The Jinja text of the template of ours with this hash (`tokenizer.template_sha256` of a manifest), else None."""
    texts = (shipped.source for shipped in SHIPPED.values())
    return next((text for text in texts if hashlib.sha256(text.encode()).hexdigest() == sha256), None)


def shipped_as(source: str) -> Shipped | None:
    """Ours with exactly this text."""
    return next((shipped for shipped in SHIPPED.values() if shipped.source == source), None)
