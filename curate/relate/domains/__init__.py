"""What the documents of a web domain have in common, per source that has addresses: blind to rules, nothing quadratic.

In: documents, signals (family url) and clusters. Out, per such source, the stage "domains": row by row those of the documents,
domains.parquet (signals.urls.DOMAINS; null without a domain), and number.npy int32 (the domain's number within the source, -1
none), which is a function of the column `domain` and therefore no part of the root. Two stages are steps on the way and may be
deleted: "domain_numbers" (key all) and "domain_lines" (per shard, 24 bytes for each distinct line of 10 characters or more in a
domain of 3 documents or more; see kernels.line_keys). Memory: one shard's lines while they are hashed; then PART_BYTES of lines
of equal range of keys, and 40 bytes per domain. Imports engine, signals, store, text, layout.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate import engine, text
from curate.engine import Task
from curate.relate.domains import kernels
from curate.relate.layout import Shard, layout
from curate.signals.urls import DOMAINS
from curate.store import Stage, Store, array_root, digest, table_root

VERSION = 1
MIN_DOCUMENTS = 3  # a line in so many documents of a domain is a template's; two may be an edition and its copy (a guess)
MIN_LINE_CHARS = 10  # shorter lines, as a date, a number or a menu's word, repeat anywhere (a guess)
PART_BYTES = 64 << 20  # of records that are sorted together
_RECORD = {"key": np.uint64, "domain": np.int32, "documents": np.int32, "bytes": np.int64}
_RECORD_BYTES = 24


def relate_domains(
    store: Store, sources: Sequence[str], documents: Mapping[str, Stage], signals: Mapping[tuple[str, str], Stage],
    clusters: Stage, workers: int,
) -> dict[str, Stage]:  # fmt: skip
    """source -> its finished stage, for the sources with a domain in any document; nothing runs for the others."""
    shards = of_domains(sources, documents, signals)
    numbers = number_domains(store, shards, signals, workers)
    lines, related = {}, {}
    tasks = []
    for source, found in shards.items():
        settings = {"min_documents": MIN_DOCUMENTS, "min_line_chars": MIN_LINE_CHARS}
        parents = [documents[source].root, numbers[source].root]
        lines[source] = store.stage("domain_lines", version=VERSION, settings=settings, parents=parents)
        for shard in found:
            weight = max(1, shard.documents.stat().st_size)
            tasks.append(Task(((lines[source], shard.key),), _write_lines, (lines[source], shard, numbers[source]), weight))
    keys = {source: [shard.key for shard in found] for source, found in shards.items()}
    _finish(tasks, workers, "lines", lines, keys)
    tasks = []
    for source, found in shards.items():
        parents = [numbers[source].root, lines[source].root, clusters.root]
        related[source] = store.stage("domains", version=VERSION, settings={"source": source}, parents=parents)
        args = (related[source], found, numbers[source], lines[source], clusters)
        weight = lines[source].info()["rows"] + 1
        tasks.append(Task(tuple((related[source], key) for key in keys[source]), _write_tables, args, weight))
    _finish(tasks, workers, "templates", related, keys)
    return related


def of_domains(
    sources: Sequence[str], documents: Mapping[str, Stage], signals: Mapping[tuple[str, str], Stage]
) -> dict[str, list[Shard]]:
    """source -> its shards, numbered within the source, of those with a domain in any document."""
    return {
        source: found for source in sources
        if (source, "url") in signals and _any_domain(signals[source, "url"], found := layout([source], documents))
    }  # fmt: skip


def number_domains(
    store: Store, shards: Mapping[str, list[Shard]], signals: Mapping[tuple[str, str], Stage], workers: int
) -> dict[str, Stage]:
    """source -> its finished stage "domain_numbers"; `shards`: of of_domains."""
    numbers, tasks = {}, []
    for source, found in shards.items():
        urls = signals[source, "url"]
        numbers[source] = store.stage("domain_numbers", version=VERSION, settings={}, parents=[urls.root])
        work = (numbers[source], urls, [shard.key for shard in found])
        tasks.append(Task(((numbers[source], "all"),), _write_numbers, work, sum(shard.rows for shard in found) + 1))
    _finish(tasks, workers, "domains", numbers, {source: ["all"] for source in shards})
    return numbers


def _finish(tasks: list[Task], workers: int, label: str, stages: Mapping[str, Stage], keys: Mapping[str, list[str]]) -> None:
    engine.run(tasks, workers=workers, label=label)
    for source, stage in stages.items():
        stage.finish(keys[source])


def _any_domain(urls: Stage, shards: Sequence[Shard]) -> bool:
    """By the statistics in the files' footers; sources without addresses are read to the last footer, no further."""
    for shard in shards:
        meta = pq.read_metadata(urls.shard_path(shard.key) / "url.parquet")
        place = meta.schema.names.index("domain")
        for group in range(meta.num_row_groups):
            n = meta.row_group(group).num_rows
            if n and meta.row_group(group).column(place).statistics.null_count < n:  # an empty shard has no statistics
                return True
    return False


def _write_numbers(stage: Stage, urls: Stage, keys: list[str]) -> None:
    """Domains numbered in the order in which they first appear, that of ids; documents.npy counts each one's documents."""
    paths = [urls.shard_path(key) / "url.parquet" for key in keys]
    columns = (pq.read_table(path, columns=["domain"]).column(0).combine_chunks() for path in paths)
    encoded = pa.chunked_array([column.dictionary_encode() for column in columns]).unify_dictionaries()
    number = np.concatenate([np.asarray(chunk.indices.fill_null(-1), np.int32) for chunk in encoded.chunks])
    names = pa.table({"domain": encoded.chunk(0).dictionary})
    documents = np.bincount(number[number >= 0], minlength=names.num_rows).astype(np.int64)
    with stage.shard("all") as writer:
        np.save(writer.path / "number.npy", number)
        np.save(writer.path / "documents.npy", documents)
        pq.write_table(names, writer.path / "domains.parquet", compression="zstd")
        writer.done(len(number), digest(array_root(number, documents), table_root(names)), {"domains": names.num_rows})


