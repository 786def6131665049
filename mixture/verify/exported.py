"""`curate verify DIR` on an export: everything it states, counted and hashed again as far as it goes without the build.

In: a folder that mixture/export wrote. Out: a Report. Of an export of tokens: every file, row hashes and stream root from the token
shards, the selection against the arrays and the documents' ends, tokens by component, the roots of selection and order. Of texts:
every file, and rows by component. Imports errors, schema, store and mixture's hashes, stream, verify.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.errors import CurateError
from curate.schema import SELECTION
from curate.store import digest, table_root
from mixture.batches import row_length
from mixture.hashes import count_learned, row_hashes
from mixture.names import read
from mixture.sequences import SLICE, WHAT
from mixture.stream import START, advance, map_tokens
from mixture.verify import files, uses
from mixture.verify.report import Report
from mixture.verify.suspects import Chunks, name_rows

TOKENS_LACK = (
    "raw input, documents, rules and duplicates", "that the tokens are those of the texts", "documents over budget, and so epochs, caps "
    "and roots.components", "that the passes are those of the seed",
)  # fmt: skip
TEXTS_LACK = ("that these are the documents of the mixture, after their cuts", "licences, beyond what each row states")


def verify_export(folder: Path) -> Report | None:
    """None where the folder is no export."""
    folder, report = Path(folder).resolve(), Report()
    name = next((name for name in ("manifest.json", "export.json") if (folder / name).is_file()), None)
    record = files.read_exact(folder / name, report, name) if name else None
    if name is None or (record is not None and "export" not in record):
        return None
    if record is None:
        return report
    whole = {
        stated["path"]: files.check_file(folder / stated["path"], stated, report, stated["path"]) for stated in record["outputs"]
    }
    sound = all(whole.values())
    listed = {name, *(stated["path"] for stated in record["outputs"])}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        if (stray := path.relative_to(folder).as_posix()) not in listed:
            report.add(stray, f"{name} does not list this file")
    is_tokens = record["export"]["kind"] == "tokens"
    report.lacks += TOKENS_LACK if is_tokens else TEXTS_LACK
    if is_tokens:
        recipe = folder / "recipe.yaml"
        if recipe.is_file():
            sha256 = hashlib.sha256(recipe.read_bytes()).hexdigest()
            report.equal("recipe.yaml", "recipe_sha256", record["recipe_sha256"], sha256)
        _check_tokens(folder, record, report, whole)
    elif sound:
        _check_texts(folder, record, report)
    return report


def _check_tokens(folder: Path, manifest: Mapping[str, Any], report: Report, whole: Mapping[str, bool]) -> None:
    arrays = uses.load_arrays(folder, dict(manifest), report)
    listed = files.read_exact(folder / "sequences" / "shards.json", report, "sequences/shards.json")
    if arrays is None or listed is None:
        return
    try:
        shards = listed["shards"]
        tokens = [map_tokens(folder / s["path"], np.dtype(f"<u{listed['token_bytes']}"), s["n_tokens"]) for s in shards]
        masks = [
            map_tokens(folder / f"{s['path']}.loss", np.dtype("u1"), s["n_tokens"]) if s["has_loss"] else None for s in shards
        ]
        ends = [np.fromfile(folder / f"{s['path']}.index", "<u8").astype(np.int64) for s in shards]
    except (CurateError, OSError) as error:
        report.add(getattr(error, "where", "") or "tokens", f"unreadable: {' '.join(str(error).split())}")
        return
    chunks = arrays["chunks"]
    n_tokens = np.array([t.size for t in tokens] or [0], np.int64)
    inside = chunks["shard"] < len(tokens)
    inside &= chunks["start"].astype(np.int64) + chunks["length"] <= n_tokens[np.minimum(chunks["shard"], n_tokens.size - 1)]
    for chunk in np.flatnonzero(~inside)[:3].tolist():
        report.add("sequences/chunks.npy", "a chunk beyond the end of its token shard", f"row {chunk}")
    if not inside.all():
        return
    damaged = {number: s["path"] for number, s in enumerate(shards) if not whole.get(s["path"], False)}
    _check_rows(folder, manifest, arrays, tokens, damaged, whole.get(uses.SELECTION, False), report)
    if all(whole.values()):
        _check_selection(folder, manifest, arrays, masks, ends, report)


def _check_rows(
    folder: Path, manifest: Mapping[str, Any], arrays: Mapping[str, np.ndarray], tokens: list[np.ndarray], damaged: Mapping[int, str],
    is_listed: bool, report: Report,
) -> None:  # fmt: skip
    """Length and hash of every row, and the stream's running hash. `damaged`: token shards that are not what was written; `is_listed`:
    the selection says which documents they hold."""
    ptr, order = arrays["row_ptr"], arrays["order"]
    lengths = np.add.reduceat(arrays["chunks"]["length"].astype(np.int64), ptr[:-1]) if len(ptr) > 1 else np.empty(0, np.int64)
    room = np.concatenate([
        *(np.full(p["order"]["n_sequences"], row_length(p)) for p in manifest["phases"]),
        np.full(manifest["held_out"]["sequences"], _held_out_length(manifest)),
    ])  # fmt: skip
    for row in np.flatnonzero(lengths > room)[:3].tolist():
        report.add("sequences/chunks.npy", f"a row of {lengths[row]:,} tokens, longer than sequence_length", f"sequence {row}")
    hashes = row_hashes(np.asarray(ptr), np.asarray(arrays["chunks"]), [np.asarray(t) for t in tokens])
    wrong = np.flatnonzero((hashes != arrays["row_hash"]).any(axis=1))
    if wrong.size:
        none = np.full(len(arrays["chunks"]), -1, np.int64)
        unnamed: tuple[Chunks, Callable[[int], str]] = (
            Chunks(np.asarray(ptr), np.asarray(arrays["chunks"]["shard"]), none, none, none),
            str,
        )
        chunks, name = _named(folder, arrays) if damaged and is_listed else unnamed
        name_rows(wrong, chunks, order, damaged, name, report)
    report.count(sequences=len(ptr) - 1, tokens=int(lengths.sum()))
    marks = {mark["stream_index"]: mark["sha256"] for mark in manifest["stream_checkpoints"]}
    running = START
    for i, sequence in enumerate(order.tolist(), 1):
        running = advance(running, hashes[sequence].tobytes())
        if marks.get(i, running.hex()) != running.hex():
            report.equal("manifest.json", "stream_checkpoints", marks[i], running.hex(), f"stream index {i}")
    report.equal("manifest.json", "roots.stream", manifest["roots"]["stream"], running.hex())


def _named(folder: Path, arrays: Mapping[str, np.ndarray]) -> tuple[Chunks, Callable[[int], str]]:
    """Which tokens of which document every chunk is, as the selection has it, and the name of a chunk's document."""
    table = pq.read_table(folder / uses.SELECTION, columns=["source", "id", "token_start", "n_tokens"])
    own, start = arrays["chunks"], table["token_start"].to_numpy()
    document = own["shard"].astype(np.int64) << 44 | (own["start"].astype(np.int64) - start)
    chunks = Chunks(np.asarray(arrays["row_ptr"]), np.asarray(own["shard"]), document, start, table["n_tokens"].to_numpy())
    return chunks, lambda chunk: f"{table['source'][chunk]} {table['id'][chunk]}"


