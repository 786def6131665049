"""Trains the quickstart's byte-level BPE tokenizer on the sample input: raw/* in, tokenizer/* out. Same input, same bytes.

Run `python recipes/quickstart/make_tokenizer.py [FOLDER]`. The folder loads with transformers.AutoTokenizer, offline. Byte-level without
normalizer and without a put-in blank: every text comes back byte for byte, and a tiktoken twin exists (mixture/tokenizer).
Too small for real work: 6144 tokens, so that a model of a few million weights can be trained on a CPU.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

sys.path.insert(0, str(Path(__file__).parent))
from make_input import make

VOCAB_SIZE = 6144
BEGIN, END, PAD = "<|begin|>", "<|end|>", "<|pad|>"
ROLES = ["<|system|>", "<|user|>", "<|assistant|>"]
# The split pattern of GPT-4's cl100k_base (openai/tiktoken, tiktoken_ext/openai_public.py): words with one leading blank or mark,
# up to three digits, runs of marks, white space.
SPLIT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
# A turn is its role, the content, and the end mark. What the assistant says, its end mark included, is what `loss: assistant` learns.
CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{{- '<|' + message['role'] + '|>' -}}"
    "{%- if message['role'] == 'assistant' -%}"
    "{%- generation -%}{{- message['content'] + '<|end|>' -}}{%- endgeneration -%}"
    "{%- else -%}{{- message['content'] + '<|end|>' -}}{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}"
)


def texts() -> Iterator[str]:
    """The good records of every file; of a conversation the words that were said."""
    for file, records in make().files.items():
        for record in records:
            if file == "instruct.jsonl":
                yield from (message["content"] for message in json.loads(record.text))
            else:
                yield record.text


def train() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(SPLIT), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])  # fmt: skip
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE, special_tokens=[BEGIN, END, PAD, *ROLES], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )  # fmt: skip
    tokenizer.train_from_iterator(texts(), trainer)
    return tokenizer


def write(tokenizer: Tokenizer, folder: Path) -> None:
    """A Hugging Face tokenizer folder, written by hand so that no library version or date enters it."""
    folder.mkdir(parents=True, exist_ok=True)
    data = json.loads(tokenizer.to_str())
    lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in data.items())
    (folder / "tokenizer.json").write_text("{\n" + lines + "\n}\n", encoding="utf-8")
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 2048, "clean_up_tokenization_spaces": False,
        "bos_token": BEGIN, "eos_token": END, "pad_token": PAD, "additional_special_tokens": ROLES, "chat_template": CHAT_TEMPLATE,
    }  # fmt: skip
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write(train(), Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "tokenizer")
