"""The run file of a merge: YAML in, a checked `MergeRun` out: result = a + the sum of lambda (b - c) over the vectors.

Every mistake is one CurateError naming file, line and key, before torch is loaded. Paths start where the command runs.
May import curate.errors, curate.recipe, train.config.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from curate.errors import CurateError, nearest
from curate.recipe import Strict, Where, validate
from curate.recipe.files import load_settings
from train.config import Names

Factor = Annotated[float, Field(allow_inf_nan=False)]
MERGE_METHODS = (  # mergekit 0.1.4 (merge_methods/registry.py) that take a list of models; those with a base need one c for all vectors
    "arcee_fusion", "breadcrumbs", "breadcrumbs_ties", "dare_linear", "dare_ties", "della", "della_linear", "karcher", "linear", "model_stock",
    "multislerp", "nearswap", "nuslerp", "sce", "slerp", "task_arithmetic", "ties",
)  # fmt: skip


def _place(value: object) -> object:
    return {"init": value} if isinstance(value, str) else value


class PlaceSpec(Strict):
    """A whole model, or adapters, which are merged into the model that they were trained on first."""

    init: str  # a folder (a checkpoint or an export of ours, any other), or a hub id
    revision: str | None = None
    tokenizer: str | None = None  # a folder, where the model brings none


Place = Annotated[PlaceSpec, BeforeValidator(_place)]


class Vector(Strict):
    """lambda (b - c). Patterns are of tensor names, as in fnmatch: 'model.layers.0.*'."""

    b: Place
    c: Place
    lambda_: Factor = Field(1.0, alias="lambda")
    blocks: dict[str, Factor] = Field(default_factory=dict)  # pattern: lambda of what it fits; of several the last one
    include: Names = ()  # only these
    exclude: Names = ()  # these stay as they are in a

    def settings(self) -> dict[str, Any]:
        """What is done with b and c; blocks as a list, as their order counts."""
        said = self.model_dump(mode="json", by_alias=True, exclude={"b", "c"})
        return {**said, "blocks": [[pattern, value] for pattern, value in self.blocks.items()]}


class Sweep(Strict):
    """The same merge with every lambda times each of `lambdas`, asked a suite; models are removed once they have been asked."""

    lambdas: tuple[Factor, ...] = Field(min_length=2)
    suite: str
    to: str  # folder of the results: lambda-0.5/, sweep.json, sweep.html
    choose: str | None = None  # task.metric: `to` of the run then gets the lambdas that were best by it
    tasks: Names = ()
    roots: dict[str, str] = Field(default_factory=dict)
    limit: Annotated[int, Field(ge=1)] | None = None
    batch: int = Field(default=8, ge=1)
    dtype: Literal["fp32", "bf16"] = "fp32"
    seed: int = Field(default=0, ge=0, lt=2**32)

    @model_validator(mode="after")
    def _distinct(self) -> Sweep:
        if len(set(self.lambdas)) < len(self.lambdas):
            raise ValueError("lambdas: one of them stands there twice")
        return self


class MergeKit(Strict):
    """A recipe for mergekit, which runs in an environment of its own: what is more general than this room does."""

    file: str
    merge_method: str = "auto"  # auto: task_arithmetic, linear where the vectors have several c
    parameters: dict[str, Any] = Field(default_factory=dict)  # of every model but the base: density, ...
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"

    @model_validator(mode="after")
    def _known(self) -> MergeKit:
        if self.merge_method not in ("auto", *MERGE_METHODS):
            close = nearest(self.merge_method, MERGE_METHODS) or MERGE_METHODS
            raise ValueError(f"mergekit has no method {self.merge_method!r}; allowed: auto, {', '.join(close)}")
        return self


def _kit(value: object) -> object:
    return {"file": value} if isinstance(value, str) else value


class MergeRun(Strict):
    method: Literal["merge"]
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    a: Place
    vectors: tuple[Vector, ...] = Field(min_length=1)
    to: str
    rows: Literal["auto", "id", "keep"] = "auto"  # of embeddings and head: by token where vocabularies differ; by number; as in a
    dtype: Literal["fp32", "bf16", "fp16"] | None = None  # of the result; None: that of a's tensors
    chat: Literal["a", "b"] = "a"  # whose chat template, and whose ends of generation: b is that of the first vector
    sweep: Sweep | None = None
    write_mergekit: Annotated[MergeKit | None, BeforeValidator(_kit)] = None

    def canonical(self) -> dict:
        return self.model_dump(mode="json", exclude_none=True, by_alias=True)

    def places(self) -> list[tuple[str, PlaceSpec]]:
        """(role, place): a, then b1 and c1 of the first vector, and so on."""
        pairs = [(f"{role}{k}", getattr(v, role)) for k, v in enumerate(self.vectors, 1) for role in "bc"]
        return [("a", self.a), *pairs]


def load_merge(path: Path, sets: Sequence[str] = ()) -> MergeRun:
    """Read a run file (`extends:` works as in recipes), with `key=value` settings on top of it."""
    path = Path(path)
    data, where = load_settings(path, sets)
    run = validate(MergeRun, data, where, path)
    _check_files(run, where, path)
    return run


def _check_files(run: MergeRun, where: Where, path: Path) -> None:
    for role, place in run.places():
        key = (role,) if role == "a" else ("vectors", str(int(role[1:]) - 1), role[0])
        at = where.get((*key, "init"), where.get(key, str(path)))
        if not Path(place.init).is_dir():
            if place.init.count("/") != 1 or place.init.startswith((".", "/")):
                raise CurateError(
                    "there is no model here", where=at, found=place.init, allowed="a folder of a model or of adapters, a hub id such as org/name"
                )  # fmt: skip
            if place.revision is None:
                raise CurateError("a model from the hub is pinned: revision is missing", where=at, found=place.init,
                                  allowed="{init: org/name, revision: COMMIT}")  # fmt: skip
        if place.tokenizer is not None and not Path(place.tokenizer).exists():
            raise CurateError("there is no tokenizer here", where=at, found=place.tokenizer)
    if run.sweep is not None and not Path(run.sweep.suite).is_file():
        raise CurateError("there is no such suite", where=where.get(("sweep", "suite"), str(path)), found=run.sweep.suite)
