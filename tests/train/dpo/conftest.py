"""Runs of a few seconds on random pairs, whose weights can be compared bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests.train.conftest import TINY
from tests.train.dpo.fake import FakePairs, write_fake_manifest
from train.dpo import run
from train.dpo.pairs import Pairs


@pytest.fixture
def pairs(monkeypatch: pytest.MonkeyPatch) -> FakePairs:
    made = FakePairs()
    monkeypatch.setattr(run, "open_pairs", lambda paths: Pairs([made]))
    return made


@pytest.fixture
def run_file(tmp_path: Path, pairs: FakePairs) -> Callable[..., Path]:
    """Write a run file for the fake pairs: 22, 4 a step, so 6 steps, the last one of two."""
    write_fake_manifest(tmp_path / "manifest.json", pairs)

    def write(to: str = "run", **changes: object) -> Path:
        data = {
            "method": "dpo", "name": "tiny", "manifest": str(tmp_path / "manifest.json"),
            "model": {"init": {**TINY, "initializer_range": 0.2}, "seed": 1}, "reference_store": str(tmp_path / "reference"),
            "global_batch": "4 examples", "micro_tokens": 128, "schedule": {"kind": "constant", "peak_lr": 1e-3},
            "save": {"to": str(tmp_path / to)}, "seed": 5, **changes,
        }  # fmt: skip
        path = tmp_path / f"{to}.yaml"
        path.write_text(yaml.safe_dump(data))
        return path

    return write
