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
  - {signal: language, equals: [et], sources: [wiki, web]}
dedup: {exact: normalised, near: {jaccard: 0.75, across: [wiki, web, en]}}
held_out: {per_component: 10k tokens, at_most: 5 % of tokens}
mixture:
  total: 320k tokens
  sequence_length: 256
  components:
    et: {from: [wiki, web], role: target, budget: 240k tokens, max_epochs: 1}
    en: {from: [en], role: replay, budget: 80k tokens, max_epochs: 1}
limits: {quarantine: 5 %}
"""
N_SHORT = 100  # steps of the runs that are stopped, killed and compared
SHORT = {"global_batch": "2048 tokens", "stop": {"after": f"{N_SHORT} steps"}, "save_every": "2 steps"}
# The trainer with one line wrong: from stream row 40 on it takes the next one, so row 40 never enters.
SKIPS_A_ROW = """
import sys
from train import __main__, batch, cpt
cpt.read = lambda stream, share, skipped: batch.read(stream, share._replace(rows=[i + (i >= 40) for i in share.rows]))
sys.exit(__main__.main())
"""


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


def run_file(road: Road, to: Path, save_every: str | None = None, **changes: object) -> Path:
    data = {
        "method": "cpt", "name": "road", "manifest": str(road.manifest), "model": {"init": str(road.model)},
        "global_batch": "4096 tokens", "schedule": {"kind": "cosine", "peak_lr": 2e-3, "warmup": "5 %", "floor": 2e-4},
        "save": {"to": str(to), "every": save_every}, "seed": 3, **changes,
    }  # fmt: skip
    path = to.with_suffix(".yaml")
    path.write_text(yaml.safe_dump(data))
    return path


def test_estonian_gets_cheaper_and_the_receipt_is_the_plan(road: Road) -> None:
    to = road.top / "whole"
    started = time.monotonic()
    done = called("train", "cpt", run_file(road, to))
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
    assert entered == planned == {"et": 240_000, "en": 80_000}
    assert receipt["tokens"] == 320_000 and receipt["differences"] == []
    assert receipt["streams"][0]["stream_sha256"] == manifest["roots"]["stream"]
    assert AutoModelForCausalLM.from_pretrained(last(to)).num_parameters() == 260_032


@pytest.fixture(scope="module")
def calm(road: Road) -> Path:
    """The last checkpoint of a short run that nothing disturbed."""
    done = called("train", "cpt", run_file(road, road.top / "calm", **SHORT))
    assert done.returncode == 0, done.stderr
    return last(road.top / "calm")


def same(a: Path, b: Path) -> bool:
    return all((a / name).read_bytes() == (b / name).read_bytes() for name in ("model.safetensors", "receipt.json"))


def steps_done(to: Path) -> int:
    """Steps in the log, those done twice counted twice; the last line may be half written."""
    return (to / "log.jsonl").read_text().count('"event": "step"') if (to / "log.jsonl").exists() else 0


def disturbed(run: Path, to: Path, n_steps: int, seconds: float, number: signal.Signals) -> subprocess.Popen[str]:
    """Start the trainer, wait for so many steps of its own and then so long, and send it the signal."""
    before = steps_done(to)
    process = subprocess.Popen(
        command("train", "cpt", run), cwd=TOP, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    while process.poll() is None and steps_done(to) < before + n_steps:
        time.sleep(0.01)
    time.sleep(seconds)
    process.send_signal(number)
    return process


def test_stopping_is_the_same_as_not_stopping(road: Road, calm: Path) -> None:
    to = road.top / "stopped"
    run = run_file(road, to, **SHORT)
    process = disturbed(run, to, 7, 0.0, signal.SIGTERM)
    _, said = process.communicate()
    assert process.returncode == 0 and "the same command goes on from there" in said
    k = steps_done(to)
    assert last(to).name == f"step-{k:06d}" and 7 <= k < N_SHORT
    done = called("train", "cpt", run)
    assert done.returncode == 0 and f"step {k} of {N_SHORT}" in done.stderr
    print(f"SIGTERM, stopped after step {k} of {N_SHORT}, resumed: weights and receipt byte-equal")
    assert same(last(to), calm)


def test_killed_twenty_times(road: Road, calm: Path) -> None:
    """At random moments: while it starts, trains, saves. Every start trains a few steps more; the last one is left alone."""
    to, rng = road.top / "killed", random.Random(3)
    run = run_file(road, to, **{**SHORT, "save_every": "1 steps"})
    for number in range(20):
        process = disturbed(run, to, rng.randint(0, 3), rng.uniform(0, 0.3), signal.SIGKILL)
        process.communicate()
        assert process.returncode == -signal.SIGKILL, "all steps were done before the last kill"
        newest = max(to.glob("step-*"), default=Path("none")).name
        print(f"kill -9 number {number + 1} when {steps_done(to)} steps were in the log, {newest} the newest checkpoint")
    assert newest != "none", "no start came as far as a checkpoint: nothing was gone on from"
    done = called("train", "cpt", run)
    assert done.returncode == 0, done.stderr
    assert same(last(to), calm)
    assert not list(to.glob(".step-*"))


def test_a_trainer_that_skips_a_row_is_found_out(road: Road, calm: Path) -> None:
    to = road.top / "skipped"
    run = run_file(road, to, **SHORT)
    done = subprocess.run(
        [sys.executable, "-c", SKIPS_A_ROW, "cpt", run], cwd=TOP, env=ENVIRONMENT, capture_output=True, text=True
    )
    print(f"exit {done.returncode}: {next(line for line in done.stdout.splitlines() if line.startswith('receipt: '))}")
    assert done.returncode == 1 and "DIFFERS from the plan" in done.stdout
    receipt, wanted = read_json(last(to) / "receipt.json"), read_json(calm / "receipt.json")
    assert (
        receipt["sequences"] == wanted["sequences"]
        and receipt["streams"][0]["stream_sha256"] != wanted["streams"][0]["stream_sha256"]
    )


def test_another_manifest_is_refused(road: Road, calm: Path) -> None:
    other = build(road.recipe, road.top / "other", "--set", "seed=8")
    done = called("train", "cpt", run_file(road, road.top / "calm", **{**SHORT, "manifest": str(other)}))
    print(done.stderr)
    assert done.returncode == 2 and "stream_roots was" in done.stderr and "save.to" in done.stderr
    assert last(road.top / "calm") == calm
