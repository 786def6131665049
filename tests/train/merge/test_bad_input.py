"""What cannot be merged is named before anything is written: which model, which tensor, what was found, what to do."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import huggingface_hub
import pytest
import torch
import yaml
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import load_file

from curate import cli
from curate.errors import CurateError
from curate.recipe import load_yaml
from curate.store import read_json
from tests.command import TOP, curate
from tests.train.merged import EMBEDDINGS, UP, model, save, vector, write_run
from train.merge.config import MergeRun, load_merge
from train.merge.run import run


@pytest.fixture
def three(tmp_path: Path) -> Path:
    for name, value in (("a", 1.0), ("b", 5.0), ("c", 2.0)):
        model(tmp_path / name, value)
    return tmp_path


def change(folder: Path, **tensors: torch.Tensor | None) -> None:
    """Tensors of a folder replaced, or removed."""
    of = {**load_file(folder / "model.safetensors"), **{name.replace("__", "."): t for name, t in tensors.items()}}
    save(folder, {name: t for name, t in of.items() if t is not None})


def refused(folder: Path, *sets: str) -> CurateError:
    with pytest.raises(CurateError) as caught:
        run(write_run(folder), sets)
    assert caught.value.exit_code == 2 and not (folder / "out").exists() and not list(folder.glob(".*"))
    return caught.value


@pytest.mark.parametrize("donor", ["a", "b", "c"])
def test_nan(three: Path, donor: str) -> None:
    """Two NaN and an infinity, the first of them in the second row."""
    bad = torch.tensor([[1.0, 1.0], [torch.nan, 1.0], [torch.nan, -torch.inf]])
    change(three / donor, **{UP: bad})
    error = refused(three)
    assert error.what == f"{donor if donor == 'a' else donor + '1'} holds numbers that are none" and error.where == str(
        three / donor
    )
    assert error.found == f"{UP}: 2 NaN, 1 infinite, the first in row 1"


def test_infinities_that_cancel(three: Path) -> None:
    change(three / "b", **{UP: torch.tensor([[torch.inf, -torch.inf], [1.0, 1.0], [1.0, 1.0]])})
    assert "0 NaN, 2 infinite" in refused(three).found


def test_nan_that_no_vector_touches_in_a_donor_does_not_matter(three: Path) -> None:
    change(three / "b", **{UP: torch.full((3, 2), torch.nan)})
    assert run(write_run(three, vectors=vector(three, exclude=[UP]))) == 0


def test_another_shape(three: Path) -> None:
    change(three / "c", **{UP: torch.ones(4, 2)})
    error = refused(three)
    assert "a and c1 have other shapes" in error.what and error.found == f"{UP} [4, 2]" and error.allowed.startswith("[3, 2]")


def test_a_lacking_tensor(three: Path) -> None:
    change(three / "b", **{UP: None})
    error = refused(three)
    assert "b1 lacks a tensor of a" in error.what and error.found == f"no {UP}" and "exclude" in error.next


def test_quantized_weights(three: Path) -> None:
    change(three / "b", **{UP: torch.ones(3, 2, dtype=torch.int8)})
    error = refused(three)
    assert "no weights to calculate with" in error.what and error.found == f"{UP} in I8"


def test_vocabularies_that_share_nothing(tmp_path: Path) -> None:
    """But for single characters and special tokens, which all vocabularies have."""
    words = {"a": ["<unk>", "m", "maja", "▁kodu"], "b": ["<unk>", "m", "house", "▁home"], "c": ["<unk>", "m", "house", "▁home"]}
    for name, value in (("a", 1.0), ("b", 5.0), ("c", 2.0)):
        model(tmp_path / name, value, words=words[name])
    error = refused(tmp_path)
    assert (
        error.what == "the vocabularies of a and of b1 - c1 share nothing"
        and "2 single characters" in error.found
        and "rows: keep" in error.next
    )
    assert run(write_run(tmp_path, rows="keep")) == 0


def test_few_tokens_in_common_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, words in (("a", ["maja", "kodu", "tuba"]), ("b", ["maja", "home"]), ("c", ["maja", "home"])):
        model(tmp_path / name, 1.0, words=words)
    run(write_run(tmp_path), dry_run=True)
    assert "only 33% of a's tokens are in b1 and c1" in capsys.readouterr().err


def test_a_tokenizer_larger_than_its_model(tmp_path: Path) -> None:
    model(tmp_path / "a", 1.0)
    model(tmp_path / "b", 1.0, words=["<unk>", "maja", "kodu", "tuba", "uus"], rows=4)
    model(tmp_path / "c", 1.0)
    error = refused(tmp_path)
    assert "the tokenizer of b1 has more tokens than its model has rows" in error.what and error.found == "id 4, 4 rows"


def test_a_model_without_a_tokenizer(tmp_path: Path) -> None:
    for name in "ac":
        model(tmp_path / name, 1.0)
    model(tmp_path / "b", 1.0, words=None)
    error = refused(tmp_path)
    assert "b1 has no tokenizer that opens" in error.what and "rows: id" in error.next
    vectors = [{"b": {"init": str(tmp_path / "b"), "tokenizer": str(tmp_path / "a")}, "c": str(tmp_path / "c")}]
    assert run(write_run(tmp_path, vectors=vectors)) == 0


def test_untied_donors_of_a_tied_model(tmp_path: Path) -> None:
    model(tmp_path / "a", 1.0)
    for name in "bc":
        model(tmp_path / name, 1.0, tied=False)
    error = refused(tmp_path)
    assert "the head of a is its embeddings, that of b1 is a matrix of its own" in error.what and EMBEDDINGS in error.next


def test_a_pattern_that_fits_nothing(three: Path) -> None:
    for key in ("exclude", "include"):
        error = refused(three, f"vectors.0.{key}=['model.layer.0.*']")
        assert error.where == f"vectors.0.{key}" and error.found == "model.layer.0.*" and "model.layers.0.*" in error.allowed
    assert refused(three, "vectors.0.blocks={'h.*': 0.5}").where == "vectors.0.blocks"


def test_a_result_that_does_not_fit_fp16(three: Path) -> None:
    change(three / "b", **{UP: torch.full((3, 2), 70000.0)})
    error = refused(three, "dtype=fp16")
    assert "does not fit its dtype" in error.what and error.where == UP


def test_something_else_is_not_written_over(three: Path) -> None:
    (three / "out").mkdir()
    (three / "out" / "thesis.txt").write_text("mine")
    with pytest.raises(CurateError, match="never written over"):
        run(write_run(three))
    assert [p.name for p in (three / "out").iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("vectors.0.lamda=1", "did you mean 'lambda'?"),
        ("vectors.0.lambda=.nan", "finite number"),
        ("vectors.0.b=nowhere/at/all", "there is no model here"),
        ("vectors.0.b=org/name", "a model from the hub is pinned"),
        ("a={init: org/name, revision: abc, tokenizer: nowhere}", "there is no tokenizer here"),
        ("vectors=[]", "at least 1 item"),
        ("rows=some", "'auto', 'id' or 'keep'"),
        ("write_mergekit={file: x, merge_method: dare_tie}", "dare_ties"),
        ("sweep={lambdas: [1, 1], suite: x, to: y}", "one of them stands there twice"),
        ("sweep={lambdas: [0, 1], suite: nowhere.yaml, to: y}", "there is no such suite"),
    ],
)
def test_run_files(three: Path, line: str, said: str) -> None:
    with pytest.raises(CurateError) as caught:
        load_merge(write_run(three), [line])
    assert said in str(caught.value) and line.partition("=")[0] in str(caught.value)


def test_from_the_command_line(three: Path) -> None:
    """Exit code 2, one message, no traceback; the mistake is named with its line."""
    path = write_run(three)
    done = curate("train", "merge", path, "--dry-run")
    assert done.returncode == 0 and "nothing is written" in done.stdout, done.stderr
    (three / "b" / "model.safetensors").unlink()
    done = curate("train", "merge", path)
    assert done.returncode == 2 and done.stderr.startswith("error: ") and "there are no weights here" in done.stderr
    assert "Traceback" not in done.stderr and not (three / "out").exists()
    path.write_text(path.read_text() + "lambda: 1\n")
    done = curate("train", "merge", path)
    assert done.returncode == 2 and "unknown key 'lambda'" in done.stderr and "run.yaml:" in done.stderr


def test_the_recipe_that_ships() -> None:
    """Its models lie elsewhere; all else is as the reader wants it, and the sweep that is shown too."""
    path = TOP / "recipes" / "train" / "et-chat-vector.yaml"
    data, _ = load_yaml(path)
    shown = path.read_text().partition("# sweep:")[2].partition("#   ")[2]
    of = MergeRun.model_validate({**data, "sweep": yaml.safe_load(shown)})
    assert of.vectors[0].lambda_ == 1 and of.vectors[0].c.init == "meta-llama/Llama-3.1-8B" and of.dtype == "bf16"
    assert of.sweep is not None and of.sweep.choose == "estqa.f1"


def nan_in_b(folder: Path) -> None:
    change(folder / "b", **{UP: torch.full((3, 2), torch.nan)})


def missing_shard_of_c(folder: Path) -> None:
    of = load_file(folder / "c" / "model.safetensors")
    (folder / "c" / "model.safetensors").unlink()
    save(folder / "c", of, shards=2)
    (folder / "c" / "model-00001-of-00002.safetensors").unlink()


def other_words_in_a(folder: Path) -> None:
    shutil.rmtree(folder / "a")
    model(folder / "a", 1.0, words=["<unk>", "house", "home", "room"])


def small_model_of_b(folder: Path) -> None:
    shutil.rmtree(folder / "b")
    model(folder / "b", 1.0, rows=3)


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (nan_in_b, "b1 holds numbers that are none"), (missing_shard_of_c, "shards of this checkpoint are missing"),
        (other_words_in_a, "share nothing"), (small_model_of_b, "has more tokens than its model has rows"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("dry", [["--dry-run"], []])
def test_exit_codes(
    three: Path, harm: Callable[[Path], None], said: str, dry: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    harm(three)
    monkeypatch.setattr(sys, "argv", ["curate", "train", "merge", str(write_run(three)), *dry])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert ended.value.code == 2 and len(errors) == 1 and said in errors[0]
    assert not (three / "out").exists() and not list(three.glob(".*"))


def test_a_model_of_the_hub(three: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fetched at its commit, weights and small files only; where that fails the message is the hub's."""
    asked = []

    def snapshot(name: str, *, revision: str, allow_patterns: list[str]) -> str:
        asked.append((name, revision, "*.safetensors" in allow_patterns, "*.bin" in allow_patterns))
        return str(three / "b")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    vectors = [{"b": {"init": "org/name", "revision": "abc"}, "c": str(three / "c")}]
    assert run(write_run(three, vectors=vectors)) == 0 and asked == [("org/name", "abc", True, False)]
    parents = read_json(three / "out" / "receipt.json")["parents"]
    assert (
        parents[1] == {"role": "b1", "hub": "org/name", "revision": "abc"}
        and "- org/name" in (three / "out" / "README.md").read_text()
    )

    def fails(*args: object, **named: object) -> str:
        raise LocalEntryNotFoundError("offline, and nothing is cached")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fails)
    with pytest.raises(CurateError, match="cannot be fetched from the hub") as caught:
        run(write_run(three, vectors=vectors, to=str(three / "other")))
    assert caught.value.where == "org/name@abc" and "nothing is cached" in caught.value.found
