"""Held-out loss and bits per byte, with a model whose loss is known: all logits zero, so ln V nats per token."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerate import Accelerator

from curate.recipe import TokenizerSpec
from mixture.stream import Row
from mixture.tokenizer import Tokenizer, load_tokenizer
from train.batch import collate
from train.evaluate import HeldOut
from train.head import IGNORED

WORDS = {"<s>": 0, "</s>": 1, "ab": 2, "õ": 3, "c": 4, "漢字": 5, "[UNK]": 6, "d": 7}  # bytes: -, -, 2, 2, 1, 6


@pytest.fixture
def tokenizer(tmp_path: Path) -> Tokenizer:
    """Words to ids, decoded without spaces between them; <s> and </s> are special."""
    special = [
        {"id": i, "content": w, "special": True, "normalized": False, "single_word": False, "lstrip": False, "rstrip": False}
        for i, w in enumerate(("<s>", "</s>"))
    ]
    model = {"type": "WordLevel", "vocab": WORDS, "unk_token": "[UNK]"}
    data = {"version": "1.0", "added_tokens": special, "model": model, "decoder": {"type": "Fuse"}}
    data |= {"truncation": None, "padding": None, "normalizer": None, "pre_tokenizer": None, "post_processor": None}
    (tmp_path / "tokenizer.json").write_text(json.dumps(data))
    return load_tokenizer(TokenizerSpec(model=str(tmp_path), eos="per_document"))


def row(component: int, *documents: list[int]) -> Row:
    """Whole documents in a row of 10, labels shifted, nothing asked after a document's last token."""
    ids, labels, document = np.zeros(10, np.uint32), np.full(10, -100, np.int64), np.full(10, -1, np.int32)
    positions, at = np.arange(10, dtype=np.int32), 0
    for k, tokens in enumerate(documents):
        here = slice(at, at + len(tokens))
        ids[here], document[here], positions[here] = tokens, k, np.arange(len(tokens))
        labels[at : at + len(tokens) - 1] = tokens[1:]
        at += len(tokens)
    language = np.where(document < 0, -1, 0).astype(np.int16)
    return Row(ids, labels, positions, document, language, at, int((labels != -100).sum()), component, b"")


def test_bytes_are_those_of_the_labels(tokenizer: Tokenizer) -> None:
    rows = collate([row(0, [2, 3, 4, 1], [0, 5, 2, 1]), row(0, [4, 1])], [0, 1])
    # labels: õ c </s> and 漢字 ab </s>: 2 + 1 + 6 + 2 bytes; then </s> alone: none
    asked = rows.labels.numpy() != IGNORED
    assert (tokenizer.byte_lengths[rows.labels.numpy().clip(0)] * asked).sum(1).tolist() == [11, 0]


def test_loss_and_bits_per_byte(tokenizer: Tokenizer) -> None:
    held_out = [row(1, [2, 3, 4, 1], [0, 5, 2, 1]), row(1, [2, 2, 1]), row(0, [4, 1])]
    stream = SimpleNamespace(n_held_out=3, components=["et", "en", "code"], languages=["x"], held_out=lambda j: held_out[j])
    accelerator = Accelerator()
    result = HeldOut(stream, accelerator, 2, tokenizer).measure(Flat(), accelerator)  # type: ignore[arg-type]
    assert set(result) == {"et", "en"}
    # en: labels õ c </s> 漢字 ab </s> ab </s> = 8 tokens of 3 bits each, 13 bytes
    assert result["en"] == {"loss": pytest.approx(math.log(8)), "tokens": 8, "bits_per_byte": pytest.approx(24 / 13)}
    assert result["et"] == {"loss": pytest.approx(math.log(8)), "tokens": 1}


class Flat(torch.nn.Module):
    """Every token is as likely as any other."""

    def forward(self, ids: torch.Tensor, positions: torch.Tensor, labels: torch.Tensor, each: torch.Tensor) -> tuple:
        return torch.zeros(()), torch.where(labels != IGNORED, math.log(8), 0.0)
