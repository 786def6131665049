"""What reading the stream costs beside training on it, and how soon the first batch is there at step 10 and at step 10 million.

    python -m tests.bench.loader [DATA]

Speed: a real mixture of the texts of DATA, packed in rows of 2048 and of 8192 tokens; CPU seconds of one thread, the fastest of several
rounds over the whole stream, files in the page cache. Beside it a step of a small Llama on the CPU (forward and backward, one thread), and
accelerators by arithmetic: 6 FLOPs per weight and token (Kaplan et al. 2020), 40 % (guess) of the 989 TFLOP/s dense bf16 of an H100 or
H200 (NVIDIA's data sheets). Issue 5 asks for < 2 % of a step, mixture.md section 9 names the rivals.
First batch: a manifest of ten million steps and more, whose arrays are sparse files (640 million rows, 54 GB if they were full); a
process of its own opens it and reads one batch. Asked: < 2 s.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from curate.manifest import write_manifest
from curate.recipe import TokenizerSpec
from curate.store import write_json
from mixture.build import plan_and_pack
from mixture.dataset import Batches, Rows
from mixture.stream import CHUNK, Stream
from mixture.tokenizer import load_tokenizer
from tests import real
from tests.mixture.small_build import recipe_of, write_tokens

TOP = Path(__file__).resolve().parents[2]
LENGTHS = (2048, 8192)
BATCH_TOKENS = 2**17  # of a rank and step
PEAK, SHARE = 989e12, 0.4
MODELS = {"160M": 160e6, "1B": 1e9, "7B": 7e9}
N_STEPS, BATCH_ROWS, ROW = 10_000_100, 64, 64  # of the sparse manifest


def fastest(n_tokens: int, work: Callable[[], object], rounds: int = 5) -> float:
    """Tokens per second of CPU time, the fastest of some rounds; all that is timed so runs on one thread and waits for nothing."""
    best = float("inf")
    for _ in range(rounds):
        started = time.process_time()
        work()
        best = min(best, time.process_time() - started)
    return n_tokens / best


def real_build(data: Path, folder: Path, length: int) -> Path:
    """Every text of DATA that tests/real.py names, once, tokenized by Mistral's tokenizer."""
    spec = TokenizerSpec(model=str(data / "tokenizers" / "mistral_v1"), eos="per_document")
    tokenizer = load_tokenizer(spec)
    sources = {}
    for source in real.FILES:
        texts = [row["text"] for row in real.rows(data, source) if row["text"]]
        tokens = [np.append(ids.astype(np.int64), tokenizer.special["eos"]) for ids in tokenizer.encode_batch(texts)]
        sources[source] = [
            {"id": f"{i:032x}", "cluster_id": None, "tokens": ids, "loss": None, "language": None, "license": None}
            for i, ids in enumerate(tokens)
        ]
    total = {source: sum(len(d["tokens"]) for d in documents) for source, documents in sources.items()}
    components = {source: {"from": [source], "budget": f"{n} tokens", "max_epochs": 1} for source, n in total.items()}
    recipe = recipe_of(folder, components, sum(total.values()), length)
    tables, shards, patterns = write_tokens(folder / f"tokens-{length}", recipe, sources, n_shards=4)
    facts = {"name": "mistral", "sha256": tokenizer.sha256, "vocab_size": tokenizer.vocab_size, "special": tokenizer.special}
    out = folder / f"build-{length}"
    plan_and_pack(recipe, tables, shards, out, tokenizer=facts, token_bytes=2, lineage=[], patterns=patterns)
    return out / "manifest.json"


