"""`curate train vocab` with a model: from a story model and real Estonian text to a folder that transformers opens; what it refuses."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
import yaml
import zstandard
from transformers import AutoModelForCausalLM, AutoTokenizer

from curate.errors import CurateError
from curate.store import read_json
from tests.command import curate
from tests.train.stories import convert
from train.vocab.run import run

VECTORS = {"dim": 16, "epochs": 1, "min_count": 2}


@pytest.fixture(scope="module")
def model(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return convert(data / "models" / "stories260K", tmp_path_factory.mktemp("stories") / "model")


def run_file(folder: Path, data: Path, model: Path, **changes: object) -> Path:
    with open(data / "et_text" / "ud_edt_dev.jsonl.zst", "rb") as file, open(folder / "et.jsonl", "w", encoding="utf-8") as out:
        for line in io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(file), encoding="utf-8"):
            out.write(json.dumps({"text": json.loads(line)["text"][:20_000]}) + "\n")
    asked = {
        "method": "vocab", "name": "stories-et", "model": {"init": str(model)}, "text": [{"files": str(folder / "et.jsonl"), "language": "et"}],
        "extend": {"add": 40}, "save": {"to": str(folder / "out")}, "held_out": "15 %", **changes,
    }  # fmt: skip
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(asked))
    return path


@pytest.mark.parametrize("method", ["subword_mean", "focus", "wechsel"])
def test_a_model_with_estonian_words(method: str, data: Path, model: Path, tmp_path: Path) -> None:
    """552 tokens in 576 rows; old rows to the bit; Estonian text takes fewer tokens and has a finite loss."""
    rows: dict[str, object] = {"method": method}
    if method != "subword_mean":
        rows["vectors"] = VECTORS
    if method == "wechsel":
        rows |= {
            "source_language": "et",
            "target_language": "et",
            "by": "words",
        }  # most new tokens are too short for n-grams of 5
    assert run(run_file(tmp_path, data, model, rows=rows)) == 0
    made, old = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval(), AutoModelForCausalLM.from_pretrained(model).eval()
    embedding = made.get_input_embeddings().weight
    assert embedding.shape == (576, 64) and torch.equal(embedding[:512], old.get_input_embeddings().weight)
    assert made.get_output_embeddings().weight.data_ptr() == embedding.data_ptr()
    tokenizers = [AutoTokenizer.from_pretrained(place) for place in (model, tmp_path / "out")]
    text = "Ta ei olnud kunagi varem seda maja näinud."
    before, after = (tokenizer(text, return_tensors="pt")["input_ids"] for tokenizer in tokenizers)
    assert after.shape[1] < before.shape[1] and int(after.max()) >= 512
    with torch.no_grad():
        assert torch.isfinite(made(after, labels=after).loss)
    receipt = read_json(tmp_path / "out" / "receipt.json")
    assert receipt["rows"]["method"] == method and receipt["rows"]["vocab_size"] == 576 and receipt["rows"]["tied"] is True
    how = pq.read_table(tmp_path / "out" / "rows.parquet")["how"].to_pylist()
    assert how[:512] == ["copied"] * 512 and how[512:].count(method) > 20
    assert {name: how.count(name) for name in set(how)} == receipt["rows"]["rows"]


def test_twice_the_same_bytes(data: Path, model: Path, tmp_path: Path) -> None:
    files = []
    for name in "ab":
        (tmp_path / name).mkdir()
        assert run(run_file(tmp_path / name, data, model, rows={"method": "focus", "vectors": VECTORS})) == 0
        files.append((tmp_path / name / "out" / "model.safetensors").read_bytes())
    assert files[0] == files[1]


def test_what_is_refused_before_a_text_is_read(data: Path, model: Path, tmp_path: Path) -> None:
    """Each names the line of the run file."""
    with pytest.raises(CurateError, match=r"run\.yaml:\d+: there is no text of this language\n +found: +ee"):
        run(run_file(tmp_path, data, model, rows={"method": "wechsel", "source_language": "et", "target_language": "ee"}))
    with pytest.raises(CurateError, match=r"run\.yaml:\d+: there is no such file"):
        run(run_file(tmp_path, data, model, rows={"method": "orthogonal_matching", "donor": str(tmp_path / "nowhere")}))
    with pytest.raises(CurateError, match=r"rank: belongs to method ofa, not focus"):
        run(run_file(tmp_path, data, model, rows={"method": "focus", "rank": 3}))
    assert not (tmp_path / "out").exists()


def test_the_command_says_it_in_one_message(data: Path, model: Path, tmp_path: Path) -> None:
    index = {"metadata": {"total_size": 1}, "weight_map": {"model.embed_tokens.weight": "model-00002-of-00002.safetensors"}}
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in model.iterdir():
        (broken / file.name).write_bytes(file.read_bytes())
    (broken / "model.safetensors").rename(broken / "model-00001-of-00002.safetensors")
    index["weight_map"]["model.another.weight"] = "model-00002-of-00002.safetensors"  # type: ignore[index]
    (broken / "model.safetensors.index.json").write_text(json.dumps(index))
    done = curate("train", "vocab", str(run_file(tmp_path, data, broken)))
    assert done.returncode == 2
    assert "weights are missing" in done.stderr and "no model.another.weight of model-00002-of-00002.safetensors" in done.stderr
    assert "Traceback" not in done.stderr and not (tmp_path / "out").exists()
