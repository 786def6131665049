"""The tokenizer that is worked on: a folder, file or hub id in; `Base` out, its tokenizer.json as plain data whatever its files are.

A SentencePiece model becomes a tokenizer.json as transformers writes it. Only BPE is taken: a vocabulary with a list of merges.
May import curate.errors, curate.recipe, mixture.tokenizer, train.vocab.library.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curate.errors import CurateError
from curate.recipe import TokenizerSpec
from mixture.tokenizer import Tokenizer, open_tokenizer
from mixture.tokenizer.byte_level import byte_of_char
from mixture.tokenizer.files import find_files, read_object
from mixture.tokenizer.pieces import BYTE, CONTROL, NORMAL, UNKNOWN, USER_DEFINED, Pieces, read_pieces

LETTERS = byte_of_char()  # of byte-level vocabularies
LETTER_OF = {byte: char for char, byte in LETTERS.items()}
BLANK = "▁"  # U+2581, a blank in SentencePiece's pieces
Config = dict[str, Any]  # a tokenizer.json


@dataclass(frozen=True)
class Base:
    config: Config
    settings: Config  # tokenizer_config.json
    specials: Config  # special_tokens_map.json
    template: str | None
    tokenizer: Tokenizer
    place: Path  # its folder


def read_base(place: str, revision: str | None, where: str) -> Base:
    """Raises CurateError where there is no tokenizer, it is no BPE, or it is one of a kind whose text we cannot cut as it does."""
    try:
        files = find_files(TokenizerSpec(model=place, revision=revision))
        tokenizer = open_tokenizer(files)
    except CurateError as error:
        raise CurateError(error.what, where=where, found=error.found or place, allowed=error.allowed, next=error.next) from error
    if files.kind == "tokenizers":
        config = read_object(files.paths[0])
    elif files.kind == "sentencepiece":
        config = of_pieces(read_pieces(files.paths[0].read_bytes()), where, place)
        if read_object(files.paths[0].with_name("tokenizer_config.json")).get("add_bos_token", True):
            config["post_processor"] = _with_bos(tokenizer)
    else:
        config = tokenizer._config
    check_bpe(config, where, place)
    folder = files.paths[0].parent
    settings, specials = (read_object(folder / name) for name in ("tokenizer_config.json", "special_tokens_map.json"))
    return Base({**config, "truncation": None, "padding": None}, settings, specials, files.template, tokenizer, folder)


def check_bpe(config: Config, where: str, found: str) -> None:
    model = config["model"]
    if model.get("type", "BPE") != "BPE" or "merges" not in model:
        raise CurateError(
            f"the vocabulary of a {model.get('type')} tokenizer is not changed here", where=where, found=found, 
            allowed="BPE, as of Llama, Mistral, GPT-NeoX, Qwen, Gemma",
            next="replace it by a BPE tokenizer (replace: {by: FOLDER})",
        )  # fmt: skip
    odd = [key for key in ("dropout", "continuing_subword_prefix", "end_of_word_suffix") if model.get(key)]
    if odd:
        raise CurateError(f"a BPE with {odd[0]} is not changed here", where=where, found=f"{found}: {odd[0]} {model[odd[0]]!r}")


def is_byte_level(config: Config) -> bool:
    """Is the vocabulary written in GPT-2's alphabet of bytes?"""
    return _has_bytes(config.get("pre_tokenizer")) or _has_bytes(config.get("decoder"))


def _has_bytes(part: Any) -> bool:
    if isinstance(part, dict):
        return part.get("type") == "ByteLevel" or any(_has_bytes(value) for value in part.values())
    return isinstance(part, list) and any(_has_bytes(value) for value in part)


def merges_of(config: Config) -> list[tuple[str, str]]:
    """Older files write a merge as one string, "a b"."""
    pairs = (merge.split(" ") if isinstance(merge, str) else merge for merge in config["model"]["merges"])
    return [(left, right) for left, right in pairs]


def tokens_of(config: Config) -> dict[int, str]:
    """Id -> token, added ones too, by id."""
    found = {i: token for token, i in config["model"]["vocab"].items()}
    found |= {token["id"]: token["content"] for token in config["added_tokens"]}
    return dict(sorted(found.items()))


