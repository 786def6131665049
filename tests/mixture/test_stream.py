"""The stream: rows, labels and hashes counted again from the tokens; what is damaged or absent is refused."""

from __future__ import annotations

import hashlib
import shutil
import time

import numpy as np
import pyarrow.parquet as pq
import pytest

from curate.errors import CurateError
from mixture.batches import Phase
from mixture.stream import START, Stream, advance, row_hash
from tests.mixture.small_build import build, documents_of, recipe_of

LENGTH = 16


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Two components, one with a loss mask; documents shorter and longer than a row; some held out."""
    folder = tmp_path_factory.mktemp("stream")
    rng = np.random.default_rng(3)
    sources = {
        "a": documents_of("a", rng.integers(1, 60, 30).tolist()),
        "chat": documents_of("chat", rng.integers(2, 50, 30).tolist()),
    }
    for d in sources["chat"]:
        d["loss"] = rng.integers(0, 2, len(d["tokens"]))
    components = {
        "a": {"from": ["a"], "budget": "1000 tokens", "max_epochs": 3},
        "chat": {"from": ["chat"], "budget": "500 tokens", "max_epochs": 1},
    }
    recipe = recipe_of(folder, components, 1500, LENGTH, held_out={"per_component": "60 tokens", "at_most": "20 % of tokens"})
    build(recipe, folder, sources, n_shards=2)
    return folder, {d["id"]: d for documents in sources.values() for d in documents}


@pytest.fixture(scope="module")
def stream(small):
    return Stream(small[0] / "build" / "manifest.json", verify=True)


def expected_rows(small):
    """Every row by sequence number, from the selection and the documents alone."""
    folder, by_id = small
    rows: dict[int, dict] = {}
    uses: dict[tuple, int] = {}
    table = pq.read_table(folder / "build" / "selection.parquet").to_pylist()
    for r in table:
        use = (r["split"], r["id"], r["pass"])
        uses[use] = max(uses.get(use, 0), r["token_start"] + r["n_tokens"])
    for r in table:
        row = rows.setdefault(
            r["sequence"], {"ids": [], "labels": [], "positions": [], "document": [], "stream_index": r["stream_index"]}
        )
        document = by_id[r["id"]]
        assert r["position"] == len(row["ids"])
        number = max(row["document"], default=-1) + 1
        counted = 0
        for t in range(r["token_start"], r["token_start"] + r["n_tokens"]):
            last = t + 1 == uses[r["split"], r["id"], r["pass"]]
            learned = not last and (document["loss"] is None or document["loss"][t + 1] == 1)
            row["ids"].append(int(document["tokens"][t]))
            row["labels"].append(int(document["tokens"][t + 1]) if learned else -100)
            row["positions"].append(t - r["token_start"])
            row["document"].append(number)
            counted += learned
        assert counted == r["n_loss_tokens"]
    return rows


def test_rows_are_those_of_the_documents(small, stream):
    rows = expected_rows(small)
    assert len(rows) == stream.n_sequences + stream.n_held_out
    assert stream.n_held_out > 0 and stream.components == ["a", "chat"]
    assert stream.phases == (Phase("main", 0, stream.n_sequences, LENGTH),) and stream.held_out_length == LENGTH
    for sequence, expected in rows.items():
        in_stream = expected["stream_index"] is not None
        row = stream.row(expected["stream_index"]) if in_stream else stream.held_out(sequence - stream.n_sequences)
        n = len(expected["ids"])
        assert row.n_tokens == n and row.n_loss_tokens == sum(label != -100 for label in expected["labels"])
        assert row.input_ids[:n].tolist() == expected["ids"] and not row.input_ids[n:].any()
        assert row.labels[:n].tolist() == expected["labels"] and (row.labels[n:] == -100).all()
        assert row.document[:n].tolist() == expected["document"] and (row.document[n:] == -1).all()
        assert row.position_ids.tolist() == expected["positions"] + list(range(LENGTH - n))
        assert [a.dtype.str for a in row[:4]] == ["<u4", "<i8", "<i4", "<i4"]


def test_each_token_but_a_uses_first_is_a_target_once(small, stream):
    """Across the chunks of a document too: targets of component a (no mask) = tokens - uses."""
    n_uses = sum(
        r["chunk"] == 0 for r in pq.read_table(small[0] / "build" / "selection.parquet").to_pylist()
        if r["split"] == "train" and r["component"] == "a"
    )  # fmt: skip
    rows = [stream.row(i) for i in range(stream.n_sequences)]
    assert sum(r.n_loss_tokens for r in rows if r.component == 0) == 1000 - n_uses
    assert any(r.labels[r.n_tokens - 1] != -100 for r in rows)  # a chunk's last token aims at the next chunk's first


def test_row_hash_from_its_specification(stream):
    running = hashlib.sha256(b"veski-stream-1").digest()
    assert running == START
    marks = {m["stream_index"]: m["sha256"] for m in stream.manifest["stream_checkpoints"]}
    assert len(marks) <= 64 and max(marks) == stream.n_sequences
    for i in range(stream.n_sequences):
        row = stream.row(i)
        ids, lengths = row.input_ids[: row.n_tokens], np.bincount(row.document[: row.n_tokens])
        data = len(lengths).to_bytes(4, "little") + b"".join(int(n).to_bytes(4, "little") for n in [*lengths, *ids])
        assert row.row_hash == hashlib.blake2b(data, digest_size=16).digest() == row_hash(row.input_ids, row.document)
        running = hashlib.sha256(running + row.row_hash).digest()
        assert marks.get(i + 1, running.hex()) == running.hex()
    assert running.hex() == stream.manifest["roots"]["stream"]


def test_row_hash_depends_on_document_borders_and_not_on_padding():
    ids = np.arange(6, dtype=np.uint32)
    one = row_hash(ids, np.array([0, 0, 0, 0, -1, -1]))
    assert one == row_hash(np.array([0, 1, 2, 3, 9, 9, 9], np.uint32), np.array([0, 0, 0, 0, -1, -1, -1]))
    assert one != row_hash(ids, np.array([0, 0, 1, 1, -1, -1]))
    assert advance(START, one) == hashlib.sha256(START + one).digest()


def test_the_last_batch_is_filled_with_masked_rows(stream):
    n = stream.n_sequences
    batch = stream.read([n - 2, n - 1], n_empty=2)
    assert batch.input_ids.shape == batch.labels.shape == batch.position_ids.shape == batch.document.shape == (4, LENGTH)
    assert batch.component.tolist()[2:] == [-1, -1] and batch.row_hash[2:] == [b"", b""] and batch.n_tokens.tolist()[2:] == [0, 0]
    assert (batch.labels[2:] == -100).all() and (batch.document[2:] == -1).all() and not batch.input_ids[2:].any()
    assert batch.position_ids[2:].tolist() == [list(range(LENGTH))] * 2
    again = stream.read([n - 1, n - 2])
    assert (again.input_ids == batch.input_ids[[1, 0]]).all() and again.row_hash == [batch.row_hash[1], batch.row_hash[0]]
    assert stream.masked_row(LENGTH).document.tolist() == [-1] * LENGTH


def test_indices_outside_are_errors(stream):
    for i in (-1, stream.n_sequences):
        with pytest.raises(IndexError):
            stream.row(i)
    with pytest.raises(IndexError):
        stream.held_out(stream.n_held_out)


def test_any_row_without_the_others(small):
    """Opening reads no tokens; a row opens only the shards of its chunks."""
    started = time.perf_counter()
    fresh = Stream(small[0] / "build" / "manifest.json")
    row = fresh.row(fresh.n_sequences - 1)
    assert time.perf_counter() - started < 0.5  # milliseconds; the bound allows for a busy machine
    shards = {int(c["shard"]) for c in fresh.chunks(fresh.sequence_of(fresh.n_sequences - 1))}
    assert set(fresh._open) == shards and row.n_tokens > 0


@pytest.fixture
def copy(small, tmp_path):
    shutil.copytree(small[0], tmp_path / "copy")
    return tmp_path / "copy"


def shard_files(folder):
    return sorted(folder.rglob("tokens.ds"))


def test_a_flipped_token_is_found(copy):
    for path in shard_files(copy):
        tokens = np.fromfile(path, "<u2")
        (tokens ^ 1).astype("<u2").tofile(path)
    with pytest.raises(CurateError, match="not those of the manifest"):
        Stream(copy / "build" / "manifest.json", verify=True).row(0)
    Stream(copy / "build" / "manifest.json").row(0)  # unchecked reading is for those who have verified


def test_a_shorter_or_missing_shard_is_refused(copy):
    for path in shard_files(copy):
        path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(CurateError, match="another length"):
        Stream(copy / "build" / "manifest.json").row(0)
    for path in shard_files(copy):
        path.unlink()
    with pytest.raises(CurateError, match="token shard is missing"):
        Stream(copy / "build" / "manifest.json").row(0)


@pytest.mark.parametrize("name", ["row_ptr.npy", "chunks.npy", "order.npy", "shards.json"])
def test_missing_and_broken_files_are_named(copy, name):
    path = copy / "build" / "sequences" / name
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CurateError, match=name):
        Stream(copy / "build" / "manifest.json")
    path.unlink()
    with pytest.raises(CurateError, match="packed rows are missing"):
        Stream(copy / "build" / "manifest.json")


def test_sequences_of_another_build_are_refused(copy):
    path = copy / "build" / "sequences" / "order.npy"
    np.save(path, np.load(path)[:-1])
    with pytest.raises(CurateError, match="do not belong together"):
        Stream(copy / "build" / "manifest.json")


def test_the_build_moves_with_its_tokens(copy, stream):
    moved = Stream(copy / "build" / "manifest.json", verify=True)
    assert [moved.row(i).row_hash for i in range(5)] == [stream.row(i).row_hash for i in range(5)]
