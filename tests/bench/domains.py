"""Addresses and web domains of a made-up source: documents a minute and core, seconds, lines, peak memory, bytes spilled.

python -m tests.bench.domains FOLDER [N]. Run it twice: the first run makes the input in FOLDER, the second measures. CPU seconds of
one process; kernels are compiled before the clock starts.
"""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate import schema
from curate.relate.domains import _lines_of, relate_domains
from curate.signals import Batch, urls
from curate.signals.measure import batches, publish, signals_stage
from curate.store import Stage, Store, folder_bytes

SHARD, N_LINES = 16384, 10


def make(documents: Stage, clusters: Stage, keys: list[str], n: int) -> None:
    """n documents of ten lines, about 1 kB; three lines of them are their domain's; few large domains, many small."""
    rng = np.random.default_rng(1)
    words = np.array([f"sõna{i}" for i in range(5000)], object)
    pool = np.array([" ".join(words[rng.integers(0, 5000, 12)]) for _ in range(200_000)], object)
    for i, key in enumerate(keys):
        m = min(SHARD, n - i * SHARD)
        domain = (n // 50 * rng.random(m) ** 3).astype(int).tolist()
        own = pool[rng.integers(0, len(pool), (m, N_LINES - 3))].tolist()
        texts = [
            "\n".join([*(f"päis ja jalus {d} {j} kõik õigused" for j in "abc"), *lines])
            for d, lines in zip(domain, own, strict=True)
        ]
        columns = {field.name: pa.nulls(m, field.type) for field in schema.DOCUMENTS}
        columns |= {
            "id": pa.array([f"{i * SHARD + j:032x}" for j in range(m)]), "text": pa.array(texts, pa.large_string()),
            "url": pa.array([f"https://www.leht{d}.ee/uudised/{j}/pealkiri" for j, d in enumerate(domain)]),
        }  # fmt: skip
        with documents.shard(key) as shard:
            table = pa.table(columns, schema=schema.DOCUMENTS)
            pq.write_table(table, shard.path / "documents.parquet", compression="zstd", row_group_size=5000)
            shard.done(m, key)
        with clusters.shard(f"a.{key}") as shard:
            witness = pa.array(["w" if j % 9 == 0 else None for j in range(m)], pa.string())
            pq.write_table(pa.table({"id": columns["id"], "witness_id": witness}), shard.path / "duplicates.parquet")
            shard.done(m, key)
    documents.finish(keys)
    clusters.finish([f"a.{key}" for key in keys])


def measure(store: Store, documents: Stage, keys: list[str], n: int) -> Stage:
    measurer = urls.measurer()
    stage = signals_stage(store, measurer, [documents.root], "rules")
    start = time.process_time()
    for key in keys:
        file = pq.ParquetFile(documents.shard_path(key) / "documents.parquet")
        given = (table.column("url") for table in batches(file, ["url"]))
        parts = [measurer.measure(Batch(column, np.empty(0), np.empty(0), None, {"url": column})) for column in given]
        publish(stage, key, measurer.family, file.read(columns=["id"]).column("id"), parts)
    stage.finish(keys)
    seconds = time.process_time() - start
    print(
        f"family url, reading and writing included: {seconds:.1f} s CPU, {60 * n / seconds / 1e6:.1f} M documents a minute and core"
    )
    return stage


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(folder: Path, n: int) -> None:
    store = Store(folder)
    documents, clusters = (store.stage(name, version=1, settings={"n": n}) for name in ("documents", "clusters"))
    keys = [f"{i:05d}" for i in range(-(-n // SHARD))]
    if not clusters.complete:
        make(documents, clusters, keys, n)
        print("made: run it again to measure")
        return
    signals = {("a", "url"): measure(store, documents, keys, n)}
    _lines_of(pa.array(["üks rida ja teine"], pa.large_string()), np.zeros(1, np.int32))
    before, start = peak(), time.process_time()
    related = relate_domains(store, ["a"], {"a": documents}, signals, clusters, 1)
    seconds, lines = time.process_time() - start, store.root / "domain_lines"
    n_lines = sum(len(np.load(path, mmap_mode="r")) for path in lines.glob("*/*/key.npy"))
    print(
        f"domains: {seconds:.1f} s CPU, {n * N_LINES / 1e6:.1f} M lines ({n_lines / 1e6:.1f} M records), peak {peak():.0f} MB (before "
        f"{before:.0f}), spilled {folder_bytes(lines) / 1e6:.0f} MB, {related['a'].info()['counts']}"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1_000_000)
