"""How long a what-if takes: the same relations, another threshold. Synthetic documents, a tenth of them in duplicate buckets.

    python -m tests.bench.what_if [--documents 1000000]

Signals, band keys and shingle sets are drawn, not measured from text; buckets, clusters, decide and the comparison are the real
stages. Clusters have 2 to 40 members, sets of 200 to 400 shingles, and members share 0.65 to 1.0 of them. A document fails the
changed rules with a probability of about 0.3, independently of its cluster, so nearly every component of more than two has to be
resolved anew. What is kept first counts as tokenized. The what-if runs in a process of its own, which prints its seconds and its
peak memory; compiled kernels come from the cache, as at a user's second call. Ten million documents take about 6 GB below the
folder for temporary files (TMPDIR). design.md section 7 asks for < 60 s on 2 cores.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate import schema
from curate.decide import decide, decide_counts
from curate.engine import quietly, run
from curate.inspect import outcomes
from curate.membership import Membership
from curate.recipe import Recipe, Rule
from curate.relate import Relations, buckets, clusters
from curate.relate.layout import layout
from curate.store import Stage, Store
from tests.relate.corpus import recipe_of

SHARD_ROWS = 16_384  # as documents.n_shards cuts
N_SIGNALS = 8
FAMILY = "drawn"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--store", help="(inside) a store that is made already: only the what-if")
    args = parser.parse_args()
    if args.store:
        measure(Store(Path(args.store)), args.documents)
        return
    with tempfile.TemporaryDirectory(prefix="veski-what-if-") as folder:
        store, start = Store(Path(folder)), time.monotonic()
        documents, signals, relations = synthetic(store, args.documents)
        first = decide(store, recipe(), documents, signals, relations, 2)
        tokenized(store, first, args.documents)
        on_disk = sum(p.stat().st_size for p in Path(folder).rglob("*") if p.is_file())
        print(f"made in {time.monotonic() - start:.0f} s, {on_disk / 1e9:.1f} GB", flush=True)
        again = [sys.executable, "-m", "tests.bench.what_if", "--documents", str(args.documents), "--store", folder]
        sys.exit(subprocess.run(again, check=False).returncode)


def recipe() -> Recipe:
    return recipe_of(["a"], [{"name": f"min_s{i}", "signal": f"s{i}", "min": 0.01} for i in range(N_SIGNALS)])


def measure(store: Store, n: int) -> None:
    """The what-if: every bound of the recipe is another one."""
    changed = recipe().model_copy(update={"rules": [Rule(name=f"min_s{i}", signal=f"s{i}", min=0.04) for i in range(N_SIGNALS)]})
    start, cpu = time.monotonic(), time.process_time()
    with quietly():
        documents, signals, relations = stages(store, n)
        before = decide(store, recipe(), documents, signals, relations, 2)  # it stands in the store
        after = decide(store, changed, documents, signals, relations, 2)
    decided = time.monotonic() - start
    path = {("decide", "", ""): before.path, ("signals", "a", "length"): signals["a", "length"].path}
    path["tokens", "a", ""] = tokens_stage(store, n).path
    lengths = signals["a", "length"]
    everybody = Membership(["a"], [((0, -1),)], {}, lambda _, key: np.zeros(_rows(lengths, key), np.int64))
    compared = outcomes.between(["a"], path, after.path, (everybody, everybody), 2)
    seconds, cpu = time.monotonic() - start, time.process_time() - cpu
    counts = after.info()["counts"]
    print(", ".join(f"{name} {counts[name]}" for name in ("reused_members", "resolved_members", "compared_pairs")))
    print(decide_counts(after))
    assert {name: compared["after"]["a"][name] for name in ("documents", "kept")} == {
        name: decide_counts(after)["a"][name] for name in ("documents", "kept")
    }
    print(
        f"what-if on {n} documents: {seconds:.1f} s wall (decide {decided:.1f}, compare {seconds - decided:.1f}), {cpu:.1f} s cpu"
    )
    print(f"10 M documents at this rate: {seconds * 1e7 / n:.0f} s wall, {cpu * 1e7 / n:.0f} s cpu (reach: 60 s)")
    print(
        f"peak memory of the what-if {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB, {os.cpu_count()} cores"
    )


def _rows(stage: Stage, key: str) -> int:
    return int(stage.info()["shards"][key]["rows"])


def stages(store: Store, n: int) -> tuple[dict[str, Stage], dict[tuple[str, str], Stage], Relations]:
    """What `synthetic` made, found again by its fingerprints."""
    named = {
        name: store.stage(name, version=1, settings={"n": n})
        for name in ("documents", "signals-length", "signals-drawn", "shingles")
    }
    documents = {"a": named["documents"]}
    lengths = {"a": named["signals-length"]}
    signatures = {"a": store.stage("signatures", version=1, settings={"n": n})}
    grouped, _ = buckets.tasks(store, ["a"], documents, signatures, True)
    clustered, _ = clusters.tasks(
        store, ["a"], documents, {("a", "length"): lengths["a"]}, grouped, named["shingles"], recipe().dedup
    )
    signals = {("a", "length"): lengths["a"], ("a", FAMILY): named["signals-drawn"]}
    return documents, signals, Relations(tuple(layout(["a"], documents)), grouped, named["shingles"], clustered)


def tokens_stage(store: Store, n: int) -> Stage:
    return store.stage("tokens", version=1, settings={"n": n})


def tokenized(store: Store, decisions: Stage, n: int) -> None:
    """A number of tokens for every document that the first decision keeps."""
    rng, stage = np.random.default_rng(2), tokens_stage(store, n)
    for key in decisions.keys:
        rows = pq.read_table(decisions.shard_path(key) / "decisions.parquet", columns=["id", "keep"])
        ids = rows.column("id").filter(rows.column("keep"))
        n = rng.integers(100, 2000, len(ids))
        write_table(stage, key.partition(".")[2], "tokens", pa.table({"id": ids, "n_tokens": n, "n_loss_tokens": n}))


def synthetic(store: Store, n: int) -> tuple[dict[str, Stage], dict[tuple[str, str], Stage], Relations]:
    rng = np.random.default_rng(1)
    documents = {"a": store.stage("documents", version=1, settings={"n": n})}
    signatures = {"a": store.stage("signatures", version=1, settings={"n": n})}
    lengths = {"a": store.stage("signals-length", version=1, settings={"n": n})}
    drawn = store.stage("signals-drawn", version=1, settings={"n": n})
    sets = store.stage("shingles", version=1, settings={"n": n})
    ids = np.sort(rng.integers(0, 16, (n, 32), np.uint8).view("S32").reshape(-1)).view(np.uint8).reshape(-1, 32)
    digits = np.frombuffer(b"0123456789abcdef", np.uint8)
    cluster, share = clusters_of(n, rng)
    bands = rng.integers(0, 2**63, (n, 16), np.int64).astype(np.uint64)
    place = np.flatnonzero(cluster >= 0)
    same = rng.random((len(place), 16)) < (share[place] ** 7)[:, None]
    shared_keys = (cluster[place, None] * 16 + np.arange(16)).astype(np.uint64)
    bands[place] = np.where(same, shared_keys, bands[place])
    size = rng.integers(200, 400, int(cluster.max()) + 1)
    n_shingles = np.where(cluster >= 0, size[cluster], 300).astype(np.uint32)
    keys = [f"{i:05d}" for i in range(-(-n // SHARD_ROWS))]
    for i, key in enumerate(keys):
        own = slice(i * SHARD_ROWS, min(n, (i + 1) * SHARD_ROWS))
        hexes = digits[ids[own]].view("S32").reshape(-1).astype("U32").tolist()
        text_hash = [f"{j:032x}" for j in range(own.start, own.stop)]
        columns = {"id": hexes, "source": ["a"] * len(hexes), "text_hash": text_hash}
        table = pa.table({name: pa.array(values, schema.DOCUMENTS.field(name).type) for name, values in columns.items()})
        write_table(documents["a"], key, "documents", table)
        words = rng.integers(100, 1000, len(hexes))
        write_table(lengths["a"], key, "length", pa.table({"id": hexes, "n_words": words, "n_bytes": 7 * words}))
        values = {f"s{j}": rng.random(len(hexes), np.float32).round(4) for j in range(N_SIGNALS)}
        write_table(drawn, key, FAMILY, pa.table({"id": hexes, **values}))
        normalised = rng.integers(0, 2**63, (len(hexes), 2), np.int64).astype(np.uint64)
        with signatures["a"].shard(key) as writer:
            for name, array in {"bands": bands[own], "n_shingles": n_shingles[own], "normalised": normalised}.items():
                np.save(writer.path / f"{name}.npy", array)
            writer.done(len(hexes), key)
    for stage in (documents["a"], signatures["a"], lengths["a"], drawn):
        stage.finish(keys)
    shards = layout(["a"], documents)
    grouped, tasks = buckets.tasks(store, ["a"], documents, signatures, True)
    run(tasks, workers=1, label="buckets")
    grouped.finish(["all"])
    member = np.load(grouped.shard_path("all") / "member.npy")
    for shard in shards:
        own_members = member[(member >= shard.first) & (member < shard.first + shard.rows)]
        ptr = np.concatenate([[0], np.cumsum(n_shingles[own_members])]).astype(np.int64)
        hashes = np.empty(int(ptr[-1]), np.uint64)
        for i, m in enumerate(own_members.tolist()):
            n_own = int(n_shingles[m])  # some of the cluster's numbers, the rest fresh
            common = (int(cluster[m]) << 10) + np.flatnonzero(rng.random(n_own) < 2 * share[m] / (1 + share[m]))
            fresh = rng.integers(2**40, 2**62, n_own - len(common), np.int64)
            hashes[ptr[i] : ptr[i + 1]] = np.sort(np.concatenate([common, fresh]).astype(np.uint64))
        with sets.shard(shard.name) as writer:
            for name, array in {"ptr": ptr, "hashes": hashes, "row": own_members - shard.first}.items():
                np.save(writer.path / f"{name}.npy", array)
            writer.done(len(own_members), shard.name)
    names = [shard.name for shard in shards]
    sets.finish(names)
    clustered, tasks = clusters.tasks(store, ["a"], documents, {("a", "length"): lengths["a"]}, grouped, sets, recipe().dedup)
    start = time.monotonic()
    run(tasks, workers=1, label="clusters")
    clustered.finish(names)
    info = clustered.info()["counts"]
    print(f"{len(member)} of {n} documents share a bucket; clusters {time.monotonic() - start:.2f} s with compile, {info}")
    return documents, {("a", "length"): lengths["a"], ("a", FAMILY): drawn}, Relations(tuple(shards), grouped, sets, clustered)


def clusters_of(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """int64 (n,) planted cluster or -1, and the share of its cluster's shingles a member has: a tenth of the documents."""
    drawn = np.where(rng.random(n // 20 + 1) < 0.2, rng.integers(2, 41, n // 20 + 1), 2)
    sizes = drawn[: int(np.searchsorted(np.cumsum(drawn), n // 10)) + 1].tolist()
    cluster = np.full(n, -1, np.int64)
    places = rng.choice(n, sum(sizes), replace=False)
    cluster[places] = np.repeat(np.arange(len(sizes)), sizes)
    return cluster, rng.uniform(0.65, 1.0, n)


def write_table(stage: Stage, key: str, name: str, table: pa.Table) -> None:
    with stage.shard(key) as writer:
        pq.write_table(table, writer.path / f"{name}.parquet", compression="zstd")
        writer.done(table.num_rows, key)


if __name__ == "__main__":
    main()
