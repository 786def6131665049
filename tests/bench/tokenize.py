"""Tokenizing speed on real text, MB/s: our compiled encoder, tokenizers' encode_batch_fast, tiktoken, sentencepiece; one core and two.

Run: python -m tests.bench.tokenize [DATA]   (default: VESKI_TEST_DATA, else ../shared/data). Rivals are timed without handing over
their ids, in one batch, best of two, warm; ours with arrays, in its first pass over the text (words unknown) and again. On two
cores each library uses its own threads, ours two encoders. At the end every text at hand, once, and how many ids differ.
"""

from __future__ import annotations

import os

os.environ["RAYON_NUM_THREADS"] = "2"  # before tokenizers is imported; TOKENIZERS_PARALLELISM is read at every call

import json
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tiktoken
from tokenizers import Tokenizer as HuggingFace

from curate.recipe import TokenizerSpec
from curate.schema import DECISIONS, DOCUMENTS
from curate.store import Store
from mixture import tokens
from mixture.tokenizer import Tokenizer, load_tokenizer
from mixture.tokenizer.compiled import CompiledBpe
from tests.conftest import TOP
from tests.mixture import tiny_tokenizer
from tests.mixture.all_texts import every_text

NAMES = ("gpt2", "gpt_neox_20b", "mistral_v1")
KINDS = {
    "Estonian": ("et_text/aa_magazine", "et_text/wiki_et", "et_text/ud_ewt", "et_text/progeopik"),
    "English": ("en_text/18f_posts", "en_text/inaugural", "en_text/wikitext2"),
    "code": ("code/code_files",),
}
KIND_BYTES = 3_000_000
RUNS = 2
BATCH = 20_000  # texts at once, where all are encoded: tokenizers takes some 60 bytes a token


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def best(work: Callable[[], object]) -> float:
    """Seconds of the best run, after one that does not count."""
    work()
    return min(seconds(work) for _ in range(RUNS))


def size(texts: list[str]) -> int:
    return sum(len(text.encode()) for text in texts)


def halves(texts: list[str]) -> list[list[str]]:
    """Of about equal bytes."""
    middle = int(np.searchsorted(np.cumsum([len(text) for text in texts]), sum(map(len, texts)) / 2))
    return [texts[:middle], texts[middle:]]


def hugging_face(place: Path, tokenizer: Tokenizer) -> HuggingFace:
    if tokenizer.library == "tokenizers":
        return tokenizer._inner
    found = HuggingFace.from_str(json.dumps(tiny_tokenizer.as_tokenizer_json(place / "tokenizer.model")))
    found.encode_special_tokens = True
    return found


class Rivals:
    """What a tokenizer's ids can be had from, as functions of texts that use one core or two."""

    def __init__(self, tokenizer: Tokenizer, hugging_face: HuggingFace) -> None:
        self.tokenizer, self.hugging_face = tokenizer, hugging_face

    def ours(self, encoders: list[CompiledBpe], texts: list[str]) -> None:
        """A list of strings in, arrays out; a thread for each encoder."""
        parts = [texts] if len(encoders) == 1 else halves(texts)
        with ThreadPoolExecutor(len(encoders)) as pool:
            list(pool.map(lambda encoder, part: encoder.encode(pa.array(part, pa.large_string())), encoders, parts))

    def tokenizers(self, n_cores: int, texts: list[str]) -> None:
        os.environ["TOKENIZERS_PARALLELISM"] = "true" if n_cores > 1 else "false"
        self.hugging_face.encode_batch_fast(texts, add_special_tokens=False)

    def own(self, n_cores: int, texts: list[str]) -> None:
        """tiktoken or sentencepiece."""
        if self.tokenizer.library == "sentencepiece":
            self.tokenizer._inner.encode(texts, num_threads=n_cores)
        else:
            self._encoding.encode_ordinary_batch(texts, num_threads=n_cores)

    @property
    def _encoding(self) -> tiktoken.Encoding:
        assert self.tokenizer._tiktoken is not None
        return self.tokenizer._tiktoken._encoding

    @property
    def own_name(self) -> str:
        library = self.tokenizer.library
        return library if library == "sentencepiece" else "tiktoken" if self.tokenizer._tiktoken else ""


