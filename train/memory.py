"""Peak memory of a run on one device, by part, before it begins: a run file, a config and a number of rows in, `Memory` out.

Weights, gradients and optimizer state follow from the shapes of the model on torch's meta device; what the passes need from a step on
fake tensors (train/shadow.py). Bytes as torch allocates them: what the allocator and the driver take on top is `RESERVE`.
May import curate.errors, train.*; torch, transformers.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import torch
from transformers import PretrainedConfig

from train.adapt import adapt
from train.config import Adapt, ModelSpec, RunFile
from train.shadow import KINDS, Bytes, Shadow, config_from, run_shadow, without_memory

RESERVE = 0.06  # of the device: kernels' workspaces and what lies between allocations (guess, until measured on a GPU)
FOUR_BITS = (
    0.5 + (1 + 4 / 256) / 64
)  # bytes of a weight in nf4: blocks of 64 share a byte, 256 of those a float (QLoRA, section 3)
EIGHT_BITS = 2 * (1 + 4 / 256)  # bytes of AdamW's two moments: blocks of 256 share a float (bitsandbytes)


@dataclass(frozen=True)
class Memory:
    """`parts` add up to `total`, at the moment of the peak: head, backward pass, embeddings, or optimizer step."""

    parts: dict[str, int]
    at: str
    moments: dict[str, int]  # total of every moment that was looked at

    @property
    def total(self) -> int:
        return sum(self.parts.values())

    def fits(self, free: int) -> bool:
        return self.total <= free * (1 - RESERVE)


@dataclass(frozen=True)
class Sizes:
    """Bytes of the whole model's weights: of layer i, and of all outside the layers."""

    numbers: int  # parameters, those that are trained
    trained: int
    weights: int
    gradients: int
    optimizer: int
    layers: tuple[tuple[int, int], ...]  # (weights, gradients)
    largest: int  # numbers in the largest trained matrix
    gradient_item: int  # bytes of a trained number
    largest_quantized: int

    @property
    def outside(self) -> tuple[int, int]:
        return self.weights - sum(w for w, _ in self.layers), self.gradients - sum(g for _, g in self.layers)


