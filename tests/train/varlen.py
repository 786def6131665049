"""Attention of documents laid end to end, as flash kernels do it, in plain torch: registered with transformers under a name with "flash".

Test helper, so that the path of the flash kernels runs on a CPU. Only `cu_seq_lens` says where documents begin; there is no mask.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel

NAME, LEAKY = "flash_reference", "flash_reference_that_leaks"


def attend(query: Tensor, key: Tensor, value: Tensor, scaling: float, window: int | None, cap: float | None) -> Tensor:
    """One document, (heads, T, d)."""
    key, value = (x.repeat_interleave(query.shape[0] // x.shape[0], 0) for x in (key, value))
    scores = query @ key.transpose(1, 2) * scaling
    scores = cap * torch.tanh(scores / cap) if cap else scores
    back = torch.arange(scores.shape[1])[:, None] - torch.arange(scores.shape[1])
    return torch.softmax(scores.masked_fill((back < 0) | (back >= (window or 10**9)), -torch.inf), -1) @ value


def varlen(
    module: torch.nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, *, scaling: float,
    cu_seq_lens_q: Tensor, cu_seq_lens_k: Tensor, max_length_q: int, max_length_k: int, sliding_window: int | None = None,
    softcap: float | None = None, dropout: float = 0.0, **_: object,
) -> tuple[Tensor, None]:  # fmt: skip
    bounds = cu_seq_lens_q.tolist()
    assert query.shape[0] == 1 and attention_mask is None and dropout == 0 and bounds == cu_seq_lens_k.tolist()
    assert bounds[0] == 0 and bounds[-1] == query.shape[2] and cu_seq_lens_q.dtype == torch.int32
    assert max_length_q == max_length_k == max(b - a for a, b in pairwise(bounds))
    parts = [attend(*(x[0, :, a:b] for x in (query, key, value)), scaling, sliding_window, softcap) for a, b in pairwise(bounds)]
    return torch.cat(parts, 1).transpose(0, 1)[None], None


def leaky(*args: Tensor, cu_seq_lens_q: Tensor, **kwargs: object) -> tuple[Tensor, None]:
    """A kernel that does not look at where documents begin."""
    n = args[1].shape[2]
    whole = torch.tensor([0, n], dtype=torch.int32)
    return varlen(*args, **{**kwargs, "cu_seq_lens_q": whole, "cu_seq_lens_k": whole, "max_length_q": n, "max_length_k": n})  # type: ignore[arg-type]


for name, function in ((NAME, varlen), (LEAKY, leaky)):
    AttentionInterface.register(name, function)
    AttentionMaskInterface.register(name, AttentionMaskInterface()["flash_attention_2"])


def flattened(model: PreTrainedModel, name: str = NAME) -> PreTrainedModel:
    model.config._attn_implementation = name
    return model
