"""Stage "contamination_items": the items of the recipe's evaluation sets, read once.

In: the files of `decontaminate.against` (jsonl or Parquet, compressed or not). Out, key "all": items.parquet (eval_set, item, part,
kind, text; rows in the order of sets, files and lines), whose rows alone make the root, so that files compressed in another way measure
nothing again. Counts per set: items, rows without a text, items too short to be found. Imports errors, recipe, engine, sources, store, fields.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate import text
from curate.engine import Task
from curate.errors import CurateError
from curate.recipe import EvaluationSet, Recipe
from curate.relate.contamination import folding, kernels
from curate.relate.contamination.fields import Fields, check, fields_of, item_id, parts_of
from curate.relate.contamination.index import SHORT_NGRAM
from curate.sources import raw_rows
from curate.sources.records import Bad
from curate.sources.stream import strip_compression
from curate.store import Stage, Store, file_sha256, table_root

VERSION = 1
ITEMS = pa.schema([(name, pa.large_string()) for name in ("eval_set", "item", "part", "kind", "text")])


@dataclass(frozen=True)
class EvaluationFiles:
    """One evaluation set and its files, sorted."""

    name: str
    where: str  # in the recipe
    files: tuple[Path, ...]
    format: str
    fields: dict[str, list[str]]


def sets_of(recipe: Recipe) -> list[EvaluationFiles]:
    """The sets of `decontaminate.against`, by name. Raises CurateError for a pattern without files and for a name taken twice."""
    assert recipe.decontaminate is not None
    against = recipe.decontaminate.against
    found: dict[str, EvaluationFiles] = {}
    if isinstance(against, dict):
        for name, given in against.items():
            found[name] = _named(recipe, name, given)
    else:
        for pattern in against:
            for path in _files(recipe, pattern, "decontaminate.against"):
                name = _stem(path)
                if name in found:
                    raise CurateError(
                        f"two evaluation files are called {name!r}", where="decontaminate.against",
                        found=f"{found[name].files[0]}, {path}", next="name the sets: against: {NAME: {read: FILE}}",
                    )  # fmt: skip
                found[name] = EvaluationFiles(name, "decontaminate.against", (path,), "auto", {})
    return [found[name] for name in sorted(found)]


def _named(recipe: Recipe, name: str, given: EvaluationSet) -> EvaluationFiles:
    where = f"decontaminate.against.{name}"
    fields = {part: list(names) for part, names in given.fields.items()}
    check(fields, f"{where}.fields")
    files = dict.fromkeys(path for pattern in given.read for path in _files(recipe, pattern, f"{where}.read"))
    return EvaluationFiles(name, where, tuple(files), given.format, fields)


def _files(recipe: Recipe, pattern: str, where: str) -> list[Path]:
    found = [path for path in recipe.matches(pattern, where) if path.is_file()]
    if not found:
        raise CurateError(
            "no evaluation file matches", where=where, found=str(recipe.path(pattern, where)),
            next="correct the pattern, or set the root it starts from",
        )  # fmt: skip
    return found


def _stem(path: Path) -> str:
    """`gsm8k_test.jsonl.zst` -> `gsm8k_test`."""
    return Path(strip_compression(path.name)).stem


def tasks(store: Store, recipe: Recipe) -> tuple[Stage, list[Task]]:
    sets = sets_of(recipe)
    raw = [file_sha256(path) for one in sets for path in one.files]
    names = [[one.name, one.format, one.fields, [file_sha256(path) for path in one.files]] for one in sets]
    stage = store.stage("contamination_items", version=VERSION, settings={"sets": names}, raw=raw)
    return stage, [Task(((stage, "all"),), write, (stage, sets, recipe.limits.document_bytes), len(raw))]


def write(stage: Stage, sets: list[EvaluationFiles], limit: int) -> None:
    rows: list[tuple[str, ...]] = []
    counts: dict[str, int] = {}
    for one in sets:
        own, n_items, n_skipped, _ = read_set(one, limit)
        rows += own
        counts |= {f"items {one.name}": n_items, f"skipped {one.name}": n_skipped, f"short {one.name}": n_short(own)}
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(ITEMS)
    table = pa.table([pa.array(column, pa.large_string()) for column in columns], schema=ITEMS)
    with stage.shard("all") as writer:
        pq.write_table(table, writer.path / "items.parquet", compression="zstd")
        writer.done(table.num_rows, table_root(table), counts)


def n_short(rows: Sequence[tuple[str, ...]]) -> int:
    """Items of which no part has as many words as the shortest n-gram: nothing finds them."""
    ptr = folding.words(*text.buffers(pa.array([row[-1] for row in rows], pa.large_string())), kernels.PLAIN)[0]
    longest: dict[str, int] = {}
    for row, n in zip(rows, np.diff(ptr).tolist(), strict=True):
        longest[row[1]] = max(n, longest.get(row[1], 0))
    return sum(n < SHORT_NGRAM for n in longest.values())


def read_set(one: EvaluationFiles, limit: int, most: int | None = None) -> tuple[list[tuple[str, ...]], int, int, Fields]:
    """(rows of ITEMS, items, rows without any text, fields), of `most` records at most. A set is whole or it is an error."""
    raw: list[dict[str, Any]] = []
    for path in one.files if most is None else one.files[:1]:
        kind = one.format if one.format != "auto" else "parquet" if path.suffix == ".parquet" else "jsonl"
        for row in itertools.islice(raw_rows(path, kind, limit), most):
            if isinstance(row, Bad):
                place = f", byte {row.byte_offset}" if row.byte_offset >= 0 else ""
                raise CurateError(
                    f"an evaluation set must be whole, and one of its records is {row.cause}", where=f"{path}{place}", found=row.detail,
                    next="mend the file: what is not read is not looked for",
                )  # fmt: skip
            raw.append(row.values)
    names = ", ".join(path.name for path in one.files)
    if not raw:
        raise CurateError("an evaluation set without items", where=one.where, found=names)
    fields = fields_of(raw, one.fields, one.where, names)
    rows: list[tuple[str, ...]] = []
    n_items = 0
    for number, values in enumerate(raw, 1):
        if parts := parts_of(values, fields):
            n_items += 1
            rows += [(one.name, item_id(values, fields, number), *part) for part in parts]
    return rows, n_items, len(raw) - n_items, fields
