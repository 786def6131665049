"""Step one of `documents`: raw files in, runs out. A run holds the documents of a few files, repaired, hashed, sorted by key.

A run is keyed by the content of its files, never by their names, so that a renamed file is not read again; names are joined in
step two (documents.py). Columns: RUN. Imports sources, engine, store, errors.
"""

from __future__ import annotations

import bisect
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from curate import engine, licenses
from curate.errors import CurateError
from curate.recipe import DECIDE_ROWS, Limits, Recipe, Source
from curate.schema import DOCUMENTS, map_said
from curate.sources import Bad, RawFile, Record, pieces, read
from curate.sources.fields import COLUMNS, chat_text
from curate.sources.formats import ARCHIVE, FORMATS
from curate.sources.lanes import NAMED, VERSIONS
from curate.sources.pieces import Hashed, Piece
from curate.sources.repair import PROSE, repair
from curate.sources.stream import strip_compression
from curate.store import Stage, Store, canonical_json, digest, file_sha256, read_json, write_json
from curate.units import Quantity

VERSION = 2
ID_BYTES = 12  # the 96-bit hash of an id
KEY_BYTES = ID_BYTES + 16  # then the hash of all mapped fields, which orders equals
PART_TEXT_BYTES = 128 << 20  # of text held by a task and written as one sorted part
ROW_BYTES = 1 << 10  # what a row costs in memory beside its text (a guess), so that short texts fill a part too
BATCH_TEXT_BYTES = 2 << 20  # the grain at which step two reads a part
GROUP_BYTES, GROUP_FILES = 16 << 20, 4096  # small files share a run until one of these
# Keys that stand in the fingerprint with and without a value; options of lanes and readers only where a recipe has them.
ALWAYS_SETTINGS = ("name", "type", "language", "license", "fields", "id")
UNREADABLE = "unreadable"  # in place of the sha256 of a file that cannot be opened

# What a lane makes of a row, and what repair and identity add; types as in schema.DOCUMENTS.
RUN = pa.schema([
    ("key", pa.binary(KEY_BYTES)), *(DOCUMENTS.field(name) for name in (*COLUMNS, "text_hash", "is_repaired")),
    ("file_index", pa.int32()), ("member", pa.string()), ("byte_offset", pa.int64()),
])  # fmt: skip
RUN_QUARANTINE = pa.schema([
    ("file_index", pa.int32()), ("member", pa.string()), ("byte_offset", pa.int64()), ("cause", pa.string()), ("detail", pa.string()),
    ("lost_bytes", pa.int64()),
])  # fmt: skip

Item = TypeVar("Item")


Hashes = dict[tuple[Path, str], Hashed]  # by path and format


class Run(NamedTuple):
    """One run to write: its key in the stage, its files and their sha256, in the order of `file_index`; `piece`: of its only file."""

    key: str
    files: tuple[RawFile, ...]
    sha256: tuple[str, ...]
    piece: Piece | None = None


class Sample(NamedTuple):
    """A record is inside where the keyed hash of its 96-bit id is below `below` (of 2**64)."""

    below: int
    key: bytes

    def has(self, id96: bytes) -> bool:
        return int.from_bytes(hashlib.blake2b(id96, digest_size=8, key=self.key).digest(), "big") < self.below


def sample_of(recipe: Recipe) -> Sample | None:
    """Which records a recipe with `sample:` takes; None: all."""
    share: Quantity = recipe.sample
    return None if share.value >= 1 else Sample(int(share.value * 2**64), digest("veski-sample", str(recipe.seed)).encode())


def hash_files(store: Store, files: Sequence[RawFile], workers: int) -> Hashes:
    """sha256 of every file, and its pieces, computed once for each (path, size, mtime, inode) that this store has seen."""
    stage = store.stage("raw_hashes", version=1, settings={})
    groups = {}
    for group in grouped(files, lambda f: str(f.path), lambda f: f.size):
        groups[digest(*(canonical_json(_seen(f)) for f in group))] = group
    tasks = [
        engine.Task(((stage, key),), hash_group, (stage, key, group), sum(max(f.size, 0) for f in group) + 1)
        for key, group in groups.items()
    ]
    engine.run(tasks, workers=workers, label="hash")
    found: Hashes = {}
    for key, group in groups.items():
        said = read_json(stage.shard_path(key) / "sha256.json")
        cuts = said.get("pieces", [[]] * len(group))
        for file, sha256, cut in zip(group, said["sha256"], cuts, strict=True):
            found[file.path, file.format] = Hashed(sha256, tuple(Piece(*piece) for piece in cut))
    return found


