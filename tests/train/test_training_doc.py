"""docs/training.md names every key of a run file, and none that there is not."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

from pydantic import BaseModel

from train.config import PhaseSchedule, RunFile

DOC = Path(__file__).resolve().parents[2] / "docs" / "training.md"


def keys(model: type[BaseModel], prefix: str = "") -> set[str]:
    found: set[str] = set()
    for name, field in model.model_fields.items():
        inner = [t for t in (field.annotation, *get_args(field.annotation)) if isinstance(t, type) and issubclass(t, BaseModel)]
        inner = [t for t in inner if t is not PhaseSchedule]  # of each phase: said once
        found |= set().union(*(keys(t, f"{prefix}{name}.") for t in inner)) if inner else {prefix + name}
    return found


def test_every_key_of_a_run_file() -> None:
    tables = DOC.read_text().split("## Run file")[1].split("## Several devices")[0]
    written = set(re.findall(r"^\| `([a-z_.]+)` \|", tables, re.MULTILINE)) - {"adapt", "adapt.lora"}
    assert written == keys(RunFile)
