"""What questions over a selection of 20 million rows cost: group-by through corpus.duckdb, one document, the difference of two builds.

    python -m tests.bench.selection_scale [--rows 20000000] [--folder DIR]

Two synthetic builds of one store, as the tools leave them: documents, decisions, tokens and one signal in shards of 16,384 documents,
selection.parquet in the schema, order, row groups and compression of mixture.sequences, corpus.duckdb by write_corpus. Rows are two
phases of three components each; B trains on other documents than A. Questions are asked in a process of their own, twice: with the
files' pages in the cache, as after a build, and with what DuckDB keeps of them. The issue asks for < 1 s a group-by.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curate import schema
from curate.inspect import diff, diff_parts, when
from curate.inspect.corpus import open_corpus, rows, write_corpus
from curate.manifest import write_manifest
from curate.store import Stage, Store

SHARD_ROWS = 16_384  # as documents.n_shards cuts
SLICE, ROW_GROUP = 1 << 20, 1 << 17  # as mixture.sequences writes
SOURCES = ("web", "books", "code")
LICENSES = ("CC-BY-4.0", "CC0-1.0", "MIT", None)
PHASES = {"main": 0.8, "anneal": 0.2}  # of the rows
COMPONENTS = {"web": 0.6, "books": 0.25, "code": 0.15}  # of a phase's rows; one source each
RECIPE = """
kind: cpt
name: synthetic
tokenizer: {model: none}
sources:
%s
mixture:
  total: 1 tokens
  sequence_length: 4096
  components:
    web: {from: [web], role: target, budget: 1 tokens}
