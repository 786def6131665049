"""A value of every document by its name: cluster_size, a signal or ratio, or what a field that the source maps to `extra` holds.

In: a name, a source, a shard's key and the stages' folders by (stage, source, family). Out: one value per row of the shard's
documents.parquet, as numbers (float64, NaN where there is none) or as texts (null). No text of a document is read. `where:` and `copies:`
of components are made of it; rules read signals alone (rules.py). Imports errors, recipe, signals.
"""

from __future__ import annotations

import functools
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.errors import CurateError, nearest
from curate.recipe import DOMAIN_SIGNALS, Recipe, Source
from curate.signals import ratio_of, signal_names
from curate.signals.urls import DROP_RATIO

log = logging.getLogger(__name__)

CLUSTER_SIZE = "cluster_size"
ID = "id"  # of the document, for lists of chosen ones
Folders: TypeAlias = Mapping[tuple[str, str, str], Path]


def keys_of(folders: Folders, source: str) -> list[str]:
    """The shards of a source's documents, in order."""
    return sorted(path.parent.name for path in folders["documents", source, ""].glob("*/documents.parquet"))


def n_rows(source: str, key: str, folders: Folders) -> int:
    return int(pq.read_metadata(_documents(source, key, folders)).num_rows)


def numbers(name: str, source: Source, key: str, folders: Folders) -> np.ndarray:
    """float64 (rows,), NaN without a number. A score is float32 rounded to 1e-4 and is that decimal, as rules compare it."""
    if (column := _stored(name, source, key, folders)) is not None:
        return _floats(column)
    if (parts := ratio_of(name)) is not None:
        found = [_stored(part, source, key, folders) for part in parts]
        if found[0] is not None and found[1] is not None:
            above, below = _floats(found[0]), _floats(found[1])
            return np.divide(above, below, out=np.where(np.isnan(above + below), np.nan, 0.0), where=below != 0)
    return _of_extra(name, source, key, folders, _number, np.nan).astype(np.float64)


def texts(name: str, source: Source, key: str, folders: Folders) -> pa.Array:
    """string (rows,), null without a text. A truth value of a field is `true` or `false`, a number is no text."""
    if (column := _stored(name, source, key, folders)) is not None:
        return column.cast(pa.string()).combine_chunks()
    return pa.array(_of_extra(name, source, key, folders, _text, None), pa.string())


def check(name: str, recipe: Recipe, source: Source, where: str) -> str:
    """The type of the value: int64, float32, ratio, string, or any (of a field). Raises CurateError where nothing has this name."""
    known = signal_names(recipe, source)
    if name in (CLUSTER_SIZE, ID):
        return "string" if name == ID else "int64"
    if name == DROP_RATIO.name and not any(
        rule.signal == name and (rule.sources is None or source.name in rule.sources) for rule in recipe.rules
    ):
        raise CurateError(
            f"signal {name!r} is made of the decisions, and only where a rule uses it", where=where,
            next=f"rules: [{{signal: {name}, max: 1, sources: [{source.name}]}}] drops nothing and makes it",
        )  # fmt: skip
    if name in known:
        return known[name]
    close = nearest(name, [CLUSTER_SIZE, *known])
    if "extra" in source.fields:
        if close and name != source.fields["extra"]:
            text = "%s: %r is no signal, so it is looked for inside the field %r of source %r; is %r meant?"
            log.warning(text, where, name, source.fields["extra"], source.name, close[0])
        return "any"
    raise CurateError(
        f"source {source.name!r} has no signal {name!r}, and no field that could hold it", where=where,
        allowed=", ".join([CLUSTER_SIZE, *(c for c in close if c != CLUSTER_SIZE)]),
        next=f"did you mean {close[0]!r}?" if close else f"sources.{source.name}.fields: {{extra: {name}}}",
    )  # fmt: skip


def _documents(source: str, key: str, folders: Folders) -> Path:
    return folders["documents", source, ""] / key / "documents.parquet"


def _stored(name: str, source: Source, key: str, folders: Folders) -> pa.ChunkedArray | None:
    """The column of this name, None where no table of the source has one."""
    if name == CLUSTER_SIZE:
        path = folders["clusters", "", ""] / f"{source.name}.{key}" / "duplicates.parquet"
    elif name == ID:
        path = _documents(source.name, key, folders)
    elif name == DROP_RATIO.name:
        path = folders["decide", "", ""] / f"{source.name}.{key}" / "domain_drop.parquet"
    elif (stage := _family(name, source.name, folders)) is not None:
        path = folders[stage] / key / f"{stage[2]}.parquet"
    else:
        return None
    return pq.read_table(path, columns=[name])[name] if path.is_file() else None


def _family(column: str, source: str, folders: Folders) -> tuple[str, str, str] | None:
    """The stage of this source that stores the column."""
    mine = (stage for stage in sorted(folders) if stage[1] == source and stage[2])
    return next((stage for stage in mine if column in _columns(folders[stage], stage[2])), None)


@functools.cache
def _columns(folder: Path, family: str) -> frozenset[str]:
    first = min(folder.glob(f"*/{family}.parquet"), default=None)
    return frozenset() if first is None else frozenset(pq.read_schema(first).names)


def _floats(column: pa.ChunkedArray) -> np.ndarray:
    """float64, null becomes NaN."""
    values = np.asarray(column.cast(pa.float64()).to_numpy(), np.float64)
    return np.round(values, 4) if column.type == pa.float32() else values


def _of_extra(name: str, source: Source, key: str, folders: Folders, read: Callable[[Any], Any], none: Any) -> np.ndarray:
    """object (rows,): `read` of the JSON value of this name inside `extra`, or of all of it where that is the field's name."""
    path = _documents(source.name, key, folders)
    if name in DOMAIN_SIGNALS:  # no document of the source has an address
        return np.full(n_rows(source.name, key, folders), none, object)
    if "extra" not in source.fields:
        what = f"no signal {name!r} was measured for source {source.name!r}"
        raise CurateError(what, allowed="cluster_size, or a signal that is")
    inside = [] if source.fields["extra"] == name else name.split(".")
    stored = pc.dictionary_encode(pq.read_table(path, columns=["extra"])["extra"].combine_chunks())  # each value is read once
    found = np.array([*(read(_at(text, inside)) for text in stored.dictionary.to_pylist()), none], object)
    return found[pc.fill_null(stored.indices, len(found) - 1).to_numpy()]


def _at(text: str, path: Sequence[str]) -> Any:
    value = json.loads(text) if text else None
    for part in path:
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _number(value: Any) -> float:
    """A number in a string counts, a truth value does not; NaN is none."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return float("nan")
    try:
        return float(value)
    except ValueError:
        return float("nan")


def _text(value: Any) -> str | None:
    return json.dumps(value) if isinstance(value, bool) else value if isinstance(value, str) else None