def task_speed(place: Path, texts: list[str], n_bytes: int) -> float:
    """MB/s of the task of one shard: Parquet in, token files out, parity check included; a new stage each time."""
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
            tokens.tokenize_shard(stage, "00000", documents, decisions, job, None)

        return n_bytes / 1e6 / best(work)


def compare(kind: str, texts: list[str], rivals: Rivals) -> None:
    n = size(texts) / 1e6
    compiled = rivals.tokenizer._compiled
    assert compiled is not None
    encoders = [CompiledBpe(compiled.tables) for _ in range(2)]
    first = n / seconds(lambda: rivals.ours(encoders[:1], texts))
    again = n / best(lambda: rivals.ours(encoders[:1], texts))
    two = n / best(lambda: rivals.ours(encoders, texts))
    print(f"{kind:<9}{n:4.1f} MB  {'ours':<14}{first:7.1f}{again:7.1f}{two:7.1f}")
    for rival, name in ((rivals.tokenizers, "tokenizers"), (rivals.own, rivals.own_name)):
        if name:
            one, both = (n / best(lambda r=rival, c=cores: r(c, texts)) for cores in (1, 2))  # type: ignore[misc]
            times = f"{first / one:8.1f}{again / one:7.1f}{two / both:7.1f}"
            print(f"{'':<18}{name:<14}{'':<7}{one:7.1f}{both:7.1f}   {times}", flush=True)


def everything(texts: list[str], rivals: Rivals, name: str) -> None:
    """Every text once: ours on one core with nothing remembered, Hugging Face on two, and which texts differ."""
    compiled = rivals.tokenizer._compiled
    assert compiled is not None
    encoder = CompiledBpe(compiled.tables)
    os.environ["TOKENIZERS_PARALLELISM"] = "true"
    spent, left, differ = [0.0, 0.0], 0, 0
    for first in range(0, len(texts), BATCH):
        batch = texts[first : first + BATCH]
        started = time.perf_counter()
        ours = encoder.encode(pa.array(batch, pa.large_string()))
        middle = time.perf_counter()
        theirs = rivals.hugging_face.encode_batch_fast(batch, add_special_tokens=False)
        spent = [spent[0] + middle - started, spent[1] + time.perf_counter() - middle]
        left += sum(ids is None for ids in ours)
        differ += sum(a is not None and not np.array_equal(a, b.ids) for a, b in zip(ours, theirs, strict=True))
    n = size(texts) / 1e6
    speeds = f"ours {n / spent[0]:.1f} MB/s on one core, Hugging Face {n / spent[1]:.1f} on two"
    print(f"{name:<14} {len(texts)} texts, {n:.1f} MB: {differ} differ, {left} left to the library; {speeds}", flush=True)


def main() -> None:
    data = Path(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("VESKI_TEST_DATA", TOP.parent / "shared" / "data"))
    found = list(every_text(data))
    kinds: dict[str, list[str]] = {}
    for kind, starts in KINDS.items():
        texts = [text for name, text in found if name.startswith(starts) and len(text) > 200]
        kinds[kind] = texts[: int(np.searchsorted(np.cumsum([len(text.encode()) for text in texts]), KIND_BYTES)) + 1]
    for name in NAMES:
        place = data / "tokenizers" / name
        tokenizer = load_tokenizer(TokenizerSpec(model=str(place)))
        started = time.perf_counter()
        tokenizer.encode_batch(["x"])
        prepared = time.perf_counter() - started
        rivals = Rivals(tokenizer, hugging_face(place, tokenizer))
        print(f"\n{name}: {tokenizer.backend}, prepared in {prepared:.2f} s (kernels compiled or read, tables made)")
        print(f"{'':<32}  first   warm    two    times as fast: first, warm, two cores")
        for kind, texts in kinds.items():
            compare(kind, texts, rivals)
        texts = kinds["Estonian"]
        print(f"whole task of a shard, Estonian, one core: {task_speed(place, texts, size(texts)):.1f} MB/s", flush=True)
    print("\nids of every text of the folder against Hugging Face's")
    for name in NAMES:
        place = data / "tokenizers" / name
        tokenizer = load_tokenizer(TokenizerSpec(model=str(place)))
        everything([text for _, text in found], Rivals(tokenizer, hugging_face(place, tokenizer)), name)


if __name__ == "__main__":
    main()