"""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--folder", help="keep the builds here; they are made only where they are missing")
    parser.add_argument("--ask", action="store_true", help="(inside) only the questions")
    args = parser.parse_args()
    if args.ask:
        ask(Path(args.folder))
        return
    with tempfile.TemporaryDirectory(prefix="veski-selection-") as temporary:
        folder = Path(args.folder or temporary)
        if not (folder / "b" / "corpus.duckdb").exists():
            make(folder, args.rows)
        again = [sys.executable, "-m", "tests.bench.selection_scale", "--ask", "--folder", str(folder)]
        sys.exit(subprocess.run(again, check=False).returncode)


# --- questions ----------------------------------------------------------------------------------------------------------


def ask(folder: Path) -> None:
    a, b = folder / "a", folder / "b"
    group = "SELECT {0}, count(*) AS uses, sum(n_tokens) AS tokens FROM selection GROUP BY {0}"
    with open_corpus(a) as corpus:
        n = rows(corpus, "SELECT count(*) AS n FROM selection")[0]["n"]
        one = rows(corpus, "SELECT source, id FROM selection LIMIT 1 OFFSET 123456")[0]
    print(f"{n:,} rows of selection.parquet, {(a / 'selection.parquet').stat().st_size / 1e9:.2f} GB; seconds: first, again, CPU")
    grouped = {
        f"group by {by}": _query(a, group.format(by))
        for by in ("component", "source", "pass", "split", "phase, component, source, pass")
    }
    asked: dict[str, Callable[[], Any]] = {
        **grouped,
        "documents by component (distinct ids)": _query(a, "SELECT component, count(DISTINCT id) FROM selection GROUP BY component"),
        "stored: components, component_phases": _query(a, "SELECT * FROM components, component_phases"),
        "one document's uses (source and id)": _query(a, when._USES, one["source"], one["id"]),
        "one step (stream indices)": _query(a, "SELECT * FROM selection WHERE stream_index >= 100000 AND stream_index < 100512"),
        "diff --by component, source, language, licence": lambda: diff.compare_by(a, b, ["component", "source", "language", "license"]),
        "diff --by quality (quartiles; reads the signal)": lambda: diff.compare_by(a, b, ["quality"]),
        "diff: sources, languages, licences of one build": lambda: _parts(a),
        "diff A B, everything": lambda: diff.diff(a, b),
    }  # fmt: skip
    slow = 0
    for name, question in asked.items():
        (first, _), (second, cpu) = _seconds(question), _seconds(question)
        slow += name in grouped and second >= 1
        print(f"{name:<52}{first:8.2f}{second:8.2f}{cpu:8.2f}", flush=True)
    sys.exit(1 if slow else 0)


def _query(build: Path, query: str, *parameters: Any) -> Callable[[], Any]:
    def question() -> Any:
        with open_corpus(build) as corpus:
            return rows(corpus, query, *parameters)

    return question


def _parts(build: Path) -> Any:
    with open_corpus(build) as corpus:
        return [diff_parts.sources(corpus, True), *(diff_parts.by_origin(corpus, name, True) for name in ("language", "license"))]


def _seconds(question: Callable[[], Any]) -> tuple[float, float]:
    """(wall clock, CPU of all threads)."""
    start, cpu = time.perf_counter(), time.process_time()
    question()
    return time.perf_counter() - start, time.process_time() - cpu


# --- the builds ---------------------------------------------------------------------------------------------------------


def make(folder: Path, n_rows: int) -> None:
    store, rng, start = Store(folder / "store"), np.random.default_rng(1), time.monotonic()
    n_documents = {source: max(1000, int(n_rows * 0.45 * share)) for source, share in COMPONENTS.items()}
    ids = {source: np.sort(rng.integers(0, 256, (n, 16)).astype(np.uint8).view("S16")[:, 0]) for source, n in n_documents.items()}
    n_tokens = {source: np.minimum(rng.lognormal(6, 1, n).astype(np.int64) + 1, 4096) for source, n in n_documents.items()}
    stages: dict[str, Any] = {"documents": {}, "signals": {}, "tokens": {}}
    for source in SOURCES:
        _source_stages(store, source, ids[source], n_tokens[source], rng, stages)
    stages["decide"] = _decide(store, ids)
    print(f"{sum(n_documents.values()):,} documents in {time.monotonic() - start:.0f} s", flush=True)
    for seed, name in enumerate("ab"):
        build = folder / name
        build.mkdir(parents=True, exist_ok=True)
        lines = [f"  {source}: {{read: {source}.jsonl, license: {{declared: MIT}}}}" for source in SOURCES]
        (build / "recipe.yaml").write_text(RECIPE % "\n".join(lines))
        start = time.monotonic()
        manifest = _selection(build / "selection.parquet", ids, n_tokens, n_rows, seed)
        write_manifest(build / "manifest.json", manifest)
        wrote = time.monotonic()
        write_corpus(build, stages, manifest)
        print(f"build {name}: selection in {wrote - start:.0f} s, corpus.duckdb in {time.monotonic() - wrote:.0f} s", flush=True)


def _names(ids: np.ndarray) -> pa.Array:
    """32 hex digits of 16 bytes each."""
    hex_of = np.array([f"{byte:02x}".encode() for byte in range(256)], "S2")
    digits = hex_of[np.frombuffer(ids.astype("S16").tobytes(), np.uint8)].tobytes()
    offsets = np.arange(len(ids) + 1, dtype=np.int32) * 32
    return pa.StringArray.from_buffers(len(ids), pa.py_buffer(offsets), pa.py_buffer(digits))


def _stage(
    store: Store, name: str, settings: dict, shards: dict[str, tuple[str, pa.Table]], counts: dict[str, int] | None = None
) -> Stage:
    stage = store.stage(name, version=1, settings=settings)
    for key, (file, table) in shards.items():
        with stage.shard(key) as out:
            pq.write_table(table, out.path / file, compression="zstd")
            out.done(table.num_rows, key, counts if key == "quarantine" else None)
    stage.finish(list(shards))
    return stage


def _source_stages(
    store: Store, source: str, ids: np.ndarray, n_tokens: np.ndarray, rng: np.random.Generator, stages: dict[str, Any]
) -> None:
    parts: dict[str, dict[str, tuple[str, pa.Table]]] = {"documents": {}, "tokens": {}, "signals": {}}
    for key, at in _shards(ids.size):
        named, n = _names(ids[at]), n_tokens[at]
        text = {name: pa.nulls(n.size, field.type) for name, field in zip(schema.DOCUMENTS.names, schema.DOCUMENTS, strict=True)}
        text |= {
            "id": named, "source": pa.repeat(source, n.size), "text": pa.repeat("x", n.size), "text_hash": named,
            "language": pa.array(np.array(["et", "en", "vro"])[rng.integers(0, 3, n.size)]),
            "license": pa.array(LICENSES).take(pa.array(rng.integers(0, 4, n.size))), "is_repaired": pa.repeat(False, n.size),
        }  # fmt: skip
        parts["documents"][key] = ("documents.parquet", pa.table(text).cast(schema.DOCUMENTS))
        tokens = {"id": named, "token_start": np.cumsum(n) - n, "n_tokens": n, "n_loss_tokens": n}
        parts["tokens"][key] = ("tokens.parquet", pa.table(tokens).cast(schema.TOKENS))
        parts["signals"][key] = ("drawn.parquet", pa.table({"id": named, "quality": rng.random(n.size)}))
    parts["documents"]["quarantine"] = ("quarantine.parquet", schema.QUARANTINE.empty_table())
    for name, shards in parts.items():
        counts = {"n_read": int(ids.size), "n_documents": int(ids.size), "n_quarantined": 0}
        settings = {"source": source, **({"family": "drawn"} if name == "signals" else {})}
        stage = _stage(store, name, settings, shards, counts)
        stages[name][source] = {"drawn": stage} if name == "signals" else stage


def _decide(store: Store, ids: dict[str, np.ndarray]) -> Stage:
    shards = {}
    for source, own in ids.items():
        for key, at in _shards(own.size):
            n = own[at].size
            columns = {field.name: pa.nulls(n, field.type) for field in schema.DECISIONS}
            columns |= {"id": _names(own[at]), "source": pa.repeat(source, n), "keep": pa.repeat(True, n)}
            shards[f"{source}.{key}"] = ("decisions.parquet", pa.table(columns).cast(schema.DECISIONS))
    return _stage(store, "decide", {}, shards)


def _shards(n: int) -> list[tuple[str, slice]]:
    return [(f"{i:05d}", slice(first, first + SHARD_ROWS)) for i, first in enumerate(range(0, n, SHARD_ROWS))]


def _selection(path: Path, ids: dict[str, np.ndarray], n_tokens: dict[str, np.ndarray], n_rows: int, seed: int) -> dict[str, Any]:
    """Rows by phase, component and pass, each pass a permutation of its documents, about three documents a sequence."""
    rng = np.random.default_rng([seed, n_rows])
    sequence, first_index, phases, parts = 0, 0, [], {name: [] for name in COMPONENTS}  # type: ignore[var-annotated]
    with pq.ParquetWriter(path, schema.SELECTION, compression="zstd", compression_level=3, version="2.6") as writer:
        held: list[pa.Table] = []
        for phase, of_rows in PHASES.items():
            begin, tokens = sequence, 0
            for component, share in COMPONENTS.items():
                left, pass_, trained = int(n_rows * of_rows * share), 0, 0
                while left > 0:
                    order = rng.permutation(ids[component].size)[:left]
                    for at in range(0, order.size, SLICE):
                        own = order[at : at + SLICE]
                        table = _rows(phase, component, own, ids, n_tokens, pass_, sequence)
                        held.append(table)
                        sequence += own.size // 3 + 1
                        trained += int(n_tokens[component][own].sum())
                    left, pass_ = left - order.size, pass_ + 1
                    held = _write(writer, held)
                parts[component].append(
                    {"phase": phase, "unit": "tokens", "requested": trained, "realised": trained, "tokens": trained}
                )
                tokens += trained
            phases.append({
                "name": phase, "budget": {"unit": "tokens", "requested": tokens, "realised": tokens, "padding": 0},
                "sequence_length": 4096, "packing": {"passes": []},
                "order": {"n_sequences": sequence - begin, "first_index": first_index},
            })  # fmt: skip
            first_index = sequence
        _write(writer, held, last=True)
    components = [
        {"name": name, "role": "other", "sources": [name], "max_epochs": 9, "phases": parts[name]} for name in COMPONENTS
    ]
    roots = dict.fromkeys(("components", "selection", "order", "stream"), f"{seed:064d}")
    return json.loads(json.dumps({
        "schema_version": 1, "kind": "cpt", "name": "synthetic", "tool_versions": {}, "recipe_sha256": "", "roots": roots, "tokenizer": {},
        "seed": seed, "phases": phases, "components": components, "held_out": {}, "stream_checkpoints": [], "outputs": [], "lineage": [],
    }))  # fmt: skip


def _rows(
    phase: str,
    component: str,
    own: np.ndarray,
    ids: dict[str, np.ndarray],
    n_tokens: dict[str, np.ndarray],
    pass_: int,
    sequence: int,
) -> pa.Table:
    n, rng = own.size, np.random.default_rng(sequence)
    row = np.arange(n)
    zeros, tokens = np.zeros(n, np.int64), n_tokens[component][own]
    return pa.table({
        "phase": pa.repeat(phase, n), "component": pa.repeat(component, n), "source": pa.repeat(component, n), "id": _names(ids[component][own]),
        "pass": pa.repeat(pass_, n), "chunk": zeros, "n_chunks": zeros + 1, "token_start": zeros, "n_tokens": tokens,
        "n_loss_tokens": tokens - 1, "split": pa.repeat("train", n), "sequence": sequence + row // 3, "position": row % 3 * 1000,
        "stream_index": sequence + rng.permutation(n // 3 + 1)[row // 3],
    }).cast(schema.SELECTION)  # fmt: skip


def _write(writer: pq.ParquetWriter, held: list[pa.Table], last: bool = False) -> list[pa.Table]:
    """Whole slices; what is left over waits for the next rows."""
    table = pa.concat_tables(held) if held else schema.SELECTION.empty_table()
    n = table.num_rows if last else table.num_rows // SLICE * SLICE
    for first in range(0, n, SLICE):
        writer.write_table(table.slice(first, min(SLICE, n - first)), row_group_size=ROW_GROUP)
    return [table.slice(n)]


if __name__ == "__main__":
    main()
