"""Documents without text for the tests and benchmarks of memory and scale: ids, lengths, band keys and shingle sets are drawn.

`stages` writes documents (id and text_hash only), signals of family length and signatures of n documents; `sets` the shingles of the
members that buckets found, with the similarity the band keys say. Two kinds: `clusters` of a few documents, and `template`: every
document shares one page frame, a share of its shingles, and has content of its own, so that all lie in one component and no two are
alike.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate import schema
from curate.engine import run
from curate.relate import buckets, clusters
from curate.relate.layout import layout
from curate.store import Stage, Store
from tests.relate.corpus import recipe_of

SHARD_ROWS = 16_384  # as documents.n_shards cuts
BANDS, ROWS = 16, 7


class Drawn(NamedTuple):
    store: Store
    documents: dict[str, Stage]
    lengths: dict[tuple[str, str], Stage]
    signatures: dict[str, Stage]
    cluster: np.ndarray  # int64 (n,): -1 alone; of a template all 0
    share: np.ndarray  # float64 (n,): of the cluster's shingles in a document
    size: int  # shingles of every document


def stages(root: Path, n: int, *, size: int, in_clusters: float = 0.0, template: float = 0.0, seed: int = 1) -> Drawn:
    """in_clusters: share of the documents in clusters of 2 to 5, whose members share 0.8 to 1.0. template: share of a page's shingles
    that are the frame's; 0 for none."""
    rng, store = np.random.default_rng(seed), Store(root)
    if template:
        cluster, share = np.zeros(n, np.int64), np.full(n, template)
    else:
        cluster = np.where(rng.random(n) < in_clusters, rng.integers(0, max(1, int(n * in_clusters / 3.5)), n), -1)
        share = rng.uniform(0.8, 1.0, n)
    made = _handles(store, n, seed)
    keys = [f"{i:05d}" for i in range(-(-n // SHARD_ROWS))]
    for i, key in enumerate(keys):
        first, last = i * SHARD_ROWS, min(n, (i + 1) * SHARD_ROWS)
        rows = last - first
        digits = np.frombuffer(b"0123456789abcdef", np.uint8)[rng.integers(0, 16, (rows, 24), np.uint8)]
        ids = [f"{first + j:08x}{tail.decode()}" for j, tail in enumerate(digits.reshape(-1).view("S24").tolist())]
        columns = {"id": ids, "source": ["a"] * rows, "text_hash": [f"{j:032x}" for j in range(first, last)]}
        table(made["documents"], key, "documents", {k: pa.array(v, schema.DOCUMENTS.field(k).type) for k, v in columns.items()})
        table(made["signals-length"], key, "length", {"id": pa.array(ids), "n_words": pa.array(rng.integers(100, 1000, rows))})
        own, alike = cluster[first:last, None], share[first:last, None] ** ROWS  # all rows of a band come from the frame
        shared_keys = (own * BANDS + np.arange(BANDS)).astype(np.uint64)
        same = (own >= 0) & (rng.random((rows, BANDS)) < alike)
        bands = np.where(same, shared_keys, rng.integers(2**40, 2**63, (rows, BANDS), np.int64).astype(np.uint64))
        arrays = {
            "bands": bands, "n_shingles": np.full(rows, size, np.uint32),
            "normalised": rng.integers(0, 2**63, (rows, 2), np.int64).astype(np.uint64),
        }  # fmt: skip
        with made["signatures"].shard(key) as writer:
            for name, array in arrays.items():
                np.save(writer.path / f"{name}.npy", array)
            writer.done(rows, key)
    for stage in made.values():
        stage.finish(keys)
    return opened(root, n, cluster, share, size, seed)


def opened(
    root: Path, n: int, cluster: np.ndarray | None = None, share: np.ndarray | None = None, size: int = 0, seed: int = 1
) -> Drawn:
    """What `stages` wrote, without what was drawn for `sets`."""
    store, none = Store(root), np.empty(0)
    made = _handles(store, n, seed)
    lengths = {("a", "length"): made["signals-length"]}
    return Drawn(
        store, {"a": made["documents"]}, lengths, {"a": made["signatures"]}, none if cluster is None else cluster,
        none if share is None else share, size,
    )  # fmt: skip


def _handles(store: Store, n: int, seed: int) -> dict[str, Stage]:
    names = ("documents", "signals-length", "signatures")
    return {name: store.stage(name, version=1, settings={"n": n, "seed": seed}) for name in names}


def grouped(drawn: Drawn) -> Stage:
    """The stage buckets, finished."""
    stage, tasks = buckets.tasks(drawn.store, ["a"], drawn.documents, drawn.signatures, True)
    run(tasks, workers=1, label="buckets")
    stage.finish(["all"])
    return stage


def sets(drawn: Drawn, found: Stage, seed: int = 2) -> Stage:
    """Shingle sets of the members: of the cluster's `size` a share, the rest of their own."""
    rng, stage = np.random.default_rng(seed), sets_stage(drawn, found)
    member = np.load(found.shard_path("all") / "member.npy")
    shards = layout(["a"], drawn.documents)
    for shard in shards:
        own = member[(member >= shard.first) & (member < shard.first + shard.rows)]
        cluster, share = drawn.cluster[own, None], drawn.share[own, None]
        frame = mixed(np.arange(drawn.size, dtype=np.uint64)[None] + (cluster.astype(np.uint64) << np.uint64(20)))
        fresh = rng.integers(2**40, 2**63, (len(own), drawn.size), np.int64).astype(np.uint64)
        hashes = np.where(rng.random((len(own), drawn.size)) < share, frame, fresh)
        hashes.sort(axis=1)
        with stage.shard(shard.name) as writer:
            np.save(writer.path / "ptr.npy", np.arange(len(own) + 1, dtype=np.int64) * drawn.size)
            np.save(writer.path / "hashes.npy", hashes.reshape(-1))
            np.save(writer.path / "row.npy", own - shard.first)
            writer.done(len(own), shard.name)
    stage.finish([shard.name for shard in shards])
    return stage


def sets_stage(drawn: Drawn, found: Stage) -> Stage:
    return drawn.store.stage("shingles", version=1, settings={"of": found.fingerprint})


def clustered(drawn: Drawn, found: Stage, shingles: Stage) -> Stage:
    """The stage clusters, finished."""
    dedup = recipe_of(["a"]).dedup
    stage, tasks = clusters.tasks(drawn.store, ["a"], drawn.documents, drawn.lengths, found, shingles, dedup)
    run(tasks, workers=1, label="clusters")
    stage.finish([shard.name for shard in layout(["a"], drawn.documents)])
    return stage


def mixed(x: np.ndarray) -> np.ndarray:
    """splitmix64's output function: shingle hashes lie evenly in their range."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def table(stage: Stage, key: str, name: str, columns: dict[str, pa.Array]) -> None:
    with stage.shard(key) as writer:
        pq.write_table(pa.table(columns), writer.path / f"{name}.parquet", compression="zstd")
        writer.done(len(next(iter(columns.values()))), key)
