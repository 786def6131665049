"""How fast verify hashes: files and packed rows in GB/s of one core, and a whole `--fast` and full verify of a synthetic build.

    python -m tests.bench.verify [--megabytes 300]

Speeds are by CPU time, the best of three, of data in the page cache; beside ours hashlib one message after the other. The build has so
many megabytes of 16-bit tokens, each one byte of a text of words: documents, decisions, clusters and token shards written by hand, plan
and packing by mixture.build, two epochs of them in rows of 4,096. Seconds of verify are wall clock on all cores.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate import schema
from curate.recipe import load_recipe
from curate.store import Stage, Store, file_sha256, table_root
from mixture.build import plan_and_pack
from mixture.hashes import row_hashes
from mixture.kept import kept_tables
from mixture.stream import CHUNK, hash_row
from mixture.token_files import close_shard, token_writer
from mixture.tokenizer import load_tokenizer
from mixture.verify import verify
from tests.mixture import tiny_tokenizer

RECIPE = """
kind: cpt
name: bytes
tokenizer: {{model: tok}}
sources:
  web: {{read: web.jsonl, language: et, license: {{declared: MIT}}}}
mixture:
  total: {total} tokens
  sequence_length: 4096
  components:
    web: {{from: [web], role: target, budget: {total} tokens, max_epochs: 2}}
