"""How the rows of new tokens are made, and what it is worth: bits per byte at equal steps of continued pretraining.

    python -m tests.bench.vocabulary_init [DATA] [--add 1024] [--steps 64] [--seeds 3] [--before 200]

Model: stories260K (260,032 weights, 512 tokens, English children's stories; MIT), first trained on Estonian with its own tokenizer for
--before steps, so that its rows know some Estonian. Then its tokenizer is extended by --add tokens learned from the same text
(train/vocab), and the new rows are made by each method; all else is equal. Text: an Estonian magazine, a treebank and web texts of DATA,
one document in fifteen held out. A step is 2,048 tokens, so that a step of the extended tokenizer is more text than one of the old.
A seed changes the order of the text and the noise. Bits per byte of held-out text, lower is better; mean and range over the seeds.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import math
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

import numpy as np
import torch
import yaml
import zstandard
from transformers import AutoModelForCausalLM

from mixture.tokenizer import Tokenizer
from tests.train.stories import convert
from train.config import ModelSpec
from train.vocab import run as vocab_run
from train.vocab.init.config import Rows, Vectors
from train.vocab.init.tensors import open_tokenizer
from train.vocab.init.write import write_model

DATA = Path(os.environ.get("VESKI_TEST_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
FILES = ("aa_magazine", "ud_edt_dev", "ud_ewt_train_2022", "estner_new_dev")
LENGTH, ROWS, MEASURED = 256, 8, 30_000  # tokens of a row, rows of a step, bytes of held-out text
RATE, WARMUP = 1e-3, 10
FEWER = Vectors(dim=50, epochs=5)  # than the papers' 100 and 20, for so little text
METHODS: dict[str, Rows] = {
    "random (mean, noise 1)": Rows(method="mean", noise=1.0),
    "mean": Rows(method="mean"),
    "subword_mean": Rows(method="subword_mean"),
    "wechsel": Rows(method="wechsel", source_language="et", target_language="et", by="words", vectors=FEWER),
    "ofa": Rows(method="ofa", vectors=FEWER),
    "focus": Rows(method="focus"),
    "orthogonal_matching": Rows(method="orthogonal_matching", atoms=16),  # in the space of the text's vectors: there is no donor
}


def texts(data: Path) -> tuple[list[str], list[str]]:
    """(to train on, held out)"""
    train: list[str] = []
    held_out: list[str] = []
    for name in FILES:
        with open(data / "et_text" / f"{name}.jsonl.zst", "rb") as file:
            for line in io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(file), encoding="utf-8"):
                text = json.loads(line)["text"]
                part = hashlib.blake2b(text.encode(), digest_size=2).digest()
                (held_out if int.from_bytes(part, "big") % 15 == 0 else train).append(text)
    return train, held_out


def rows_of(tokenizer: Tokenizer, documents: list[str]) -> torch.Tensor:
    """(n, LENGTH) int64: documents one after the other, each after <s>."""
    bos = tokenizer.special["bos"]
    ids = np.concatenate([np.concatenate([[bos], part]) for part in tokenizer.encode_batch(documents)]).astype(np.int64)
    return torch.from_numpy(ids[: len(ids) // LENGTH * LENGTH]).view(-1, LENGTH)


def bits_per_byte(model: torch.nn.Module, tokenizer: Tokenizer, documents: list[str]) -> float:
    """Each document in windows of LENGTH tokens, the first after <s>; every token is predicted once, from its own window."""
    nats, n_bytes, bos = 0.0, 0, tokenizer.special["bos"]
    windows = []
    for text, ids in zip(documents, tokenizer.encode_batch(documents), strict=True):
        n_bytes += len(text.encode())
        windows += [torch.tensor([bos, *ids[at : at + LENGTH - 1].tolist()]) for at in range(0, len(ids), LENGTH - 1)]
    windows.sort(key=len)
    model.eval()
    with torch.no_grad():
        for at in range(0, len(windows), 32):
            part = windows[at : at + 32]
            given = torch.nn.utils.rnn.pad_sequence(part, batch_first=True)
            wanted = torch.nn.utils.rnn.pad_sequence([row[1:] for row in part], batch_first=True, padding_value=-100)
            logits = model(given).logits[:, :-1]
            nats += float(
                torch.nn.functional.cross_entropy(logits.flatten(0, 1), wanted.flatten(), ignore_index=-100, reduction="sum")
            )
    model.train()
    return nats / math.log(2) / n_bytes


def train(model: torch.nn.Module, rows: torch.Tensor, steps: int, seed: int) -> Iterator[int]:
    """Yields the steps done, 0 first."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.95), weight_decay=0.1)
    order = np.random.default_rng(seed)
    model.train()
    yield 0
    for step in range(steps):
        part = rows[torch.from_numpy(order.integers(0, len(rows), ROWS))]
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1.0, (step + 1) / WARMUP)
        model(part, labels=part).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        yield step + 1