def step_speed(stream: Stream) -> tuple[int, float, float]:
    """(weights, tokens/s of a step on one CPU thread, tokens/s of the trainer's account of what entered) of a small model."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from train.batch import read
    from train.model import Scorer
    from train.receipt import evidence
    from train.streams import Streams

    config = LlamaConfig(
        vocab_size=stream.manifest["tokenizer"]["vocab_size"], hidden_size=64, intermediate_size=172, num_hidden_layers=4,
        num_attention_heads=4, max_position_embeddings=LENGTHS[-1],
    )  # fmt: skip
    model = Scorer(LlamaForCausalLM(config), "fp32")
    rows = read(Streams([stream]), stream.steps(rows=1).share(0))
    n = rows.input_ids.numel()

    def step() -> None:
        model(rows.input_ids, rows.position_ids, rows.labels, torch.ones(rows.labels.shape))[0].backward()
        model.zero_grad()

    entered = rows.input_ids.numpy(), rows.position_ids.numpy()
    accounted = fastest(50 * n, lambda: [evidence(entered, rows, len(stream.languages)) for _ in range(50)])
    return sum(p.numel() for p in model.parameters()), fastest(n, step, 3), accounted


def speeds(manifest: Path) -> tuple[float, float, float]:
    """Tokens/s over the whole stream: the stream's arrays, the trainer's tensors, items of the dataset."""
    import torch

    from train.batch import read
    from train.streams import Streams

    torch.set_num_threads(1)
    stream, rows = Stream(manifest), Rows(manifest)
    streams = Streams([stream])
    steps = stream.steps(tokens=BATCH_TOKENS)
    whole = range(steps.n_steps - 1)  # without the last, partly empty one
    shares = [steps.share(step) for step in whole]
    batches = list(Batches(rows, tokens=BATCH_TOKENS, n_steps=len(whole)))
    n = len(whole) * BATCH_TOKENS
    return (
        fastest(n, lambda: [stream.batch(step, BATCH_TOKENS) for step in whole]),
        fastest(n, lambda: [read(streams, share) for share in shares]),
        fastest(n, lambda: [rows.__getitems__(batch) for batch in batches]),
    )


def sparse_build(folder: Path, steps: tuple[int, ...], n_steps: int = N_STEPS, batch_rows: int = BATCH_ROWS) -> Path:
    """The manifest of a stream so long that only the rows of `steps` (from 0) are really there; they lie all over the arrays."""
    n_rows, sequences = n_steps * batch_rows, folder / "build" / "sequences"
    sequences.mkdir(parents=True)
    rng = np.random.default_rng(0)
    open_ = {
        name: _sparse(sequences / f"{name}.npy", dtype, shape)
        for name, dtype, shape in (
            ("row_ptr", "<i8", (n_rows + 1,)), ("chunks", CHUNK, (2 * n_rows,)), ("component", "<u2", (n_rows,)),
            ("language", "<i2", (2 * n_rows,)), ("order", "<u8", (n_rows,)), ("row_hash", "|u1", (n_rows, 16)),
        )
    }  # fmt: skip
    n_tokens = 0
    for step in steps:
        own = rng.choice(n_rows // 2, batch_rows, replace=False) * 2  # even: the pointer after a row is its own
        open_["order"][step * batch_rows : (step + 1) * batch_rows] = own
        for sequence in own.tolist():
            open_["row_ptr"][sequence : sequence + 2] = 2 * sequence, 2 * sequence + 2
            half = ROW // 2
            open_["chunks"][2 * sequence : 2 * sequence + 2] = [
                (0, n_tokens, half, 2 * sequence, 0), (0, n_tokens + half, half - 1, 2 * sequence + 1, 0)
            ]  # fmt: skip
            n_tokens += ROW
    np.arange(n_tokens, dtype="<u2").tofile(folder / "tokens.ds")
    listed = [{"path": "../tokens.ds", "n_tokens": n_tokens, "has_loss": False}]
    write_json(sequences / "shards.json", {"token_bytes": 2, "languages": ["et"], "shards": listed})
    marks = [{"stream_index": n_rows * k // 64, "sha256": f"{k:064x}"} for k in range(1, 65)]
    manifest = {
        "schema_version": 1, "kind": "cpt", "name": "long", "tool_versions": {}, "recipe_sha256": "", "seed": 0,
        "roots": {"stream": "0" * 64}, "tokenizer": {},
        "phases": [{"name": "main", "sequence_length": ROW, "order": {"first_index": 0, "n_sequences": n_rows}}],
        "components": [{"name": "et", "phases": []}], "held_out": {"sequences": 0}, "stream_checkpoints": marks, "outputs": [],
        "lineage": [],
    }  # fmt: skip
    write_manifest(folder / "build" / "manifest.json", manifest)
    return folder / "build" / "manifest.json"


def _sparse(path: Path, dtype: object, shape: tuple[int, ...]) -> np.memmap:
    """An .npy file of zeros that takes no room until something is written."""
    return np.lib.format.open_memmap(path, "w+", np.dtype(dtype), shape)  # type: ignore[arg-type]


FIRST = """
import json, sys, time
at = [time.perf_counter()]
from mixture.stream import Stream
at.append(time.perf_counter())
stream = Stream(sys.argv[1])
at.append(time.perf_counter())
batch = stream.batch(int(sys.argv[2]), rows=int(sys.argv[3]))
at.append(time.perf_counter())
assert batch.n_tokens.tolist() == [63] * 64
print(json.dumps([b - a for a, b in zip(at, at[1:])]))
"""


def first_batch(manifest: Path, step: int, batch_rows: int = BATCH_ROWS) -> list[float]:
    """Seconds to import, to open, to read the first batch, in a process of its own."""
    command = [sys.executable, "-c", FIRST, str(manifest), str(step), str(batch_rows)]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(TOP)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def main() -> None:
    data = Path(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("VESKI_TEST_DATA", TOP.parent / "shared" / "data"))
    with tempfile.TemporaryDirectory(prefix="veski-loader-") as folder:
        first_batches(Path(folder))
        print()
        print("M tokens per CPU second      arrays   tensors     items")
        slowest = float("inf")
        for length in LENGTHS:
            manifest = real_build(data, Path(folder), length)
            stream = Stream(manifest)
            chunks = np.load(manifest.parent / "sequences" / "row_ptr.npy", mmap_mode="r")[-1] / stream.n_sequences
            found = speeds(manifest)
            slowest = min(slowest, found[1])
            said = f"{stream.n_sequences} rows of {length}"
            print(
                f"{said:<24}" + "".join(f"{speed / 1e6:10.1f}" for speed in found) + f"   {chunks:.1f} chunks a row", flush=True
            )
        n_weights, step, accounted = step_speed(Stream(Path(folder) / f"build-{LENGTHS[0]}" / "manifest.json"))
    print(f"\nof a step, where the slower tensors are read at {slowest / 1e6:.1f} M tokens/s by the thread that trains:")
    speeds_of = {f"{n_weights / 1e6:.1f} M weights on this CPU, one thread (measured)": step}
    speeds_of |= {f"{name} weights on one H100 or H200 (arithmetic)": SHARE * PEAK / (6 * n) for name, n in MODELS.items()}
    for name, speed in speeds_of.items():
        print(f"{name:<52} {speed:>10,.0f} tokens/s: loader {speed / slowest:8.3%}, receipt {speed / accounted:8.3%}")


def first_batches(folder: Path) -> None:
    steps = (10, 10_000_000)
    manifest = sparse_build(folder / "sparse", steps)
    arrays = [path.stat() for path in (manifest.parent / "sequences").iterdir()]
    size, used = sum(s.st_size for s in arrays) / 1e9, sum(s.st_blocks * 512 for s in arrays) / 1e6
    print(
        f"first batch of {N_STEPS * BATCH_ROWS / 1e6:.0f} M rows, arrays of {size:.1f} GB, {used:.0f} MB of them on disk; seconds"
    )
    print("                  import     open    batch")
    for step in steps:
        seconds = min((first_batch(manifest, step) for _ in range(3)), key=lambda s: s[1] + s[2])
        print(f"step {step:>10,}" + "".join(f"{s:9.3f}" for s in seconds), flush=True)


if __name__ == "__main__":
    main()
