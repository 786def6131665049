"""What a manifest costs from the statistics of a hundred million documents: plan_and_pack, whole.

    python -m tests.bench.mixture_scale [--documents 100000000] [--uses 20000000] [--folder DIR]

Two sources, lengths log-normal (reference/mixture.md, section 5: web's shape, a third of its median; books a ninth), shards of a million
documents, up to ten million documents one in twenty with a duplicate cluster. Two phases with overlapping components; documents are held
out. The texts do not exist: a document's tokens are a stretch of a file of 16 MB that stands for its shard, so that every token is read and
hashed as in a build, but no disk is measured. Prints seconds of each step (wall, and CPU of all threads: steps overlap), the most memory
without mapped files, and what was written. The issue asks for < 2 min.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from curate.jit import kernel
from curate.store import write_json
from mixture import account, build, planning, statement
from mixture.selection import KEPT
from tests.mixture.small_build import recipe_with

SHARD = 1_000_000  # documents
STAND_IN = 1 << 23  # tokens of a file
SOURCES = {"web": 0.8, "books": 0.2}  # of the documents
MEDIAN = {"web": 450 / 3, "books": 150 / 3}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--documents", type=int, default=100_000_000)
    parser.add_argument("--uses", type=int, default=20_000_000)
    parser.add_argument("--folder", help="where the build is written (default: a temporary folder)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        run(Path(folder), args.documents, args.uses)


def run(folder: Path, n: int, uses: int) -> None:
    warm(folder)
    began = time.perf_counter()
    tables, shards = statistics(folder, n)
    mean = sum(int(np.asarray(t["n_tokens"]).sum()) for t in tables.values()) / n
    recipe = recipe_with(folder, mixture(int(uses * mean)), list(SOURCES), {"per_component": "10M tokens"}, seed=1)
    patterns = [((0, -1), (1, -1)), ((1, -1),), ((2, -1),)]  # good web, other web, books
    print(
        f"{n:,} documents, {mean:.0f} tokens on average: made in {time.perf_counter() - began:.0f} s, {resident():.1f} GB resident"
    )
    steps, peak = timed(), Peak()
    peak.start()
    wall, cpu = time.perf_counter(), time.process_time()
    summary = build.plan_and_pack(
        recipe, tables, shards, folder / "build", tokenizer={"name": "none", "sha256": "0" * 64}, token_bytes=2, lineage=[],
        patterns=patterns,
    )  # fmt: skip
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    for name, (w, c) in steps.items():
        print(f"  {name:24}{w:8.1f} s{c:8.1f} s CPU")
    print(f"manifest in {wall:.1f} s ({cpu:.1f} s CPU), peak {peak.end():.1f} GB resident, mapped files left out")
    rows = (folder / "build" / "selection.parquet").stat().st_size
    print(f"{summary['total']['sequences']:,} sequences, {summary['total']['to_train']:,} tokens, padding "
          f"{100 * summary['total']['padding_share']:.4f} %; selection.parquet {rows / 1e6:.0f} MB")  # fmt: skip


def mixture(total: int) -> dict:
    where = {"score": {"min": 3}}
    return {
        "sequence_length": 4096,
        "components": {
            "good": {"from": ["web"], "role": "target", "where": where, "max_epochs": 2},
            "web": {"from": ["web"], "role": "target"},
            "books": {"from": ["books"], "role": "other", "max_epochs": 4},
        },
        "phases": {
            "main": {"total": f"{total * 4 // 5} tokens", "components": {"web": "80 % of tokens", "books": "20 % of tokens"}},
            "anneal": {"total": f"{total // 5} tokens", "components": {"good": "100 % of tokens"}},
        },
    }  # fmt: skip


def statistics(folder: Path, n: int) -> tuple[dict[str, pa.Table], list[Path]]:
    """Tables of KEPT and the files that stand for token shards."""
    rng = np.random.default_rng(1)
    tables: dict[str, pa.Table] = {}
    shards: list[Path] = []
    for source, share in SOURCES.items():
        size = int(n * share)
        high = np.sort(rng.integers(0, 2**64, size, dtype=np.uint64))
        n_tokens = np.maximum(1, rng.lognormal(np.log(MEDIAN[source]), 1.181, size)).astype(np.int64)
        shard, start = np.arange(size) // SHARD, rng.integers(0, STAND_IN - int(n_tokens.max()), size)
        n_shards = -(-size // SHARD)
        for _ in range(n_shards):
            path = folder / f"shard-{len(shards)}" / "tokens.ds"
            path.parent.mkdir()
            rng.integers(0, 50_000, STAND_IN, dtype=np.uint16).tofile(path)
            files = [
                {"name": "tokens.ds", "bytes": 2 * STAND_IN, "sha256": "0" * 64}
            ]  # as the tokenize stage writes: hashed there
            write_json(path.parent / "shard.json", {"files": files})
            shards.append(path)
        ids = names_of(high, np.arange(size, dtype=np.uint64))
        alone = rng.random(size) >= 0.05
        cluster = pa.nulls(size, pa.large_string()) if size > 10**7 else pa.compute.if_else(pa.array(alone), None, ids.take(
            pa.array(rng.integers(0, size, size))))  # fmt: skip
        tables[source] = pa.table({
            "id": ids, "cluster_id": cluster, "n_tokens": n_tokens, "n_loss_tokens": n_tokens,
            "shard": len(shards) - n_shards + shard, "token_start": start,
            "language": coded("et", size), "license": coded("CC0-1.0", size),
            "pattern": (rng.random(size) < 0.7).astype(np.int64) if source == "web" else np.full(size, 2),
        }, schema=KEPT)  # fmt: skip
    return tables, shards


def coded(value: str, size: int) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(size, np.int32)), pa.array([value]))


def names_of(high: np.ndarray, low: np.ndarray) -> pa.Array:
    digits = np.empty(32 * high.size, np.uint8)
    hex_digits(high, low, digits)
    ends = np.arange(0, digits.size + 1, 32, dtype=np.int64)
    return pa.Array.from_buffers(pa.large_string(), high.size, [None, pa.py_buffer(ends), pa.py_buffer(digits)])


@kernel
def hex_digits(high: np.ndarray, low: np.ndarray, out: np.ndarray) -> None:
    for i in range(high.size):
        for half in range(2):
            value = high[i] if half == 0 else low[i]
            for k in range(16):
                digit = (value >> np.uint64(60 - 4 * k)) & np.uint64(15)
                out[32 * i + 16 * half + k] = digit + np.uint64(48) if digit < 10 else digit + np.uint64(87)


def timed() -> dict[str, list[float]]:
    """Wall and CPU seconds by step, filled as the steps run."""
    found: dict[str, list[float]] = {}

    def around(module: Any, name: str) -> None:
        inner: Callable = getattr(module, name)

        def outer(*args: Any, **named: Any) -> Any:
            wall, cpu = time.perf_counter(), time.process_time()
            try:
                return inner(*args, **named)
            finally:
                spent = found.setdefault(name, [0.0, 0.0])
                spent[0] += time.perf_counter() - wall
                spent[1] += time.process_time() - cpu

        setattr(module, name, outer)

    for module, names in (
        (planning, ("documents", "hold_out")), (build, ("plan_phases", "lay_out", "_order", "write_sequences", "write_selection", "_stream_hash",
                 "write_members", "_ever")),
        (account, ("count", "summary")), (statement, ("component", "components_root", "phase", "outputs")),
    ):  # fmt: skip
        for name in names:
            around(module, name)
    return found


def warm(folder: Path) -> None:
    """Kernels compiled before the clock runs."""
    (folder / "warm").mkdir()
    tables, shards = statistics(folder / "warm", 2000)
    recipe = recipe_with(folder, mixture(50_000), list(SOURCES), {"per_component": "1000 tokens"}, seed=1)
    build.plan_and_pack(
        recipe, tables, shards, folder / "warm" / "build", tokenizer={}, token_bytes=2, lineage=[],
        patterns=[((0, -1), (1, -1)), ((1, -1),), ((2, -1),)],
    )  # fmt: skip


def resident() -> float:
    """GB of memory that is not a mapped file."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 1e6
    return 0.0


class Peak(threading.Thread):
    """The most that `resident` says while it runs."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.most, self._over = 0.0, threading.Event()

    def run(self) -> None:
        while not self._over.wait(0.05):
            self.most = max(self.most, resident())

    def end(self) -> float:
        self._over.set()
        self.join()
        return self.most


if __name__ == "__main__":
    main()