"""
SHARD_BYTES = 32 << 20  # of text
MEDIAN_CHARS = 2000


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--megabytes", type=int, default=300, help="of tokens")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="veski-verify-") as folder:
        hashing(Path(folder))
        whole(Path(folder), args.megabytes * 500_000)


def best(function: Callable[[], Any], n_bytes: int) -> float:
    """GB per second of CPU."""
    seconds = []
    for _ in range(3):
        start = time.process_time()
        function()
        seconds.append(time.process_time() - start)
    return n_bytes / min(seconds) / 1e9


def hashing(folder: Path) -> None:
    rng = np.random.default_rng(0)
    data = rng.integers(0, 256, 256 << 20).astype(np.uint8)
    data.tofile(folder / "file")
    print(f"{'GB/s of one core':<44}{'ours':>8}{'hashlib':>9}")
    print(f"{'file, sha256':<44}{best(lambda: file_sha256(folder / 'file'), data.size):8.2f}")
    tokens = data.view("<u2")
    for n_chunks in (1, 4, 16):
        ptr = np.arange(0, 8000 * n_chunks + 1, n_chunks)
        chunks = np.zeros(8000 * n_chunks, CHUNK)
        chunks["length"], chunks["start"] = 4096 // n_chunks, rng.integers(0, tokens.size - 4096, len(chunks))
        size = int(4 * chunks["length"].sum())
        ours, theirs = (
            best(lambda p=ptr, c=chunks: row_hashes(p, c, [tokens]), size),
            best(lambda p=ptr, c=chunks: _by_hashlib(p, c, tokens), size),
        )
        print(f"{f'rows of 4,096 tokens in {n_chunks} chunks, blake2b':<44}{ours:8.2f}{theirs:9.2f}", flush=True)


def _by_hashlib(ptr: np.ndarray, chunks: np.ndarray, tokens: np.ndarray) -> None:
    for row in range(len(ptr) - 1):
        own = chunks[ptr[row] : ptr[row + 1]]
        hash_row(own["length"].astype(np.int64), [tokens[int(c["start"]) : int(c["start"]) + int(c["length"])] for c in own])


def whole(root: Path, n_tokens: int) -> None:
    start = time.monotonic()
    build = make(root, n_tokens)
    size = sum(p.stat().st_size for top in (root / "store", build) for p in top.rglob("*") if p.is_file())
    # files; roots of tokens and of texts, and text hashes; rows of 32-bit ids, twice
    hashed = size + 2 * n_tokens + 2 * n_tokens + 8 * n_tokens
    print(f"build: {n_tokens:,} tokens, {size / 1e6:,.0f} MB in files, made in {time.monotonic() - start:.0f} s; verify hashes "
          f"{hashed / 1e9:.1f} GB", flush=True)  # fmt: skip
    for name, fast in (("verify --fast", True), ("verify, every document decoded", False)):
        clock, cpu = time.monotonic(), time.process_time()
        report = verify(build, root, fast=fast)
        seconds, used = time.monotonic() - clock, time.process_time() - cpu
        print(f"{name:<44}{seconds:6.1f} s, {used:5.1f} s of CPU")
        assert report.ok, report.text()


def make(root: Path, n_tokens: int) -> Path:
    """root/store and root/build; the folder of the build."""
    tiny_tokenizer.write(root / "tok")
    store, rng = Store(root / "store"), np.random.default_rng(1)
    documents, related, decided = (store.stage(name, version=1, settings={}) for name in ("documents", "clusters", "decide"))
    tokens = store.stage("tokens", version=1, settings={})
    (root / "recipe.yaml").write_text(RECIPE.format(total=0))
    tokenizer = load_tokenizer(load_recipe_of(root, 16).tokenizer, lambda name, where="": root / name)
    of_byte = np.array(
        [{data: i for i, data in (tokenizer.bytes_of_ids or {}).items()}[bytes([b])] for b in range(128)], np.uint16
    )
    words = [bytes(rng.integers(97, 123, n).astype(np.uint8)) for n in rng.integers(2, 10, 5000)]
    keys, made, total = [], 0, 0
    while total < n_tokens:
        pool = b" ".join(words[i] for i in rng.integers(0, len(words), SHARD_BYTES // 5))[:SHARD_BYTES]
        lengths = np.minimum(rng.lognormal(np.log(MEDIAN_CHARS), 1, SHARD_BYTES // 3000).astype(np.int64) + 20, 200_000)
        ends = np.cumsum(lengths)
        lengths, ends = lengths[ends < len(pool)], ends[ends < len(pool)]
        keys.append(f"{len(keys):05d}")
        _shard(
            keys[-1],
            pool,
            ends - lengths,
            ends,
            made,
            of_byte,
            int(tokenizer.special["eos"] or 0),
            documents,
            related,
            decided,
            tokens,
        )
        made += ends.size
        total += int(lengths.sum()) + ends.size
    with documents.shard("quarantine") as out:
        pq.write_table(schema.QUARANTINE.empty_table(), out.path / "quarantine.parquet")
        out.done(0, "", {"n_read": made, "n_documents": made, "n_quarantined": 0})
    documents.finish([*keys, "quarantine"])
    for stage, names in ((related, [f"web.{k}" for k in keys]), (decided, [f"web.{k}" for k in keys]), (tokens, keys)):
        stage.finish(names)
    recipe = load_recipe_of(root, 2 * total)
    tables, shards = kept_tables(
        {"web": documents}, related, {"web": tokens}, lambda source, key: np.zeros(_rows(documents, key), np.int64)
    )
    named = [("documents", ["web"], documents), ("clusters", [], related), ("decide", [], decided), ("tokens", ["web"], tokens)]
    lineage = [{"stage": name, "of": of, "fingerprint": s.fingerprint, "root": s.root} for name, of, s in named]
    plan_and_pack(
        recipe, tables, shards, root / "build", tokenizer={"sha256": tokenizer.sha256}, token_bytes=2, lineage=lineage, patterns=[((0, -1),)],
    )  # fmt: skip
    return root / "build"


def load_recipe_of(root: Path, total: int) -> Any:
    (root / "recipe.yaml").write_text(RECIPE.format(total=total))
    return load_recipe(root / "recipe.yaml")


def _rows(stage: Stage, key: str) -> int:
    return pq.read_metadata(stage.shard_path(key) / "documents.parquet").num_rows


def _shard(
    key: str, pool: bytes, begin: np.ndarray, end: np.ndarray, made: int, of_byte: np.ndarray, eos: int, documents: Stage, related: Stage,
    decided: Stage, tokens: Stage,
) -> None:  # fmt: skip
    n = begin.size
    ids = pa.array(
        [f"{made + i:08x}{hashlib.blake2b(bytes([i % 256, i // 256]), digest_size=8).hexdigest()}{0:08x}" for i in range(n)]
    )
    texts = [pool[a:b] for a, b in zip(begin.tolist(), end.tolist(), strict=True)]
    columns = {field.name: pa.nulls(n, field.type) for field in schema.DOCUMENTS} | {
        "id": ids, "source": pa.repeat("web", n), "text": pa.array([text.decode() for text in texts], pa.large_string()),
        "text_hash": pa.array([hashlib.blake2b(text, digest_size=16).hexdigest() for text in texts]),
        "language": pa.repeat("et", n), "license": pa.repeat("MIT", n), "is_repaired": pa.repeat(False, n),
    }  # fmt: skip
    found = pa.table(columns).cast(schema.DOCUMENTS)
    same = {"id": ids, "source": pa.repeat("web", n)}
    clusters = {field.name: pa.nulls(n, field.type) for field in schema.DUPLICATES} | same | {"cluster_size": pa.repeat(1, n)}
    verdicts = {field.name: pa.nulls(n, field.type) for field in schema.DECISIONS} | same | {"keep": pa.repeat(True, n)}
    for stage, name, file, table, counts in (
        (documents, key, "documents.parquet", found, {"n_documents": 0}),
        (related, f"web.{key}", "duplicates.parquet", pa.table(clusters).cast(schema.DUPLICATES), None),
        (decided, f"web.{key}", "decisions.parquet", pa.table(verdicts).cast(schema.DECISIONS), None),
    ):
        with stage.shard(name) as out:
            pq.write_table(table, out.path / file, compression="zstd")
            out.done(n, table_root(table, exclude=schema.ORIGIN), counts)
    with tokens.shard(key) as out:
        with token_writer(out.path, np.dtype("<u2"), False) as writer:
            for text in texts:
                writer.write(np.append(of_byte[np.frombuffer(text, np.uint8)], np.uint16(eos)), None)
        root = close_shard(out.path, writer, ids, "bytes", np.dtype("<u2"))
        out.done(n, root, {"n_tokens": sum(writer.n_tokens)})


if __name__ == "__main__":
    main()
