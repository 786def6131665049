"""What really entered the model of pairs: two rows each, counted and hashed from the tensors of the forward pass.

In: input ids and mask as the decoder received them with gradient, the labels of the loss. Out: a line of integers per pair, as
train.receipt keeps them; a pair's hash is that of its two rows (mixture.pairs). Nothing is copied from the manifest.
May import mixture.stream (hash_row), train.*; numpy, torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mixture.stream import hash_row
from train.batch import EMPTY
from train.dpo.batch import Micro
from train.head import IGNORED
from train.receipt import FIELDS


class WatchPairs:
    """Keeps what each training forward of the decoder received, until `take`. The KL term and the reference have no gradient."""

    def __init__(self, decoder: torch.nn.Module) -> None:
        self._entered: list[tuple[Tensor, Tensor]] = []
        self._hook = decoder.register_forward_pre_hook(self._saw, with_kwargs=True)

    def _saw(self, decoder: torch.nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        if decoder.training and torch.is_grad_enabled():
            self._entered.append((kwargs["input_ids"], kwargs["attention_mask"]))

    def take(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """(input_ids, attention_mask), each (2k, T), of every training forward since the last call."""
        found = [(ids.cpu().numpy(), mask.cpu().numpy() > 0) for ids, mask in self._entered]
        self._entered.clear()
        return found


def evidence(
    entered: Sequence[tuple[np.ndarray, np.ndarray]], labels: Sequence[Tensor], micros: Sequence[Micro], n_languages: int
) -> np.ndarray:
    """(pairs, train.receipt.FIELDS + 2 n_languages) int64; of fillers only EMPTY.

    Tokens are those of both rows, the prompt's twice, as the model read them."""
    lines = [
        _line(ids, mask, asked, micro, i, n_languages)
        for (ids, mask), passed, micro in zip(entered, labels, micros, strict=True)
        for asked in (passed.cpu().numpy() != IGNORED,)
        for i in range(len(micro))
    ]
    return np.stack(lines) if lines else np.zeros((0, FIELDS + 2 * n_languages), np.int64)


def _line(ids: np.ndarray, mask: np.ndarray, asked: np.ndarray, micro: Micro, i: int, n_languages: int) -> np.ndarray:
    line, pair = np.zeros(FIELDS + 2 * n_languages, np.int64), micro.pairs[i]
    line[:2] = EMPTY
    if pair is None:
        return line
    rows = [i, len(micro) + i]
    tokens, n_asked = [ids[row][mask[row]] for row in rows], int(asked[rows].sum())
    n_tokens = sum(map(len, tokens))
    line[:4] = micro.index[i], pair.component, n_tokens, n_asked
    line[4:6] = np.frombuffer(hash_row(np.array([n_tokens]), tokens), np.int64)  # as mixture.pairs.pair_hash: one document
    line[FIELDS + pair.language], line[FIELDS + n_languages + pair.language] = n_tokens, n_asked
    return line