def _seen(file: RawFile) -> list[Any]:
    """What a file looks like from outside, and how it would be cut."""
    how = [file.format, pieces.SPLIT_BYTES] if pieces.may_split(file.format, file.size) else []
    partner = [] if file.partner is None else _seen(file.partner)
    return [str(file.path.absolute()), file.size, file.mtime_ns, file.inode, *how, *partner]


def hash_group(stage: Stage, key: str, files: Sequence[RawFile]) -> None:
    """The task of `hash_files`."""
    found = []
    for file in files:
        one = Hashed(UNREADABLE) if file.size < 0 else pieces.hashed(file.path, file.format, file.size)
        if file.partner is not None:  # parallel text in two files
            _check_unchanged(file.partner)
            one = Hashed(digest(one.sha256, file_sha256(file.partner.path)))
        found.append(one)
        _check_unchanged(file)
    with stage.shard(key) as shard:
        sha256, cuts = [one.sha256 for one in found], [one.pieces for one in found]
        write_json(shard.path / "sha256.json", {"sha256": sha256, "pieces": cuts})
        shard.done(len(found), digest(*sha256))


def grouped(items: Sequence[Item], name: Callable[[Item], str], size: Callable[[Item], int]) -> list[list[Item]]:
    """Large items alone, small ones together by the hash of their name, so that a new one changes one group only."""
    small = [item for item in items if size(item) < GROUP_BYTES]
    n_groups = 1
    while n_groups * GROUP_BYTES < sum(size(item) for item in small) or n_groups * GROUP_FILES < len(small):
        n_groups *= 2
    groups: dict[int, list[Item]] = {}
    for item in small:
        groups.setdefault(int(digest(name(item))[:8], 16) % n_groups, []).append(item)
    return [*([item] for item in items if size(item) >= GROUP_BYTES), *(group for _, group in sorted(groups.items()))]


def settings_of(recipe: Recipe, source: Source) -> dict[str, Any]:
    """What of a recipe decides the rows of a source; nothing of where its files lie."""
    kept = source.model_dump(mode="json", include=set(DECIDE_ROWS))
    kept = {key: value for key, value in kept.items() if value is not None or key in ALWAYS_SETTINGS}
    kept["license"] = {key: value for key, value in kept["license"].items() if value is not None or key != "spellings"}
    if source.license.from_field is not None or source.type == "code":
        kept["licenses"] = licenses.VERSION  # what a row's or a file's words are read as
    if source.type in VERSIONS:
        kept["lane"] = VERSIONS[source.type]
    share: Quantity = recipe.sample
    sample = None if share.value >= 1 else [str(share), recipe.seed]
    return {**kept, "document_bytes": recipe.limits.document_bytes, "sample": sample}


def plan_runs(source: Source, files: Sequence[RawFile], hashes: Hashes) -> list[Run]:
    """The runs of a source. Files, and pieces of files, of equal content have runs of equal key, which are read once and used twice."""
    runs = []
    of = {file: hashes[file.path, file.format] for file in files}
    for group in grouped(files, lambda f: of[f].sha256, lambda f: f.size):
        group = sorted(group, key=lambda f: (of[f].sha256, f.name))
        shas = tuple(of[f].sha256 for f in group)
        if len(group) == 1 and of[group[0]].pieces and source.group is None:  # rows of a group may stand in two pieces
            runs += [Run(_piece_key(group[0], piece), tuple(group), shas, piece) for piece in of[group[0]].pieces]
            continue
        names = [part for f in group for part in _named(source, f)]
        runs.append(Run(digest(*(f.format for f in group), *shas, *names), tuple(group), shas))
    return sorted(runs, key=lambda run: (run.key, [f.name for f in run.files]))


def _piece_key(file: RawFile, piece: Piece) -> str:
    return digest("piece", file.format, piece.content, str(piece.start), str(piece.end))


