"""The arithmetic: a plan in, the weights of the result out, a block of a tensor at a time; and a look for NaN before anything is written.

Sums are in float32 (float64 where a is), then rounded once to the dtype of the file. A tensor without a vector is copied byte for byte, and
so is every row that the vector has nothing for: with lambda 0 the files are those of a. May import curate.errors, train.merge.*; torch.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from curate.errors import CurateError
from train.merge.places import Model
from train.merge.plan import DTYPES, Plan, Step
from train.merge.shards import FLOATS, header_bytes, header_in, in_order

Advance = Callable[[int], None]


@dataclass
class Sizes:
    """Squares summed, by block of the model: of a, and of what was added to it."""

    a: dict[str, float] = field(default_factory=dict)
    added: dict[str, float] = field(default_factory=dict)

    def note(self, name: str, a: torch.Tensor, added: torch.Tensor) -> None:
        block = block_of(name)
        for sums, values in ((self.a, a), (self.added, added)):
            sums[block] = sums.get(block, 0.0) + float(torch.linalg.vector_norm(values)) ** 2

    def rows(self) -> list[dict]:
        """{block, norm_a, norm_added, share}."""
        pairs = [(block, math.sqrt(square), math.sqrt(self.added[block])) for block, square in self.a.items()]
        return [{"block": b, "norm_a": _six(a), "norm_added": _six(added), "share": _share(a, added)} for b, a, added in pairs]

    def share(self) -> float:
        """Length of all that was added, by that of a."""
        return _share(math.sqrt(sum(self.a.values())), math.sqrt(sum(self.added.values())))


def _share(a: float, added: float) -> float:
    return _six(added / a) if a else 0.0


def _six(value: float) -> float:
    """Six figures: the last ones depend on the number of threads."""
    return float(f"{value:.6g}")


def block_of(name: str) -> str:
    """model.layers.3 of model.layers.3.mlp.up_proj.weight; else the name without its last part."""
    if layer := re.match(r".*?\.\d+(?=\.)", name):
        return layer[0]
    return name.rpartition(".")[0] or name


def check_finite(plan: Plan, advance: Advance) -> None:
    """Reads every tensor that is calculated with. Raises CurateError naming the first that holds NaN or infinity."""
    wanted: dict[str, tuple[Model, set[str]]] = {}
    for role, model in plan.models.items():
        if role == "a":
            names = set(plan.steps)
        else:
            k, which = int(role[1:]) - 1, "bc".index(role[0])
            names = {s.names[k][which] for s in plan.steps.values() if s.lambdas[k]}
        wanted.setdefault(str(model.weights.folder), (model, set()))[1].update(names)
    for model, names in wanted.values():
        for name in sorted(names):
            _check_tensor(model, name, advance)


def _check_tensor(model: Model, name: str, advance: Advance) -> None:
    tensor = model.weights.tensors[name]
    bad = [0, 0]  # NaN, infinite
    first_row: int | None = None
    if tensor.dtype not in FLOATS:
        return advance(tensor.n_bytes)
    for first, last in tensor.blocks():
        values = model.weights.rows(name, first, last)
        if not is_finite(values):
            nan, infinite = torch.isnan(values), torch.isinf(values)
            bad = [bad[0] + int(nan.sum()), bad[1] + int(infinite.sum())]
            if first_row is None:
                places = (nan | infinite).reshape(last - first, -1).any(dim=1)
                first_row = first + int(places.nonzero()[0])
        advance((last - first) * tensor.row_bytes)
    if first_row is not None:
        raise CurateError(
            f"{model.role} holds numbers that are none", where=str(model.weights.folder),
            found=f"{name}: {bad[0]:,} NaN, {bad[1]:,} infinite, the first in row {first_row:,}",
            next="such a checkpoint is damaged: take an earlier one, or download it again",
        )  # fmt: skip


def is_finite(values: torch.Tensor) -> bool:
    """The largest size is NaN where one number is: eight times as fast as looking at each."""
    return not values.numel() or bool(torch.isfinite(values.abs().max()))


def write(plan: Plan, to: Path, advance: Advance, times: float = 1.0) -> Sizes:
    """Fills `to` with files named and divided as those of a. `times`: every lambda times this, for sweeps."""
    sizes = Sizes()
    for path in plan.a.weights.files:
        _write_file(plan, path, to / path.name, times, sizes, advance)
    return sizes


def _write_file(plan: Plan, source: Path, target: Path, times: float, sizes: Sizes, advance: Advance) -> None:
    begin, header = plan.a.weights.headers[source.name]
    dtype = DTYPES[plan.run.dtype] if plan.run.dtype else None
    with open(target, "wb") as file:
        if dtype is None:
            with open(source, "rb") as old:
                file.write(old.read(begin))
        else:
            header = header_in(header, dtype)
            file.write(header_bytes(header))
        for name in in_order(header):
            step, own = plan.steps[name], plan.a.weights.tensors[name]
            kept = header[name]["dtype"]
            is_copied = kept == own.dtype and not (step.is_changed and times)
            for first, last in own.blocks():
                if is_copied:
                    file.write(plan.a.weights.raw(name, first, last))
                else:
                    file.write(_bytes(_block(plan, step, first, last, times, FLOATS[kept], sizes)))
                advance((last - first) * own.row_bytes)


def _block(plan: Plan, step: Step, first: int, last: int, times: float, dtype: torch.dtype, sizes: Sizes) -> torch.Tensor:
    kept = plan.a.weights.rows(step.name, first, last)
    exact = torch.promote_types(torch.float32, kept.dtype)
    a = kept.to(exact)
    added = torch.zeros_like(a)
    touched = torch.zeros(last - first, dtype=torch.bool)
    for k, value in enumerate(step.lambdas):
        if value and times:
            _add(plan, step, k, (first, last), value * times, added, touched)
    sizes.note(step.name, a, added)
    result = (a + added).to(dtype)
    if not is_finite(result):
        raise CurateError(
            "the result does not fit its dtype", where=step.name, found=f"infinite in {dtype}", allowed="dtype: bf16, fp32"
        )
    rows = (last - first, *([1] * (a.dim() - 1)))
    return torch.where(touched.view(rows), result, kept.to(dtype)) if a.dim() else result


def _add(plan: Plan, step: Step, k: int, rows: tuple[int, int], value: float, added: torch.Tensor, touched: torch.Tensor) -> None:
    """lambda (b - c) of these rows into `added`."""
    b, c = (plan.models[f"{role}{k + 1}"].weights for role in "bc")
    names, matched = step.names[k], plan.matches[k] if step.by_token else None
    first, last = rows
    if matched is None or matched.b is None or matched.c is None:
        difference = _minus(b.rows(names[0], first, last), c.rows(names[1], first, last), added.dtype)
        added += difference.view_as(added).mul_(value)
        touched[:] = True
        return
    ids_b, ids_c = matched.b[first:last], matched.c[first:last]
    there = np.flatnonzero(ids_b >= 0)
    if len(there):
        difference = _minus(b.gathered(names[0], ids_b[there]), c.gathered(names[1], ids_c[there]), added.dtype)
        added.index_add_(0, torch.from_numpy(there), difference.mul_(value))
        touched[torch.from_numpy(there)] = True


def _minus(b: torch.Tensor, c: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """b - c, over the memory of b."""
    return b.to(dtype).sub_(c.to(dtype))


def _bytes(values: torch.Tensor) -> memoryview:
    return memoryview(values.contiguous().view(-1).view(torch.uint8).numpy())