def _held_out_length(manifest: Mapping[str, Any]) -> int:
    held = manifest["held_out"]
    return int(held.get("row_length", held.get("sequence_length", manifest["phases"][0]["sequence_length"])))


def _check_selection(
    folder: Path, manifest: Mapping[str, Any], arrays: Mapping[str, np.ndarray], masks: list[np.ndarray | None],
    ends: list[np.ndarray], report: Report,
) -> None:  # fmt: skip
    """Row i of the selection is chunk i, of a document that begins and ends where the shard's index says; sums and roots."""
    n_train, n_chunks = arrays["order"].size, len(arrays["chunks"])
    n_phases, names = len(manifest["phases"]), [c["name"] for c in manifest["components"]]
    stream_index = np.full(len(arrays["row_ptr"]) - 1, -1, np.int64)
    stream_index[arrays["order"].astype(np.int64)] = np.arange(n_train)
    sizes = [*(p["order"]["n_sequences"] for p in manifest["phases"]), manifest["held_out"]["sequences"]]
    phase_of_row = np.repeat(np.arange(n_phases + 1), sizes)  # n_phases: held out
    counted = np.zeros((n_phases + 1, len(names)), np.int64)
    seen: list[tuple[np.ndarray, ...]] = [tuple(np.empty(0, of) for of in (np.uint64, np.uint64, np.int64))]
    what, where = list[str | bytes](), list[str | bytes]()
    row = 0
    for table in slices(folder / uses.SELECTION):
        if table.schema.names != SELECTION.names or row + table.num_rows > n_chunks:
            report.add(uses.SELECTION, "its columns or rows are not those of the arrays")
            return
        what.append(table_root(table.select(list(WHAT))))
        where.append(table_root(table.select([name for name in table.column_names if name not in WHAT])))
        here = slice(row, row + table.num_rows)
        own = np.asarray(arrays["chunks"][here])
        sequence = np.searchsorted(arrays["row_ptr"], np.arange(here.start, here.stop), side="right") - 1
        phase, component = phase_of_row[sequence], np.asarray(arrays["component"][sequence], np.int64)
        value = {
            name: np.asarray(table[name].fill_null(-1).to_numpy(), np.int64)
            for name in ("n_tokens", "token_start", "sequence", "position", "stream_index", "chunk", "n_chunks", "n_loss_tokens")
        }
        is_inside, begin = _documents(own, value["token_start"], ends)
        checks = {
            "document": own["document"].astype(np.int64) == np.arange(here.start, here.stop),
            "n_tokens": own["length"] == value["n_tokens"], "token_start": is_inside,
            "n_chunks": (own["more"] == 1) == (value["chunk"] + 1 < value["n_chunks"]), "sequence": sequence == value["sequence"],
            "position": _positions(arrays, here, sequence) == value["position"],
            "stream_index": stream_index[sequence] == value["stream_index"],
            "component": component == _numbers(table["component"], names),
            "split": (sequence < n_train) == (_numbers(table["split"], ["held_out", "train"]) == 1),
            "phase": np.where(phase < n_phases, phase, -1) == _numbers(table["phase"], [p["name"] for p in manifest["phases"]]),
            "n_loss_tokens": _labels(own, masks) == value["n_loss_tokens"],
        }  # fmt: skip
        for name, right in checks.items():
            for wrong in np.flatnonzero(~right)[:2].tolist():
                report.add(uses.SELECTION, f"{name} is not that of the arrays and the token shards", f"row {row + wrong}")
        np.add.at(counted, (phase, component), value["n_tokens"])
        try:
            ids = read(table["id"])
            seen.append((ids.high, ids.low, own["shard"].astype(np.int64) << 44 | begin))
        except AssertionError as error:
            report.add(uses.SELECTION, str(error), f"from row {row}")
            return
        row = here.stop
    report.equal(uses.SELECTION, "rows", n_chunks, row)
    high, low, place = map(np.concatenate, zip(*seen, strict=True))
    _check_ids(high, low, place, report)
    _check_sums(manifest, counted, report)
    report.count(chunks=row)
    report.equal("manifest.json", "roots.selection", manifest["roots"]["selection"], digest("selection", *what))
    report.equal("manifest.json", "roots.order", manifest["roots"]["order"], digest("order", str(n_train), *where))


