"""What cannot be trained by SFT is one message and exit code 2 before the model is read, from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from curate.store import read_json, write_json
from tests.command import curate
from tests.train import chats
from tests.train.conftest import TINY


@pytest.fixture(scope="module")
def made(data: Path, tmp_path_factory: pytest.TempPathFactory) -> chats.Chats:
    return chats.make(data, tmp_path_factory.mktemp("chats"))


def run_file(made: chats.Chats, tmp_path: Path, **changes: object) -> Path:
    data = {
        "method": "sft", "name": "chats", "manifest": str(made.manifest), "model": {"init": TINY}, "global_batch": "4096 tokens",
        "schedule": {"peak_lr": 1e-3}, "save": {"to": str(tmp_path / "run")}, **changes,
    }  # fmt: skip
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(data))
    return path


def refused(path: Path, *said: str, method: str = "sft") -> None:
    done = curate("train", method, path)
    print(done.stderr)
    assert done.returncode == 2 and done.stderr.count("error: ") == 1 and "Traceback" not in done.stderr
    assert all(text in done.stderr for text in said)


def changed(made: chats.Chats, edit) -> Path:
    """The manifest with something else in it, beside the old one, so that its files are found."""
    manifest = read_json(made.manifest)
    edit(manifest)
    path = made.manifest.with_name("changed.json")
    write_json(path, manifest)
    return path


def test_a_mask_of_zeros(made: chats.Chats, tmp_path: Path) -> None:
    def nothing(manifest: dict) -> None:
        manifest["components"][0]["phases"][0]["loss_tokens"] = 0

    path = run_file(made, tmp_path, manifest=str(changed(made, nothing)))
    refused(path, "nothing of component et would be learned: its loss mask is all zero", "0 of 16,819 tokens", "{% generation %}")


def test_a_manifest_of_pairs(made: chats.Chats, tmp_path: Path) -> None:
    path = run_file(made, tmp_path, manifest=str(changed(made, lambda manifest: manifest.update(kind="preference"))))
    refused(path, "this manifest is of pairs", "curate train dpo")


def test_another_method(made: chats.Chats, tmp_path: Path) -> None:
    refused(run_file(made, tmp_path, method="cpt"), "this run file is of another method", "method: cpt", "curate train cpt")
    refused(run_file(made, tmp_path), "this run file is of another method", "curate train sft", method="cpt")


def test_a_model_with_too_few_rows(made: chats.Chats, tmp_path: Path) -> None:
    path = run_file(made, tmp_path, model={"init": {**TINY, "vocab_size": 339}})
    refused(path, "the model has fewer embedding rows than the manifest's tokenizer has tokens", "339 rows", "at least 340")


def test_rows_longer_than_the_model(made: chats.Chats, tmp_path: Path) -> None:
    path = run_file(made, tmp_path, model={"init": {**TINY, "max_position_embeddings": 512}})
    refused(path, "the manifest's sequences are longer than the model's positions", "512 positions", "at least 1024")
