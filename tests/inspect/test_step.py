"""`curate step` over the build of conftest, counted there by hand, and against the stream of a build that is really packed."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from curate.inspect import step
from curate.inspect.corpus import write_corpus
from curate.manifest import read_manifest, write_manifest
from mixture import steps
from mixture.stream import Stream
from tests.inspect.commands import call
from tests.inspect.conftest import doc_id
from tests.mixture import two_phases
from tests.mixture.small_build import build, documents_of, recipe_of


def test_two_rows_by_hand(small):
    # rows 2 and 3 of the stream: w7 (ten of its twenty tokens) and b1, each alone in a row of 16
    data = step.step(small.build, range(2, 4))
    same = {"sequences": 1, "chunks": 1, "tokens": 10, "loss_tokens": 10, "padding": 6, "passes": [0], "epochs": [1]}
    assert data["components"] == [
        {"component": "et", **same, "sources": {"web": 10}}, {"component": "en", **same, "sources": {"book": 10}},
    ]  # fmt: skip
    assert data["total"] == {"sequences": 2, "chunks": 2, "tokens": 20, "loss_tokens": 20, "padding": 12}
    assert [(r["stream_index"], r["component"], r["tokens"], r["padding"]) for r in data["rows"]] == [
        (2, "et", 10, 6),
        (3, "en", 10, 6),
    ]
    [document] = data["rows"][0]["documents"]
    assert document == {
        "position": 0, "source": "web", "id": doc_id("w7"), "chunk": 0, "n_chunks": 1, "token_start": 0, "n_tokens": 10,
        "n_loss_tokens": 10, "source_id": "w7", "title": None, "url": "https://www.pood.example.co.uk:443/w7", "file": "web.jsonl",
    }  # fmt: skip
    assert data["rows"][1]["documents"][0]["source_id"] == "b1" and data["empty"] == 0
    json.dumps(data)


def test_pass_and_epoch(small):
    data = step.step(small.build, range(3, 7))  # b1 b2 of pass 0, b1 b2 of pass 1
    assert [(r["pass"], r["epoch"]) for r in data["rows"]] == [(0, 1), (0, 1), (1, 2), (1, 2)]
    assert (data["components"][0]["passes"], data["components"][0]["epochs"]) == ([0, 1], [1, 2])


def test_an_epoch_of_copies_is_several_passes(small, tmp_path):
    shutil.copytree(small.root, tmp_path / "copy")
    build_dir = tmp_path / "copy" / "build" / "small"
    manifest = read_manifest(build_dir / "manifest.json")
    manifest["components"][1]["copies_per_epoch"] = {"passes": 2}
    write_manifest(build_dir / "manifest.json", manifest)
    assert [r["epoch"] for r in step.step(build_dir, range(3, 7))["rows"]] == [1, 1, 1, 1]


def test_the_last_step_is_filled_with_empty_rows(small):
    data = step.step(small.build, range(6, 7), n_empty=2)
    assert (data["empty"], data["total"]["sequences"], data["last"]) == (2, 1, 6)
    text = step.render({**data, **asked(step=3, n_steps=3, batch_rows=3)})
    assert text.splitlines()[0] == "step 3 of 3, 3 sequences each: rows 6 to 6 of 7, then 2 empty"
    nothing = step.step(small.build, range(7, 7), n_empty=1)
    assert nothing["rows"] == [] and nothing["total"]["tokens"] == 0 and nothing["empty"] == 1
    text = step.render({**nothing, **asked(step=3, n_steps=3, batch_rows=3, rank=2, world=3)})
    assert "step 3 of 3, 3 sequences each, rank 2 of 3: no row, the stream has ended" in text


def asked(**given):
    return {**dict.fromkeys(("step", "n_steps", "batch_rows", "rank", "world")), **given}


def test_text(small):
    data = step.step(small.build, range(0, 4), 2, read=lambda i: [f"text of row {i} üks kaks"])
    lines = step.render({**data, **asked(step=1, n_steps=2, batch_rows=4)}).splitlines()
    assert lines[0] == "step 1 of 2, 4 sequences each: rows 0 to 3 of 7"
    assert [" ".join(line.split()) for line in lines[2:6]] == [
        "component sequences chunks tokens loss tokens padding share pass epoch",
        "et 3 3 30 30 18 75 % 0 1", "en 1 1 10 10 6 25 % 0 1", "total 4 4 40 40 24",
    ]  # fmt: skip
    assert "row 1  et, pass 0 (epoch 1), sequence 1: 10 tokens, 6 of padding" in lines
    assert "      | text of row 1 üks kaks" in lines and "and 2 more rows: --json lists all, --rank those of one process" in lines
    assert any(line.split() == ["0", "10", "web", doc_id("w1"), "https://www.uudised.err.ee/w1"] for line in lines)
    assert all(len(line) <= 100 for line in lines)


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """Three sources in two components, documents longer and shorter than a row, two passes of one component."""
    folder = tmp_path_factory.mktemp("packed")
    rng = np.random.default_rng(11)
    sources = {name: documents_of(name, rng.integers(1, 70, n).tolist()) for name, n in (("a", 25), ("b", 20), ("c", 25))}
    unique = sum(len(d["tokens"]) for name in "ab" for d in sources[name])
    components = {
        "ab": {"from": ["a", "b"], "budget": f"{unique + unique // 2} tokens", "max_epochs": 2},
        "c": {"from": ["c"], "budget": "300 tokens", "max_epochs": 1},
    }
    build(recipe_of(folder, components, unique + unique // 2 + 300, 32), folder, sources)
    write_corpus(folder / "build", {}, read_manifest(folder / "build" / "manifest.json"))
    return folder / "build"


@pytest.fixture(scope="module")
def in_phases(tmp_path_factory):
    """171 rows of 24 tokens, then 52 of 40."""
    folder = two_phases.build(tmp_path_factory.mktemp("in_phases"))
    write_corpus(folder, {}, read_manifest(folder / "manifest.json"))
    return folder


@pytest.mark.parametrize(("which", "batch_rows", "n_steps"), [("packed", 24, None), ("in_phases", 12, 15 + 5)])
def test_every_row_is_the_streams(request, which, batch_rows, n_steps):
    build_dir = request.getfixturevalue(which)
    stream = Stream(build_dir / "manifest.json", verify=True)
    manifest = read_manifest(build_dir / "manifest.json")
    run = steps.steps_of(manifest, f"{batch_rows} sequences")
    assert n_steps in (None, run.n_steps)
    seen = []
    for number in range(1, run.n_steps + 1):
        for rank in range(3):
            share = steps.ask(manifest, number, run, rank=rank, world=3)
            data = step.step(build_dir, share.rows, None, n_empty=share.n_empty)
            batch = stream.batch(number - 1, rank=rank, world_size=3, rows=batch_rows)
            assert (data["phase"], data["sequence_length"]) == stream.phases[run.phase_of(number - 1)][::3]
            by_component = {c["component"]: c for c in data["components"]}
            for number_, name in enumerate(stream.components):
                mine = batch.component == number_
                have = by_component.get(name, dict.fromkeys(("sequences", "tokens", "loss_tokens"), 0))
                expected = int(mine.sum()), int(batch.n_tokens[mine].sum()), int(batch.n_loss_tokens[mine].sum())
                assert (have["sequences"], have["tokens"], have["loss_tokens"]) == expected
            for row in data["rows"]:
                theirs = stream.row(row["stream_index"])
                lengths = np.bincount(theirs.document[theirs.document >= 0]).tolist()
                assert [d["n_tokens"] for d in row["documents"]] == lengths and row["padding"] == len(
                    theirs.input_ids
                ) - theirs.n_tokens
                seen.append(row["stream_index"])
            assert data["empty"] == int((batch.component < 0).sum())
    assert seen == list(range(stream.n_sequences))


def test_a_step_says_its_phase(in_phases):
    # 480 tokens: 20 rows of 24 are 9 steps, 12 rows of 40 are 5; the last of main has 11 rows, the last of anneal 4
    run = steps.steps_of(read_manifest(in_phases / "manifest.json"), "480 tokens")

    def head(number, **rank):
        share = steps.ask(read_manifest(in_phases / "manifest.json"), number, run, **rank)
        said = {name: getattr(share, name) for name in ("step", "n_steps", "batch_rows", "rank", "world")}
        return step.render({**step.step(in_phases, share.rows, n_empty=share.n_empty), **said}).splitlines()[0]

    assert head(9) == ("step 9 of 14 (phase main, rows of 24 tokens), 20 sequences each: rows 160 to 170 of 223, then 9 empty")
    assert head(10) == "step 10 of 14 (phase anneal, rows of 40 tokens), 12 sequences each: rows 171 to 182 of 223"
    assert head(9, rank=3, world=4) == (
        "step 9 of 14 (phase main, rows of 24 tokens), 20 sequences each, rank 3 of 4: no row, the phase has ended"
    )
    alone = step.step(in_phases, steps.ask(read_manifest(in_phases / "manifest.json"), 171).rows)
    assert step.render({**alone, **asked()}).startswith("row 171 of 223 (phase anneal, rows of 40 tokens) (--global-batch")


def test_command(small, monkeypatch, capsys):
    code, out, _ = call(
        monkeypatch, capsys, "step", small.build, 2, "--global-batch", "2 sequences", "--rank", 1, "--world-size", 2, "--json"
    )
    data = json.loads(out)
    assert code == 0 and (data["first"], data["last"], data["rank"], data["n_steps"]) == (3, 3, 1, 4)
    code, out, said = call(monkeypatch, capsys, "step", small.build, 5, "--global-batch", "2 sequences")
    assert (code, out) == (2, "") and "allowed: 1 to 4" in said
