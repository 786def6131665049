"""What an evaluation leaves behind: results.parquet (a row per task and metric), items.parquet (a row per item); read and written here.

A folder of results fills task by task: tasks/NAME.parquet and tasks/NAME.json (its rows and the key of its inputs), each whole or not there;
after each of them the two tables are written anew, by one rename. Rows of both are plain dicts in memory; `details` is JSON on disk.
May import curate.errors, curate.store; pyarrow.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curate.errors import CurateError
from curate.store import read_json, write_json

Row = dict[str, Any]

TEXT, NUMBER, COUNT, FLAG = pa.string(), pa.float64(), pa.int64(), pa.bool_()
RESULTS = pa.schema(
    {
        "task": TEXT, "task_version": COUNT, "kind": TEXT, "language": TEXT, "metric": TEXT, "value": NUMBER,
        "low": NUMBER, "high": NUMBER,  # 95 % bootstrap interval
        "n": COUNT,  # items that were scored
        "n_missing": COUNT,  # items without an answer, or whose answer holds none
        "n_cut": COUNT,  # generations that did not end by themselves: by tokens or by seconds
        "n_truncated": COUNT,  # prompts that were cut from the left, too long for the model
        "model": TEXT, "model_sha256": TEXT, "dtype": TEXT,
        "receipt": TEXT,  # JSON: steps, tokens and stream roots of our checkpoints; null for other models
        "suite": TEXT, "task_sha256": TEXT,  # of the task as the suite file has it
        "template_sha256": TEXT,  # of prompt, choices and answer; with the model's chat template where it is applied
        "data": TEXT, "data_sha256": TEXT, "limit": COUNT, "shots": COUNT, "seed": COUNT, "batch": COUNT,
        "harness": TEXT, "harness_version": TEXT, "bos": TEXT, "metric_signature": TEXT,
        "contaminated": COUNT,  # items of this task that the named build found in its documents; null: not looked for
        "at": TEXT,
    }
)  # fmt: skip
ITEMS = pa.schema(
    {
        "task": TEXT, "item": TEXT, "language": TEXT, "prompt_sha256": TEXT, "prompt": TEXT,
        "answers": pa.list_(TEXT),  # generated texts; of multiple choice the chosen one
        "extracted": TEXT,  # what was read out of the answer; of multiple choice the number of the chosen one
        "gold": pa.list_(TEXT), "score": NUMBER, "weight": NUMBER, "n_tokens": COUNT,
        "finish": TEXT,  # stop | length | time | error; none for what is not generated
        "truncated": FLAG, "contaminated": FLAG, "details": TEXT,
    }
)  # fmt: skip
FOLDER = "tasks"


def write_task(folder: Path, name: str, key: str, rows: Sequence[Row], items: Sequence[Row]) -> None:
    """A task is done: its rows, its items, and what they were made from."""
    _write(folder / FOLDER / f"{name}.parquet", _table(items, ITEMS))
    write_json(folder / FOLDER / f"{name}.json", {"key": key, "rows": list(rows)})


def read_task(folder: Path, name: str, key: str) -> tuple[list[Row], list[Row]] | None:
    """(rows, items) of a task that is done with these inputs, else None."""
    try:
        known = read_json(folder / FOLDER / f"{name}.json")
        if known["key"] != key:
            return None
        return known["rows"], _items(folder / FOLDER / f"{name}.parquet")
    except (FileNotFoundError, CurateError, pa.ArrowInvalid):  # none yet, or a damaged one: it is run again
        return None


def write_tables(folder: Path, rows: Sequence[Row], items: Sequence[Row]) -> None:
    """results.parquet and items.parquet of everything that is done so far."""
    _write(folder / "items.parquet", _table(items, ITEMS))
    _write(folder / "results.parquet", _table(rows, RESULTS))


def read_results(folder: Path) -> list[Row]:
    """Rows of RESULTS. Raises CurateError where the folder has none."""
    return _read(Path(folder), "results.parquet").to_pylist()


def read_items(folder: Path, task: str | None = None) -> list[Row]:
    """Rows of ITEMS, of one task or all, `details` as data."""
    _read(Path(folder), "results.parquet")
    return [item for item in _items(Path(folder) / "items.parquet") if task is None or item["task"] == task]


def _read(folder: Path, name: str) -> pa.Table:
    if not (folder / name).is_file():
        raise CurateError(
            "there are no results here", where=str(folder), found=f"no {name}", next="curate train evaluate RUN.yaml"
        )
    return pq.read_table(folder / name)


def _items(path: Path) -> list[Row]:
    return [{**row, "details": json.loads(row["details"] or "{}")} for row in pq.read_table(path).to_pylist()]


def _table(rows: Iterable[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    plain = [dict(row) for row in rows]
    for row in plain:
        if unknown := set(row) - set(schema.names):
            raise ValueError(f"no such columns: {sorted(unknown)}")
        if "details" in row:
            row["details"] = json.dumps(row["details"], ensure_ascii=False, sort_keys=True)
    return pa.Table.from_pylist(plain, schema)


def _write(path: Path, table: pa.Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    pq.write_table(table, temporary, compression="zstd")
    with open(temporary, "rb") as file:
        os.fsync(file.fileno())
    os.replace(temporary, path)
