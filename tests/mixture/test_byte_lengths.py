"""Bytes by token add up to the bytes of the text, for each kind of vocabulary that we meet."""

from __future__ import annotations

from pathlib import Path

import pytest

from curate.recipe import TokenizerSpec
from mixture.tokenizer import Tokenizer, load_tokenizer
from tests.train import stories

TEXTS = [
    "Tere, maailm!\nÕhtu – rõõm ja öö 🙂",
    "def f(x):\n\treturn x  # ühik",
    "  kaks tühikut  ees",
    "日本語 ja tekst",
    "x" * 50,
]


def n_bytes(tokenizer: Tokenizer, text: str) -> int:
    return int(tokenizer.byte_lengths[tokenizer.encode_batch([text])[0]].sum())


@pytest.mark.parametrize("number", range(len(TEXTS)))
@pytest.mark.parametrize(("place", "in_front"), [("gpt_neox_20b", 0), ("gpt2", 0), ("mistral_v1/tokenizer.model", 1)])
def test_sums_are_bytes_of_the_text(data: Path, place: str, in_front: int, number: int) -> None:
    """GPT-NeoX normalises to NFC; these texts are NFC. SentencePiece puts one blank in front of a text."""
    tokenizer = load_tokenizer(TokenizerSpec(model=str(data / "tokenizers" / place), bos="none", eos="none"))
    assert n_bytes(tokenizer, TEXTS[number]) == len(TEXTS[number].encode()) + in_front


def test_llama_as_hugging_face_writes_it(data: Path, tmp_path: Path) -> None:
    stories.write_tokenizer(data / "models" / "stories260K" / "tok512.bin", tmp_path)
    tokenizer = load_tokenizer(TokenizerSpec(model=str(tmp_path), bos="none", eos="none"))
    assert n_bytes(tokenizer, "Once upon a time, õ") == len("Once upon a time, õ".encode()) + 1
    assert tokenizer.byte_lengths[:3].tolist() == [0, 0, 0] and tokenizer.byte_lengths[3:259].tolist() == [1] * 256
