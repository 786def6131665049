"""The documents a mixture trains on, with their texts as the model reads them: selection and stages in, Arrow tables out.

In: selection.parquet, the stages documents and cuts of the build's lineage. Out: `Selected` (one row per source, document and component),
then tables of READ, a few hundred rows at a time, by source (the manifest's order) and id. Cuts are applied by mixture.cuts, which
is what tokenize does. Imports errors, store and mixture's cuts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.errors import CurateError
from curate.store import read_json
from mixture.cuts import ShardCuts

BATCH_ROWS = 512  # rows of text held at once
FUNCTION = pa.struct([("name", pa.string()), ("arguments", pa.large_string())])
CALL = pa.struct([("id", pa.string()), ("type", pa.string()), ("function", FUNCTION)])
# Of messages. The first two always, the others where some message of the source has them: templates ask whether they are there at all.
MESSAGE = {
    "role": pa.string(), "content": pa.large_string(), "reasoning_content": pa.large_string(), "tool_calls": pa.list_(CALL),
    "tool_call_id": pa.string(), "name": pa.string(),
}  # fmt: skip
# How each looks in canonical JSON, whose keys are sorted: the name of a message stands before its role, that of a function does not.
MARKS = {
    "reasoning_content": '"reasoning_content":"',
    "tool_calls": r'"tool_calls":\[',
    "tool_call_id": '"tool_call_id":"',
    "name": r'"name":"(?:[^"\\]|\\.)*","r',
    "tools": '"tools":',
}


def messages_type(more: Collection[str] = tuple(MESSAGE)) -> pa.DataType:
    """The type of the column messages where messages have, besides role and content, these keys."""
    return pa.list_(pa.struct([(key, of) for key, of in MESSAGE.items() if key in ("role", "content") or key in more]))


MESSAGES = messages_type()
READ = pa.schema([
    ("id", pa.string()), ("source", pa.string()), ("text", pa.large_string()), ("messages", MESSAGES), ("tools", pa.large_string()),
    ("language", pa.string()),
    ("license", pa.string()), ("url", pa.string()), ("component", pa.string()), ("uses", pa.int64()), ("source_id", pa.string()),
    ("tokens", pa.int64()),
])  # fmt: skip
_COLUMNS = ("component", "source", "id", "token_start", "n_tokens")


@dataclass(frozen=True)
class Selected:
    """What is trained on of one source, by id, then component. Arrays (n,)."""

    id: np.ndarray  # S32
    component: pa.Array  # string
    uses: np.ndarray  # int64: uses begun, over all phases
    tokens: np.ndarray  # int64: trained on, all uses together


def selected(path: Path) -> dict[str, Selected]:
    """source -> its documents that stand in a trained row, read row group by row group."""
    file = pq.ParquetFile(path)
    parts = []
    for group in range(file.num_row_groups):
        table = file.read_row_group(group, columns=[*_COLUMNS, "split"])
        table = table.filter(pc.equal(table["split"], "train")).select(list(_COLUMNS))
        begun = pc.cast(pc.equal(table["token_start"], 0), pa.int64())
        parts.append(_summed(table.append_column("begun", begun), ("begun", "n_tokens")))
    if not parts:
        return {}
    whole = _summed(pa.concat_tables(parts), ("begun", "n_tokens"))
    whole = whole.take(pc.sort_indices(whole, sort_keys=[(name, "ascending") for name in ("source", "id", "component")]))
    found = {}
    for source in pc.unique(whole["source"]).to_pylist():
        own = whole.filter(pc.equal(whole["source"], source)).combine_chunks()
        found[source] = Selected(
            names(own["id"]), own["component"].combine_chunks(), own["begun"].to_numpy(), own["n_tokens"].to_numpy()
        )
    return found


def _summed(table: pa.Table, columns: tuple[str, ...]) -> pa.Table:
    grouped = table.group_by(["component", "source", "id"]).aggregate([(name, "sum") for name in columns])
    return grouped.rename_columns([name.removesuffix("_sum") for name in grouped.column_names])


def names(ids: pa.ChunkedArray) -> np.ndarray:
    """Ids of 32 characters as S32 (n,)."""
    array = pa.chunked_array(ids).combine_chunks() if isinstance(ids, pa.Array) else ids.combine_chunks()
    array = array.cast(pa.large_string())
    ends = np.frombuffer(array.buffers()[1] or b"", np.int64)[array.offset : array.offset + len(array) + 1]
    if len(array) and (np.diff(ends) != 32).any():
        raise AssertionError("an id that does not have 32 digits")
    data = array.buffers()[2] or b""
    return np.frombuffer(data, "S32", len(array), int(ends[0]) if len(array) else 0)


class Store:
    """The stages of a build, where its lineage says they lie."""

    def __init__(self, root: Path, manifest: Mapping[str, Any]) -> None:
        self.root = root
        self._folders = {
            (entry["stage"], entry["of"][0]): root / entry["stage"] / entry["fingerprint"]
            for entry in manifest["lineage"] if entry["stage"] in ("documents", "cuts")
        }  # fmt: skip

    def documents(self, source: str) -> list[tuple[Path, Path | None]]:
        """documents.parquet and cuts.parquet (None: nothing is cut) of every shard of a source, in order."""
        folder, cuts = self._folders["documents", source], self._folders.get(("cuts", source))
        return [
            (folder / key / "documents.parquet", cuts / key / "cuts.parquet" if cuts else None)
            for key in self._keys(folder) if key != "quarantine"
        ]  # fmt: skip

    def _keys(self, folder: Path) -> list[str]:
        try:
            return list(read_json(folder / "stage.json")["keys"])
        except FileNotFoundError:
            raise CurateError(
                "the documents of this build are gone from its store",
                where=str(folder),
                next="curate build-mixture RECIPE makes them again",
            ) from None


def read(
    of: Mapping[str, Selected], store: Store, conversations: set[str], advance: Callable[[int], None] = lambda n: None
) -> Iterator[pa.Table]:
    """Tables of READ: every row of `of` with its document; `conversations`: sources whose documents are messages.

    `advance` is told the bytes of every shard when it is done. Raises CurateError where the store lacks a document."""
    for source, own in of.items():
        found = 0
        for documents, cuts in store.documents(source):
            for table in _read_shard(documents, cuts, own, source in conversations):
                found += table.num_rows
                yield table
            advance(documents.stat().st_size)
        if found != own.id.size:
            raise CurateError(
                f"the store holds {found:,} of the {own.id.size:,} documents that are trained on of {source}", where=str(store.root),
                next="curate verify BUILD", exit_code=1,
            )  # fmt: skip


def optional_columns(store: Store, source: str, own: Selected) -> set[str]:
    """Which of MESSAGE's later keys, and "tools", some selected document of a source of conversations has. Quotes inside JSON text are escaped, so
    that a mark is never a part of what somebody wrote."""
    found: set[str] = set()
    for path, _ in store.documents(source):
        for batch in pq.ParquetFile(path).iter_batches(BATCH_ROWS, columns=["id", "messages", "parts"]):
            ids = names(batch["id"])
            chosen = batch.filter(pa.array(np.searchsorted(own.id, ids, "right") > np.searchsorted(own.id, ids, "left")))
            for key, mark in MARKS.items():
                column = chosen["parts" if key == "tools" else "messages"]
                if key not in found and pc.any(pc.match_substring_regex(column, mark)).as_py():
                    found.add(key)
    return found


def _read_shard(documents: Path, cuts: Path | None, own: Selected, is_conversation: bool) -> Iterator[pa.Table]:
    """The rows of one shard that are trained on, each once for every component."""
    file = pq.ParquetFile(documents)
    ids = names(pq.read_table(documents, columns=["id"])["id"])
    first, last = np.searchsorted(own.id, ids, "left"), np.searchsorted(own.id, ids, "right")
    applied = ShardCuts(cuts) if cuts is not None and (last > first).any() else None
    row, column = 0, "messages" if is_conversation else "text"
    columns = ["id", "source", "source_id", column, "language", "license", "url", *(["parts"] if is_conversation else [])]
    for group in range(file.num_row_groups):
        n = file.metadata.row_group(group).num_rows
        if (last[row : row + n] > first[row : row + n]).any():
            for batch in file.iter_batches(BATCH_ROWS, row_groups=[group], columns=columns):
                rows = row + np.flatnonzero(last[row : row + len(batch)] > first[row : row + len(batch)])
                if rows.size:
                    yield _table(batch.take(pa.array(rows - row)), rows, own, first, last, applied, column)
                row += len(batch)
        else:
            row += n


def _table(
    batch: pa.RecordBatch,
    rows: np.ndarray,
    own: Selected,
    first: np.ndarray,
    last: np.ndarray,
    cuts: ShardCuts | None,
    column: str,
) -> pa.Table:
    values = batch[column]
    if cuts is not None:
        values, _ = cuts.apply(rows, values, column == "messages")
    if column == "messages":
        values = pa.array([json.loads(text) for text in values.to_pylist()], MESSAGES)
    times = last[rows] - first[rows]
    at = np.arange(int(times.sum())) + np.repeat(first[rows] - (np.cumsum(times) - times), times)  # rows of `own`
    of = pa.array(np.repeat(np.arange(len(rows)), times))
    taken = {name: batch[name].take(of) for name in ("id", "source", "source_id", "language", "license", "url")}
    empty = {name: pa.nulls(len(at), READ.field(name).type) for name in ("text", "messages")}
    tools = (
        [json.loads(part).get("tools") if part else None for part in batch["parts"].to_pylist()] if column == "messages" else None
    )
    empty["tools"] = pa.nulls(len(at), pa.large_string()) if tools is None else pa.array(tools, pa.large_string()).take(of)
    taken |= {**empty, column: values.take(of)}
    taken |= {"component": own.component.take(pa.array(at)), "uses": pa.array(own.uses[at]), "tokens": pa.array(own.tokens[at])}
    return pa.table({name: taken[name] for name in READ.names}).cast(READ)
