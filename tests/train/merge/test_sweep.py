"""A sweep scores the real model stories260K with a vector that is known to harm it: what is drawn and chosen is what the suite said."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

os.environ["ACCELERATE_USE_CPU"] = "true"

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from curate.errors import CurateError
from curate.store import read_json
from tests.train.merged import vector, write_run
from tests.train.stories import convert
from train.evaluation.run import run as evaluate
from train.merge.run import run

TEXTS = [
    "Once upon a time, there was a little girl named Lily.",
    "The dog ran to the park and played with a ball.",
    "She was happy.",
]


@pytest.fixture
def stories(data: Path, tmp_path: Path) -> Path:
    """c is the model, b and a the model with noise: a + 1 (c - b) takes the noise away again."""
    torch.manual_seed(3)
    good = convert(data / "models" / "stories260K", tmp_path / "b")
    weights = load_file(good / "model.safetensors")
    noisy = {name: t + 0.05 * torch.randn_like(t) for name, t in weights.items()}
    for name in "ac":
        convert(data / "models" / "stories260K", tmp_path / name)
        save_file(noisy, tmp_path / name / "model.safetensors", {"format": "pt"})
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps({"id": str(i), "text": t}) + "\n" for i, t in enumerate(TEXTS)))
    task = {"name": "stories", "kind": "bits_per_byte", "language": "en", "data": {"path": "texts.jsonl"}}
    (tmp_path / "suite.yaml").write_text(yaml.safe_dump({"name": "tiny", "tasks": [task]}))
    return tmp_path


def test_a_sweep(stories: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = {
        "lambdas": [1, 0, 0.5],
        "suite": str(stories / "suite.yaml"),
        "to": str(stories / "sweep"),
        "choose": "stories.bits_per_byte",
    }
    path = write_run(stories, sweep=spec, vectors=vector(stories))
    assert run(path) == 0
    found = read_json(stories / "sweep" / "sweep.json")
    values = [row["value"] for row in found["scores"]["stories.bits_per_byte"]]
    assert found["lambdas"] == [0, 0.5, 1] and values[0] > values[1] > values[2]
    assert found["best"] == 1 and "best by stories.bits_per_byte: lambda 1" in capsys.readouterr().out
    page = (stories / "sweep" / "sweep.html").read_text()
    assert page.count('class="dot"') == 3 and all(
        f"lambda {x:g}: {v:.4f}" in page for x, v in zip([0, 0.5, 1], values, strict=True)
    )
    assert not re.search(r"(src|href)=|url\(|@import|<script", page)  # it reaches for nothing
    assert not list((stories / "sweep").glob(".*"))  # no model is left behind

    own = {
        "method": "evaluate",
        "name": "own",
        "model": {"init": str(stories / "b")},
        "suite": str(stories / "suite.yaml"),
        "to": str(stories / "own"),
    }
    (stories / "own.yaml").write_text(yaml.safe_dump(own))
    assert evaluate(stories / "own.yaml") == 0  # the model without noise scores what lambda 1 scored
    rows = json.loads((stories / "own" / "tasks" / "stories.json").read_text())["rows"]
    assert rows[0]["value"] == pytest.approx(values[2], rel=1e-5)
    result = load_file(stories / "out" / "model.safetensors")
    wanted = load_file(stories / "b" / "model.safetensors")
    assert all(torch.allclose(result[name], wanted[name], atol=1e-6) for name in wanted)

    capsys.readouterr()
    assert run(path) == 0  # everything was asked before, and the result stands
    said = capsys.readouterr()
    assert said.err.count("done before with the same inputs") == 3 and "done before, from the same models" in said.out


def test_a_sweep_without_a_choice_writes_no_model(stories: Path) -> None:
    spec = {"lambdas": [0, 1], "suite": str(stories / "suite.yaml"), "to": str(stories / "sweep")}
    assert run(write_run(stories, sweep=spec)) == 0
    assert (stories / "sweep" / "sweep.html").is_file() and not (stories / "out").exists()


@pytest.mark.parametrize(
    ("choose", "said"), [("stories.colour", "more or less of this"), ("story.bits_per_byte", "did not score this")]
)
def test_a_choice_that_nobody_scores(stories: Path, choose: str, said: str) -> None:
    spec = {"lambdas": [0, 1], "suite": str(stories / "suite.yaml"), "to": str(stories / "sweep"), "choose": choose}
    with pytest.raises(CurateError, match=said):
        run(write_run(stories, sweep=spec))
    assert not (stories / "out").exists()


def test_a_task_that_cannot_be_run(stories: Path) -> None:
    """Exit code 3, and nothing is chosen from what is left."""
    suite = yaml.safe_load((stories / "suite.yaml").read_text())
    suite["tasks"].append({**suite["tasks"][0], "name": "gone", "data": {"path": "nowhere.jsonl"}})
    (stories / "suite.yaml").write_text(yaml.safe_dump(suite))
    spec = {
        "lambdas": [0, 1],
        "suite": str(stories / "suite.yaml"),
        "to": str(stories / "sweep"),
        "choose": "stories.bits_per_byte",
    }
    assert run(write_run(stories, sweep=spec)) == 3
    assert not (stories / "out").exists()
