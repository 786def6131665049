"""`train_rows: new`: of the embedding and the head only the rows of new tokens are trained; a model and its id map in, the same model out.

The gradient of the other rows is made zero where it arrives, before it is clipped or summed over processes, and these matrices have no
weight decay: an update of Adam from nothing is nothing, so that the other rows keep every bit.
May import curate.errors, train.config; pyarrow, torch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from torch import Tensor

from curate.errors import CurateError
from train.config import ModelSpec

ID_MAP = "id_map.parquet"
HELD = "has_held_rows"  # an attribute of a parameter, which train/optimizer.py asks for


def hold(model: torch.nn.Module, causal: Any, spec: ModelSpec, key: str) -> None:
    """`causal`: the transformers model in `model`. Raises CurateError where nothing says which rows are new, or neither matrix is trained."""
    new = _new_rows(spec, key)
    matrices = {id(p): p for p in map(_own, (causal.get_input_embeddings(), causal.get_output_embeddings())) if p is not None}
    trained = [p for p in matrices.values() if p.requires_grad]
    if not trained:
        raise CurateError(
            "train_rows: new, but neither matrix of the vocabulary is trained", where=key,
            allowed="adapt.lora.train_also: [embed_tokens, lm_head], or adapt.full.train_only that has them",
        )  # fmt: skip
    for parameter in trained:
        mask = torch.zeros(len(parameter), 1, dtype=torch.bool)
        mask[new] = True
        parameter.register_hook(_masked(mask))
        setattr(parameter, HELD, True)


def _masked(mask: Tensor) -> Any:
    """Of a gradient what the mask has; on whichever device it comes."""
    here: dict[torch.device, Tensor] = {}

    def of(gradient: Tensor) -> Tensor:
        if gradient.device not in here:
            here[gradient.device] = mask.to(gradient.device)
        return torch.where(here[gradient.device], gradient, 0.0)

    return of


def _own(module: Any) -> torch.nn.Parameter | None:
    """The trained copy where peft keeps one (train_also)."""
    if module is None:
        return None
    if hasattr(module, "modules_to_save"):
        module = module.modules_to_save[module.active_adapters[0]]
    return module.weight


def _new_rows(spec: ModelSpec, key: str) -> Tensor:
    path = Path(spec.init) / ID_MAP if isinstance(spec.init, str) else None
    if path is None or not path.is_file():
        raise CurateError(
            "nothing says which rows are new", where=key, found=f"no {ID_MAP} beside the model", allowed="a model of curate train vocab",
        )  # fmt: skip
    table = pq.read_table(path, columns=["new_id", "old_id"]).to_pydict()
    new = [i for i, old_id in zip(table["new_id"], table["old_id"], strict=True) if old_id < 0]
    if not new:
        raise CurateError("this vocabulary has no new tokens", where=key, found=str(path))
    return torch.tensor(new)
