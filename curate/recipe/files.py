"""YAML files with the line of every key; `extends:` and `--set`; pydantic's complaints as one message of ours.

A path in, plain data and a map (key path -> "file:line") out. Imports errors only.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from curate.errors import CurateError, nearest

Where = dict[tuple[str, ...], str]
Model = TypeVar("Model", bound=BaseModel)


def load_yaml(path: Path) -> tuple[dict, Where]:
    """One YAML mapping and where each key stands. Duplicate keys are errors."""
    path = Path(path)
    try:
        node = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except FileNotFoundError:
        raise CurateError("there is no such file", where=str(path), next="curate inspect-source FILE proposes one") from None
    except (UnicodeDecodeError, IsADirectoryError) as error:
        raise CurateError("this is not a text file", where=str(path), found=str(error)) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise CurateError("this is not valid YAML", where=f"{path}{line}", found=str(getattr(error, "problem", error))) from None
    if not isinstance(node, yaml.MappingNode):
        raise CurateError("expected keys with values (a YAML mapping)", where=str(path))
    where: Where = {}
    return _build(node, (), str(path), where), where


def _build(node: yaml.Node, at: tuple[str, ...], file: str, where: Where) -> Any:
    where.setdefault(at, f"{file}:{node.start_mark.line + 1}")
    if isinstance(node, yaml.MappingNode):
        result = {}
        for key_node, value_node in node.value:
            key = str(key_node.value)
            here = f"{file}:{key_node.start_mark.line + 1}"
            if key in result:
                raise CurateError(f"the key {key!r} stands twice", where=here)
            where[(*at, key)] = here
            result[key] = _build(value_node, (*at, key), file, where)
        return result
    if isinstance(node, yaml.SequenceNode):
        return [_build(item, (*at, str(i)), file, where) for i, item in enumerate(node.value)]
    return yaml.safe_load(yaml.serialize(node))


def load_extended(path: Path, seen: tuple[Path, ...] = ()) -> tuple[dict, Where]:
    """`load_yaml`, over the file named by `extends:` if there is one (then this file is only the difference)."""
    path = Path(path)
    if path.resolve() in seen:
        raise CurateError("extends: goes round in a circle", where=str(path))
    data, where = load_yaml(path)
    base_name = data.pop("extends", None)
    if base_name is None:
        return data, where
    base, base_where = load_extended(path.parent / str(base_name), (*seen, path.resolve()))
    return merge(base, data), {**base_where, **where}


def dump_yaml(data: dict) -> str:
    """Plain data as YAML, keys in their order."""
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=120)


def merge(base: Any, over: Any) -> Any:
    """`over` on `base`: mappings merge key by key, everything else is replaced, null removes."""
    if isinstance(base, dict) and isinstance(over, dict):
        merged = {
            key: merge(base.get(key), over[key]) if key in over else base[key]
            for key in [*base, *(k for k in over if k not in base)]
        }
        return {key: value for key, value in merged.items() if value is not None}
    return over


def apply_set(data: dict, assignment: str) -> None:
    """`a.b.c=value` written into `data`; the value is read as YAML. List items by number or by their `name`."""
    key, sep, text = assignment.partition("=")
    if not sep or not key:
        raise CurateError(
            "a setting is written key=value", where="--set", found=assignment, allowed="--set mixture.sequence_length=2048"
        )
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise CurateError("this value is not valid YAML", where=f"--set {key}", found=text) from error
    parts = key.split(".")
    target: Any = data
    for i, part in enumerate(parts):
        last = i == len(parts) - 1
        if isinstance(target, list):
            part = _list_position(target, part, key)  # type: ignore[assignment]
        elif not isinstance(target, dict):
            raise CurateError(f"{'.'.join(parts[:i])} has no keys below it", where=f"--set {key}", found=repr(target))
        if last:
            target[part] = value
        elif isinstance(target, dict):
            target = target.setdefault(part, {})
        else:
            target = target[part]


def load_settings(path: Path, sets: Sequence[str] = ()) -> tuple[dict, Where]:
    """`load_extended` with `key=value` settings on top: a run file as the command line gives it; a setting stands at "--set KEY"."""
    data, where = load_extended(path)
    for assignment in sets:
        apply_set(data, assignment)
        key = assignment.partition("=")[0]
        where[tuple(key.split("."))] = f"--set {key}"
    return data, where


def _list_position(items: list, part: str, key: str) -> int:
    names = [item.get("name") if isinstance(item, dict) else None for item in items]
    if part in names:
        return names.index(part)
    if part.isdigit() and int(part) < len(items):
        return int(part)
    known = [str(n) for n in names if n] or [f"0..{len(items) - 1}"]
    close = nearest(part, known)
    raise CurateError(f"no entry {part!r} in this list", where=f"--set {key}", allowed=", ".join(close or known))


def validate(model: type[Model], data: dict, where: Where, file: Path) -> Model:
    """pydantic's check; every complaint in one CurateError that names file, line, key and the nearest known key."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        said = [_explain(model, item, where, file) for item in error.errors()]
        first, rest = said[0], said[1:]
        if rest:
            first.what += "".join(f"\n{other}" for other in rest[:9])
        raise first from None


def _explain(model: type[BaseModel], item: Any, where: Where, file: Path) -> CurateError:
    path = tuple(str(part) for part in item["loc"])
    at = tuple(part for part in path if not _is_tag(part))
    place = next((where[at[:n]] for n in range(len(at), -1, -1) if at[:n] in where), str(file))
    key = ".".join(at)
    if item["type"] == "extra_forbidden":
        known = _known_keys(model, path[:-1])
        close = nearest(at[-1], known)
        return CurateError(
            f"unknown key {key!r}", where=place, allowed=", ".join(known), next=f"did you mean {close[0]!r}?" if close else ""
        )
    if item["type"] == "missing":
        return CurateError(f"the key {key!r} is missing", where=place)
    inner = item.get("ctx", {}).get("error")
    if isinstance(inner, CurateErrorValue):
        return CurateError(f"{key}: {inner.error.what}", where=place, found=inner.error.found, allowed=inner.error.allowed)
    message = item["msg"].removeprefix("Value error, ")
    return CurateError(f"{key}: {message}" if key else message, where=place, found=repr(item["input"])[:200])


def _is_tag(part: str) -> bool:
    """`<Group>`: which model of a union was tried; stands in pydantic's paths and in no file."""
    return part.startswith("<") and part.endswith(">")


class CurateErrorValue(ValueError):
    """A CurateError on its way through a pydantic validator."""

    def __init__(self, error: CurateError) -> None:
        super().__init__(error.what)
        self.error = error


def _known_keys(model: Any, at: tuple[str, ...]) -> list[str]:
    """The keys permitted at this place of the model, following field types down the path."""
    models, entry = [model], False  # entry: the next part is the name of a mapping's entry
    for part in at:
        if _is_tag(part):
            models = [found for found in models if found.__name__ == part[1:-1]]
            continue
        fields = {field.alias or name: field for found in models[:1] for name, field in found.model_fields.items()}
        if entry or part not in fields:  # or the number of a list's item: the type stays
            entry = False
            continue
        annotation = fields[part].annotation
        models, entry = _models_inside(annotation), dict in (get_origin(annotation), *map(get_origin, get_args(annotation)))
    return [field.alias or name for found in models[:1] for name, field in found.model_fields.items()]


def _models_inside(annotation: Any) -> list[Any]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for arg in get_args(annotation) for found in _models_inside(arg)]
