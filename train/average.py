"""Folders of safetensors in; the uniform mean of their tensors out, as shards that transformers reads. A file's worth is in memory at once.

Sums are in float32. Of one folder the mean is itself, so this also copies and changes the dtype. Tensors that are no floating point
numbers must be equal everywhere. May import curate.errors; torch, safetensors.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from curate.errors import CurateError

SHARD = 5 * 10**9  # bytes of a file, as the hub likes them
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
BYTES = {  # of safetensors' dtypes
    "F64": 8, "F32": 4, "BF16": 2, "F16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1,
}  # fmt: skip


class Folder:
    """The tensors of a folder by name, read one by one. `stem`: model, or adapter_model."""

    def __init__(self, path: Path, stem: str, stack: ExitStack) -> None:
        self.path = path
        files = sorted(path.glob(f"{stem}*.safetensors"))
        if not files:
            raise CurateError("there are no weights here", where=str(path), allowed=f"{stem}*.safetensors")
        opened = [stack.enter_context(safe_open(file, framework="pt")) for file in files]
        self.files: dict[str, Any] = {name: file for file in opened for name in file.keys()}  # noqa: SIM118

    def read(self, name: str) -> torch.Tensor:
        return self.files[name].get_tensor(name)

    def shape(self, name: str) -> tuple[str, tuple[int, ...]]:
        part = self.files[name].get_slice(name)
        return part.get_dtype(), tuple(part.get_shape())


def write_mean(folders: Sequence[Path], to: Path, stem: str = "model", dtype: str | None = None, shard: int = SHARD) -> int:
    """Into `to`/`stem`*.safetensors; returns the number of parameters. `dtype` of DTYPES; None: that of the first folder's tensors."""
    with ExitStack() as stack:
        of = [Folder(path, stem, stack) for path in folders]
        first = of[0]
        shapes = {name: first.shape(name) for name in sorted(first.files)}
        _check_alike(of, shapes)
        parts = _shards({name: _size(*shapes[name], dtype) for name in shapes}, shard)
        names = [f"{stem}.safetensors"] if len(parts) == 1 else [
            f"{stem}-{k:05d}-of-{len(parts):05d}.safetensors" for k in range(1, len(parts) + 1)
        ]  # fmt: skip
        for part, file in zip(parts, names, strict=True):
            save_file({name: _mean([f.read(name) for f in of], dtype, name) for name in part}, to / file, {"format": "pt"})
    if len(parts) > 1:
        size = sum(_size(*shapes[name], dtype) for name in shapes)
        where = {name: file for part, file in zip(parts, names, strict=True) for name in part}
        index = {"metadata": {"total_size": size}, "weight_map": where}
        (to / f"{stem}.safetensors.index.json").write_text(json.dumps(index, indent=1) + "\n")
    return sum(math.prod(shape) for _, shape in shapes.values())


def _mean(tensors: Sequence[torch.Tensor], dtype: str | None, name: str) -> torch.Tensor:
    first = tensors[0]
    if not first.is_floating_point():
        if any(not torch.equal(first, other) for other in tensors[1:]):
            raise CurateError("these numbers have no mean", where=name, found=str(first.dtype))
        return first
    wanted = DTYPES[dtype] if dtype else first.dtype
    if len(tensors) == 1:
        return first.to(wanted)
    total = first.float()
    for other in tensors[1:]:
        total = total + other.float()
    return (total / len(tensors)).to(wanted)


def _check_alike(folders: Sequence[Folder], shapes: dict[str, tuple[str, tuple[int, ...]]]) -> None:
    for other in folders[1:]:
        odd = sorted(set(shapes) ^ set(other.files)) or [n for n in shapes if other.shape(n)[1] != shapes[n][1]]
        if odd:
            raise CurateError("these are not checkpoints of one model", where=str(other.path), found=f"another {odd[0]}",
                              allowed=f"the tensors of {folders[0].path}")  # fmt: skip


def _shards(sizes: dict[str, int], limit: int) -> list[list[str]]:
    """In the order of the names; a tensor larger than the limit has a file of its own."""
    parts: list[list[str]] = [[]]
    used = 0
    for name, size in sizes.items():
        if parts[-1] and used + size > limit:
            parts.append([])
            used = 0
        parts[-1].append(name)
        used += size
    return parts


def _size(kept: str, shape: tuple[int, ...], dtype: str | None) -> int:
    is_float = kept.startswith(("F", "BF"))
    return math.prod(shape) * (DTYPES[dtype].itemsize if dtype and is_float else BYTES[kept])