def peak(
    run: RunFile, config: PretrainedConfig, rows: int, length: int, *, world: int = 1, sharded: bool = False, micro_steps: int = 2,
    device: str = "cuda",
) -> Memory:  # fmt: skip
    """Of one process with `rows` rows of `length` tokens in a forward pass, `micro_steps` of them in an optimizer step.

    world > 1: plain data parallel, or `sharded` (FSDP2: weights, gradients and optimizer state divided, a layer whole while it works).
    """
    shadow = run_shadow(run, config, rows, length)
    sizes = sizes_of(run, config)
    held = {"weights": sizes.weights, "gradients": sizes.gradients, "optimizer state": sizes.optimizer}
    if sharded:
        held = {part: -(-size // world) for part, size in held.items()}
    extra = _of_many(sizes, world, sharded)
    moments = _passes(shadow, sizes, micro_steps > 1, sharded)
    moments["optimizer step"] = {"working memory": _step(run, sizes, device) // (world if sharded else 1)}
    whole = {}
    for name, parts in moments.items():
        kept = {**held, "gradients": parts.pop("gradients", held["gradients"])}
        if name != "optimizer step" and sizes.largest_quantized:
            parts["working memory"] += 2 * sizes.largest_quantized  # a matrix in bf16, for as long as it is multiplied with
        whole[name] = {part: size for part, size in {**kept, **parts, **extra}.items() if size}
    at = max(whole, key=lambda name: sum(whole[name].values()))
    return Memory(whole[at], at, {name: sum(parts.values()) for name, parts in whole.items()})


def _passes(shadow: Shadow, sizes: Sizes, has_gradients: bool, sharded: bool) -> dict[str, Bytes]:
    """Moment -> parts of forward and backward pass; `gradients` only where fewer of them are there than all."""
    n = len(shadow.kinds)
    outside = sizes.outside[1]
    before = dict(shadow.before)
    forward = 0
    for number in range(n):
        forward = max(forward, sum(before.values()) + shadow.layer(number).forward)
        before = {kind: before[kind] + shadow.layer(number).kept[kind] for kind in KINDS}
    moments = {"forward pass": _parts(shadow.before, forward - sum(shadow.before.values())), "head": _parts(before, shadow.head)}
    below, best = dict(shadow.below), -1
    for number in range(n):
        layer = shadow.layer(number)
        below = {kind: below[kind] + layer.held[kind] for kind in KINDS}
        above = sum(g for _, g in sizes.layers[number + 1 :]) + outside
        total = sum(below.values()) + layer.backward + (0 if has_gradients else above)
        if total > best:
            best, moments["backward pass"] = total, _parts(below, layer.backward)
            if not has_gradients and not sharded:
                moments["backward pass"]["gradients"] = above
    moments["embeddings"] = _parts(shadow.below, shadow.embeddings)
    if not has_gradients and not sharded:
        moments["forward pass"]["gradients"] = moments["head"]["gradients"] = 0
    return moments


def _parts(kept: Bytes, working: int) -> Bytes:
    names = {"activations": "activations", "masks": "attention masks", "copies": "copies of weights in bf16"}
    return {**{names[kind]: size for kind, size in kept.items()}, "working memory": working}


def _of_many(sizes: Sizes, world: int, sharded: bool) -> Bytes:
    """What data parallelism adds: DDP's buckets hold every gradient once more; FSDP2 holds whole what lies outside the layers, two
    layers and a layer's gradients."""
    if world == 1:
        return {}
    if not sharded:
        return {"buckets of gradients": sizes.gradients}
    weights, gradients = sizes.outside
    most = [max(sizes.layers, key=lambda layer: layer[k])[k] for k in (0, 1)]
    return {"whole layers": weights + gradients + 2 * most[0] + 2 * most[1]}


def _step(run: RunFile, sizes: Sizes, device: str) -> int:
    """Temporary numbers of an optimizer step, in terms of the largest trained matrix: measured on torch's own (tests/train/test_memory.py).
    Fused AdamW has none; stochastic rounding passes through fp32."""
    if run.optimizer.rounding == "stochastic":
        return 4 * sizes.largest
    times = {"adamw": 2 if device == "cpu" else 0, "adamw_8bit": 0, "adafactor": 1, "muon": 3}[run.optimizer.name]
    return times * sizes.gradient_item * sizes.largest


def sizes_of(run: RunFile, config: PretrainedConfig) -> Sizes:
    model = run.model.model_copy(update={"init": {}, "compile": False})
    said = run.model_copy(update={"model": model}).model_dump_json(include={"model", "adapt", "optimizer"})
    return _sizes(said, config.to_json_string())


@lru_cache(maxsize=64)
def _sizes(said: str, config_json: str) -> Sizes:
    settings, config = json.loads(said), config_from(config_json)
    spec, how = ModelSpec.model_validate(settings["model"]), Adapt.model_validate(settings["adapt"])
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = adapt(without_memory(spec, how, config), how)
    in_four_bits = _quantized(model) if how.lora and how.lora.quantize != "none" else set()
    numbers = trained = weights = gradients = optimizer = largest = item = 0
    layers: dict[int, tuple[int, int]] = {}
    for name, p in model.named_parameters():
        size = int(p.numel() * FOUR_BITS) if name in in_four_bits else p.nbytes
        gradient = p.nbytes if p.requires_grad else 0
        numbers, weights, gradients = numbers + p.numel(), weights + size, gradients + gradient
        if p.requires_grad:
            trained += p.numel()
            optimizer += state_of(settings["optimizer"]["name"], name, p)
            largest, item = max(largest, p.numel()), max(item, p.element_size())
        if (number := _layer_of(name)) is not None:
            w, g = layers.get(number, (0, 0))
            layers[number] = w + size, g + gradient
    whole = max((p.numel() for name, p in model.named_parameters() if name in in_four_bits), default=0)
    return Sizes(numbers, trained, weights, gradients, optimizer, tuple(layers[k] for k in sorted(layers)), largest, item, whole)


def state_of(optimizer: str, name: str, p: torch.Tensor) -> int:
    """Bytes of an optimizer's state for one trained tensor."""
    each = p.element_size()
    if optimizer == "adamw_8bit":
        return int(p.numel() * EIGHT_BITS) if p.numel() >= 4096 else 8 * p.numel()  # small ones stay in fp32
    if optimizer == "adafactor":
        return each * (p.shape[-1] + p.shape[-2]) * (p.numel() // p.shape[-1] // p.shape[-2]) if p.ndim > 1 else each * p.numel()
    if optimizer == "muon" and p.ndim == 2 and not any(part in name for part in ("embed", "lm_head")):
        return each * p.numel()
    return 2 * each * p.numel()


def _quantized(model: torch.nn.Module) -> set[str]:
    """Names of weights that bitsandbytes puts in four bits: the Linear modules of the layers."""
    names: Iterable[str] = (n for n, m in model.named_modules() if isinstance(m, torch.nn.Linear) and "lora_" not in n)
    return {f"{name}.weight" for name in names if _layer_of(f"{name}.") is not None}


def _layer_of(name: str) -> int | None:
    parts = name.split(".")
    return next((int(b) for a, b in pairwise(parts) if a in ("layers", "h", "blocks") and b.isdigit()), None)
