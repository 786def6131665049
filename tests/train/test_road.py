"""The whole road on real text: raw files through the command line to a mixture, a real pretrained model trained on it.

stories260K (English children's stories, 260 thousand weights) goes on training on Estonian with English replay: promises 6 and 7
of the design where nothing is a fake. The commands run in processes of their own, on one thread; figures are printed (pytest -rA).
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from transformers import AutoModelForCausalLM

from curate.store import read_json
from tests import real
from tests.train.conftest import last
from tests.train.stories import convert
from train import batch, cpt

pytestmark = pytest.mark.slow
TOP = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}

RECIPE = """
kind: cpt
name: road
roots: {raw: RAW}
tokenizer: {model: MODEL, bos: per_document, eos: per_document}
seed: 7
sources:
  wiki: {read: "{raw}/wiki/*", type: text, language: et, license: {from_field: license}}
  web: {read: "{raw}/web/*", type: text, language: et, license: {from_field: license}}
  en: {read: "{raw}/en/*", type: text, language: en, license: {from_field: license}}
rules:
  - {preset: gopher/quality, set: {min_alpha_word_ratio: 0.7}}
  - {signal: language, is: [et], sources: [wiki, web]}
dedup: {exact: normalised, near: {jaccard: 0.75, across: [wiki, web, en]}}
held_out: {per_component: 20k tokens, at_most: 5 % of tokens}
mixture:
  total: 600k tokens
  sequence_length: 512
  components:
    et: {from: [wiki, web], role: target, budget: 450k tokens, max_epochs: 2}
    en: {from: [en], role: replay, budget: 150k tokens, max_epochs: 1}
limits: {quarantine: 5 %}
"""
N_SHORT = 24  # steps of the runs that are stopped, killed and compared


class Road(NamedTuple):
    top: Path
    model: Path
    recipe: Path
    manifest: Path


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", *map(str, arguments)]


def called(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), cwd=TOP, env=ENVIRONMENT, capture_output=True, text=True)


def build(recipe: Path, out: Path, *more: str) -> Path:
    done = called("curate", "build-mixture", recipe, "--out", out, "--store", recipe.parent / "store", "--workers", "1", *more)
    assert done.returncode == 0, done.stderr
    return out / "manifest.json"


@pytest.fixture(scope="module")
def road(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Road:
    top = tmp_path_factory.mktemp("road")
    model = convert(data / "models" / "stories260K", top / "stories260K")
    real.write_layout(top / "raw", {source: real.rows(data, source) for source in ("wiki", "web", "en")}, "zst")
    recipe = top / "road.yaml"
    recipe.write_text(RECIPE.replace("RAW", str(top / "raw")).replace("MODEL", str(model)))
    return Road(top, model, recipe, build(recipe, top / "build"))


def run_file(road: Road, to: Path, **changes: object) -> Path:
    data = {
        "method": "cpt", "name": "road", "manifest": str(road.manifest), "model": {"init": str(road.model)},
        "global_batch": "8192 tokens", "micro_batch": 8, "schedule": {"kind": "cosine", "peak_lr": 2e-3, "warmup": "5 %", "floor": 2e-4},
        "save": {"to": str(to)}, "seed": 3, **changes,
    }  # fmt: skip
    path = to.with_suffix(".yaml")
    path.write_text(yaml.safe_dump(data))
    return path


def test_estonian_gets_cheaper_and_the_receipt_is_the_plan(road: Road) -> None:
    to = road.top / "whole"
    started = time.monotonic()
    done = called("train", "cpt", run_file(road, to, evaluate={"held_out_every": "25 steps"}))
    assert done.returncode == 0, done.stderr
    assert "matches plan to the token" in done.stdout
    events = [json.loads(line) for line in (to / "log.jsonl").read_text().splitlines()]
    held_out = [event["components"] for event in events if event["event"] == "held_out"]
    before, after = held_out[0], held_out[-1]
    for name in ("et", "en"):
        bits = [values[name]["bits_per_byte"] for values in (before, after)]
        print(f"{name}: held-out bits per byte {bits[0]:.3f} -> {bits[1]:.3f}, {before[name]['tokens']:,} tokens")
    print(f"{events[-1]['step']} steps in {time.monotonic() - started:.0f} s, start included")
    assert after["et"]["bits_per_byte"] < 0.8 * before["et"]["bits_per_byte"]

    manifest, receipt = read_json(road.manifest), read_json(last(to) / "receipt.json")
    planned = {c["name"]: c["phases"][0]["realised"] for c in manifest["components"]}
    entered = {c["name"]: c["tokens"] for c in receipt["components"]}
    print(f"entered {entered}, planned {planned}")
    assert entered == planned == {"et": 450_000, "en": 150_000}
    assert receipt["tokens"] == 600_000 and receipt["differences"] == []
    assert receipt["stream_sha256"] == manifest["roots"]["stream"]
    assert AutoModelForCausalLM.from_pretrained(last(to)).num_parameters() == 260_032
