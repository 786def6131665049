"""A run file as a recipe of mergekit, which runs in an environment of its own (`mergekit-yaml FILE OUT`): MergeRun in, YAML out.

With one c: task_arithmetic over the base c, a with weight 1 and every b with its lambda (c + (a - c) + lambda (b - c)). With several:
linear, not normalized, c with the weight -lambda. Other methods take a and every b, over the base c. Imports curate.errors, curate.recipe.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from curate.errors import CurateError
from curate.recipe.files import dump_yaml
from curate.store import write_atomic
from train.merge.config import MergeRun, PlaceSpec, Vector


def write_recipe(run: MergeRun) -> str:
    """Writes the file; what to run next."""
    assert run.write_mergekit is not None
    path = Path(run.write_mergekit.file)
    head = f"# {run.name}, written by curate train merge; mergekit has an environment of its own: pip install mergekit\n"
    head += f"#   mergekit-yaml {path} {run.to}\n"
    write_atomic(path, (head + dump_yaml(recipe(run))).encode())
    return f"{path}: for mergekit-yaml {path} FOLDER"


def recipe(run: MergeRun) -> dict[str, Any]:
    """Raises CurateError where mergekit's language does not reach: patterns other than a part of a name, several bases."""
    kit = run.write_mergekit
    assert kit is not None
    bases = list(dict.fromkeys(model_of(v.c) for v in run.vectors))
    method = ("task_arithmetic" if len(bases) == 1 else "linear") if kit.merge_method == "auto" else kit.merge_method
    if len(bases) > 1 and method != "linear":
        raise CurateError(
            f"mergekit's {method} has one base", where="write_mergekit", found=f"{len(bases)} different c", allowed="linear"
        )
    if method == "linear":
        models = [(model_of(run.a), 1.0)]
        for vector in run.vectors:
            models += [(model_of(vector.b), weight_of(vector)), (model_of(vector.c), weight_of(vector, -1))]
    else:
        models = [(model_of(run.a), 1.0), *((model_of(v.b), weight_of(v)) for v in run.vectors)]
    found: dict[str, Any] = {"merge_method": method}
    if method != "linear":
        found["base_model"] = bases[0]
    found["models"] = [{"model": model, "parameters": {"weight": weight, **kit.parameters}} for model, weight in models]
    if method in ("task_arithmetic", "linear"):
        found["parameters"] = {"normalize": False}
    found["dtype"] = kit.dtype
    if run.dtype:
        found["out_dtype"] = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}[run.dtype]
    if run.rows == "auto":  # a's tokens, their rows matched by token
        found["tokenizer"] = {"source": model_of(run.a)}
    return found


def model_of(place: PlaceSpec) -> str:
    return f"{place.init}@{place.revision}" if place.revision else place.init


def weight_of(vector: Vector, sign: int = 1) -> Any:
    """A number, or mergekit's list of filters: the first that is a part of a tensor's name decides, so ours stand the other way round."""
    if vector.include:
        raise CurateError("mergekit has no include", where="vectors", found=", ".join(vector.include), allowed="exclude, blocks")
    rules = [*((p, 0.0) for p in vector.exclude), *reversed(list(vector.blocks.items()))]
    if not rules:
        return sign * vector.lambda_
    return [*({"filter": part_of(p), "value": sign * value} for p, value in rules), {"value": sign * vector.lambda_}]


def part_of(pattern: str) -> str:
    """The text that a pattern asks for."""
    part = pattern.strip("*")
    if not part or any(sign in part for sign in "*?[") or not (pattern.startswith("*") or pattern.startswith("model.")):
        raise CurateError(
            "mergekit's filters are parts of names", where="write_mergekit", found=pattern, allowed="'*mlp*', 'model.layers.0.*'"
        )
    return part
