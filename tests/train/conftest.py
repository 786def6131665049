"""One thread, CPU, a tiny Llama and a fake stream: runs of a few seconds whose weights can be compared bit for bit."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

os.environ["ACCELERATE_USE_CPU"] = "true"  # also where there is a GPU: bits are compared

import pytest
import torch
import yaml
from safetensors.torch import load_file
from torch.distributed.checkpoint import FileSystemReader
from torch.distributed.checkpoint.default_planner import _EmptyStateDictLoadPlanner
from torch.distributed.checkpoint.state_dict_loader import _load_state_dict

from tests.train.fake import FakeStream, write_fake_manifest
from train import cpt
from train.streams import Streams

TINY = {
    "model_type": "llama", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "attention_dropout": 0.1,
}  # fmt: skip


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch) -> FakeStream:
    made = FakeStream()
    monkeypatch.setattr(cpt, "open_streams", lambda paths: Streams([made]))
    return made


@pytest.fixture
def run_file(tmp_path: Path, stream: FakeStream) -> Callable[..., Path]:
    """Write a run file for the fake stream: 22 rows, 4 per step, so 6 steps, the last one half empty."""
    write_fake_manifest(tmp_path / "manifest.json", stream)

    def write(to: str = "run", **changes: object) -> Path:
        data = {
            "method": "cpt", "name": "tiny", "manifest": str(tmp_path / "manifest.json"), "model": {"init": TINY, "seed": 1},
            "global_batch": "128 tokens", "micro_batch": 2, "schedule": {"kind": "cosine", "peak_lr": 3e-3, "warmup": "2 steps"},
            "save": {"to": str(tmp_path / to)}, "seed": 5, **changes,
        }  # fmt: skip
        path = tmp_path / f"{to}.yaml"
        path.write_text(yaml.safe_dump(data))
        return path

    return write


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """Of the model, or of its adapters."""
    adapters = folder / "adapter_model.safetensors"
    return load_file(adapters if adapters.exists() else folder / "model.safetensors")


def optimizer_state(checkpoint: Path) -> dict[str, torch.Tensor]:
    """Name of a weight and of what is kept of it -> tensor, read by torch without our code."""
    state: dict = {}
    _load_state_dict(state, FileSystemReader(checkpoint / "optimizer"), planner=_EmptyStateDictLoadPlanner(), no_dist=True)
    return dict(_flat(state["optimizer"]["state"]))


def _flat(kept: dict, name: str = "") -> Iterator[tuple[str, torch.Tensor]]:
    for key, value in kept.items():
        inner = f"{name} {key}".strip()
        yield from _flat(value, inner) if isinstance(value, dict) else [(inner, torch.as_tensor(value))]


def same_bits(a: Path, b: Path) -> bool:
    """Whether two checkpoints are equal: weights, what the optimizer keeps of each, receipt."""
    p, q = optimizer_state(a), optimizer_state(b)
    u, v = weights(a), weights(b)
    return (
        (a / "receipt.json").read_bytes() == (b / "receipt.json").read_bytes()
        and u.keys() == v.keys()
        and p.keys() == q.keys()
        and all(torch.equal(value, v[name]) for name, value in u.items())
        and all(torch.equal(value, q[name]) for name, value in p.items())
    )


def last(folder: Path) -> Path:
    """The newest checkpoint of a run."""
    return max(folder.glob("step-*"))


def costs(folder: Path) -> list[float]:
    """Nats per loss token of every step in a run's log."""
    events = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [event["loss_sum"] / event["loss_tokens"] for event in events if event["event"] == "step"]


def residual(ours: dict[str, torch.Tensor], theirs: Mapping[str, torch.Tensor]) -> tuple[float, float]:
    """(mean, largest) difference of the weights that `ours` has."""
    differences = torch.cat([(value - theirs[name]).abs().flatten() for name, value in ours.items()])
    return differences.mean().item(), differences.max().item()
