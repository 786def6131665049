"""A tokenizer whose tokens are the words of a hand-written list, so that a test can write out what it expects, token by token.

Special strings are one token each; other text is cut into runs of letters, runs of line breaks, single blanks and single marks. A
word that is not in the list becomes <unk>, which no list holds.
"""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers

from curate.recipe import TokenizerSpec
from mixture.render import ChatTemplate, load_template
from mixture.tokenizer import load_tokenizer

SPECIAL = {
    "llama": ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
    "chatml": ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
    "gemma": ["<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>"],
    "mistral": [
        "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_CALLS]", "[TOOL_RESULTS]",
        "[/TOOL_RESULTS]",
    ],
    "plain": ["<s>", "</s>"],
}  # fmt: skip


def write(folder: Path, family: str, words: list[str], config: dict | None = None) -> Path:
    """A tokenizer folder with these words and the family's special tokens."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [*SPECIAL[family], "<unk>", *sorted(set(words) - set(SPECIAL[family]))]
    made = Tokenizer(models.WordLevel({name: i for i, name in enumerate(names)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Split(Regex(r"\n+| |\w+|[^\w\s]"), behavior="isolated")
    made.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in SPECIAL[family]])
    (folder / "tokenizer.json").write_text(made.to_str(), encoding="utf-8")
    if config is not None:
        (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def template(folder: Path, name: str, family: str, words: list[str], loss: str = "assistant") -> ChatTemplate:
    place = write(folder, family, words)
    return load_template(load_tokenizer(TokenizerSpec(model=str(place), chat_template=name)), loss)


def shown(made: ChatTemplate, messages: list[dict], tools: str | None = None, must_learn: bool = True) -> list[tuple[str, int]]:
    """[(token, 0 or 1), ...] of a conversation."""
    ids, mask = made.encode(messages, must_learn=must_learn, tools=tools)
    assert mask is not None
    return [(made.tokenizer.decode([i]), int(m)) for i, m in zip(ids, mask, strict=True)]
