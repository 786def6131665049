"""Pairs of a step in; micro batches out, put together by their tokens: pairs of like length together, padding included under a bound.

Which pairs a step trains is said by the manifest; how they are put together changes neither the loss (a mean over the pairs of the whole
step) nor the gradient but for rounding. Longest first, so that what does not fit is known at once. Every process gets as many pairs in each of
its micro batches as the others; where they do not divide, a filler takes the place: an answer of which nothing is asked.
May import mixture.pairs (types), train.batch, train.dpo.config; torch, and TRL's collators.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from trl.trainer.dpo_trainer import DataCollatorForPreference

from train.batch import EMPTY

if TYPE_CHECKING:
    from mixture.pairs import Pair

PAD = 0  # the id on padding, which no attention sees


@dataclass(frozen=True)
class Micro:
    """k pairs of a forward pass. Rows 0 to k - 1 are their chosen answers, rows k to 2k - 1 the rejected ones."""

    index: tuple[int, ...]  # (k,) place in the stream, EMPTY for a filler
    pairs: tuple[Pair | None, ...]  # (k,)
    inputs: dict[str, Tensor]  # input_ids, attention_mask, completion_mask: (2k, T) int64

    def __len__(self) -> int:
        return len(self.index)

    @property
    def rows(self) -> list[int]:
        """(2k,) a number of its own for each answer, EMPTY for a filler: what dropout is drawn by."""
        both = ((2 * i if i != EMPTY else EMPTY, 2 * i + 1 if i != EMPTY else EMPTY) for i in self.index)
        chosen, rejected = zip(*both, strict=True)
        return [*chosen, *rejected]

    @property
    def lengths(self) -> Tensor:
        """(2k,) tokens of the answers."""
        return self.inputs["completion_mask"].sum(1)


def length_of(pair: Pair) -> int:
    """Of the longer of its two rows."""
    return len(pair.prompt_ids) + max(len(pair.chosen_ids), len(pair.rejected_ids))


def groups(lengths: Sequence[int], micro_tokens: int, world: int = 1) -> list[list[int]]:
    """Places in `lengths`, longest first, so that 2 rows a pair, as wide as the longest, are at most `micro_tokens` on each process.

    A single pair on a process may be more: nothing of it is cut."""
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    found = []
    while order:
        each = max(1, micro_tokens // (2 * lengths[order[0]]))
        found.append(order[: each * world])
        order = order[each * world :]
    return found


def micro_batches(
    index: Sequence[int], pairs: Sequence[Pair], micro_tokens: int, rank: int = 0, world: int = 1
) -> Iterator[Micro]:
    """Those of one process; the pairs are of the whole step."""
    for group in groups([length_of(pair) for pair in pairs], micro_tokens, world):
        mine = group[rank::world]
        n_fillers = -(-len(group) // world) - len(mine)
        yield collate(
            [*(index[i] for i in mine), *[EMPTY] * n_fillers],
            [*(pairs[i] for i in mine), *[None] * n_fillers],
        )


def collate(index: Sequence[int], pairs: Sequence[Pair | None]) -> Micro:
    """By TRL's own collator, without its cut."""
    return Micro(tuple(index), tuple(pairs), DataCollatorForPreference(PAD)([_lists(pair) for pair in pairs]))


def _lists(pair: Pair | None) -> dict[str, list[int]]:
    if pair is None:
        return {"prompt_ids": [PAD, PAD], "chosen_ids": [], "rejected_ids": []}
    parts = {"prompt_ids": pair.prompt_ids, "chosen_ids": pair.chosen_ids, "rejected_ids": pair.rejected_ids}
    return {name: np.asarray(ids).tolist() for name, ids in parts.items()}


def to(inputs: dict[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    return {name: value.to(device, non_blocking=True) for name, value in inputs.items()}
