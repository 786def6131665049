"""What a merge would do, from headers, configs and tokenizers alone: a run file and its models in, `Plan` out; mistakes are named here.

A step is a tensor of a: the lambdas of the vectors for it, and whether its rows go by token. May import curate.errors, curate.units,
train.merge.*.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from curate.errors import CurateError
from curate.units import show_bytes
from train.merge.config import MergeRun, Vector
from train.merge.places import Model
from train.merge.shards import BLOCK, FLOATS
from train.merge.vocabulary import Match, check_fits, match, row_tensors, tokens_of

DTYPES = {"fp32": "F32", "bf16": "BF16", "fp16": "F16"}
COPIES = 10  # blocks of float32 at most: five in use, the rest is kept by the allocator (measured: 8.3, tests/train/merge/test_memory.py)
# what a config may say otherwise while every shape is the same; none of it is changed by a merge
TELLING = (
    "model_type",
    "rope_theta",
    "rope_scaling",
    "rope_parameters",
    "rms_norm_eps",
    "max_position_embeddings",
    "hidden_act",
    "sliding_window",
)


@dataclass(frozen=True)
class Step:
    """`lambdas`: one a vector, 0 where it leaves this tensor alone; `names`: (in b, in c) of every vector."""

    name: str
    lambdas: tuple[float, ...]
    names: tuple[tuple[str, str], ...] = ()
    by_token: bool = False

    @property
    def is_changed(self) -> bool:
        return any(self.lambdas)


@dataclass
class Plan:
    run: MergeRun
    models: Mapping[str, Model]
    steps: dict[str, Step]
    matches: list[Match | None]  # of every vector, where embeddings or head are touched
    n_bytes: int
    said: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def a(self) -> Model:
        return self.models["a"]

    @property
    def memory(self) -> int:
        """Bytes of the blocks, whatever the size of the model; a row that is longer than a block counts whole."""
        rows = [t.numbers // max(1, t.n_rows) for t in self.a.weights.tensors.values()]
        return COPIES * 4 * max(BLOCK, *rows)


def plan(run: MergeRun, models: Mapping[str, Model]) -> Plan:
    """Raises CurateError where the models do not fit one another."""
    a = models["a"]
    names = list(a.weights.tensors)
    lambdas = [lambdas_of(vector, names, f"vectors.{k}") for k, vector in enumerate(run.vectors)]
    embeddings, head = row_tensors(a.weights.folder, names)
    rows = {embeddings, *head}
    steps, matches = {}, []
    _check_heads(run, models, embeddings, head, lambdas)
    for k in range(len(run.vectors)):
        is_touched = run.rows != "keep" and any(lambdas[k][name] for name in rows)
        matches.append(_match(run, models, k, embeddings) if is_touched else None)
    for name in names:
        own = tuple(0.0 if name in rows and run.rows == "keep" else of[name] for of in lambdas)
        pairs = tuple((_name_in(models[f"b{k}"], name, embeddings, head, v), _name_in(models[f"c{k}"], name, embeddings, head, v))
                      for k, v in enumerate(own, 1))  # fmt: skip
        steps[name] = Step(name, own, pairs, name in rows and any(m is not None and m.b is not None for m in matches))
    found = Plan(run, models, steps, matches, _size(a, run))
    _check_shapes(found, rows)
    _say(found)
    return found


def lambdas_of(vector: Vector, names: Sequence[str], where: str) -> dict[str, float]:
    """Tensor -> lambda, 0 where the vector leaves it alone. Raises CurateError where a pattern fits no tensor."""
    for key, patterns in (("blocks", tuple(vector.blocks)), ("include", vector.include), ("exclude", vector.exclude)):
        for pattern in patterns:
            if not any(fnmatchcase(name, pattern) for name in names):
                raise CurateError("this pattern fits no tensor of a", where=f"{where}.{key}", found=pattern,
                                  allowed=f"such as {names[0]}, model.layers.0.*")  # fmt: skip

    def of(name: str) -> float:
        is_in = not vector.include or any(fnmatchcase(name, p) for p in vector.include)
        if not is_in or any(fnmatchcase(name, p) for p in vector.exclude):
            return 0.0
        return [vector.lambda_, *(value for p, value in vector.blocks.items() if fnmatchcase(name, p))][-1]

    return {name: of(name) for name in names}


def _is_tied(model: Model) -> bool:
    config = model.config
    return bool(config.get("tie_word_embeddings", config.get("text_config", {}).get("tie_word_embeddings", False)))


def _name_in(model: Model, name: str, embeddings: str, head: Sequence[str], wanted: float) -> str:
    """The tensor's name there: of a tied model the embeddings are the head."""
    if not wanted or name in model.weights.tensors:
        return name
    if name in head and name.endswith("weight") and embeddings in model.weights.tensors and _is_tied(model):
        return embeddings
    raise CurateError(
        f"{model.role} lacks a tensor of a", where=str(model.weights.folder), found=f"no {name}", allowed="models of one architecture",
        next="exclude: [PATTERN] of the vector leaves tensors of a as they are",
    )  # fmt: skip


