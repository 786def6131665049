"""`curate when` over the build of conftest: every fate a document can have, in figures counted there by hand."""

from __future__ import annotations

import json
import shutil
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from curate import schema
from curate.errors import CurateError
from curate.inspect import when
from curate.inspect.corpus import write_corpus
from curate.manifest import write_manifest
from curate.store import Store
from mixture import steps
from tests.inspect.commands import call
from tests.inspect.conftest import doc_id, stages_of

NO_BATCH = {"batch_rows": None, "n_steps": None}


def test_every_use_with_its_step(small):
    data = when.when(small.build, doc_id("b1"), partial(steps.place, steps.steps_of(small.manifest, "2 sequences")))
    assert (data["fate"], data["why"]) == ("trained", "trained on twice, 20 tokens")
    # rows 3 and 5: the second row of step 2, the second of step 3
    assert [(u["stream_index"], u["step"], u["row"], u["pass"], u["epoch"], u["n_tokens"]) for u in data["uses"]] == [
        (3, 2, 1, 0, 1, 10), (5, 3, 1, 1, 2, 10)
    ]  # fmt: skip
    assert (data["component"], data["n_passes"], data["trained_tokens"], data["n_tokens"]) == ("en", 2, 20, 10)
    text = when.render({**data, "batch_rows": 2, "n_steps": 4})
    assert "step (of 4)" in text and "  trained on twice, 20 tokens" in text
    assert all(len(line) <= 100 for line in text.splitlines()[:-1])  # the last one holds the path of the build
    json.dumps(data)


def test_a_document_used_in_part(small):
    data = when.when(small.build, "a7")
    assert data["why"] == "trained on once, 10 tokens; in the last pass only its first 10 of 20, where the budget ended"
    assert "step" not in data["uses"][0] and "--global-batch" in when.render({**data, **NO_BATCH})


@pytest.mark.parametrize(
    ("name", "fate", "said"),
    [
        ("w3", "dropped", "never trained on: dropped for min_n_words: n_words 2, bound >= 5; also failed: language"),
        ("w5", "dropped", f"never trained on: dropped for near_duplicate of web {doc_id('w1')}, which is kept, similarity 0.8000"),
        ("b4", "dropped", f"never trained on: dropped for exact_duplicate of web {doc_id('w1')}, which is kept, similarity 1.0000"),
        ("w6", "held_out", "never trained on: held out of component et, to watch the loss on"),
        ("b3", "over_budget", "never trained on: over budget. Component en trains 40 tokens, 1.33 epochs of 30 unique ones, and this "
         "document was not reached"),
    ],
)  # fmt: skip
def test_why_never(small, name, fate, said):
    data = when.when(small.build, name)  # by source_id
    assert (data["document"]["id"], data["fate"], data["why"], data["trained_tokens"]) == (doc_id(name), fate, said, 0)
    text = when.render({**data, **NO_BATCH})
    assert " ".join(said.split()) in " ".join(text.split()) and "--global-batch" not in text
    assert [use["held_out_row"] for use in data["uses"]] == ([0] if name == "w6" else [])


def copy_of(small, folder):
    shutil.copytree(small.root, folder)
    return folder / "build" / "small", stages_of(Store(folder / "store"))


def test_in_no_component(small, tmp_path):
    build, stages = copy_of(small, tmp_path / "copy")
    manifest = {**small.manifest, "components": small.manifest["components"][:1]}
    selection = pq.read_table(build / "selection.parquet")
    pq.write_table(selection.filter(pc.equal(selection["component"], "et")), build / "selection.parquet")
    write_manifest(build / "manifest.json", manifest)
    write_corpus(build, stages, manifest)
    data = when.when(build, "b1")
    assert (data["fate"], data["why"]) == (
        "no_component",
        "never trained on: it belongs to no component, by its source book or by their where: (components: et)",
    )


@pytest.fixture(scope="module")
def in_phases(small, tmp_path_factory):
    """The same in two phases: rows 0 to 4 of 16 tokens, then two of 32: w7's other ten tokens, and b1 again."""
    build, stages = copy_of(small, tmp_path_factory.mktemp("in_phases") / "copy")
    uses = pq.read_table(build / "selection.parquet").to_pylist()
    kept = [use for use in uses if use["stream_index"] is None or use["stream_index"] < 5]
    more = {"chunk": 0, "n_chunks": 1, "n_tokens": 10, "n_loss_tokens": 10, "split": "train", "position": 0, "phase": "anneal"}
    kept[5:5] = [
        {**more, "component": "et", "source": "web", "id": doc_id("w7"), "pass": 0, "token_start": 10, "sequence": 5, "stream_index": 5},
        {**more, "component": "en", "source": "book", "id": doc_id("b1"), "pass": 1, "token_start": 0, "sequence": 6, "stream_index": 6},
    ]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(kept, schema.SELECTION), build / "selection.parquet")
    [main] = small.manifest["phases"]
    tokens = {"unit": "tokens", "padding": 0}
    manifest = {
        **small.manifest,
        "phases": [
            {**main, "budget": {**tokens, "requested": 50, "realised": 50}, "order": {"first_index": 0, "n_sequences": 5}},
            {**main, "name": "anneal", "sequence_length": 32, "budget": {**tokens, "requested": 20, "realised": 20},
             "order": {"first_index": 5, "n_sequences": 2}},
        ],
        "components": [
            {**c, "phases": [{"phase": "main", "requested": n, "realised": n}, {"phase": "anneal", "requested": 10, "realised": 10}]}
            for c, n in zip(small.manifest["components"], (30, 20), strict=True)
        ],
    }  # fmt: skip
    write_manifest(build / "manifest.json", manifest)
    write_corpus(build, stages, manifest)
    return build, manifest


