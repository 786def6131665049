"""How many bytes of text every token stands for: what bits per byte divides by. A tokenizer in, int32 (vocab_size,) out.

Byte-level vocabularies are written in an alphabet of 256 characters, a byte each. SentencePiece writes a blank as U+2581 and a byte
that is in no piece as <0x0A>; the blank it puts before a document is counted, a byte a document. Special tokens stand for no text.
Imports byte_level.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from mixture.tokenizer import byte_level

BYTE = re.compile(r"^<0x[0-9A-Fa-f]{2}>$")


def of_tokenizer_json(config: Mapping[str, Any], vocab_size: int) -> np.ndarray:
    lengths = np.zeros(vocab_size, np.int32)
    if _has_bytes(config.get("pre_tokenizer")) or _has_bytes(config.get("decoder")):
        found = {i: len(data) for i, data in byte_level.bytes_of_ids(dict(config)).items()}
    else:
        vocabulary = config["model"]["vocab"]
        pieces = (
            enumerate(piece for piece, _ in vocabulary)
            if isinstance(vocabulary, list)
            else ((i, p) for p, i in vocabulary.items())
        )
        found = {i: of_piece(piece) for i, piece in pieces}
        found |= {token["id"]: 0 if token["special"] else of_piece(token["content"]) for token in config["added_tokens"]}
    for i, n in found.items():
        lengths[i] = n
    return lengths


def of_sentencepiece(inner: Any) -> np.ndarray:
    """`inner`: a SentencePieceProcessor."""
    ids = range(int(inner.vocab_size()))
    text = (not (inner.is_control(i) or inner.is_unknown(i) or inner.is_unused(i)) for i in ids)
    return np.array([of_piece(inner.id_to_piece(i)) if is_text else 0 for i, is_text in zip(ids, text, strict=True)], np.int32)


def of_piece(piece: str) -> int:
    return 1 if BYTE.match(piece) else len(piece.replace("\u2581", " ").encode())


def _has_bytes(part: Any) -> bool:
    """A ByteLevel step somewhere in a pre-tokenizer or decoder."""
    if isinstance(part, Mapping):
        return part.get("type") == "ByteLevel" or any(_has_bytes(value) for value in part.values())
    return isinstance(part, list) and any(_has_bytes(value) for value in part)
