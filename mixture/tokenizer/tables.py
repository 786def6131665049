"""A tokenizer as tables for compiled BPE, where the kernel can do what its library does: a tokenizer.json or pieces in, `Tables` out.

Byte-level BPE with the pattern of GPT-2, Qwen 2 or Llama 3, with NFC or without, with added tokens; and BPE over characters with
bytes for unknown ones, as Llama 2 and Mistral have it, if no piece reaches over a blank, so that words are independent. None for
all else. That the ids are equal is compared on the run's own text (`tokens.py`). Imports kernels, byte_level and pieces.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mixture.tokenizer import kernels
from mixture.tokenizer.byte_level import GPT2_PATTERN, byte_of_char, pattern_of
from mixture.tokenizer.pieces import BYTE, CONTROL, NORMAL, UNKNOWN, Pieces

GPT4_PATTERN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
PATTERNS = {  # regular expression -> the kernel's name for it, longest run of digits
    GPT2_PATTERN: (kernels.GPT2, 0),
    GPT4_PATTERN % r"\p{N}": (kernels.GPT4, 1),  # Qwen 2
    GPT4_PATTERN % r"\p{N}{1,3}": (kernels.GPT4, 3),  # Llama 3
}
NEVER_IN_UTF8 = {0xC0, 0xC1, *range(0xF5, 0x100)}  # GPT-NeoX has no tokens for them
BLANK = "▁"  # what stands for a blank in pieces
OVER_BLANK = re.compile(f"[^{BLANK}]{BLANK}")
LLAMA = [{"type": "Prepend", "prepend": BLANK}, {"type": "Replace", "pattern": {"String": " "}, "content": BLANK}]
MAX_NODES = 20_000  # of the trie, 1 kB each

Merge = tuple[int, int, int, int]  # left id, right id, rank (lowest first), id of the merged token


@dataclass(frozen=True)
class Tables:
    """What the kernel reads of one tokenizer."""

    pattern: int
    digits: int
    nfc: bool
    nfc_first: bool  # before added tokens are looked for
    puts_blank: bool  # in front of every text that is not empty
    trie: np.ndarray  # (n_nodes, 256) int32: added tokens by bytes, 0: no further; no rows where none is looked for
    names: np.ndarray  # (n_nodes,) int32: id of the added token that ends here, -1 none, -2 a special one, which stays text
    of_byte: np.ndarray  # (256,) int32
    of_char: np.ndarray  # (2**21,) int32: -1 unknown; size 0: everything is bytes
    pairs: np.ndarray  # (a power of two, 2) int64: see kernels.fill_pairs
    whole: dict[bytes, int]  # words that are one token whatever the merges say


def of_tokenizer_json(config: dict[str, Any]) -> Tables | None:
    """Tables of a tokenizer.json, or None where the kernel does not do what it says."""
    model = config["model"]
    plain = not any(model.get(key) for key in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"))
    if model.get("type") != "BPE" or not plain:
        return None
    if model.get("byte_fallback"):
        return _of_llama(config)
    pattern, normalizer = PATTERNS.get(pattern_of(config.get("pre_tokenizer")) or ""), config.get("normalizer")
    added = _added_tokens(config.get("added_tokens") or [])
    if pattern is None or normalizer not in (None, {"type": "NFC"}) or added is None:
        return None
    vocab, to_byte = model["vocab"], byte_of_char()
    if not all(char in vocab or byte in NEVER_IN_UTF8 for char, byte in to_byte.items()):
        return None
    trie, names, is_normalized = added
    whole: dict[bytes, int] = {}
    if model.get("ignore_merges"):
        whole = {bytes(to_byte[char] for char in token): i for token, i in vocab.items() if to_byte.keys() >= set(token)}
        if any(len(word) > kernels.LONGEST_KEPT for word in whole):
            return None
    of_byte = np.full(256, -1, np.int32)
    for char, byte in to_byte.items():
        of_byte[byte] = vocab.get(char, -1)
    pairs = _pairs(_listed(model))
    return Tables(
        *pattern, normalizer is not None, is_normalized, False, trie, names, of_byte, np.zeros(0, np.int32), pairs, whole
    )


def of_pieces(pieces: Pieces) -> Tables | None:
    """Tables of a SentencePiece model, or None where the kernel does not do what it says."""
    usual = set(pieces.kind) <= {NORMAL, UNKNOWN, CONTROL, BYTE}
    if not (pieces.is_bpe and pieces.byte_fallback and pieces.is_identity and usual):
        return None
    vocab = {text: i for i, (text, kind) in enumerate(zip(pieces.text, pieces.kind, strict=True)) if kind == NORMAL}
    of_byte = [i for i, kind in enumerate(pieces.kind) if kind == BYTE]  # in the order of bytes: SentencePiece sees to that
    ranks = {score: rank for rank, score in enumerate(sorted(set(pieces.score), reverse=True))}
    merges = [
        (vocab[text[:k]], vocab[text[k:]], ranks[pieces.score[i]], i)
        for text, i in vocab.items()
        for k in range(1, len(text))
        if text[:k] in vocab and text[k:] in vocab
    ]
    return _of_characters(vocab, of_byte, merges, vocab, pieces.puts_blank)


def _of_llama(config: dict[str, Any]) -> Tables | None:
    """A SentencePiece model as transformers writes it into a tokenizer.json."""
    model, vocab = config["model"], config["model"]["vocab"]
    normalizer = config.get("normalizer") or {}
    known = normalizer.get("type") == "Sequence" and normalizer["normalizers"] == LLAMA and config.get("pre_tokenizer") is None
    text_only = all(token["special"] for token in config.get("added_tokens") or [])
    of_byte = [vocab.get(f"<0x{byte:02X}>") for byte in range(256)]
    if not known or not text_only or model.get("ignore_merges") or None in of_byte:
        return None
    merges = list(_listed(model))
    of_id = {i: token for token, i in vocab.items()}
    return _of_characters(vocab, of_byte, merges, [of_id[token] for *_, token in merges], puts_blank=True)


def _of_characters(
    vocab: dict[str, int], of_byte: Sequence[int], merges: Iterable[Merge], merged: Iterable[str], puts_blank: bool
) -> Tables | None:
    """`merged`: the tokens that merges make."""
    if BLANK not in vocab or len(of_byte) != 256 or any(OVER_BLANK.search(token) for token in merged):
        return None
    of_char = np.full(1 << 21, -1, np.int32)
    for token, i in vocab.items():
        if len(token) == 1:
            of_char[ord(token)] = i
    no_trie = (np.zeros((0, 256), np.int32), np.zeros(0, np.int32))
    ids = np.array(of_byte, np.int32)
    return Tables(kernels.BLANKS, 0, False, False, puts_blank, *no_trie, ids, of_char, _pairs(merges), {})


def _listed(model: dict[str, Any]) -> list[Merge]:
    vocab = model["vocab"]
    pairs = [merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"]]
    return [(vocab[left], vocab[right], rank, vocab[left + right]) for rank, (left, right) in enumerate(pairs)]


def _pairs(merges: Iterable[Merge]) -> np.ndarray:
    columns = np.array(list(merges), np.int64).reshape(-1, 4)
    table = np.full((1 << (2 * len(columns) + 1).bit_length(), 2), -1, np.int64)
    kernels.fill_pairs(columns, table)
    return table


def _added_tokens(added: list[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray, bool] | None:
    """(trie, names, whether they are looked for after the normalizer) of the tokens found in a text, and of the special ones they
    are looked for together with: what such a one covers stays text."""
    found = [token for token in added if not token["special"]]
    if not found:
        return np.zeros((0, 256), np.int32), np.zeros(0, np.int32), True
    normalized = found[0]["normalized"]
    plain = all(token["normalized"] == normalized and unicodedata.is_normalized("NFC", token["content"]) for token in found)
    if not plain or any(token[key] for token in found for key in ("single_word", "lstrip", "rstrip")):
        return None
    rows, names = [np.zeros(256, np.int32)], [-1]
    for token in added:
        if token["normalized"] != normalized or not token["content"]:
            continue
        node = 0
        for byte in token["content"].encode():
            if rows[node][byte] == 0:
                rows[node][byte] = len(rows)
                rows.append(np.zeros(256, np.int32))
                names.append(-1)
            node = int(rows[node][byte])
        names[node] = -2 if token["special"] else token["id"]
        if len(rows) > MAX_NODES:
            return None
    return np.stack(rows), np.array(names, np.int32), normalized
