"""From the command line on a real build: one message and exit code 2 for what cannot be trained; a run, its report, its plan."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from curate.errors import CurateError
from curate.manifest import read_manifest, write_manifest
from train.dpo.config import load_dpo

TOP = Path(__file__).resolve().parents[3]
MODEL = {"model_type": "llama", "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}


def curate(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "curate", *map(str, arguments)], cwd=TOP, capture_output=True, text=True, timeout=200, check=False,
        env={"PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build of recipes/preferences.yaml: 16 pairs."""
    made: Path = tmp_path_factory.mktemp("dpo")
    done = curate("build-mixture", "recipes/preferences.yaml", "--out", made / "build", "--store", made / "store")
    assert done.returncode == 0, done.stderr
    return made


def run_file(folder: Path, **changes: object) -> Path:
    data = {
        "method": "dpo", "name": "tiny", "manifest": str(folder / "build" / "manifest.json"), "model": {"init": MODEL},
        "reference_store": str(folder / "reference"), "global_batch": "4 examples", "micro_tokens": 512,
        "schedule": {"kind": "linear", "peak_lr": 1e-3}, "save": {"to": str(folder / "run")}, **changes,
    }  # fmt: skip
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(data))
    return path


def test_a_run_on_a_real_build_and_its_report(folder: Path) -> None:
    path = run_file(folder)
    done = curate("train", "dpo", path)
    assert done.returncode == 0, done.stderr
    assert "receipt: matches plan to the token" in done.stdout
    assert curate("report", path).returncode == 0
    page = (folder / "run" / "report.html").read_text()
    for title in ("rewards", "reward margin", "accuracy: chosen above rejected", "tokens of an answer"):
        assert title in page
    again = curate("train", "dpo", path)
    assert again.returncode == 0 and "is complete: all 4 steps were done before" in again.stderr


BAD = {
    "loss": ({"loss": "orpo"}, "kind orpo is not offered: trl 1.16 has it only under trl.experimental"),
    "unit": ({"global_batch": "64 tokens"}, "global_batch: this unit has no meaning here"),
    "interval": ({"save": {"to": "x", "every": "1M tokens"}}, "say lengths and intervals in steps, or '10 %'"),
    "window": ({"model": {"init": {**MODEL, "max_position_embeddings": 16}}}, "longer than the model's positions"),
    "vocabulary": ({"model": {"init": {**MODEL, "vocab_size": 99}}}, "fewer embedding rows than the manifest's tokenizer has tokens"),
    "reference": ({"reference": {"init": "nowhere"}}, "there is no reference model here"),
    "none": ({"loss": "simpo", "reference": {"init": "x"}}, "reference: kind simpo has none"),
    "smoothing": ({"loss": {"kind": "sigmoid", "label_smoothing": 0.1}}, "label_smoothing belongs to kind robust or exo_pair"),
}  # fmt: skip


@pytest.mark.parametrize("name", ["loss", "window", "reference"])
def test_one_message_and_exit_code_2(folder: Path, name: str) -> None:
    changes, words = BAD[name]
    done = curate("train", "dpo", run_file(folder, **{"save": {"to": str(folder / name)}, **changes}))
    assert done.returncode == 2 and words in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("name", sorted(set(BAD) - {"window", "vocabulary"}))
def test_a_run_file_is_checked_before_torch_is_loaded(folder: Path, name: str) -> None:
    changes, words = BAD[name]
    with pytest.raises(CurateError) as caught:
        load_dpo(run_file(folder, **changes))
    assert words in str(caught.value) and caught.value.exit_code == 2


def test_a_manifest_of_text_is_no_manifest_of_pairs(folder: Path, tmp_path: Path) -> None:
    manifest = read_manifest(folder / "build" / "manifest.json")
    write_manifest(tmp_path / "manifest.json", {**manifest, "kind": "sft"})
    done = curate("train", "dpo", run_file(folder, manifest=str(tmp_path / "manifest.json")))
    assert done.returncode == 2 and "this is no manifest of preferences" in done.stderr and "curate train sft" in done.stderr
