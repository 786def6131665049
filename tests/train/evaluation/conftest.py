"""The real model stories260K, and a small real mixture in its tokens whose recipe looked for XCOPA-et in its documents."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import NamedTuple

os.environ["ACCELERATE_USE_CPU"] = "true"

import pyarrow as pa
import pytest
import torch
import yaml

from tests import real
from tests.command import build
from tests.train.stories import convert
from train.evaluation import run as room

RECIPE = """
kind: cpt
name: small
roots: {raw: RAW, eval: EVAL}
tokenizer: {model: MODEL, bos: per_document, eos: per_document}
seed: 1
sources:
  web: {read: "{raw}/web.jsonl", type: text, language: et, license: {from_field: license}}
  en: {read: "{raw}/en.jsonl", type: text, language: en, license: {from_field: license}}
decontaminate: {against: "{eval}/xcopa_et_test.jsonl", action: report}
held_out: {per_component: 2k tokens, at_most: 30 % of tokens}
mixture:
  total: 20k tokens
  sequence_length: 128
  components:
    et: {from: [web], role: target, budget: 12k tokens, max_epochs: 9}
    en: {from: [en], role: replay, budget: 8k tokens, max_epochs: 9}
limits: {quarantine: 5 %}
"""
PLANTED = (3, 17)  # items of XCOPA-et that stand in a web page each; that of 3 is trained on, that of 17 is held out


class Small(NamedTuple):
    build: Path
    model: Path
    eval: Path

    @property
    def manifest(self) -> Path:
        return self.build / "manifest.json"


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def stories(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return convert(data / "models" / "stories260K", tmp_path_factory.mktemp("stories") / "model")


@pytest.fixture(scope="session")
def xcopa(data: Path) -> list[dict]:
    text = pa.CompressedInputStream(pa.OSFile(str(data / "eval" / "xcopa_et_test.jsonl.zst")), "zstd").read().decode()
    return [json.loads(line) for line in text.split("\n") if line]


@pytest.fixture(scope="session")
def small(data: Path, stories: Path, xcopa: list[dict], tmp_path_factory: pytest.TempPathFactory) -> Small:
    top = tmp_path_factory.mktemp("small")
    (top / "raw").mkdir()
    (top / "eval").mkdir()
    (top / "eval" / "xcopa_et_test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in xcopa[:40]))
    # in chunks that are short enough for a few held-out rows of several documents
    rows = {"web": real.rows(data, "web", 20)[:8], "en": real.rows(data, "en", 30)[:8]}
    for number in PLANTED:
        item = xcopa[number]
        said = f"{item['premise']} {item['choice1']} {item['choice2']}"
        rows["web"].append(
            {
                "text": f"Ülesanne õpikust number {number}. {said} Kumb on õige?",
                "url": f"http://x/{number}",
                "license": "CC BY 4.0",
            }
        )
    for name, of in rows.items():
        lines = [json.dumps({**row, "text": row["text"][:1200]}) + "\n" for row in of]
        (top / "raw" / f"{name}.jsonl").write_text("".join(lines))
    recipe = top / "small.yaml"
    recipe.write_text(RECIPE.replace("RAW", str(top / "raw")).replace("EVAL", str(top / "eval")).replace("MODEL", str(stories)))
    build(recipe, top, "--workers", "1")
    return Small(top / "build", stories, top / "eval")


@pytest.fixture
def ask(tmp_path: Path, stories: Path):
    """Write a suite and a run file over items, and run; (exit code, folder)."""

    def of(tasks: list[dict], items: dict[str, list[dict]], to: str = "results", **more: object) -> tuple[int, Path]:
        for name, rows in items.items():
            (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        written = [{"data": {"path": f"{task['name']}.jsonl"}, "language": "en", **task} for task in tasks]
        (tmp_path / "suite.yaml").write_text(yaml.safe_dump({"name": "s", "tasks": written}))
        data = {
            "method": "evaluate",
            "name": "r",
            "model": {"init": str(stories)},
            "suite": str(tmp_path / "suite.yaml"),
            "to": str(tmp_path / to),
        }
        (tmp_path / "run.yaml").write_text(yaml.safe_dump({**data, **more}))
        return room.run(tmp_path / "run.yaml"), tmp_path / to

    return of