def _check_heads(
    run: MergeRun, models: Mapping[str, Model], embeddings: str, head: Sequence[str], lambdas: Sequence[Mapping[str, float]]
) -> None:
    """A tied a has one matrix where an untied b has two differences, which none of them could take."""
    if head or run.rows == "keep":
        return
    for k, of in enumerate(lambdas, 1):
        _, own = row_tensors(models[f"b{k}"].weights.folder, models[f"b{k}"].weights.tensors)
        if of[embeddings] and own and not _is_tied(models[f"b{k}"]):
            raise CurateError(
                f"the head of a is its embeddings, that of b{k} is a matrix of its own", where=str(models[f"b{k}"].weights.folder), found=own[0],
                next=f"rows: keep, or exclude: [{embeddings}] of the vector: neither difference fits one matrix for both",
            )  # fmt: skip


def _match(run: MergeRun, models: Mapping[str, Model], k: int, embeddings: str) -> Match | None:
    trio = [models[role] for role in ("a", f"b{k + 1}", f"c{k + 1}")]
    if run.rows == "id":
        return None
    tokens = [tokens_of(model) for model in trio]
    n_rows = []
    for model, of in zip(trio, tokens, strict=True):
        name = row_tensors(model.weights.folder, model.weights.tensors)[0]
        n_rows.append(model.weights.tensors[name].n_rows)
        check_fits(model, of, n_rows[-1])
    found = match(tokens[0], tokens[1], tokens[2], n_rows[0], (trio[1].role, trio[2].role))
    if found.b is None and len(set(n_rows)) > 1:  # alike, but padded to different sizes
        ids = sorted(set(tokens[0].values()))
        found = _padded(ids, n_rows)
    return found


def _padded(ids: Sequence[int], n_rows: Sequence[int]) -> Match:
    import numpy as np

    own = np.full(n_rows[0], -1, np.int64)
    own[list(ids)] = list(ids)
    sizes = ", ".join(f"{n:,}" for n in n_rows)
    return Match(own, own, f"vocabulary: alike, {len(ids):,} tokens; a, b and c are padded to {sizes} rows, rows without a token keep a's",
                 counts={"tokens": len(ids), "without_token": n_rows[0] - len(ids)})  # fmt: skip


def _check_shapes(found: Plan, rows: set[str]) -> None:
    tensors = found.a.weights.tensors
    for step in found.steps.values():
        own = tensors[step.name]
        if own.dtype not in FLOATS and step.is_changed:
            _refuse_dtype(found.a, step.name, own.dtype)
        for k, (value, names) in enumerate(zip(step.lambdas, step.names, strict=True), 1):
            for model, name in ((found.models[f"b{k}"], names[0]), (found.models[f"c{k}"], names[1])) if value else ():
                other = model.weights.tensors[name]
                if other.dtype not in FLOATS:
                    _refuse_dtype(model, name, other.dtype)
                is_matched = step.by_token and step.name in rows and found.matches[k - 1] is not None
                if other.shape[1:] != own.shape[1:] or (other.shape != own.shape and not is_matched):
                    raise CurateError(
                        f"a and {model.role} have other shapes", where=str(model.weights.folder), found=f"{name} {list(other.shape)}",
                        allowed=f"{list(own.shape)}, as in {found.a.weights.folder}",
                        next="models of one architecture and size" if name not in rows else "rows: auto matches rows by token",
                    )  # fmt: skip


