"""A byte-level BPE of a few hundred tokens, trained on the spot and saved as tokenizer.json in a folder of the test; and a SentencePiece
model as a tokenizer.json."""

from __future__ import annotations

import json
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers.pre_tokenizers import ByteLevel

from mixture.tokenizer import pieces

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


def as_tokenizer_json(place: Path) -> dict:
    """A SentencePiece model as a tokenizer.json; merges as transformers makes them (convert_slow_tokenizer.py, generate_merges)."""
    found = pieces.read_pieces(place.read_bytes())
    vocab = {text: i for i, text in enumerate(found.text)}
    splits = [
        (found.score[i], len(text[:k]), len(text[k:]), text[:k], text[k:])
        for text, i in vocab.items()
        for k in range(1, len(text))
        if text[:k] in vocab and text[k:] in vocab
    ]
    splits.sort(key=lambda split: split[:3], reverse=True)
    merges = [(left, right) for *_, left, right in splits]
    made = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    return json.loads(made.to_str())
