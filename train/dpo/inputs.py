"""A micro batch and what the reference says of it in; the inputs of TRL's loss out.

SimPO has no reference but a margin: its loss -ln s(b (chosen/|c| - rejected/|r|) - margin) is DPO's, normalised by length, with a "reference" that
gives every token of a chosen answer margin / b and a rejected one 0. The KL term of KTO is the mean over the whole global batch, so it is
measured before and handed in as what a row of which nothing is asked has lost. May import train.*; torch, accelerate.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from accelerate import Accelerator
from torch import Tensor

from train.dpo.batch import Micro, to
from train.dpo.config import Loss
from train.dpo.reference import Store, kl_rows
from train.head import IGNORED

if TYPE_CHECKING:
    from mixture.pairs import Pair


def inputs_of(micro: Micro, loss: Loss, said: Tensor | None, kl: float = 0.0) -> dict[str, Tensor]:
    """`said` (2k,): log-probabilities of the reference, None where there is none; `kl`: of KTO, in nats."""
    n = len(micro)
    said = torch.zeros(2 * n) if said is None else said
    if loss.kind == "simpo":
        said = torch.cat([micro.lengths[:n] * (loss.margin / loss.beta), said[n:]])
    if loss.is_paired:
        return {**micro.inputs, "ref_chosen_logps": said[:n], "ref_rejected_logps": said[n:]}
    label = torch.tensor([True] * n + [False] * n)
    alone = {**micro.inputs, "label": label, "ref_logps": said}
    return {**alone, **kl_rows(2 * n), "ref_KL_logps": torch.full((2 * n,), -kl)} if loss.kind == "kto" else alone


def kl_of(micros: Sequence[Micro], model: torch.nn.Module, store: Store | None, accelerator: Accelerator) -> float:
    """Mean over both answers of all mismatched pairs, over all processes, of policy less reference; not below 0."""
    total = torch.zeros(2, dtype=torch.float64)
    for micro in micros:
        said = torch.zeros(2 * len(micro)) if store is None else store.of(micro)
        policy = log_probs_of(model, to(micro.inputs, accelerator.device)).sum(1).cpu()
        total += torch.stack([(policy - said).double().sum(), (micro.lengths > 0).double().sum()])
    summed, n = accelerator.reduce(total.to(accelerator.device), "sum").tolist()
    return max(0.0, summed / n) if n else 0.0


def log_probs_of(model: torch.nn.Module, inputs: dict[str, Tensor]) -> Tensor:
    """(2k, T - 1) float32 of the tokens of the answers, 0 elsewhere; without gradient."""
    labels = inputs["input_ids"].masked_fill(inputs["completion_mask"] == 0, IGNORED)
    with torch.no_grad():
        given = {name: inputs[name] for name in ("input_ids", "attention_mask")}
        found: Tensor = model(**given, labels=labels, use_cache=False, fused_lm_head=True).log_probs
    return found


def mismatched(pairs: Sequence[Pair], length: int) -> list[Pair]:
    """Each prompt of a global batch with the answers of the next pair, the last with those of the first; cut at `length` tokens.

    The KL term of KTO is measured on them (arXiv 2402.01306, section 4.1)."""
    following = [*pairs[1:], *pairs[:1]]
    return [_mixed(pair, other, length - len(pair.prompt_ids)) for pair, other in zip(pairs, following, strict=True)]


def _mixed(pair: Pair, other: Pair, room: int) -> Pair:
    return pair._replace(chosen_ids=other.chosen_ids[:room], rejected_ids=other.rejected_ids[:room])