def _refuse_dtype(model: Model, name: str, dtype: str) -> None:
    raise CurateError("these numbers are no weights to calculate with", where=str(model.weights.folder), found=f"{name} in {dtype}",
                      allowed=", ".join(FLOATS), next="take the model before it was quantized, or exclude the tensor")  # fmt: skip


def _size(a: Model, run: MergeRun) -> int:
    item = FLOATS[DTYPES[run.dtype]].itemsize if run.dtype else None
    return sum(t.numbers * item if item and t.dtype in FLOATS else t.n_bytes for t in a.weights.tensors.values())


def _say(found: Plan) -> None:
    """The lines of the report, in the order that they are read in."""
    tensors, steps = found.a.weights.tensors, found.steps
    n = sum(t.numbers for t in tensors.values())
    found.said.append(f"result = {formula(found.run)}")
    for role, model in found.models.items():
        kinds = sorted({t.dtype for t in model.weights.tensors.values()})
        size = sum(t.n_bytes for t in model.weights.tensors.values())
        files = f"{len(model.weights.tensors):,} tensors in {len(model.weights.files)} files"
        found.said.append(f"  {role}: {model.said}: {files}, {', '.join(kinds)}, {show_bytes(size)}")
    changed = [s for s in steps.values() if s.is_changed]
    left = [s.name for s in steps.values() if not s.is_changed]
    numbers = sum(tensors[s.name].numbers for s in changed)
    found.said.append(f"{len(changed):,} of {len(steps):,} tensors ({numbers:,} of {n:,} numbers) get a vector"
                      + (f"; as in a: {', '.join(left[:3])}{', ...' if len(left) > 3 else ''}" if left else ""))  # fmt: skip
    for k, m in enumerate(found.matches, 1):
        word = f"b{k} - c{k}: " if len(found.matches) > 1 else ""
        found.said.append(
            word + (m.said if m else "embeddings and head: " + ("as in a" if found.run.rows != "id" else "row by row, by number"))
        )
        if m and m.warning:
            found.warnings.append(word + m.warning)
    for role in found.models:
        if role != "a":
            _say_extra(found, role)
    found.said.append(
        f"memory: {show_bytes(found.memory)} of blocks, beside Python and the vocabularies; disk: {show_bytes(found.n_bytes)}"
    )


def _say_extra(found: Plan, role: str) -> None:
    """What a merge leaves out without being told to: settings that differ, tensors that a lacks."""
    own, other = found.a.config, found.models[role].config
    for key in TELLING:
        if own.get(key) != other.get(key):
            found.warnings.append(
                f"config.json: {key} is {other.get(key)} in {role} and {own.get(key)} in a, which the result keeps"
            )
    used = {name for s in found.steps.values() for pair in s.names for name in pair} | set(found.steps)
    if extra := sorted(set(found.models[role].weights.tensors) - used):
        found.warnings.append(f"{role} has {len(extra)} tensors that a lacks, which are left out: {', '.join(extra[:3])}")


def formula(run: MergeRun, times: float = 1.0) -> str:
    """a + 0.5 (b1 - c1); a vector with lambdas per block says so."""
    terms = []
    for k, vector in enumerate(run.vectors, 1):
        value = vector.lambda_ * times
        parts = " per block" if vector.blocks else ""
        terms.append(f"{'-' if value < 0 else '+'} {abs(value):g}{parts} (b{k} - c{k})")
    return " ".join(["a", *terms])


def check_disk(to: Path, n_bytes: int) -> None:
    above = next(parent for parent in Path(os.path.abspath(to)).parents if parent.is_dir())
    free = shutil.disk_usage(above).free
    if n_bytes > free:
        raise CurateError("the disk is too small for the result", where=str(to), found=f"{show_bytes(free)} free",
                          allowed=f"about {show_bytes(n_bytes)}", next="--set to=FOLDER on a larger disk, or dtype: bf16")  # fmt: skip
