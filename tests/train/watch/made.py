"""A run file, a watching over it and steps with round numbers, for the tests of train/watch and train/report."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from train.config import RunFile
from train.watch import StepRecord, Sums, Watching


def run_of(folder: Path, **track: Any) -> RunFile:
    return RunFile.model_validate({
        "method": "cpt", "name": "tiny", "manifest": str(folder / "manifest.json"), "model": {"init": {"model_type": "llama"}},
        "global_batch": "128 tokens", "schedule": {"kind": "constant", "peak_lr": 1e-3}, "save": {"to": str(folder / "run")},
        "track": track,
    })  # fmt: skip


def accelerator(is_main_process: bool = True) -> Any:
    return SimpleNamespace(is_main_process=is_main_process, num_processes=2, device=SimpleNamespace(type="cpu"), trackers=[])


def watching(folder: Path, n_steps: int = 9, is_main_process: bool = True, of: Any = None, **track: Any) -> Watching:
    plan: Any = SimpleNamespace(n_steps=n_steps)
    return Watching(run_of(folder, **track), plan, ["et", "en"], ["et", "en"], of or accelerator(is_main_process))


def record(done: int, et: float = 2.0, en: float = 3.0, rate: float = 1e-3) -> StepRecord:
    """90 of 100 positions are tokens: 60 et, 30 en, all but one of each with a label; two seconds."""
    parts = {"et": Sums(59 * et, 59, 60, 118), "en": Sums(29 * en, 29, 30, 58)}
    return StepRecord(done, "main", rate, 0.5, parts, parts, 90, 100, {"data": 0.5, "forward_backward": 1.5}, 1000)