def _named(source: Source, file: RawFile) -> tuple[str, ...]:
    """What besides its content the documents of a file depend on."""
    if (source.type in NAMED and FORMATS[file.format].is_one) or file.format == ARCHIVE:
        return file.name, file.beside
    return (identity_path(file),) if source.id == "path" else ()


def run_tasks(stage: Stage, recipe: Recipe, source: Source, runs: Iterable[Run]) -> list[engine.Task]:
    sample = sample_of(recipe)
    tasks = {}
    for run in runs:
        weight = (run.piece.n_bytes if run.piece else sum(max(f.size, 0) for f in run.files)) + 1
        tasks[run.key] = engine.Task(((stage, run.key),), write_run, (stage, source, recipe.limits, sample, run), weight)
    return list(tasks.values())


def write_run(stage: Stage, source: Source, limits: Limits, sample: Sample | None, run: Run) -> None:
    """Read, repair, hash and sort the files of one run. Counts: n_read, n_outside_sample, n_quarantined, text_bytes."""
    counts = {"n_read": 0, "n_outside_sample": 0, "n_quarantined": 0, "text_bytes": 0, "n_documents": 0}
    bad: list[tuple] = []
    seen = hashlib.blake2b(digest_size=16)
    with stage.shard(run.key) as shard:
        part, n_parts, held = [], 0, 0
        for index, (file, sha256) in enumerate(zip(run.files, run.sha256, strict=True)):
            for item in _records(file, sha256, source, limits, run.piece, shard.path):
                if isinstance(item, Bad):
                    counts["n_read"] += 1
                    bad.append((index, member_of(file, item), item.byte_offset, item.cause, item.detail[:200], item.lost_bytes))
                    continue
                member = member_of(file, item)
                row, n_bytes = document_row(source, item.fields, file, member)
                if sample is not None and not sample.has(row["key"][:ID_BYTES]):
                    counts["n_outside_sample"] += 1
                    continue
                counts["n_read"] += 1
                row |= {"file_index": index, "member": member, "byte_offset": item.byte_offset}
                part.append(row)
                held += n_bytes + ROW_BYTES
                if held >= PART_TEXT_BYTES:
                    counts["text_bytes"] += _write_part(shard.path / f"part-{n_parts:05d}.arrow", part, seen)
                    counts["n_documents"] += len(part)
                    part, n_parts, held = [], n_parts + 1, 0
            _check_unchanged(file)
        counts["text_bytes"] += _write_part(shard.path / f"part-{n_parts:05d}.arrow", part, seen)
        counts["n_documents"] += len(part)
        columns = [list(column) for column in zip(*bad, strict=True)] or [[]] * len(RUN_QUARANTINE)
        quarantine = pa.table(columns, schema=RUN_QUARANTINE)
        counts["n_quarantined"] = quarantine.num_rows
        pq.write_table(quarantine, shard.path / "quarantine.parquet")
        shard.done(counts["n_documents"], seen.hexdigest(), counts)


def _records(
    file: RawFile, sha256: str, source: Source, limits: Limits, piece: Piece | None, scratch: Path
) -> Iterator[Record | Bad]:
    if sha256 == UNREADABLE:
        return iter([Bad(file.name, -1, "unreadable", "the file cannot be opened", 0)])
    return read(file.path, source, limits, file.name, file.beside, piece, scratch)


def _check_unchanged(file: RawFile) -> None:
    """A file that grows while it is read would be cached under a hash that is not its own."""
    if file.size < 0:
        return
    now = file.path.stat()
    if (now.st_size, now.st_mtime_ns) != (file.size, file.mtime_ns):
        raise CurateError("this file changed while it was read", where=str(file.path), next="run again when it is complete")


def member_of(file: RawFile, item: Record | Bad) -> str | None:
    """The member of an archive that a record came from; None: the file itself."""
    return item.file.removeprefix(f"{file.path.name}!/") if item.file.startswith(f"{file.path.name}!/") else None


