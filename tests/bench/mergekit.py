"""`curate train merge` beside mergekit on the same tensors: the recipe that we write, run by mergekit-yaml in an environment of its own.

    python -m venv ENV && ENV/bin/pip install mergekit
    python -m tests.bench.mergekit ENV/bin/mergekit-yaml

Models: Llamas of drawn weights (three layers, 320 tokens), the exact result in float64 beside both. Cases: task arithmetic in fp32 and bf16, lambdas
per block, two vectors of different bases (mergekit's linear), and vocabularies of other order with tokens that only one side has.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import random
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM

from tests.train import merged
from train.merge.plan import lambdas_of
from train.merge.run import run

Weights = dict[str, torch.Tensor]
WORDS = ["<unk>", *(f"sõna{i}" for i in range(319))]


def write_model(folder: Path, seed: int, words: Sequence[str], dtype: torch.dtype) -> Path:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(words), hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
        tie_word_embeddings=False, bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    LlamaForCausalLM(config).to(dtype).save_pretrained(folder)
    merged.tokenizer(folder, words)
    return folder


def weights_of(folder: Path) -> Weights:
    return {name: t for file in sorted(folder.glob("*.safetensors")) for name, t in load_file(file).items()}


def exact(at: Path, vectors: Sequence[dict[str, Any]], words: dict[str, Sequence[str]]) -> Weights:
    """In float64, rows by token, by plain loops."""
    from train.merge.config import Vector

    a = {name: t.double() for name, t in weights_of(at / "a").items()}
    result = {name: t.clone() for name, t in a.items()}
    for vector in vectors:
        b, c = (weights_of(Path(vector[key])) for key in "bc")
        places = [{word: i for i, word in enumerate(words[Path(vector[key]).name])} for key in "bc"]
        for name, value in lambdas_of(Vector.model_validate(vector), list(a), "").items():
            if name in (merged.EMBEDDINGS, merged.HEAD):
                for i, word in enumerate(words["a"]):
                    if all(word in place for place in places):
                        result[name][i] += value * (b[name][places[0][word]].double() - c[name][places[1][word]].double())
            else:
                result[name] += value * (b[name].double() - c[name].double())
    return result


def furthest(found: Weights, wanted: Weights, rows: Sequence[int] | None = None) -> float:
    """Largest difference; `rows`: only these of embeddings and head."""
    most = 0.0
    for name, t in wanted.items():
        own, other = found[name].double(), t
        if rows is not None and name in (merged.EMBEDDINGS, merged.HEAD):
            own, other = own[list(rows)], other[list(rows)]
        assert own.shape == other.shape, (name, own.shape, other.shape)
        most = max(most, float((own - other).abs().max()))
    return most


def compare(
    title: str,
    at: Path,
    vectors: list[dict[str, Any]],
    words: dict[str, Sequence[str]],
    command: Path,
    dtype: torch.dtype,
    **keys: Any,
) -> bool:
    kit, ours, theirs = (at / f"{title.split(',')[0].replace(' ', '-')}{end}" for end in (".yaml", "-ours", "-theirs"))
    path = merged.write_run(at, vectors=vectors, to=str(ours), write_mergekit=str(kit), **keys)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        assert run(path) == 0
    if dtype == torch.bfloat16:
        kit.write_text(kit.read_text() + "out_dtype: bfloat16\n")
    done = subprocess.run([command, kit, theirs, "--quiet"], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{title}: {kit.read_text()}\n{done.stderr[-3000:]}")
    found, other, wanted = weights_of(ours), weights_of(theirs), exact(at, vectors, words)
    method = yaml.safe_load(kit.read_text())["merge_method"]
    # a row whose token one side lacks has no difference for us; mergekit puts a mean or its base's row there: compared where all have the token
    rows = [i for i, word in enumerate(words["a"]) if all(word in of for of in words.values())]
    far = [
        furthest(found, wanted),
        furthest(other, wanted, rows),
        furthest(found, {n: t.double() for n, t in other.items()}, rows),
    ]
    scale = max(float(t.abs().max()) for t in wanted.values())
    print(
        f"{title:<42} {method:<16} {len(rows):>4}/{len(words['a'])} {far[0]:>12.2e} {far[1]:>16.2e} {far[2]:>15.2e}", flush=True
    )
    return far[2] <= scale * (2**-7 if dtype == torch.bfloat16 else 2**-21)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("command", type=Path, help="mergekit-yaml of its environment")
    command = parser.parse_args().command.absolute()
    version = subprocess.run([command.parent / "pip", "list"], capture_output=True, text=True).stdout
    print(
        ", ".join(
            " ".join(line.split())
            for line in version.splitlines()
            if line.split()[0] in ("mergekit", "torch", "transformers", "safetensors")
        )
    )
    print(f"{'':<42} {'its method':<16} {'rows':>8} {'ours - exact':>12} {'mergekit - exact':>16} {'ours - mergekit':>15}")
    good = []
    for dtype in (torch.float32, torch.bfloat16):
        kind = str(dtype).removeprefix("torch.")
        with tempfile.TemporaryDirectory() as temporary:
            at = Path(temporary)
            words = dict.fromkeys("abcde", WORDS)
            for seed, name in enumerate("abcde"):
                write_model(at / name, seed, WORDS, dtype)
            chat = [{"b": str(at / "b"), "c": str(at / "c"), "lambda": 0.7}]
            blocks = [{**chat[0], "blocks": {"model.layers.1.*": 0.25, "*mlp*": 1.5}, "exclude": ["*norm*"]}]
            two = [chat[0], {"b": str(at / "d"), "c": str(at / "e"), "lambda": -0.3}]
            alike = {name: words[name] for name in "abc"}
            good.append(compare(f"chat vector, {kind}", at, chat, alike, command, dtype, rows="id"))
            good.append(compare(f"lambdas per block, {kind}", at, blocks, alike, command, dtype, rows="id"))
            good.append(compare(f"two bases, {kind}", at, two, words, command, dtype, rows="id"))
    with tempfile.TemporaryDirectory() as temporary:
        at, draw = Path(temporary), random.Random(3)
        words = {"a": [*WORDS, "uus", "uuem"], "b": draw.sample(WORDS, 320), "c": draw.sample(WORDS[:300], 300)}
        for seed, name in enumerate("abc"):
            write_model(at / name, seed, words[name], torch.float32)
        chat = [{"b": str(at / "b"), "c": str(at / "c"), "lambda": 0.7}]
        good.append(compare("other vocabularies, float32", at, chat, words, command, torch.float32))
    print("agrees" if all(good) else "DIFFERS")
    raise SystemExit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
