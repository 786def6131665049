"""Tokenizers of a screenful for these tests, as plain tokenizer.json data, and byte-pair encoding written out once more, slowly."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from mixture.tokenizer.byte_level import byte_of_char

END = "<|end|>"


def byte_level(merges: Sequence[tuple[str, str]] = (), added: Sequence[dict] = (), **model: Any) -> dict:
    """<|end|> is 0, the 256 letters are 1 to 256 in the order of their code points, then what the merges make, then `added`."""
    vocab = {END: 0} | {char: i for i, char in enumerate(sorted(byte_of_char()), 1)}
    for left, right in merges:
        vocab.setdefault(left + right, len(vocab))
    for token in model.pop("whole", ()):  # reached by no merge
        vocab[token] = len(vocab)
    special = {"id": 0, "content": END, "special": True}
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    bytes_ = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [{**plain, **one} for one in (special, *added)],
        "normalizer": None, "pre_tokenizer": bytes_, "post_processor": None, "decoder": bytes_,
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
            "fuse_unk": False, "byte_fallback": False, "ignore_merges": False, "vocab": vocab, "merges": [list(pair) for pair in merges], **model,
        },
    }  # fmt: skip


def pieces(letters: str, merges: Sequence[tuple[str, str]] = ()) -> dict:
    """As Llama's: <unk> <s> </s> are 0 to 2, the bytes 3 to 258, then the letters, then what the merges make."""
    vocab = {"<unk>": 0, "<s>": 1, "</s>": 2} | {f"<0x{byte:02X}>": 3 + byte for byte in range(256)}
    for token in (*letters, *(left + right for left, right in merges)):
        vocab.setdefault(token, len(vocab))
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    blanks = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    back = {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}
    first = {"id": "<s>", "ids": [1], "tokens": ["<s>"]}
    template = [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{**plain, "id": i, "content": name} for i, name in enumerate(("<unk>", "<s>", "</s>"))],
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, blanks]}, "pre_tokenizer": None,
        "post_processor": {"type": "TemplateProcessing", "single": template, "pair": template, "special_tokens": {"<s>": first}},
        "decoder": {"type": "Sequence", "decoders": [back, {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {
            "type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None, "end_of_word_suffix": None, "fuse_unk": True,
            "byte_fallback": True, "ignore_merges": False, "vocab": vocab, "merges": [list(pair) for pair in merges],
        },
    }  # fmt: skip


def write(folder: Path, config: dict, **settings: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    return folder


def learn(words: Iterable[Sequence[int]], n: int, min_frequency: int) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Byte-pair encoding (Sennrich et al. 2016): all pairs are counted anew for every merge; of equals that of the lower numbers wins,
    where what a merge makes has the next number. Returns pairs, each side as the ids it is made of."""
    counts = Counter(tuple((i,) for i in word) for word in words)
    number: dict[tuple[int, ...], int] = {}
    found = []
    for _ in range(n):
        pairs: Counter = Counter()
        for word, count in counts.items():
            for pair in pairwise(word):
                pairs[pair] += count
        ordered = sorted(pairs.items(), key=lambda item: (-item[1], [number.get(side, side[0]) for side in item[0]]))
        if not ordered or ordered[0][1] < min_frequency:
            return found
        pair = ordered[0][0]
        found.append(pair)
        number.setdefault(pair[0] + pair[1], 10**9 + len(number))
        changed: Counter = Counter()
        for word, count in counts.items():
            changed[_merged(word, pair)] += count
        counts = changed
    return found


def _merged(word: tuple, pair: tuple) -> tuple:
    done, k = [], 0
    while k < len(word):
        if word[k : k + 2] == pair:
            done.append(pair[0] + pair[1])
            k += 2
        else:
            done.append(word[k])
            k += 1
    return tuple(done)


def merged(symbols: Sequence[str], merges: Sequence[tuple[str, str]]) -> list[str]:
    """What merges make of symbols: the first of the list that fits, at its first place, again and again."""
    symbols = list(symbols)
    ranks = {pair: rank for rank, pair in reversed(list(enumerate(merges)))}
    while fits := [(ranks[pair], k) for k, pair in enumerate(pairwise(symbols)) if pair in ranks]:
        _, k = min(fits)
        symbols[k : k + 2] = [symbols[k] + symbols[k + 1]]
    return symbols
