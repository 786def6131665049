"""The converted real model is the real model: its loss on its own kind of text, its tokenizer both ways."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from curate.recipe import TokenizerSpec
from mixture.tokenizer import load_tokenizer
from tests.train.stories import convert


@pytest.fixture(scope="module")
def folder(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return convert(data / "models" / "stories260K", tmp_path_factory.mktemp("stories") / "model")


@pytest.fixture(scope="module")
def stories(data: Path) -> list[str]:
    text = (data / "models" / "stories260K" / "tinystories_sample.txt").read_text()
    return [story.strip() for story in text.split("<|endoftext|>") if story.strip()]


def test_loss_on_tinystories(folder: Path, stories: list[str]) -> None:
    """The card says 1.2968 nats per token on its validation set; measured here 1.27 on five stories."""
    model = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = load_tokenizer(TokenizerSpec(model=str(folder), bos="per_document"))
    nats, n = 0.0, 0
    for ids in tokenizer.encode_batch(stories):
        row = torch.tensor([[tokenizer.special["bos"], *ids.tolist()]])[:, :512]
        with torch.no_grad():
            nats += model(input_ids=row, labels=row).loss.item() * (row.shape[1] - 1)
        n += row.shape[1] - 1
    assert nats / n < 1.4


def test_writes_the_story_of_its_card(folder: Path) -> None:
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    made = model.generate(torch.tensor([[1]]), max_new_tokens=50, do_sample=False)[0]
    assert tokenizer.decode(made, skip_special_tokens=True).startswith(
        "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. One day, she saw"
    )


@pytest.mark.parametrize("text", ["Once upon a time", "Õhtul  läks\nöö ära – 漢字", " x", "<s> is text"])
def test_tokenizer_there_and_back(folder: Path, text: str) -> None:
    tokenizer = load_tokenizer(TokenizerSpec(model=str(folder)))
    (ids,) = tokenizer.encode_batch([text])
    assert tokenizer.decode(ids) == text
    assert ids.dtype == np.uint32 and ids.max() < 512
