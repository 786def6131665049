"""Which rows a step takes: by hand, against the trainer's own arithmetic, and the texts of a row decoded."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.errors import CurateError
from curate.manifest import read_manifest, write_manifest
from curate.recipe import TokenizerSpec
from mixture import steps
from mixture.build import plan_and_pack
from mixture.stream import Stream
from mixture.tokenizer import load_tokenizer
from tests.mixture import tiny_tokenizer
from tests.mixture.small_build import recipe_of, write_tokens


def manifest(n_rows, length=1024, root="a" * 64):
    return {"phases": [{"sequence_length": length, "order": {"n_sequences": n_rows}}], "roots": {"stream": root}}


def test_steps_by_hand():
    # 21 rows, 8 a step: steps 1 to 3 are rows 0-7, 8-15, 16-23 (the last three of them past the end)
    asked = [steps.ask(manifest(21), s, 8) for s in (1, 2, 3)]
    assert [a.rows for a in asked] == [range(0, 8), range(8, 16), range(16, 24)]
    assert {(a.n_rows, a.n_steps, a.batch_rows, a.rank, a.world) for a in asked} == {(21, 3, 8, None, None)}
    assert [steps.ask(manifest(21), 2, 8, rank=r, world=4).rows for r in range(4)] == [
        range(8, 10), range(10, 12), range(12, 14), range(14, 16)
    ]  # fmt: skip
    assert [steps.place(i, 8) for i in (0, 7, 8, 20)] == [(1, 0), (1, 7), (2, 0), (3, 4)]
    alone = steps.ask(manifest(21), 20)
    assert (alone.rows, alone.step) == (range(20, 21), None)


@given(st.integers(1, 200), st.integers(1, 16), st.integers(1, 6), st.integers(1, 8))
def test_ranks_share_a_step_and_steps_share_the_stream(n_rows, each, world, step):
    batch = each * world
    whole = steps.ask(manifest(n_rows), min(step, steps.n_steps(n_rows, batch)), batch)
    parts = [steps.ask(manifest(n_rows), whole.step, batch, rank=r, world=world).rows for r in range(world)]
    assert [i for part in parts for i in part] == list(whole.rows)
    assert all(steps.place(i, batch) == (whole.step, k) for k, i in enumerate(whole.rows))
    every = [i for s in range(1, steps.n_steps(n_rows, batch) + 1) for i in steps.ask(manifest(n_rows), s, batch).rows]
    assert every == list(range(len(every))) and n_rows <= len(every) < n_rows + batch


@pytest.fixture(scope="module")
def trainer():
    return pytest.importorskip("train.batch", reason="needs torch: the extra `train`", exc_type=ModuleNotFoundError)


@given(step=st.integers(0, 10**9), each=st.integers(1, 512), world=st.integers(1, 64), data=st.data())
def test_the_trainer_takes_the_same_rows(trainer, step, each, world, data):
    rank = data.draw(st.integers(0, world - 1))
    assert steps.rank_rows(step, each * world, rank, world) == trainer.rank_rows(step, each * world, rank, world)


@pytest.mark.parametrize(
    ("number", "batch_rows", "rank", "world", "said"),
    [
        (0, 8, None, None, "1 to 3"), (4, 8, None, None, "1 to 3"), (21, None, None, None, "0 to 20"), (-1, None, None, None, "0 to 20"),
        (1, 8, 1, None, "belong together"), (1, 8, None, 2, "belong together"), (1, 8, 2, 2, "0 to 1"), (1, 8, -1, 2, "0 to 1"),
        (1, 8, 0, 3, "divisor"), (1, 8, 0, 0, "divisor"), (1, None, 0, 2, "512 sequences"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_refused(number, batch_rows, rank, world, said):
    with pytest.raises(CurateError) as caught:
        steps.ask(manifest(21), number, batch_rows, rank=rank, world=world)
    assert said in str(caught.value) and caught.value.exit_code == 2


def test_a_global_batch_in_sequences_or_tokens():
    read = {
        text: steps.batch_rows(manifest(21), text) for text in ("8 sequences", "1 sequence", "1_024 sequences", "2048 tokens")
    }
    assert list(read.values()) == [8, 1, 1024, 2]
    for text, said in (
        ("8", "512 sequences"), ("0 sequences", "at least one"), ("1000 tokens", "1024 tokens or 2048 tokens"), ("0 tokens", "whole sequences"),
        ("8 rows", "512 sequences"), ("2 epochs", "512 sequences"), ("none.yaml", "no such file"),
    ):  # fmt: skip
        with pytest.raises(CurateError) as caught:
            steps.batch_rows(manifest(21), text)
        assert said in str(caught.value)


def test_a_run_file_says_its_global_batch(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base.yaml").write_text("global_batch: 4096 tokens\nmanifest: build/manifest.json\n")
    (tmp_path / "run.yaml").write_text("extends: base.yaml\nname: run\n")
    assert steps.batch_rows(manifest(21), "run.yaml") == 4  # its manifest is not here: nothing to compare with
    (tmp_path / "build").mkdir()
    fields = dict.fromkeys(
        ("kind", "name", "tool_versions", "recipe_sha256", "tokenizer", "seed", "components", "held_out", "stream_checkpoints", "outputs", "lineage")
    )  # fmt: skip
    write_manifest(tmp_path / "build" / "manifest.json", {"schema_version": 1, **fields, **manifest(21)})
    assert steps.batch_rows(manifest(21), "run.yaml") == 4
    with pytest.raises(CurateError) as caught:
        steps.batch_rows(manifest(21, root="b" * 64), "run.yaml")
    assert "another stream" in caught.value.what and caught.value.where == "base.yaml:2"
    (tmp_path / "other.yaml").write_text("name: recipe\n")
    with pytest.raises(CurateError) as caught:
        steps.batch_rows(manifest(21), "other.yaml")
    assert "no global_batch" in caught.value.what


def test_texts_are_what_the_row_holds(tmp_path):
    """Twelve documents, the sixth longer than a row: the texts of its chunks, in order, are each document's text."""
    tiny_tokenizer.write(tmp_path / "tok")
    words = [" ".join(f"word{k}-{i}" for k in range(20 if i == 5 else 3)) for i in range(12)]
    tokenizer = load_tokenizer(TokenizerSpec(model=str(tmp_path / "tok")))
    tokens = [ids.astype(np.int64) for ids in tokenizer.encode_batch(words)]
    total = sum(map(len, tokens))
    recipe = recipe_of(tmp_path, {"et": {"from": ["et"], "budget": f"{total} tokens", "max_epochs": 1}}, total, 64)
    recipe = recipe.model_copy(update={"tokenizer": TokenizerSpec(model=str(tmp_path / "tok"))})
    documents = [
        {"id": f"{i:032x}", "cluster_id": None, "tokens": t, "loss": None, "language": "et", "license": "MIT"}
        for i, t in enumerate(tokens)
    ]
    tables, shards = write_tokens(tmp_path / "tokens", {"et": documents})
    facts = {"name": "tok", "sha256": tokenizer.sha256, "vocab_size": tokenizer.vocab_size, "special": tokenizer.special}
    path = tmp_path / "build" / "manifest.json"
    plan_and_pack(recipe, tables, shards, path.parent, tokenizer=facts, token_bytes=2, lineage=[])

    read, stream = steps.reader(path, recipe), Stream(path)
    selection = pq.read_table(path.parent / "selection.parquet", columns=["id", "token_start"]).to_pylist()
    chunks: dict[str, dict[int, str]] = {}
    for index in range(stream.n_sequences):
        numbers = stream.chunks(stream.sequence_of(index))["document"].tolist()
        for number, text in zip(numbers, read(index), strict=True):
            chunks.setdefault(selection[number]["id"], {})[selection[number]["token_start"]] = text
    assert {int(id_, 16): "".join(parts[at] for at in sorted(parts)) for id_, parts in chunks.items()} == dict(enumerate(words))
    assert len(chunks[f"{5:032x}"]) > 1

    write_manifest(path, {**read_manifest(path), "tokenizer": {**facts, "sha256": "0" * 64}})
    with pytest.raises(CurateError) as caught:
        steps.reader(path, recipe)
    assert "not the one the manifest was made with" in caught.value.what
