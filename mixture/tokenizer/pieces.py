"""A SentencePiece model file as what BPE needs of it: bytes of tokenizer.model in, `Pieces` out. Imports nothing of ours.

The file is a protocol buffer (sentencepiece_model.proto); the few fields wanted are read here, as its own Python module needs
protobuf, which nobody else does, and says nothing about normalization.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

BPE = 2  # TrainerSpec.ModelType
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)  # SentencePiece.Type


@dataclass(frozen=True)
class Pieces:
    """Pieces by id, and what happens to a text before them."""

    text: list[str]
    score: list[float]
    kind: list[int]
    is_bpe: bool
    byte_fallback: bool
    is_identity: bool  # no character is changed: no rules, blanks are kept and become ▁
    puts_blank: bool  # in front of every text


def read_pieces(model: bytes) -> Pieces:
    """Raises ValueError (also UnicodeDecodeError, struct.error) where these are not the bytes of a model."""
    text, score, kind = [], [], []
    trainer: dict[int, int | bytes] = {}
    normalizer: dict[int, int | bytes] = {}
    for number, value in _fields(model):
        if number == 1 and isinstance(value, bytes):
            fields = dict(_fields(value))
            text.append(bytes(fields.get(1, b"")).decode())
            score.append(struct.unpack("<f", bytes(fields.get(2, bytes(4))))[0])
            kind.append(int(fields.get(3, NORMAL)))
        elif number == 2 and isinstance(value, bytes):
            trainer = dict(_fields(value))
        elif number == 3 and isinstance(value, bytes):
            normalizer = dict(_fields(value))
    # field numbers and defaults: TrainerSpec.model_type 3, treat_whitespace_as_suffix 24, byte_fallback 35; NormalizerSpec
    # .precompiled_charsmap 2, add_dummy_prefix 3, remove_extra_whitespaces 4, escape_whitespaces 5
    suffix = trainer.get(24, 0)
    is_identity = not normalizer.get(2) and normalizer.get(4, 1) == 0 and normalizer.get(5, 1) == 1 and not suffix
    puts_blank = normalizer.get(3, 1) == 1
    return Pieces(text, score, kind, trainer.get(3, 1) == BPE, trainer.get(35, 0) == 1, is_identity, puts_blank)


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(number, value) of every field of a message: varints as int, all else as its bytes."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        value: int | bytes
        if key & 7 == 0:
            value, at = _varint(data, at)
        else:
            if key & 7 == 2:
                size, at = _varint(data, at)
            elif key & 7 in (1, 5):
                size = 8 if key & 7 == 1 else 4
            else:
                raise ValueError(f"field {key >> 3} is of type {key & 7}")
            value, at = data[at : at + size], at + size
            if at > len(data):
                raise ValueError("the file ends inside a field")
        yield key >> 3, value


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value, shift = 0, 0
    while True:
        if at == len(data) or shift > 63:
            raise ValueError("the file ends inside a number")
        value |= (data[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 0x80:
            return value, at