def _numbers(column: pa.ChunkedArray, names: list[str]) -> np.ndarray:
    """int64: which of `names` each value is, -1 none."""
    return np.asarray(pc.index_in(column, value_set=pa.array(names, pa.string())).fill_null(-1).to_numpy(), np.int64)


def _positions(arrays: Mapping[str, np.ndarray], here: slice, sequence: np.ndarray) -> np.ndarray:
    """Tokens before every chunk in its row."""
    if not sequence.size:
        return sequence
    first = int(arrays["row_ptr"][sequence[0]])  # the row of the first chunk may begin before this slice
    length = arrays["chunks"]["length"][first : here.stop].astype(np.int64)
    before = np.cumsum(length) - length
    return before[here.start - first :] - before[arrays["row_ptr"][sequence] - first]


def _check_ids(high: np.ndarray, low: np.ndarray, place: np.ndarray, report: Report) -> None:
    """One document of the token shards (`place`: its shard and first token) has one id (128 bits), and one id is of one document."""
    order = np.lexsort((place, low, high))
    high, low, place = high[order], low[order], place[order]
    same_id, same_place = (high[1:] == high[:-1]) & (low[1:] == low[:-1]), place[1:] == place[:-1]
    report.count(documents=int(place.size and place.size - same_id.sum()))
    for at in np.flatnonzero(same_id & ~same_place)[:3].tolist():
        report.add(uses.SELECTION, "one id, two documents of the token shards", f"id {int(high[at]):016x}{int(low[at]):016x}")
    once = np.concatenate(([True], ~(same_id & same_place)))[: place.size]
    by_place = np.argsort(place[once], kind="stable")
    for at in by_place[np.flatnonzero(np.diff(place[once][by_place]) == 0)][:3].tolist():
        name = f"id {int(high[once][at]):016x}{int(low[once][at]):016x}"
        report.add(uses.SELECTION, "two ids for one document of the token shards", name)


