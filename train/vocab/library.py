"""Hugging Face's tokenizers for this room: a tokenizer.json as plain data in; ids, words of ids, and learned merges out.

The one module of train that imports tokenizers. Special strings in a text are plain text, and no special token is put around it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

FIRST = 0x20000  # the code point of id 0: above all blanks and surrogates; room for 900,000 ids
BATCH = 256  # documents handed over at once


def opened(config: dict[str, Any]) -> Any:
    """A tokenizers.Tokenizer of this tokenizer.json."""
    inner = Tokenizer.from_str(json.dumps({**config, "post_processor": None, "truncation": None, "padding": None}))
    inner.encode_special_tokens = True
    return inner


def ids_of(inner: Any, texts: Sequence[str]) -> list[np.ndarray]:
    """(n,) int32 of every text."""
    return [np.array(found.ids, np.int32) for found in inner.encode_batch_fast(list(texts), add_special_tokens=False)]


def ids_and_words(inner: Any, texts: Sequence[str]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Ids and, for every id, the number of the piece that the pre-tokenizer cut it from; (n,) int64 both."""
    for found in inner.encode_batch(list(texts), add_special_tokens=False):
        yield np.array(found.ids, np.int64), np.array(found.word_ids, np.int64)


def alone(inner: Any, token: str) -> list[int]:
    """Ids of a piece in the vocabulary's own letters, by its merges alone: nothing is cut or changed before."""
    return [part.id for part in inner.model.tokenize(token)]


def normalised(inner: Any, text: str) -> str:
    return inner.normalizer.normalize_str(text) if inner.normalizer else text


def without_prefix(config: dict[str, Any]) -> dict[str, Any]:
    """The same tokenizer, putting no blank before a text."""
    return {
        **config,
        "normalizer": _without_prepend(config["normalizer"]),
        "pre_tokenizer": _without_blank(config["pre_tokenizer"]),
    }


def _without_prepend(part: Any) -> Any:
    if not part or part["type"] not in ("Prepend", "Sequence"):
        return part
    if part["type"] == "Prepend":
        return None
    rest = [one for one in map(_without_prepend, part["normalizers"]) if one is not None]
    return {**part, "normalizers": rest} if rest else None


def _without_blank(part: Any) -> Any:
    if not part:
        return part
    if part["type"] == "Sequence":
        return {**part, "pretokenizers": [_without_blank(one) for one in part["pretokenizers"]]}
    changed = {"add_prefix_space": False} if "add_prefix_space" in part else {}
    return {**part, **changed, **({"prepend_scheme": "never"} if "prepend_scheme" in part else {})}


def learn(lines: Iterable[str], n_ids: int, n_merges: int, min_frequency: int) -> list[tuple[str, str]]:
    """Merges of code points (an id each, FIRST on), best first; words in a line stand apart by a blank. Byte-pair encoding by counts:
    the most frequent pair becomes one, of equals that of lower ids."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    letters = [chr(FIRST + i) for i in range(n_ids)]
    trainer = trainers.BpeTrainer(
        vocab_size=n_ids + n_merges, min_frequency=min_frequency, show_progress=False, initial_alphabet=letters, special_tokens=[]
    )
    inner.train_from_iterator(lines, trainer)
    return [(left, right) for left, right in json.loads(inner.to_str())["model"]["merges"]]
