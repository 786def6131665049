"""The items of a task: files or a dataset of the hub in; rows with `id`, in their order, and what they were read from out.

Files: JSON lines, Parquet, .m2, plain text (a file is an item: {id, text}); .gz, .bz2 and .zst on top. Rows are cut at \\n only: texts hold U+2028.
The one home of `datasets` here. May import curate.errors, train.evaluation.suite; pyarrow.
"""

from __future__ import annotations

import glob
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curate.errors import CurateError, nearest
from train.evaluation.suite import Data

IDS = ("id", "task_id", "question_id", "idx", "uid", "meta.id")  # as curate's decontamination names items
COMPRESSED = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}
Item = dict[str, Any]


@dataclass(frozen=True)
class Items:
    """`sha256` is that of the files' bytes, or of the rows where they came from the hub."""

    rows: list[Item]
    origin: str
    sha256: str
    eval_set: str


def read(data: Data, fields: Mapping[str, str], file: Callable[[str], Path]) -> Items:
    """Rows with `fields` added and their id as `id`. Raises CurateError where a file, a record or a field is missing."""
    rows, origin, sha256, name = _hub(data) if data.hub else _files(data, file)
    kept = [(number, row) for number, row in enumerate(rows, 1) if all(row.get(k) == v for k, v in data.where.items())]
    if not kept:
        raise CurateError(
            "a task without items", where=origin, found=f"{len(rows)} rows, none where {data.where}" if rows else "no rows"
        )
    return Items(_apart([_item(row, number, fields, origin) for number, row in kept]), origin, sha256, data.eval_set or name)


def _apart(rows: list[Item]) -> list[Item]:
    """Ids are what items of two evaluations are paired by: those that stand twice get their place in the set besides."""
    times = Counter(row["id"] for row in rows)
    return [row if times[row["id"]] == 1 else {**row, "id": f"{row['id']} #{row['number']}"} for row in rows]


def _item(row: Item, number: int, fields: Mapping[str, str], origin: str) -> Item:
    added = {name: _pick(row, place, f"{origin}, row {number}") for name, place in fields.items()}
    if "id" not in added:
        added["id"] = next((str(value) for place in IDS if (value := _look(row, place)) not in (None, "")), f"#{number}")
    return {**row, **added, "id": str(added["id"]), "own_id": str(added["id"]), "number": number}


def _look(row: Any, place: str) -> Any:
    """The value at `a.b`; of a list of objects the list of their values."""
    for part in place.split("."):
        if isinstance(row, list) and part.isdigit():
            row = row[int(part)] if int(part) < len(row) else None
        elif isinstance(row, list):
            row = [one.get(part) for one in row if isinstance(one, dict)]
        else:
            row = row.get(part) if isinstance(row, dict) else None
    return row


def _pick(row: Item, place: str, where: str) -> Any:
    if (value := _look(row, place)) is None:
        known = [*row, *(f"{k}.{inner}" for k, v in row.items() if isinstance(v, dict) for inner in v)]
        raise CurateError(
            "an item has no such field", where=where, found=place, allowed=", ".join(nearest(place, known) or known)
        )
    return value


def _files(data: Data, file: Callable[[str], Path]) -> tuple[list[Item], str, str, str]:
    paths: dict[Path, None] = {}
    for pattern in data.path:
        found = sorted(glob.glob(str(file(pattern)), recursive=True))
        if not found:
            raise CurateError(
                "there is no file of items here", where=str(file(pattern)), next="fetch it, or correct data.path or its root"
            )
        paths.update(dict.fromkeys(map(Path, found)))
    state = hashlib.sha256()
    rows: list[Item] = []
    for path in paths:
        content = path.read_bytes()
        state.update(hashlib.sha256(content).digest())
        rows += _rows(path, content)
    names = [path.name for path in paths]
    return rows, ", ".join(names), state.hexdigest(), _stem(names[0])


def _stem(name: str) -> str:
    """`estqa-train-v1.0.jsonl.zst` -> `estqa-train-v1.0`, as curate calls evaluation sets."""
    path = Path(name)
    return Path(path.stem).stem if path.suffix in COMPRESSED else path.stem


def _rows(path: Path, content: bytes) -> Iterator[Item]:
    suffix = path.suffix
    if suffix in COMPRESSED:
        try:
            content = pa.CompressedInputStream(pa.BufferReader(content), COMPRESSED[suffix]).read()
        except OSError as error:
            raise CurateError("this file is damaged", where=str(path), found=str(error)) from None
        suffix = Path(path.stem).suffix
    if suffix == ".parquet":
        yield from _parquet(path, content)
    elif suffix in (".jsonl", ".ndjson", ".json"):
        yield from _lines(path, content)
    elif suffix == ".m2":
        yield from _sentences(path, content)
    elif suffix in (".txt", ".md", ""):
        yield {"id": path.name, "text": _text(path, content)}
    else:
        raise CurateError(
            "items are not read from such files", where=str(path), allowed=".jsonl, .parquet, .m2, .txt, and .gz or .zst of them"
        )


def _parquet(path: Path, content: bytes) -> list[Item]:
    try:
        return pq.read_table(pa.BufferReader(content)).to_pylist()
    except pa.ArrowInvalid as error:
        raise CurateError("this is not a Parquet file", where=str(path), found=str(error)) from None


def _lines(path: Path, content: bytes) -> Iterator[Item]:
    for number, line in enumerate(_text(path, content).split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise CurateError("this line is not JSON", where=f"{path}:{number}", found=f"{error}: {line[:60]!r}") from None
        if not isinstance(row, dict):
            raise CurateError("an item is an object", where=f"{path}:{number}", found=line[:60], allowed="one JSON object a line")
        yield row


def _sentences(path: Path, content: bytes) -> Iterator[Item]:
    """An .m2 file: {original, m2}, its sentence and the block that says its edits."""
    for block in _text(path, content).replace("\r\n", "\n").split("\n\n"):
        if block.strip():
            yield {"original": block.strip().split("\n")[0].removeprefix("S").strip(), "m2": block.strip()}


def _text(path: Path, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CurateError("this file is not UTF-8", where=str(path), found=str(error)) from None


def _hub(data: Data) -> tuple[list[Item], str, str, str]:
    import datasets

    assert data.hub is not None
    origin = " ".join(filter(None, (data.hub, data.config, f"[{data.split}]", f"@{data.revision}")))
    try:
        loaded = datasets.load_dataset(data.hub, data.config, split=data.split, revision=data.revision)
    except Exception as error:  # its errors are of many kinds: no network, no such set, split or revision
        raise CurateError(
            "this dataset cannot be read from the hub", where=origin, found=f"{type(error).__name__}: {error}"[:300],
            next="check the name, the split, the revision and the network; or name local files with data.path",
        ) from error  # fmt: skip
    rows = loaded.to_list()
    canonical = json.dumps(rows, sort_keys=True, ensure_ascii=False, default=str).encode()
    return rows, origin, hashlib.sha256(canonical).hexdigest(), data.hub.rpartition("/")[2]
