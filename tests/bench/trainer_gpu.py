"""An 8B model on one accelerator: tokens per second, MFU both ways and peak memory beside the plan's, for LoRA and for all weights.

    python -m tests.bench.trainer_gpu [--shape 8b|1b|tiny] [--lengths 4096,8192] [--steps 12] [--out FILE]

Weights are random, of Llama 3.1 8B's shape (vocabulary 128,256); text is random documents of 200 to 6,000 tokens in a manifest made here:
speed and memory depend on neither. `curate train cpt` does the run, its log.jsonl is read: medians of the steps after the fourth.
Beside them, published: NeMo AutoModel 12,473 tokens/s (LoRA, 1 x H100, 4,096), torchtitan 6,667 and accelerate's FSDP2 example about 8,000
a device (all weights, 8 x H100, 8,192); sources in docs/training.md. Asked on one H200: 11,000 for LoRA, 7,000 for all weights, memory
within 10 % of the plan. Exits 1 where one is missed, 2 without an accelerator (`--shape tiny` runs anywhere and asks for nothing).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from curate.manifest import write_manifest
from curate.store import write_json
from mixture.stream import CHUNK, START, advance, hash_row

SHAPES: dict[str, dict[str, Any]] = {
    "8b": {
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
    },
    "1b": {
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 16,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
    },
    "tiny": {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    },
}
VOCABULARY = {"8b": 128_256, "1b": 128_256, "tiny": 512}
KINDS: dict[str, dict[str, Any]] = {
    "lora": {"adapt": {"lora": {"r": 8, "alpha": 32}}},
    "full": {"adapt": "full", "weights": "bf16"},
}
ASKED = {"lora": 11_000, "full": 7_000}  # tokens per second on one H200
ROWS_A_STEP = {"8b": 4, "1b": 4, "tiny": 2}
WARM = 4  # steps that are not counted


def manifest(folder: Path, vocabulary: int, length: int, n_rows: int) -> Path:
    """A build of one component whose rows are packed with documents of random tokens."""
    rng, sequences = np.random.default_rng(0), folder / "build" / "sequences"
    sequences.mkdir(parents=True)
    tokens = rng.integers(0, vocabulary, n_rows * length).astype("<u4")
    tokens.tofile(folder / "tokens.ds")
    chunks, row_ptr, hashes = [], [0], []
    for row in range(n_rows):
        left, at, sizes = length, row * length, []
        while left:
            sizes.append(min(left, int(rng.integers(200, 6000))))
            chunks.append((0, at, sizes[-1], len(chunks), 0))
            left, at = left - sizes[-1], at + sizes[-1]
        row_ptr.append(len(chunks))
        hashes.append(hash_row(np.array(sizes), [tokens[row * length : (row + 1) * length]]))
    state = START
    for one in hashes:
        state = advance(state, one)
    arrays = {
        "row_ptr": np.array(row_ptr, np.int64), "chunks": np.array(chunks, CHUNK), "component": np.zeros(n_rows, np.uint16),
        "language": np.zeros(len(chunks), np.int16), "order": np.arange(n_rows, dtype=np.uint64),
        "row_hash": np.array([list(one) for one in hashes], np.uint8),
    }  # fmt: skip
    for name, array in arrays.items():
        np.save(sequences / f"{name}.npy", array)
    listed = [{"path": "../tokens.ds", "n_tokens": tokens.size, "has_loss": False}]
    write_json(sequences / "shards.json", {"token_bytes": 4, "languages": ["none"], "shards": listed})
    n = n_rows * length
    part = {"phase": "main", "realised": n, "tokens": n}
    path = folder / "build" / "manifest.json"
    write_manifest(path, {
        "schema_version": 1, "kind": "cpt", "name": "random", "tool_versions": {}, "recipe_sha256": "", "seed": 0,
        "roots": {"stream": state.hex()},
        "tokenizer": {"name": "none", "sha256": "0" * 64, "vocab_size": vocabulary, "special": {"bos": None, "eos": None, "pad": None}},
        "phases": [{"name": "main", "sequence_length": length, "order": {"first_index": 0, "n_sequences": n_rows}}],
        "components": [{"name": "random", "languages": {"none": n}, "phases": [part]}], "held_out": {"sequences": 0},
        "stream_checkpoints": [{"stream_index": n_rows, "sha256": state.hex()}], "outputs": [], "lineage": [],
    })  # fmt: skip
    return path


def run_file(folder: Path, shape: str, kind: str, length: int, stream: Path, sets: dict[str, Any]) -> Path:
    how = dict(KINDS[kind])
    model = {
        "init": {"model_type": "llama", "vocab_size": VOCABULARY[shape], "max_position_embeddings": 8192, "rope_theta": 5e5, **SHAPES[shape]},
        "dtype": "bf16", "weights": how.pop("weights", "fp32"), "checkpointing": shape == "8b" and (kind == "full" or length > 4096),
    }  # fmt: skip
    data = {
        "method": "cpt", "name": f"{shape}-{kind}-{length}", "manifest": str(stream), "model": {**model, **sets}, **how,
        "global_batch": f"{ROWS_A_STEP[shape] * length} tokens", "micro_batch": 1,
        "schedule": {"kind": "constant", "peak_lr": 1e-5}, "save": {"to": str(folder / "run")}, "stop": {"max_hours": 0.15},
    }  # fmt: skip
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(data))
    return path


def measured(folder: Path, n_steps: int) -> dict[str, float]:
    """Medians of the steps after the first WARM ones, from the log; the last step's time does not hold the save."""
    events = [json.loads(line) for line in (folder / "run" / "log.jsonl").read_text().splitlines()]
    steps = [e for e in events if e["event"] == "step" and e["step"] > WARM]
    if len(steps) < n_steps - WARM:
        raise SystemExit(f"{len(steps)} of {n_steps - WARM} steps in the log")
    spent = [sum(e["seconds"].values()) for e in steps]
    start = next(e for e in events if e["event"] == "start")
    return {
        "tokens_per_second": steps[0]["all_tokens"] / statistics.median(spent), "peak_bytes": max(e["memory_bytes"] for e in steps),
        "data": statistics.median(e["seconds"]["data"] for e in steps) / statistics.median(spent),
        "account": statistics.median(e["seconds"]["account"] for e in steps) / statistics.median(spent), "start": start,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", choices=SHAPES, default="8b")
    parser.add_argument("--kinds", default="lora,full")
    parser.add_argument("--lengths", default="4096,8192")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="over the run file: model.compile=true")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    if asked.shape != "tiny" and not torch.cuda.is_available():
        print("no accelerator here: nothing was measured (--shape tiny runs anywhere)")
        raise SystemExit(2)
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    lines, missed = [f"{asked.shape} on {name}, torch {torch.__version__}; medians of {asked.steps - WARM} steps"], []
    lines.append(
        f"{'run':<18}{'tokens/s':>10}{'MFU causal':>12}{'not causal':>12}{'peak GB':>10}{'planned':>10}{'data':>8}{'account':>9}"
    )
    for kind in asked.kinds.split(","):
        for length in map(int, asked.lengths.split(",")):
            with tempfile.TemporaryDirectory() as place:
                folder = Path(place)
                n_rows = ROWS_A_STEP[asked.shape] * asked.steps
                run = run_file(folder, asked.shape, kind, length, manifest(folder, VOCABULARY[asked.shape], length, n_rows), {})
                sets = [part for text in asked.set for part in ("--set", text)]
                done = subprocess.run([sys.executable, "-m", "train", "cpt", str(run), *sets], capture_output=True, text=True)
                if done.returncode:
                    lines.append(f"{kind} {length}: exit {done.returncode}: {done.stderr.strip()[-600:]}")
                    missed.append(f"{kind} {length}")
                    continue
                found = measured(folder, asked.steps)
                planned = plan_of(run, sets)
            speed, flops = found["tokens_per_second"], found["start"]["flops"]
            shares = [
                flops[key] * speed / flops["peak"] if flops.get("peak") else float("nan")
                for key in ("per_token_causal", "per_token")
            ]
            lines.append(
                f"{kind + ' ' + str(length):<18}{speed:>10,.0f}{shares[0]:>12.1%}{shares[1]:>12.1%}{found['peak_bytes'] / 1e9:>10.1f}"
                f"{planned / 1e9:>10.1f}{found['data']:>8.2%}{found['account']:>9.2%}"
            )
            if "H200" in name and asked.shape == "8b":
                missed += [f"{kind} {length}: speed"] * (speed < ASKED[kind] and length == 4096)
                missed += [f"{kind} {length}: memory"] * (abs(planned / found["peak_bytes"] - 1) > 0.1)
    text = "\n".join([*lines, *(f"missed: {one}" for one in missed)]) + "\n"
    print(text, end="")
    if asked.out:
        asked.out.write_text(text)
    raise SystemExit(1 if missed else 0)


def plan_of(run: Path, sets: list[str]) -> float:
    """Peak bytes that `curate plan RUN` foresees."""
    done = subprocess.run([sys.executable, "-m", "curate", "plan", str(run), "--json", *sets], capture_output=True, text=True)
    data = json.loads(done.stdout)
    return float(data["memory"]["total"])


if __name__ == "__main__":
    main()
