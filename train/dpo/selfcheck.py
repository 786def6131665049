"""Checks of the user's own model on the user's own pairs before the first step: a few seconds, each a sentence or a CurateError.

May import curate.errors, train.*; torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch

from curate.errors import CurateError
from train.dpo.batch import collate, length_of, to
from train.dpo.inputs import log_probs_of
from train.dpo.losses import PairScorer
from train.dpo.reference import Store
from train.selfcheck import check_matrices

if TYPE_CHECKING:
    from mixture.pairs import Pair
    from mixture.tokenizer import Tokenizer

PER_TOKEN = {torch.float32: 1e-4, torch.bfloat16: 0.1}  # nats: how far two forward passes of the same tokens may part


def check(
    looked: Sequence[Pair], model: torch.nn.Module, scorer: PairScorer, store: Store | None, tokenizer: Tokenizer | None, device: torch.device
) -> Iterator[str]:  # fmt: skip
    """`looked`: pairs among which the shortest and the longest are taken; `store`: only where its reference is the model as it is now.

    Every process calls this; the model is left in the mode it was in."""
    was_training = model.training
    model.eval()
    yield check_matrices(scorer, tokenizer)
    ends = [min(looked, key=length_of), max(looked, key=length_of)]
    together = collate([0, 1], ends)
    found = log_probs_of(model, to(together.inputs, device)).sum(1)
    yield _check_padding(model, scorer, ends, found, device)
    if store is not None:
        worst = float(((found.cpu() - store.of(together)).abs() / together.lengths).max())
        if not worst <= PER_TOKEN[scorer.dtype]:
            raise CurateError(
                "the model before the first step is not the reference that the stored log-probabilities are of",
                where=str(store.folder), found=f"{worst:.1e} nats a token apart", allowed=f"at most {PER_TOKEN[scorer.dtype]:.0e}",
                next=f"rm -r {store.folder}: they are computed again", exit_code=1,
            )  # fmt: skip
        yield f"reference: the model gives what is stored of it (within {worst:.0e} nats a token), so every margin begins at 0"
    model.train(was_training)


def _check_padding(model: torch.nn.Module, scorer: PairScorer, ends: list, found: torch.Tensor, device: torch.device) -> str:
    """The shortest pair beside the longest, mostly padding, and alone."""
    alone = collate([0], ends[:1])
    apart = (log_probs_of(model, to(alone.inputs, device)).sum(1) - found[[0, 2]]).abs().cpu()
    worst = float((apart / alone.lengths).max())
    if not worst <= PER_TOKEN[scorer.dtype]:
        raise CurateError(
            "padding changes what this model says of an answer", where="model.init", found=f"{worst:.1e} nats a token",
            allowed=f"at most {PER_TOKEN[scorer.dtype]:.0e}", next="another model.attention, such as sdpa or eager", exit_code=1,
        )  # fmt: skip
    return f"padding: a pair of {length_of(ends[0])} tokens beside one of {length_of(ends[1])} as alone (within {worst:.0e} nats a token)"
