"""Tokenizing speed on real Estonian text, MB/s of one core: tiktoken, tokenizers, and the whole tokenize task.

Run: python -m tests.bench.tokenize [DATA]   (default: VESKI_TEST_DATA, else ../shared/data). Each figure: best of three, warm.
"""

from __future__ import annotations

import os

os.environ["TOKENIZERS_PARALLELISM"] = "false"  # one core for everybody: before tokenizers is imported

import io
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from curate.recipe import TokenizerSpec
from curate.schema import DECISIONS, DOCUMENTS
from curate.store import Store
from mixture import tokens
from mixture.tokenizer import load_tokenizer
from tests.conftest import TOP

FILES = ("aa_magazine", "wiki_et_versions", "ud_ewt_train_2022", "progeopik_rst")


def read(data: Path) -> list[str]:
    found = []
    for name in FILES:
        with open(data / f"et_text/{name}.jsonl.zst", "rb") as file:
            lines = io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(file), encoding="utf-8", newline="\n")
            found += [json.loads(line)["text"] for line in lines]
    return found


def speed(n_bytes: int, work: Callable[[], object]) -> float:
    """MB/s of the best of three runs."""
    best = min(_seconds(work) for _ in range(3))
    return n_bytes / 1e6 / best


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def task_speed(place: Path, texts: list[str], n_bytes: int) -> float:
    """The task of one shard: Parquet in, token files out, parity check included; a new stage each time."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        rows = [{"id": f"{i:032x}", "source": "et", "text": text} for i, text in enumerate(texts)]
        documents, decisions = Path(folder) / "documents", Path(folder) / "decisions"
        documents.mkdir()
        decisions.mkdir()
        pq.write_table(pa.Table.from_pylist(rows, DOCUMENTS), documents / "documents.parquet", row_group_size=4096)
        kept = [{"id": row["id"], "source": "et", "keep": True} for row in rows]
        pq.write_table(pa.Table.from_pylist(kept, DECISIONS), decisions / "decisions.parquet")
        files = load_tokenizer(TokenizerSpec(model=str(place))).files

        def work() -> None:
            key = f"none-{time.perf_counter_ns()}"
            job = tokens.Job(files, False, True, "all", False, reuse_key=key)
            stage = store.stage("tokens", version=tokens.VERSION, settings={"reuse_key": key})
            tokens.tokenize_shard(stage, "00000", documents, decisions, job)

        return speed(n_bytes, work)


def main() -> None:
    data = Path(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("VESKI_TEST_DATA", TOP.parent / "shared" / "data"))
    texts = read(data)
    n_bytes = sum(len(text.encode()) for text in texts)
    print(f"{len(texts)} Estonian documents, {n_bytes / 1e6:.1f} MB; MB/s, one thread")
    for name in ("gpt2", "gpt_neox_20b", "mistral_v1"):
        place = data / "tokenizers" / name
        tokenizer = load_tokenizer(TokenizerSpec(model=str(place)))
        started = time.perf_counter()
        tokenizer.encode_batch(["x"])
        prepare, fast = time.perf_counter() - started, speed(n_bytes, lambda t=tokenizer: t.encode_batch(texts))
        line = f"{name:<14} {tokenizer.backend:<14} {fast:6.1f}   (prepared in {prepare:.2f} s)"
        if tokenizer.backend == "tiktoken":
            slow = speed(n_bytes, lambda t=tokenizer: t.without_tiktoken().encode_batch(texts))
            same = tokenizer.first_mismatch(texts) is None
            line += f"   tokenizers {slow:.1f}   {fast / slow:.1f} times   same ids: {same}"
        print(f"{line}   whole task {task_speed(place, texts, n_bytes):.1f}", flush=True)


if __name__ == "__main__":
    main()
