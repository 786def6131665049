"""The stream of several phases, written by hand: rows of each phase's length, batches that never straddle two, no state."""

from __future__ import annotations

import pickle
import shutil

import pytest

from curate.errors import CurateError
from curate.manifest import read_manifest, write_manifest
from mixture import stream as room
from mixture.batches import Phase
from mixture.stream import Stream
from tests.mixture import made_stream

PHASES = [("main", 16, 22), ("long", 64, 9), ("none", 32, 0), ("short", 8, 13)]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return made_stream.write(tmp_path_factory.mktemp("made"), PHASES, held_out_length=32)


def same(row, expected):
    """A row of the stream against the lists it was made of; padding is zeros, no label, positions from 0."""
    n, length = len(expected["ids"]), expected["length"]
    assert row.input_ids.tolist() == expected["ids"] + [0] * (length - n)
    assert row.labels.tolist() == expected["labels"] + [-100] * (length - n)
    assert row.position_ids.tolist() == expected["positions"] + list(range(length - n))
    assert row.document.tolist() == expected["document"] + [-1] * (length - n)
    assert (row.n_tokens, row.n_loss_tokens) == (n, sum(label != -100 for label in expected["labels"]))
    assert (row.component, row.row_hash) == (expected["component"], expected["hash"])


def test_rows_of_several_phases_have_their_phases_length(made):
    stream = Stream(made.manifest, verify=True)
    assert stream.phases == (
        Phase("main", 0, 22, 16),
        Phase("long", 22, 9, 64),
        Phase("none", 31, 0, 32),
        Phase("short", 31, 13, 8),
    )
    for i, expected in enumerate(made.rows):
        same(stream.row(i), expected)
    for j, expected in enumerate(made.held_out):
        same(stream.held_out(j), expected)
    assert stream.held_out_length == 32 and stream.n_held_out == 3


@pytest.mark.parametrize("world", [1, 2, 4])
def test_a_batch_is_a_function_of_its_arguments(made, world):
    """64 x 4 tokens a step: 16 rows, then 4, then 32; every row once, in order, whatever the number of ranks, from whichever step."""
    steps = Stream(made.manifest).steps(tokens=256)
    assert steps.n_steps == 2 + 3 + 1
    seen = []
    for step in reversed(range(steps.n_steps)):  # each from a stream opened anew, and backwards: there is nothing to remember
        parts = [Stream(made.manifest).batch(step, 256, rank, world) for rank in range(world)]
        hashes = [h for part in parts for h in part.row_hash]
        assert {part.input_ids.shape[1] for part in parts} == {(16, 16, 64, 64, 64, 8)[step]}
        assert sum(part.input_ids.size for part in parts) == 256
        seen = [h for h in hashes if h] + seen
        assert hashes == sorted(hashes, key=lambda h: h == b"")  # empty rows after the others
    assert seen == [row["hash"] for row in made.rows]


def test_a_batch_in_rows(made):
    stream = Stream(made.manifest)
    assert stream.batch(1, rows=12).input_ids.shape == (12, 16) and stream.batch(2, rows=12).component.tolist()[9:] == [-1] * 3
    for wrong in ({}, {"tokens": 256, "rows": 4}):
        with pytest.raises(ValueError, match="in tokens or in rows"):
            stream.batch(0, **wrong)


def test_rows_of_two_phases_are_no_batch(made):
    with pytest.raises(ValueError, match="rows of one phase"):
        Stream(made.manifest).read([21, 22])
    with pytest.raises(ValueError, match="rows of one phase"):
        Stream(made.manifest).read([0], phase=1)
    assert Stream(made.manifest).read([], 2, phase=1).input_ids.shape == (2, 64)


def test_a_sequence_longer_than_its_phase_is_refused(made, tmp_path):
    shutil.copytree(made.manifest.parents[1], tmp_path / "copy")
    path = tmp_path / "copy" / "build" / "manifest.json"
    manifest = read_manifest(path)
    manifest["phases"][1]["sequence_length"] = 60
    write_manifest(path, manifest)
    with pytest.raises(CurateError, match="do not belong together"):
        Stream(path).batch(1, rows=22)


def test_a_pickled_stream_is_a_path(made):
    stream = Stream(made.manifest, verify=True)
    data = pickle.dumps(stream)
    again = pickle.loads(data)
    assert len(data) < 500 and again.verify and again.row(25).row_hash == stream.row(25).row_hash


def test_of_many_shards_the_ones_used_last_stay_open(made, monkeypatch):
    monkeypatch.setattr(room, "MAX_OPEN", 1)
    stream = Stream(made.manifest)
    for i, expected in enumerate(made.rows):
        same(stream.row(i), expected)
        assert len(stream._open) == 1
