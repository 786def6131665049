"""a + lambda (b - c), worked out by hand and beside the same in float64; lambda 0 gives a's own bytes; the folder is whole or not there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from curate.errors import CurateError
from curate.store import file_sha256, read_json
from tests.train.merged import EMBEDDINGS, HEAD, UP, model, shapes, tokenizer, vector, write_run
from train import lineage
from train.merge import shards, write
from train.merge.run import run


def merged(folder: Path) -> dict[str, torch.Tensor]:
    return {name: t for file in sorted((folder / "out").glob("*.safetensors")) for name, t in load_file(file).items()}


def three(folder: Path, a: float, b: float, c: float, **keys: object) -> Path:
    for name, value in (("a", a), ("b", b), ("c", c)):
        model(folder / name, value, **keys)  # type: ignore[arg-type]
    return folder


def test_by_hand(tmp_path: Path) -> None:
    """2 + 0.5 (5 - 1) = 4, in every tensor; the result opens with transformers."""
    three(tmp_path, 2, 5, 1)
    assert run(write_run(tmp_path, vectors=vector(tmp_path, **{"lambda": 0.5}))) == 0
    found = merged(tmp_path)
    assert found.keys() == shapes(4).keys() and all(torch.all(t == 4) for t in found.values())
    opened = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert torch.all(opened.get_output_embeddings().weight == 4)
    assert AutoTokenizer.from_pretrained(tmp_path / "out").convert_tokens_to_ids("kodu") == 2


def test_against_float64(tmp_path: Path) -> None:
    """Three models that are drawn, two vectors, a negative lambda: as close as one rounding to float32 allows."""
    folders = {name: model(tmp_path / name, seed=seed, tied=False) for seed, name in enumerate("abcde")}
    vectors = [
        {"b": str(folders["b"]), "c": str(folders["c"]), "lambda": 0.7},
        {"b": str(folders["d"]), "c": str(folders["e"]), "lambda": -0.3},
    ]
    assert run(write_run(tmp_path, vectors=vectors)) == 0
    of = {name: load_file(folder / "model.safetensors") for name, folder in folders.items()}
    for name, found in merged(tmp_path).items():
        a, b, c, d, e = (of[key][name].double() for key in "abcde")
        assert torch.allclose(found.double(), a + 0.7 * (b - c) - 0.3 * (d - e), rtol=0, atol=5e-7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shards_of_a", [1, 3])
def test_lambda_0_is_a_bit_for_bit(tmp_path: Path, dtype: torch.dtype, shards_of_a: int) -> None:
    """The very files; other donors would give 0 times their difference, which is -0.0 here and there."""
    special = torch.tensor([[-0.0, 0.0], [1e-30, -1e-30], [3.0, -3.0]])
    a = model(tmp_path / "a", seed=1, dtype=dtype, shards=shards_of_a, tensors={UP: special.to(dtype)})
    model(tmp_path / "b", seed=2), model(tmp_path / "c", seed=3)
    run(write_run(tmp_path, vectors=vector(tmp_path, **{"lambda": 0})))
    for file in sorted(a.glob("model*")):
        assert (tmp_path / "out" / file.name).read_bytes() == file.read_bytes()


def test_bf16_is_rounded_once(tmp_path: Path) -> None:
    """Neighbours of 256 in bf16 are 2 apart: 256 + 1 + 1 is 258 when summed before it is rounded, 256 when after."""
    for name, value in (("a", 256.0), ("b", 3.0), ("c", 2.0)):
        model(tmp_path / name, value, dtype=torch.bfloat16)
    run(write_run(tmp_path, vectors=vector(tmp_path) * 2))
    assert all(t.dtype == torch.bfloat16 and torch.all(t == 258) for t in merged(tmp_path).values())


def test_lambdas_per_block(tmp_path: Path) -> None:
    """1 + lambda (3 - 1): 3 with 1, 2 in layer 1, 1.5 in its MLP, 1 in what is left out."""
    three(tmp_path, 1, 3, 1)
    blocks = {"model.layers.1.*": 0.5, "model.layers.1.mlp.*": 0.25}
    run(write_run(tmp_path, vectors=vector(tmp_path, blocks=blocks, exclude=["*norm*"])))
    for name, found in merged(tmp_path).items():
        wanted = 1.0 if "norm" in name else 1.5 if ".1.mlp" in name else 2.0 if ".1." in name else 3.0
        assert torch.all(found == wanted), name
    receipt = read_json(tmp_path / "out" / "receipt.json")
    assert receipt["formula"] == "a + 1 per block (b1 - c1)" and receipt["n_changed"] == len(shapes(4)) - 5


def test_include(tmp_path: Path) -> None:
    three(tmp_path, 1, 3, 1)
    run(write_run(tmp_path, vectors=vector(tmp_path, include=["*.mlp.*"], exclude=["*down_proj*"])))
    for name, found in merged(tmp_path).items():
        assert torch.all(found == (3 if "gate_proj" in name or "up_proj" in name else 1)), name


def test_two_vectors_of_different_bases(tmp_path: Path) -> None:
    """1 + 1 (5 - 2) + 0.5 (9 - 7) = 5."""
    for name, value in (("a", 1), ("b", 5), ("c", 2), ("d", 9), ("e", 7)):
        model(tmp_path / name, value)
    second = {"b": str(tmp_path / "d"), "c": str(tmp_path / "e"), "lambda": 0.5}
    run(write_run(tmp_path, vectors=[*vector(tmp_path), second]))
    assert all(torch.all(t == 5) for t in merged(tmp_path).values())


def test_rows_go_by_token(tmp_path: Path) -> None:
    """a: <unk> maja uus kodu and a padded row. b has other numbers for the same words; c lacks tuba. A row without both stays bit for bit.

    kodu: 30 + (300 - 3000) = -2670; maja: 10 + (200 - 1000) = -790; <unk>: 0 + (100 - 2000) = -1900; uus and the padded row stay."""
    embeddings = {"a": [0, 10, 20, 30, 40], "b": [100, 200, 250, 300], "c": [1000, 2000, 3000]}
    words = {"a": ["<unk>", "maja", "uus", "kodu"], "b": ["<unk>", "maja", "tuba", "kodu"], "c": ["maja", "<unk>", "kodu"]}
    for name, values in embeddings.items():
        rows = torch.tensor([[v, v + 0.5] for v in values], dtype=torch.float32)
        model(tmp_path / name, 1.0, words=words[name], rows=len(values), tied=False, tensors={EMBEDDINGS: rows, HEAD: 2 * rows})
    run(write_run(tmp_path))
    found = merged(tmp_path)
    assert found[EMBEDDINGS][:, 0].tolist() == [-1900, -790, 20, -2670, 40]
    assert found[EMBEDDINGS][:, 1].tolist() == [-1899.5, -789.5, 20.5, -2669.5, 40.5]
    assert found[HEAD][:, 0].tolist() == [-3800, -1580, 40, -5340, 80]
    assert torch.all(found[UP] == 1)
    said = read_json(tmp_path / "out" / "receipt.json")["vocabulary"][0]
    assert (said["matched"], said["kept"], said["without_token"], said["left"]) == (3, 1, 1, 1)
    assert "'uus'" in said["said"] and "'tuba'" in said["said"]


def test_kept_rows_keep_their_bits(tmp_path: Path) -> None:
    """-0.0 + 0.0 would be 0.0."""
    rows = torch.tensor([[1.0, 1.0], [-0.0, -0.0], [2.0, 2.0]], dtype=torch.bfloat16)
    model(tmp_path / "a", 1.0, words=["maja", "uus", "kodu"], tensors={EMBEDDINGS: rows}, dtype=torch.bfloat16)
    for name in "bc":
        model(tmp_path / name, 1.0, words=["kodu", "maja"], dtype=torch.bfloat16)
    run(write_run(tmp_path))
    assert torch.equal(merged(tmp_path)[EMBEDDINGS].view(torch.int16), rows.view(torch.int16))


def test_equal_vocabularies_padded_to_different_sizes(tmp_path: Path) -> None:
    """a has 6 rows for 4 words, b 4, c 8: rows of words 1 + (5 - 2) = 4; rows without a word stay 1."""
    for name, value, rows in (("a", 1.0, 6), ("b", 5.0, 4), ("c", 2.0, 8)):
        model(tmp_path / name, value, rows=rows)
    run(write_run(tmp_path))
    assert merged(tmp_path)[EMBEDDINGS][:, 0].tolist() == [4, 4, 4, 4, 1, 1]


def test_rows_keep_and_rows_id(tmp_path: Path) -> None:
    three(tmp_path, 1, 5, 2, tied=False)
    tokenizer(tmp_path / "b", ["kodu", "maja", "tuba", "<unk>"])
    for rows, wanted in (("keep", 1), ("id", 4)):
        run(write_run(tmp_path, rows=rows, to=str(tmp_path / rows)))
        found = load_file(tmp_path / rows / "model.safetensors")
        assert torch.all(found[EMBEDDINGS] == wanted) and torch.all(found[HEAD] == wanted) and torch.all(found[UP] == 4)


def test_an_untied_head_takes_the_embeddings_of_tied_donors(tmp_path: Path) -> None:
    model(tmp_path / "a", 1.0, tied=False, tensors={HEAD: [[7.0, 7.0]] * 4})
    model(tmp_path / "b", 5.0), model(tmp_path / "c", 2.0)
    run(write_run(tmp_path))
    assert torch.all(merged(tmp_path)[HEAD] == 10) and torch.all(merged(tmp_path)[EMBEDDINGS] == 4)


def test_another_dtype(tmp_path: Path) -> None:
    """The sum is rounded to bf16; integers stay what they are; config and index say so."""
    for name, value in (("a", 1.0), ("b", 1.0078125), ("c", 1.0)):
        model(tmp_path / name, value, shards=2, tensors={"model.counts": torch.arange(3)} if name == "a" else {})
    run(write_run(tmp_path, dtype="bf16", vectors=vector(tmp_path, exclude=["model.counts"])))
    found = merged(tmp_path)
    assert found.pop("model.counts").tolist() == [0, 1, 2]
    assert all(t.dtype == torch.bfloat16 and torch.all(t == 1.0078125) for t in found.values())
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == "bfloat16"
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == sum(t.nbytes for t in found.values()) + 24
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "out").dtype == torch.bfloat16


def test_the_size_of_blocks_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = {"a": ["x1", "maja", "kodu", "x2", "tuba"], "b": ["kodu", "maja", "tuba"], "c": ["tuba", "maja", "kodu"]}
    for seed, name in enumerate("abc"):
        model(tmp_path / name, seed=seed, words=words[name], tied=False)
    run(write_run(tmp_path, to=str(tmp_path / "one")))
    monkeypatch.setattr(shards, "BLOCK", 4)
    run(write_run(tmp_path, to=str(tmp_path / "many")))
    assert (tmp_path / "one" / "model.safetensors").read_bytes() == (tmp_path / "many" / "model.safetensors").read_bytes()


def test_the_receipt_leads_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    three(tmp_path, 2, 5, 1)
    path = write_run(tmp_path)
    run(path)
    out = tmp_path / "out"
    receipt, record = read_json(out / "receipt.json"), read_json(out / "export.json")
    assert [(p["role"], p["folder"]) for p in receipt["parents"]] == [("a", "a"), ("b1", "b"), ("c1", "c")]
    assert [p["weights_sha256"] for p in receipt["parents"]] == [lineage.weights_sha256(tmp_path / n) for n in "abc"]
    assert receipt["method"] == "merge" and receipt["share"] == 2  # 4 was added to every 2
    assert {o["path"] for o in record["outputs"]} | {"export.json"} == {p.name for p in out.iterdir()}
    assert all(o["sha256"] == file_sha256(out / o["path"]) for o in record["outputs"])
    assert lineage.of("a", str(out))["method"] == "merge"
    assert "a + 1 (b1 - c1)" in (out / "README.md").read_text()
    before = {p.name: p.stat().st_mtime_ns for p in out.iterdir()}
    capsys.readouterr()
    assert run(path) == 0  # the same again: nothing is done
    assert "done before" in capsys.readouterr().out and before == {p.name: p.stat().st_mtime_ns for p in out.iterdir()}
    with pytest.raises(CurateError, match="never written over something else"):
        run(path, ["vectors.0.lambda=0.5"])
    (out / "model.safetensors").write_bytes(b"")
    with pytest.raises(CurateError, match="is damaged"):
        run(path)


def test_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    three(tmp_path, 2, 5, 1)

    def fails(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(write, "_bytes", fails)
    with pytest.raises(KeyboardInterrupt):
        run(write_run(tmp_path))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b", "c", "run.yaml"]


def test_dry_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    three(tmp_path, 2, 5, 1)
    tokenizer(tmp_path / "c", ["maja", "<unk>", "kodu", "uus"])
    assert run(write_run(tmp_path), dry_run=True) == 0
    said = capsys.readouterr().out
    assert (
        "result = a + 1 (b1 - c1)" in said and "rows by token: 3 of a's 4 rows" in said and "disk: 344 B" in said
    )  # 86 numbers: 8 + 2 + 2 x 38
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b", "c", "run.yaml"]


def test_what_differs_in_the_configs_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    three(tmp_path, 2, 5, 1)
    config = json.loads((tmp_path / "b" / "config.json").read_text())
    (tmp_path / "b" / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 0.5}))
    save_file({**load_file(tmp_path / "c" / "model.safetensors"), "extra": torch.ones(2)}, tmp_path / "c" / "model.safetensors")
    run(write_run(tmp_path), dry_run=True)
    said = capsys.readouterr().err
    assert (
        "rms_norm_eps is 0.5 in b1 and 1e-06 in a" in said and "c1 has 1 tensors that a lacks, which are left out: extra" in said
    )


def test_the_chat_template_of_b(tmp_path: Path) -> None:
    words = {
        "a": ["<unk>", "uus", "<|eot|>", "maja"],
        "b": ["<unk>", "maja", "<|eot|>", "tuba"],
        "c": ["<unk>", "maja", "<|eot|>", "tuba"],
    }
    for name, value in (("a", 2.0), ("b", 5.0), ("c", 1.0)):
        model(tmp_path / name, value, words=words[name])
    (tmp_path / "b" / "chat_template.jinja").write_text("{{ messages[0].content }}<|eot|>")
    (tmp_path / "b" / "generation_config.json").write_text(
        json.dumps({"eos_token_id": [2, 3], "bos_token_id": 1, "temperature": 0.6})
    )
    run(write_run(tmp_path, chat="b"))
    found = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert found.apply_chat_template([{"role": "user", "content": "tere"}], tokenize=False) == "tere<|eot|>"
    ends = json.loads((tmp_path / "out" / "generation_config.json").read_text())
    assert ends == {"eos_token_id": [2], "bos_token_id": 3, "temperature": 0.6}  # b's 3, tuba, is no token of a; its 1 is a's 3
    model(tmp_path / "other", 2.0, words=["<unk>", "uus", "kodu", "maja"])
    with pytest.raises(CurateError, match="lacks tokens of this chat template") as caught:
        run(write_run(tmp_path, chat="b", a=str(tmp_path / "other"), to=str(tmp_path / "none")))
    assert caught.value.found == "<|eot|>" and not (tmp_path / "none").exists()
