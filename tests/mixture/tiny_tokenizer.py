"""A byte-level BPE of a few hundred tokens, trained on the spot and saved as tokenizer.json in a folder of the test."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from tokenizers.pre_tokenizers import ByteLevel

TEXTS = [
    "Veski jahvatab vilja, vesi jookseb ja tuul puhub üle põllu.",
    "Õhtul istusid kõik pere liikmed köögis laua ümber.",
    "The mill grinds grain, the water runs and the wind blows over the field.",
    "for i in range(10):\n    print(i)\n",
] * 4

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% if message.role == 'assistant' %}{% generation %}{{ message.content }}<|im_end|>{% endgeneration %}"
    "{% else %}{{ message.content }}<|im_end|>{% endif %}{{ '\n' }}{% endfor %}"
)
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<s>"]


def write(folder: Path, *, edit: dict | None = None, template: str | None = None, config: dict | None = None) -> Path:
    """Save tokenizer.json (with the keys of `edit` replaced), and a config and a template where given; returns `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=340, initial_alphabet=ByteLevel.alphabet(), show_progress=False,
        special_tokens=[AddedToken(name, special=True, normalized=False) for name in SPECIAL],
    )  # fmt: skip
    tokenizer.train_from_iterator(TEXTS, trainer)
    data = {**json.loads(tokenizer.to_str()), **(edit or {})}
    (folder / "tokenizer.json").write_text(json.dumps(data), encoding="utf-8")
    if template is not None:
        (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    if config is not None:
        (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


def split_by(pattern: str) -> dict:
    """Keys of a tokenizer.json in Llama 3's layout: a Split by regex, then a ByteLevel that does not split."""
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    return {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, byte_level]}}


def data(folder: Path) -> dict:
    return json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