def document_row(source: Source, fields: dict[str, Any], file: RawFile, member: str | None = None) -> tuple[dict[str, Any], int]:
    """Repair and identity: one row of RUN without its origin, and the bytes of its text.

    The key is blake2b-96 of (source, kind, value), kind being source_id, path or text (then the value is the text's hash),
    followed by blake2b-128 of all mapped fields, which gives documents of equal id their order.
    """
    text, messages = fields["text"], fields["messages"]
    if source.type in PROSE:
        if messages is None:
            text = repair(text)
        else:
            messages = [
                map_said(m, lambda text, before: text if before else repair(text)) for m in messages
            ]  # arguments are code
            text = chat_text(messages)
    is_repaired = text != fields["text"] or fields.get(
        "is_repaired", False
    )  # a lane that joins texts repairs each of them itself
    if messages is not None:
        messages = canonical_json(messages).decode()
    data = text.encode()
    text_hash = hashlib.blake2b(data, digest_size=16).hexdigest()
    if source.id == "path":
        kind, value = "path", identity_path(file, member)
    elif source.id == "auto" and fields["source_id"] is not None:
        kind, value = "source_id", fields["source_id"]
    else:
        kind, value = "text", text_hash
    row = {column: fields[column] for column in COLUMNS}
    row |= {"text": data, "text_hash": text_hash, "messages": messages, "is_repaired": is_repaired}
    hashed = [text_hash, str(is_repaired), *(row[c] for c in COLUMNS if c != "text")]
    row["key"] = _hash(ID_BYTES, [source.name, kind, value]) + _hash(KEY_BYTES - ID_BYTES, hashed)
    return row, len(data) + sum(len(row[column] or "") for column in ("messages", "prompt", "chosen", "rejected", "parts"))


def identity_path(file: RawFile, member: str | None = None) -> str:
    """The name that `id: path` hashes: without .gz or .zst, so that packing a file does not change its identity."""
    return strip_compression(file.name) if member is None else f"{strip_compression(file.name)}!/{strip_compression(member)}"


def _hash(n_bytes: int, parts: Sequence[str | None]) -> bytes:
    """blake2b over length-prefixed parts; null and "" differ."""
    state = hashlib.blake2b(digest_size=n_bytes)
    for part in parts:
        data = b"" if part is None else b"=" + part.encode()
        state.update(len(data).to_bytes(8, "little") + data)
    return state.digest()


def _write_part(path: Path, rows: list[dict[str, Any]], seen: Any) -> int:
    """Sort by key and write Arrow batches of about BATCH_TEXT_BYTES; each batch's first key goes into the schema's metadata."""
    rows.sort(key=lambda row: (row["key"], row["file_index"], row["byte_offset"]))
    starts, n_text, n_batch = [0], 0, 0
    for i, row in enumerate(rows):
        seen.update(row["key"])
        size = len(row["text"])
        if n_batch and n_batch + size > BATCH_TEXT_BYTES:
            starts.append(i)
            n_batch = 0
        n_batch += size
        n_text += size
    first_keys = b" ".join(rows[i]["key"].hex().encode() for i in starts if rows)
    schema = RUN.with_metadata({"first_keys": first_keys})
    with pa.ipc.new_file(path, schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        for start, end in zip(starts, [*starts[1:], len(rows)], strict=True):
            batch = rows[start:end]
            columns = [pa.array([row[field.name] for row in batch], field.type) for field in RUN]
            writer.write_batch(pa.record_batch(columns, schema=schema))
    return n_text


def read_range(path: Path, low: bytes, high: bytes | None) -> pa.Table:
    """The rows of one part whose id hash is in [low, high); only the batches that may hold some are unpacked."""
    with pa.memory_map(str(path)) as memory, pa.ipc.open_file(memory) as reader:
        first = [bytes.fromhex(key.decode()) for key in reader.schema.metadata[b"first_keys"].split()]
        start = max(bisect.bisect_left(first, low) - 1, 0)
        end = len(first) if high is None else bisect.bisect_left(first, high)
        batches = []
        for i in range(start, end):
            batch = reader.get_batch(i)
            keys = batch.column("key").to_pylist()
            a = bisect.bisect_left(keys, low)
            b = len(keys) if high is None else bisect.bisect_left(keys, high)
            if a < b:
                batches.append(batch.slice(a, b - a))
        return pa.Table.from_batches(batches, schema=RUN)