def numbers_of(stage: Stage, shard: Shard) -> np.ndarray:
    """int32 (rows,): the domain's number within the source of every document of the shard, -1 none."""
    number = np.load(stage.shard_path("all") / "number.npy", mmap_mode="r")
    return np.array(number[shard.first : shard.first + shard.rows])


def _write_lines(stage: Stage, shard: Shard, numbers: Stage) -> None:
    """The distinct lines of one documents shard, by key."""
    domain = numbers_of(numbers, shard)
    domain[domain >= 0] = np.where(_sizes(numbers)[domain[domain >= 0]] < MIN_DOCUMENTS, -1, domain[domain >= 0])
    found: list[tuple[np.ndarray, ...]] = [(np.empty(0, np.uint64), np.empty(0, np.int32), np.empty(0, np.int32))]
    first = 0
    file = pq.ParquetFile(shard.documents)
    for group in range(file.num_row_groups if (domain >= 0).any() else 0):
        for batch in text.batches(file.read_row_group(group, columns=["text"]).column(0)):
            key, row, size = _lines_of(batch, domain[first : first + len(batch)])
            found.append((key, row + np.int32(first), size))
            first += len(batch)
    key, row, size = (np.concatenate(column) for column in zip(*found, strict=True))
    out = [np.empty(len(key), dtype) for dtype in _RECORD.values()]
    n = kernels.distinct_lines(np.argsort(key, kind="stable"), key, row, size, domain, *out)
    with stage.shard(shard.key) as writer:
        for name, array in zip(_RECORD, out, strict=True):
            np.save(writer.path / f"{name}.npy", array[:n])
        writer.done(n, array_root(*(array[:n] for array in out)))


def _sizes(numbers: Stage) -> np.ndarray:
    return np.load(numbers.shard_path("all") / "documents.npy")


def _lines_of(batch: pa.Array, domain: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(key, row, size) of the lines of a batch."""
    data, offsets = text.buffers(batch)
    room = int(offsets[-1] - offsets[0]) // (MIN_LINE_CHARS + 1) + len(batch)
    key, row, size = np.empty(room, np.uint64), np.empty(room, np.int32), np.empty(room, np.int32)
    n = kernels.line_keys(data, offsets, domain, MIN_LINE_CHARS, key, row, size)
    return key[:n], row[:n], size[:n]


def _write_tables(stage: Stage, shards: list[Shard], numbers: Stage, lines: Stage, clusters: Stage) -> None:
    documents = _sizes(numbers)
    duplicates = np.zeros(len(documents), np.int64)
    for shard in shards:
        folder = clusters.shard_path(shard.name)
        witness = pq.read_table(folder / "duplicates.parquet", columns=["witness_id"]).column(0)
        number = numbers_of(numbers, shard)
        np.add.at(duplicates, number[np.asarray(witness.is_valid()) & (number >= 0)], 1)
    line_bytes, template_bytes = _templates([lines.shard_path(shard.key) for shard in shards], len(documents))
    counted = dict(zip((c.name for c in DOMAINS.columns), (documents, duplicates, line_bytes, template_bytes), strict=True))
    for shard in shards:
        number = numbers_of(numbers, shard)
        has_domain = number >= 0
        place = pa.array(number, mask=~has_domain)
        ids = pq.read_table(shard.documents, columns=["id"]).column(0)
        table = pa.table([ids, *(pa.array(values).take(place) for values in counted.values())], schema=DOMAINS.schema())
        with stage.shard(shard.key) as writer:
            pq.write_table(table, writer.path / "domains.parquet", compression="zstd")
            np.save(writer.path / "number.npy", number)
            writer.done(shard.rows, table_root(table), {"with_domain": int(has_domain.sum())})


def _templates(folders: list[Path], n_domains: int) -> tuple[np.ndarray, np.ndarray]:
    """int64 (n_domains,) bytes of lines, and of those that stand in MIN_DOCUMENTS documents: range of keys after range of keys."""
    line_bytes, template_bytes = np.zeros(n_domains, np.int64), np.zeros(n_domains, np.int64)
    total = sum(len(np.load(folder / "key.npy", mmap_mode="r")) for folder in folders)
    n_parts = 1 + total * _RECORD_BYTES // PART_BYTES
    for part in range(n_parts):
        low, high = (-(-(i << 64) // n_parts) for i in (part, part + 1))
        key, domain, documents, size = _records(folders, low, high)
        kernels.add_templates(np.argsort(key), key, domain, documents, size, MIN_DOCUMENTS, line_bytes, template_bytes)
    return line_bytes, template_bytes


def _records(folders: list[Path], low: int, high: int) -> list[np.ndarray]:
    """The columns of all shards' records with low <= key < high. Files are opened one shard at a time."""
    parts: list[list[np.ndarray]] = [[np.empty(0, dtype)] for dtype in _RECORD.values()]
    for folder in folders:
        key = np.load(folder / "key.npy", mmap_mode="r")
        own = slice(int(np.searchsorted(key, np.uint64(low))), int(np.searchsorted(key, np.uint64(high - 1), side="right")))
        for part, name in zip(parts, _RECORD, strict=True):
            part.append(np.array(np.load(folder / f"{name}.npy", mmap_mode="r")[own]))
    return [np.concatenate(part) for part in parts]