def test_uses_in_two_phases(in_phases):
    build, manifest = in_phases
    # 64 tokens a step: 4 rows of 16 (steps 1 and 2), then 2 of 32 (step 3)
    run = steps.steps_of(manifest, "64 tokens")
    data = when.when(build, "b1", partial(steps.place, run))
    assert (data["fate"], data["why"], data["n_passes"]) == ("trained", "trained on twice, 20 tokens", 2)
    assert [(u["phase"], u["sequence_length"], u["step"], u["row"], u["pass"]) for u in data["uses"]] == [
        ("main", 16, 1, 3, 0), ("anneal", 32, 3, 1, 1)
    ]  # fmt: skip
    lines = when.render({**data, "batch_rows": "4 and 2", "n_steps": run.n_steps}).splitlines()
    [head] = [line for line in lines if "step (of 3)" in line]
    assert head.split()[-6:] == ["row", "stream", "index", "position", "of", "sequence"]
    assert [line.split()[-2] for line in lines if line.strip().startswith(("main", "anneal"))] == ["16", "32"]


def test_a_use_that_a_phase_left_unfinished_goes_on_in_the_next(in_phases):
    data = when.when(in_phases[0], "a7")
    assert (data["why"], data["n_passes"]) == ("trained on once, 20 tokens", 1)
    assert [(u["phase"], u["token_start"], u["n_tokens"]) for u in data["uses"]] == [("main", 0, 10), ("anneal", 10, 10)]


def test_held_out_rows_have_the_first_phases_length(in_phases):
    data = when.when(in_phases[0], "w6")
    assert (data["fate"], data["uses"][0]["sequence_length"], data["uses"][0]["held_out_row"]) == ("held_out", 16, 0)


def test_of_a_build_that_stopped_early(small, tmp_path):
    build, stages = copy_of(small, tmp_path / "copy")
    (build / "manifest.json").unlink()
    write_corpus(build, stages, None)
    assert when.when(build, "b1")["fate"] == "no_mixture" and "no mixture" in when.when(build, "b1")["why"]
    assert when.when(build, "w3")["fate"] == "dropped"
    del stages["tokens"]
    write_corpus(build, stages, None)
    assert when.when(build, "b1")["why"] == "kept; the build stopped before tokens were made"
    del stages["decide"]
    write_corpus(build, stages, None)
    assert when.when(build, "w3")["fate"] == "undecided"


def test_a_name_that_fits_none_or_several(small):
    for name, said in (("nosuch", "no document"), ("a", "more than one"), ("f" * 32, "no document"), ("A1", "no document")):
        with pytest.raises(CurateError) as caught:
            when.when(small.build, name)
        assert said in caught.value.what and caught.value.exit_code == 2
    assert doc_id("w1") in _error(small, "a").found and "1 records are in quarantine" in _error(small, "nosuch").allowed


def _error(small, name):
    with pytest.raises(CurateError) as caught:
        when.when(small.build, name)
    return caught.value


def test_an_exact_source_id_goes_before_the_beginning_of_an_id(small):
    # b3 is the source_id of one document and the beginning of its id; b2's id begins with "b2", its source_id is "b2"
    assert when.when(small.build, "b3")["document"]["source_id"] == "b3"
    assert when.when(small.build, "b30")["document"]["source_id"] == "b3"


def test_command(small, monkeypatch, capsys):
    code, out, _ = call(monkeypatch, capsys, "when", small.build, "b1", "--global-batch", "2 sequences", "--json")
    assert code == 0 and [u["step"] for u in json.loads(out)["uses"]] == [2, 3]
    assert call(monkeypatch, capsys, "when", small.build, "w3")[0] == 0  # never trained on is an answer, not an error
    code, out, said = call(monkeypatch, capsys, "when", small.build, "nosuch")
    assert (code, out) == (2, "") and said.startswith("error: ")
