"""What people ask about steps: by hand, in one phase and in two, what is refused, and the texts of a row decoded."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest

from curate.errors import CurateError
from curate.manifest import read_manifest, write_manifest
from curate.recipe import TokenizerSpec
from mixture import steps
from mixture.build import plan_and_pack
from mixture.stream import Stream
from mixture.tokenizer import load_tokenizer
from tests.mixture import tiny_tokenizer
from tests.mixture.small_build import recipe_of, write_tokens


def manifest(*phases, root="a" * 64):
    """Phases as (rows, sequence length)."""
    stated, at = [], 0
    for number, (n_rows, length) in enumerate(phases or ((21, 1024),)):
        name = "main" if number == 0 else f"later{number}"
        stated.append({"name": name, "sequence_length": length, "order": {"first_index": at, "n_sequences": n_rows}})
        at += n_rows
    return {"phases": stated, "roots": {"stream": root}}


def asked(given, text, number, **rank):
    return steps.ask(given, number, steps.steps_of(given, text), **rank)


def test_steps_by_hand():
    # 21 rows, 8 a step: steps 1 to 3 are rows 0-7, 8-15, 16-20 and three empty rows
    found = [asked(manifest(), "8 sequences", s) for s in (1, 2, 3)]
    assert [(a.rows, a.n_empty) for a in found] == [(range(0, 8), 0), (range(8, 16), 0), (range(16, 21), 3)]
    assert {(a.n_steps, a.batch_rows, a.rank, a.world) for a in found} == {(3, 8, None, None)}
    assert [asked(manifest(), "8 sequences", 2, rank=r, world=4).rows for r in range(4)] == [
        range(8, 10), range(10, 12), range(12, 14), range(14, 16)
    ]  # fmt: skip
    run = steps.steps_of(manifest(), "8 sequences")
    assert [steps.place(run, i) for i in (0, 7, 8, 20)] == [(1, 0), (1, 7), (2, 0), (3, 4)]
    alone = steps.ask(manifest(), 20)
    assert (alone.rows, alone.step) == (range(20, 21), None)


def test_a_step_belongs_to_one_phase():
    # 3 rows of 1024 tokens, then 4 of 2048; 4096 tokens a step: 4 rows (one of them empty), then 2 and 2
    two = manifest((3, 1024), (4, 2048))
    found = [asked(two, "4096 tokens", s) for s in (1, 2, 3)]
    assert [(a.rows, a.n_empty, a.batch_rows, a.n_steps) for a in found] == [
        (range(0, 3), 1, 4, 3), (range(3, 5), 0, 2, 3), (range(5, 7), 0, 2, 3)
    ]  # fmt: skip
    assert asked(two, "4096 tokens", 1, rank=1, world=2) == steps.Asked(range(2, 3), 1, 1, 3, 4, 1, 2)
    run = steps.steps_of(two, "4096 tokens")
    assert [steps.place(run, i) for i in range(7)] == [(1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (3, 0), (3, 1)]
    assert (steps.said(run.rows), steps.said((8, 8))) == ("4 and 2", "8")
    assert steps.steps_of(two, "2 sequences").rows == (2, 2)
    with pytest.raises(CurateError, match="there is no such step") as caught:
        asked(two, "4096 tokens", 4)
    assert caught.value.allowed == "1 to 3, as a run's log counts them (7 sequences, 4 and 2 a step)"
    with pytest.raises(CurateError) as caught:
        asked(two, "4096 tokens", 1, rank=0, world=4)  # 4 rows divide by 4, but the 2 of the second phase do not
    assert caught.value.found == "4 and 2 sequences, 4 processes"


@pytest.mark.parametrize(
    ("number", "batch_rows", "rank", "world", "said"),
    [
        (0, 8, None, None, "1 to 3"), (4, 8, None, None, "1 to 3"), (21, None, None, None, "0 to 20"), (-1, None, None, None, "0 to 20"),
        (1, 8, 1, None, "belong together"), (1, 8, None, 2, "belong together"), (1, 8, 2, 2, "0 to 1"), (1, 8, -1, 2, "0 to 1"),
        (1, 8, 0, 3, "divisor"), (1, 8, 0, 0, "divisor"), (1, None, 0, 2, "512 sequences"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_refused(number, batch_rows, rank, world, said):
    run = steps.steps_of(manifest(), f"{batch_rows} sequences") if batch_rows else None
    with pytest.raises(CurateError) as caught:
        steps.ask(manifest(), number, run, rank=rank, world=world)
    assert said in str(caught.value) and caught.value.exit_code == 2


def rows_of(text, *phases):
    return steps.steps_of(manifest(*phases), text).rows


def test_a_global_batch_in_sequences_or_tokens():
    read = {text: rows_of(text) for text in ("8 sequences", "1 sequence", "1_024 sequences", "2048 tokens")}
    assert list(read.values()) == [(8,), (1,), (1024,), (2,)]
    for text, said in (
        ("8", "512 sequences"), ("0 sequences", "at least one"), ("1000 tokens", "1024 tokens or 2048 tokens"), ("0 tokens", "whole sequences"),
        ("8 rows", "512 sequences"), ("2 epochs", "512 sequences"), ("none.yaml", "no such file"),
    ):  # fmt: skip
        with pytest.raises(CurateError) as caught:
            rows_of(text)
        assert said in str(caught.value)


def test_a_run_file_says_its_global_batch(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base.yaml").write_text("global_batch: 4096 tokens\nmanifest: build/manifest.json\n")
    (tmp_path / "run.yaml").write_text("extends: base.yaml\nname: run\n")
    assert rows_of("run.yaml") == (4,)  # its manifest is not here: nothing to compare with
    (tmp_path / "build").mkdir()
    fields = dict.fromkeys(
        ("kind", "name", "tool_versions", "recipe_sha256", "tokenizer", "seed", "components", "held_out", "stream_checkpoints", "outputs", "lineage")
    )  # fmt: skip
    write_manifest(tmp_path / "build" / "manifest.json", {"schema_version": 1, **fields, **manifest()})
    assert rows_of("run.yaml") == (4,)
    with pytest.raises(CurateError) as caught:
        steps.steps_of(manifest(root="b" * 64), "run.yaml")
    assert "another stream" in caught.value.what and caught.value.where == "base.yaml:2"
    with pytest.raises(CurateError) as caught:
        rows_of("run.yaml", (3, 1024), (4, 8192))
    assert caught.value.where == "base.yaml:1" and caught.value.allowed == "8192 tokens or 16384 tokens"
    (tmp_path / "other.yaml").write_text("name: recipe\n")
    with pytest.raises(CurateError) as caught:
        rows_of("other.yaml")
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
    tables, shards, patterns = write_tokens(tmp_path / "tokens", recipe, {"et": documents})
    facts = {"name": "tok", "sha256": tokenizer.sha256, "vocab_size": tokenizer.vocab_size, "special": tokenizer.special}
    path = tmp_path / "build" / "manifest.json"
    plan_and_pack(recipe, tables, shards, path.parent, tokenizer=facts, token_bytes=2, lineage=[], patterns=patterns)

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


def test_what_is_learned_stands_between_brackets(tmp_path):
    """Two conversations in one row, by hand: the first token of an answer is predicted by the last of the question."""
    tokenizer = load_tokenizer(TokenizerSpec(model=str(tiny_tokenizer.write(tmp_path / "tok"))))
    parts = [("user: Tere?\n", 0), ("Tere!", 1), ("\nuser: Head aega.\n", 0), ("Nägemist.", 1)]
    encoded = [(ids, learned) for text, learned in parts for ids in tokenizer.encode_batch([text])]
    ids = np.concatenate([ids for ids, _ in encoded])
    learned = np.concatenate([np.full(len(ids), bool(learned)) for ids, learned in encoded])
    assert steps.marked(tokenizer, ids, learned) == "user: Tere?\n⟦Tere!⟧\nuser: Head aega.\n⟦Nägemist.⟧"
    everything = np.arange(len(ids)) > 0  # nothing predicts the first token of a document
    assert steps.marked(tokenizer, ids, everything) == "user: Tere?\nTere!\nuser: Head aega.\nNägemist."
    assert steps.marked(tokenizer, ids, np.zeros(len(ids), bool)) == "user: Tere?\nTere!\nuser: Head aega.\nNägemist."
