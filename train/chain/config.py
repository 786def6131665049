"""The chain file: YAML in, a checked `Chain` out: stages in their order, each a run file (or a recipe) with what it takes from stages before it.

`{NAME}` in any value of a stage is what stage NAME makes: the folder of its model, its build or its results. Where a stage writes is the
chain's business, so its run file's own `to` (or `save.to`) is not used. May import curate.errors, curate.recipe.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from curate.errors import CurateError, nearest
from curate.recipe import Strict, Where, validate
from curate.recipe.files import load_extended, load_settings, merge

Method = Literal["build", "vocab", "cpt", "sft", "dpo", "merge", "evaluate"]
TRAINERS = ("cpt", "sft", "dpo")  # write checkpoints; the others write one folder
PLACE = {"vocab": "save.to", "cpt": "save.to", "sft": "save.to", "dpo": "save.to", "merge": "to", "evaluate": "to"}
REFERENCE = re.compile(r"(?<!\$)\{([A-Za-z0-9][A-Za-z0-9_-]*)\}")


class StageSpec(Strict):
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
    run: str | dict[str, Any] | None = None  # a run file, or its content in place
    build: str | None = None  # a recipe
    set: dict[str, Any] = Field(default_factory=dict)  # over it: {model.init: "{cpt}"}

    @model_validator(mode="after")
    def _one(self) -> StageSpec:
        if (self.run is None) == (self.build is None):
            raise ValueError("one of run, build")
        return self


class ChainSpec(Strict):
    method: Literal["chain"]
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    to: str  # everything that stages make lies below
    store: str = "store"  # of builds
    launch: tuple[str, ...] = ()  # before `-m train METHOD`, for trainers: [torchrun, --standalone, --nproc_per_node, "8"]
    stages: tuple[StageSpec, ...] = Field(min_length=1)


@dataclass(frozen=True)
class Stage:
    """`data`: its settings with `{NAME}` still in them; of a build the settings over the recipe `file`."""

    name: str
    method: Method
    data: dict[str, Any]
    uses: tuple[str, ...]  # names of earlier stages, in the order in which they are named
    where: str
    file: Path | None = None  # of a build: its recipe
    origin: Path = Path()  # the file that messages name
    lines: Where = field(default_factory=dict, repr=False)

    def copied(self) -> dict[str, Any]:
        return copy.deepcopy(self.data)


@dataclass(frozen=True)
class Chain:
    name: str
    to: Path
    store: str
    launch: tuple[str, ...]
    stages: tuple[Stage, ...]


def load_chain(path: Path, sets: Sequence[str] = ()) -> Chain:
    """Every file of the chain is read and every key of it checked before anything runs. Raises CurateError."""
    path = Path(path)
    data, where = load_settings(path, sets)
    spec = validate(ChainSpec, data, where, path)
    names = [stage.name for stage in spec.stages]
    if double := next((name for name in names if names.count(name) > 1), None):
        raise CurateError("two stages have one name", where=where.get(("stages",), str(path)), found=double)
    stages = tuple(_stage(one, names[:i], names, where, (path, i)) for i, one in enumerate(spec.stages))
    return Chain(spec.name, Path(spec.to), spec.store, spec.launch, stages)


def _stage(spec: StageSpec, before: Sequence[str], names: Sequence[str], chain: Where, at: tuple[Path, int]) -> Stage:
    path, number = at
    own = ("stages", str(number))
    place = chain.get(own, str(path))
    if spec.build is not None:
        file = Path(spec.build)
        load_extended(file)
        data: dict[str, Any] = dict(spec.set)
        return Stage(spec.name, "build", data, _uses(data, before, names, place), place, file)
    if isinstance(spec.run, dict):
        data, origin = copy.deepcopy(spec.run), path
        lines = {key[len(own) + 1 :]: line for key, line in chain.items() if key[: len(own) + 1] == (*own, "run")}
    else:
        origin = Path(str(spec.run))
        data, lines = load_extended(origin)
    for key, value in spec.set.items():
        set_key(data, key, value)
        lines[tuple(key.split("."))] = chain.get((*own, "set", key), place)
    method = data.get("method")
    if method not in PLACE:
        raise CurateError(
            "this is no stage of a chain", where=lines.get(("method",), f"{place}, stage {spec.name}"), found=f"method: {method}",
            allowed=", ".join(PLACE) + ", or build: RECIPE",
        )  # fmt: skip
    data["name"] = spec.name
    return Stage(spec.name, method, data, _uses(data, before, names, place), place, None, origin, lines)


def set_key(data: dict[str, Any], key: str, value: Any) -> None:
    """A value as it is, where `--set` would read it as YAML: `{cpt}` would be a mapping. A mapping goes over what is there key by key."""
    *outer, last = key.split(".")
    for part in outer:
        inner = data.get(part)
        data[part] = data = inner if isinstance(inner, dict) else {}
    data[last] = merge(data.get(last), value)


def _uses(data: Any, before: Sequence[str], names: Sequence[str], place: str) -> tuple[str, ...]:
    found: list[str] = []

    def see(text: str) -> str:
        for name in REFERENCE.findall(text):
            if name in before:
                found.append(name)
            else:
                comes_later = " (it comes later)" if name in names else ""
                raise CurateError(
                    "no stage before this one has that name", where=place, found=f"{{{name}}} in {text!r}{comes_later}",
                    allowed=", ".join(nearest(name, before) or before) or "none: it is the first",
                )  # fmt: skip
        return text

    replaced(data, see)
    return tuple(dict.fromkeys(found))


def replaced(data: Any, change: Callable[[str], str]) -> Any:
    """The same with every string changed."""
    if isinstance(data, str):
        return change(data)
    if isinstance(data, dict):
        return {key: replaced(value, change) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [replaced(value, change) for value in data]
    return data


def filled(data: Any, values: dict[str, str]) -> Any:
    """With every `{NAME}` as what `values` says."""
    return replaced(data, lambda text: REFERENCE.sub(lambda found: values.get(found[1], found[0]), text))
