"""Peak memory and speed of `curate train merge` on synthetic models with the embeddings, the head and some layers of Llama 3.1 8B, in bf16.

    python -m tests.bench.merge_memory [--layers 1] [--mergekit ENV/bin/mergekit-yaml] [--folder DIR]

Three models of 2.5 GB, each in two files. `alike`: one vocabulary. `shuffled`: b has the same 128,256 tokens in another
order, so that every row of embeddings and head is looked for by its token. Memory is that of the whole process (VmHWM), Python and torch
included; what the process has before the merge begins is said beside it. The files are larger than any tensor: nothing is mapped.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from transformers import AutoConfig

from tests.train import merged
from train.merge.shards import header_bytes

VOCABULARY, WIDTH, INNER = 128256, 4096, 14336
WORK = """
import time, transformers, tqdm
from transformers import AutoModelForCausalLM
import train.merge.run
before = resident()
began = time.monotonic()
assert train.merge.run.run(sys.argv[1]) == 0
print("FIGURES", before, peak(), time.monotonic() - began, file=sys.stderr)
"""


def shapes(layers: int) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (VOCABULARY, WIDTH)}
    for i in range(layers):
        of = {"self_attn.q_proj": (WIDTH, WIDTH), "self_attn.k_proj": (1024, WIDTH), "self_attn.v_proj": (1024, WIDTH),
              "self_attn.o_proj": (WIDTH, WIDTH), "mlp.gate_proj": (INNER, WIDTH), "mlp.up_proj": (INNER, WIDTH), "mlp.down_proj": (WIDTH, INNER),
              "input_layernorm": (WIDTH,), "post_attention_layernorm": (WIDTH,)}  # fmt: skip
        found |= {f"model.layers.{i}.{name}.weight": shape for name, shape in of.items()}
    return found | {"model.norm.weight": (WIDTH,), "lm_head.weight": (VOCABULARY, WIDTH)}


def write_model(folder: Path, layers: int, seed: int, words: Sequence[str]) -> Path:
    """In two files, the same 2**20 drawn numbers over and over."""
    folder.mkdir()
    numbers = (
        (torch.randn(1 << 20, generator=torch.Generator().manual_seed(seed)) * 0.02)
        .to(torch.bfloat16)
        .view(torch.uint8)
        .numpy()
        .tobytes()
    )
    names, where = list(shapes(layers)), {}
    for k, part in enumerate((names[: len(names) // 2], names[len(names) // 2 :]), 1):
        file = f"model-{k:05d}-of-00002.safetensors"
        header, at = {}, 0
        for name in part:
            size = 2 * int(torch.tensor(shapes(layers)[name]).prod())
            header[name] = {"dtype": "BF16", "shape": list(shapes(layers)[name]), "data_offsets": [at, at + size]}
            at += size
        with open(folder / file, "wb") as out:
            out.write(header_bytes(header))
            for first in range(0, at, len(numbers)):
                out.write(numbers[: at - first])
        where |= dict.fromkeys(part, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    AutoConfig.for_model(
        "llama", hidden_size=WIDTH, intermediate_size=INNER, num_hidden_layers=layers, num_attention_heads=32, num_key_value_heads=8,
        vocab_size=VOCABULARY, architectures=["LlamaForCausalLM"], dtype="bfloat16",
    ).save_pretrained(folder)  # fmt: skip
    merged.tokenizer(folder, words)
    return folder


def ours(run: Path) -> tuple[float, float, float]:
    """(bytes before, bytes at most, seconds)."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\nfrom tests.memory import *\n{WORK}", str(run)], capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    before, most, seconds = next(line for line in done.stderr.splitlines() if line.startswith("FIGURES")).split()[1:]
    return float(before), float(most), float(seconds)


def theirs(command: Path, recipe: Path, to: Path) -> tuple[float, float]:
    """(bytes at most, seconds) of mergekit on the CPU."""
    began = time.monotonic()
    done = subprocess.run([command, str(recipe), str(to), "--no-copy-tokenizer", "--quiet"], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024, time.monotonic() - began


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--layers", type=int, default=1)
    parser.add_argument("--mergekit", type=Path)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as temporary:
        at = Path(temporary)
        words = [f"sõna{i}" for i in range(VOCABULARY)]
        words[0] = "<unk>"
        others = [words[0], *random.Random(7).sample(words[1:], len(words) - 1)]
        for seed, name in enumerate("abc"):
            write_model(at / name, options.layers, seed, words)
        size = sum(f.stat().st_size for f in (at / "a").glob("*.safetensors"))
        largest = 2 * VOCABULARY * WIDTH
        said = f"a model is {size / 1e9:.2f} GB, its largest tensor {largest / 1e9:.2f} GB"
        print(f"torch {torch.__version__}, {os.cpu_count()} cores, {torch.get_num_threads()} threads; {said}", flush=True)
        print(f"{'case':<24} {'before':>9} {'at most':>9} {'more':>9} {'seconds':>8} {'GB/s read+written':>18}")
        for case in ("alike", "shuffled"):
            if case == "shuffled":
                merged.tokenizer(at / "b", others)
            run = merged.write_run(
                at, to=str(at / case), vectors=merged.vector(at, **{"lambda": 0.5}), write_mergekit=str(at / "kit.yaml")
            )
            before, most, seconds = ours(run)
            moved = 3 * size * 3 + size * 2  # hashed, looked through for NaN and calculated with; written and hashed
            numbers = f"{before / 1e6:>6,.0f} MB {most / 1e6:>6,.0f} MB {(most - before) / 1e6:>6,.0f} MB"
            print(f"{case:<24} {numbers} {seconds:>8.1f} {moved / seconds / 1e9:>18.2f}", flush=True)
            check(at, case, words, others)
        if options.mergekit:
            (at / "plain.yaml").write_text(
                "\n".join(line for line in (at / "kit.yaml").read_text().split("tokenizer:")[0].splitlines())
                + "\nout_dtype: bfloat16\n"
            )
            most, seconds = theirs(options.mergekit, at / "plain.yaml", at / "theirs")
            print(f"{'mergekit, alike':<24} {'':>9} {most / 1e6:>6,.0f} MB {'':>9} {seconds:>8.1f}")


def check(at: Path, case: str, words: Sequence[str], others: Sequence[str]) -> None:
    """Some rows of the embeddings against the formula, read by the library."""
    place = {word: i for i, word in enumerate(others if case == "shuffled" else words)}

    def row(folder: str, i: int) -> torch.Tensor:
        file = next(f for f in sorted((at / folder).glob("*.safetensors")))
        with safe_open(file, "pt") as opened:
            return opened.get_slice("model.embed_tokens.weight")[i : i + 1].float()

    for i in (0, 1, 777, 64000, VOCABULARY - 1):
        wanted = row("a", i) + 0.5 * (row("b", place[words[i]]) - row("c", i))
        assert torch.equal(row(case, i), wanted.to(torch.bfloat16).float()), (case, i)


if __name__ == "__main__":
    main()