def _documents(own: np.ndarray, token_start: np.ndarray, ends: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """(bool: the chunk lies inside a document that begins `token_start` tokens before it, where that document begins)."""
    good = np.zeros(len(own), np.bool_)
    begin = own["start"].astype(np.int64) - token_start
    for shard in np.unique(own["shard"]).tolist():
        mine = np.flatnonzero(own["shard"] == shard)
        starts = np.concatenate(([0], ends[shard]))[:-1]
        place = np.searchsorted(starts, begin[mine], side="right") - 1  # of equal starts (no token) the last: it has tokens
        is_one = (place >= 0) & (token_start[mine] >= 0) & (starts.size > 0)
        at = place[is_one]
        fits = own["start"][mine[is_one]].astype(np.int64) + own["length"][mine[is_one]] <= ends[shard][at]
        good[mine[is_one]] = (starts[at] == begin[mine[is_one]]) & fits
    return good, begin


def _labels(own: np.ndarray, masks: list[np.ndarray | None]) -> np.ndarray:
    """Labels that count, by chunk."""
    n = own["length"].astype(np.int64) - 1 + own["more"]
    for shard in np.unique(own["shard"]).tolist():
        if (mask := masks[shard]) is not None:
            mine = np.flatnonzero(own["shard"] == shard)
            n[mine] = count_learned(np.asarray(mask), own["start"][mine].astype(np.int64) + 1, n[mine])
    return n


def _check_sums(manifest: Mapping[str, Any], counted: np.ndarray, report: Report) -> None:
    """Tokens by phase and component (`counted`, the last row held out) and padding."""
    number = {phase["name"]: i for i, phase in enumerate(manifest["phases"])}
    for c, component in enumerate(manifest["components"]):
        name = component["name"]
        for stated in component["phases"]:
            tokens = int(counted[number[stated["phase"]], c])
            report.equal(
                "manifest.json", f"{name}: tokens to train in {stated['phase']}", stated.get("tokens", stated["realised"]), tokens
            )
        report.equal("manifest.json", f"{name}: held-out tokens", manifest["held_out"]["tokens"][name], int(counted[-1, c]))
    for phase, trained in zip(manifest["phases"], counted.sum(axis=1).tolist(), strict=False):
        padding = phase["order"]["n_sequences"] * row_length(phase) - trained if "row_length" not in phase else 0
        report.equal("manifest.json", f"padding of {phase['name']}", phase["budget"]["padding"], padding)


def slices(path: Path) -> Iterator[pa.Table]:
    """The selection in tables of SLICE rows (the last one shorter); row groups never straddle a slice."""
    file = pq.ParquetFile(path)
    groups: list[int] = []
    rows = 0
    for group in range(file.num_row_groups):
        groups.append(group)
        rows += file.metadata.row_group(group).num_rows
        if rows >= SLICE or group == file.num_row_groups - 1:
            yield file.read_row_groups(groups)
            groups, rows = [], 0


def _check_texts(folder: Path, record: Mapping[str, Any], report: Report) -> None:
    """Rows by component, each id once in a component, exported + withheld = selected; no unknown licence on the hub."""
    for name, own in record["components"].items():
        report.equal("export.json", f"{name}: exported + withheld", own["selected"], own["exported"] + own["withheld"])
        n_rows, n_uses, last, twice = 0, 0, ("", ""), 0
        for file in own["files"]:
            for batch in pq.ParquetFile(folder / file).iter_batches(columns=["id", "source", "component", "license", "uses"]):
                if not pc.all(pc.equal(batch["component"], name)).as_py():
                    report.add(file, f"rows of another component than {name}")
                if record["export"]["kind"] == "hub" and batch["license"].null_count:
                    report.add(file, f"{batch['license'].null_count:,} rows without a licence")
                keys = list(zip(batch["source"].to_pylist(), batch["id"].to_pylist(), strict=True))
                twice += sum(a == b for a, b in zip([last, *keys], keys, strict=False))
                n_rows, n_uses, last = n_rows + len(keys), n_uses + pc.sum(batch["uses"]).as_py(), keys[-1]
        report.equal("export.json", f"{name}: rows", own["exported"], n_rows)
        report.equal("export.json", f"{name}: uses", own["uses"], n_uses)
        if twice:
            report.add("export.json", f"{name}: {twice:,} documents stand twice")
        report.count(rows=n_rows)
    if record["export"]["kind"] == "hub":
        rows = pq.read_metadata(folder / "withheld.parquet").num_rows
        report.equal("export.json", "withheld rows", record["rows"]["withheld"], rows)