def extended(base: Path, documents: list[str], add: int, room: Path) -> Path:
    """The tokenizer's folder with its id map, by `curate train vocab`."""
    with open(room / "et.jsonl", "w", encoding="utf-8") as file:
        file.writelines(json.dumps({"text": text}) + "\n" for text in documents)
    run_file = {
        "method": "vocab", "name": "et", "tokenizer": str(base), "text": [{"files": str(room / "et.jsonl"), "language": "et"}],
        "held_out": "1 %", "extend": {"add": add}, "save": {"to": str(room / "tokenizer")},
    }  # fmt: skip
    (room / "vocab.yaml").write_text(yaml.safe_dump(run_file))
    assert vocab_run.run(room / "vocab.yaml") == 0
    return room / "tokenizer"


def measured(model: Path, documents: list[str], held_out: list[str], at: tuple[int, ...], seed: int) -> dict[int, float]:
    """Steps -> bits per byte."""
    tokenizer, network = open_tokenizer(model), AutoModelForCausalLM.from_pretrained(model)
    steps = train(network, rows_of(tokenizer, documents), at[-1], seed)
    return {done: bits_per_byte(network, tokenizer, held_out) for done in steps if done in at}


def line(name: str, found: list[dict[int, float]], at: tuple[int, ...]) -> str:
    cells = []
    for step in at:
        values = [one[step] for one in found]
        cells.append(f"{statistics.mean(values):.3f} ({min(values):.3f}-{max(values):.3f})")
    return f"| {name} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("data", nargs="?", type=Path, default=DATA)
    parser.add_argument("--add", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=64)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--before", type=int, default=200)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    began = time.monotonic()
    documents, held_out = texts(asked.data)
    left, kept = MEASURED, []
    for text in held_out:
        kept.append(text.encode()[:left].decode(errors="ignore"))
        left -= len(kept[-1].encode())
        if left <= 0:
            break
    at = (0, asked.steps // 4, asked.steps)
    with tempfile.TemporaryDirectory() as temporary:
        room = Path(temporary)
        stories = convert(asked.data / "models" / "stories260K", room / "stories")
        base = room / "base"
        shutil.copytree(stories, base)
        network = AutoModelForCausalLM.from_pretrained(stories)
        old = open_tokenizer(stories)
        before = bits_per_byte(network, old, kept)
        for _ in train(network, rows_of(old, documents), asked.before, seed=12345):
            pass
        network.save_pretrained(base)
        n_bytes, n_held = (sum(len(text.encode()) for text in part) for part in (documents, kept))
        print(f"text: {n_bytes:,} bytes to train on, {n_held:,} held out; steps of {ROWS * LENGTH:,} tokens", flush=True)
        print(f"stories260K: {before:.3f} bits per byte; after {asked.before} steps {bits_per_byte(network, old, kept):.3f}")
        with contextlib.redirect_stdout(sys.stderr):
            folder = extended(base, documents, asked.add, room)
        sizes = [sum(len(ids) for ids in t.encode_batch(kept)) for t in (old, open_tokenizer(folder))]
        print(f"held-out text: {sizes[0]:,} tokens of {old.vocab_size}, {sizes[1]:,} of {old.vocab_size + asked.add}\n")
        print(f"| rows | {' | '.join(f'{step} steps' for step in at)} |\n|{' --- |' * (len(at) + 1)}", flush=True)
        found = [measured(base, documents, kept, at, seed) for seed in range(asked.seeds)]
        print(line("old tokenizer", found, at), flush=True)
        for name, rows in METHODS.items():
            found = []
            for seed in range(asked.seeds):
                to = room / f"{rows.method}-{seed}-{rows.noise}"
                shutil.copytree(folder, to)
                write_model(rows, ModelSpec(init=str(base)), base, to, {"et": lambda: iter(documents)}, seed, lambda _: None)
                found.append(measured(to, documents, kept, at, seed))
                how = json.dumps(read_how(to))
            print(line(name, found, at), flush=True)
            print(f"{name}: {how}", file=sys.stderr, flush=True)
    print(f"\n{time.monotonic() - began:.0f} s, one thread")


def read_how(folder: Path) -> dict[str, int]:
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    return {row["values"]: row["counts"] for row in pc.value_counts(pq.read_table(folder / "rows.parquet")["how"]).to_pylist()}


if __name__ == "__main__":
    main()