def byte_token(byte: int) -> str:
    return f"<0x{byte:02X}>"


def alphabet_of(config: Config) -> set[str]:
    """Tokens that stand for single bytes: without them some text could not be written."""
    vocab = config["model"]["vocab"]
    letters = LETTERS if is_byte_level(config) else map(byte_token, range(256))
    return {letter for letter in letters if letter in vocab}


def bytes_of_token(config: Config, token: str) -> bytes:
    """The text that a token of the vocabulary stands for; a blank in front is a blank."""
    if is_byte_level(config):
        return bytes(LETTERS[char] for char in token) if all(char in LETTERS for char in token) else token.encode()
    if len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
        return bytes([int(token[3:5], 16)])
    return token.replace(BLANK, " ").encode()


def of_pieces(pieces: Pieces, where: str, found: str) -> Config:
    """As transformers' converter of Llama makes it (convert_slow_tokenizer.py): merges in the order of scores, then of lengths."""
    usual = set(pieces.kind) <= {NORMAL, UNKNOWN, CONTROL, BYTE, USER_DEFINED}
    if not (pieces.is_bpe and pieces.byte_fallback and pieces.is_identity and usual):
        raise CurateError(
            "this SentencePiece model is not one whose vocabulary is changed here", where=where, found=found,
            allowed="BPE with byte fallback that changes no character, as of Llama 2 and Mistral",
            next="write its tokenizer.json with transformers: AutoTokenizer.from_pretrained(...).save_pretrained(FOLDER)",
        )  # fmt: skip
    vocab = {text: i for i, text in enumerate(pieces.text)}
    unknown = next((text for text, kind in zip(pieces.text, pieces.kind, strict=True) if kind == UNKNOWN), None)
    added = [
        {"id": i, "content": text, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": kind != USER_DEFINED}
        for i, (text, kind) in enumerate(zip(pieces.text, pieces.kind, strict=True)) if kind in (UNKNOWN, CONTROL, USER_DEFINED)
    ]  # fmt: skip
    blanks = {"type": "Replace", "pattern": {"String": " "}, "content": BLANK}
    first = [{"type": "Prepend", "prepend": BLANK}] if pieces.puts_blank else []
    back = [{"type": "Replace", "pattern": {"String": BLANK}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}]
    strip = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if pieces.puts_blank else []
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
        "normalizer": {"type": "Sequence", "normalizers": [*first, blanks]}, "pre_tokenizer": None,
        "post_processor": None, "decoder": {"type": "Sequence", "decoders": [*back, *strip]},
        "model": {
            "type": "BPE", "dropout": None, "unk_token": unknown, "continuing_subword_prefix": None, "end_of_word_suffix": None,
            "fuse_unk": True, "byte_fallback": True, "ignore_merges": False, "vocab": vocab, "merges": _merges(pieces, vocab),
        },
    }  # fmt: skip


def _with_bos(tokenizer: Tokenizer) -> Config | None:
    """BOS before every text, as transformers' Llama does unless it is told otherwise."""
    name, i = tokenizer.special_strings["bos"], tokenizer.special["bos"]
    if name is None:
        return None
    first, text, second = (
        {"SpecialToken": {"id": name, "type_id": 0}},
        {"Sequence": {"id": "A", "type_id": 0}},
        {"Sequence": {"id": "B", "type_id": 1}},
    )
    token = {"id": name, "ids": [i], "tokens": [name]}
    return {
        "type": "TemplateProcessing",
        "single": [first, text],
        "pair": [first, text, first, second],
        "special_tokens": {name: token},
    }


def _merges(pieces: Pieces, vocab: dict[str, int]) -> list[list[str]]:
    own = [text for text, kind in zip(pieces.text, pieces.kind, strict=True) if kind == NORMAL]
    known = set(own)
    splits = [
        (pieces.score[vocab[text]], k, len(text) - k, text[:k], text[k:])
        for text in own for k in range(1, len(text)) if text[:k] in known and text[k:] in known
    ]  # fmt: skip
    splits.sort(key=lambda split: split[:3], reverse=True)
    return [[left, right] for *_, left, right in splits]
