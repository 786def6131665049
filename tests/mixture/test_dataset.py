"""Rows as a dataset: what an item holds, by hand; pickles, workers, samplers; nothing of it needs torch but torch's own part."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest

from curate.errors import CurateError
from mixture.dataset import COLUMNS, Batches, Rows, for_datasets
from mixture.stream import Batch, row_hash
from tests.mixture import made_stream

PHASES = [("main", 16, 22), ("long", 64, 9)]  # 256 tokens a step: 16 rows (2 steps), then 4 (3 steps)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return made_stream.write(tmp_path_factory.mktemp("dataset"), PHASES)


@pytest.fixture(scope="module")
def rows(made):
    return Rows(made.manifest)


def test_an_item_is_a_row(made, rows):
    assert len(rows) == 31 and [item["stream_index"] for item in rows] == list(range(31))
    for item, expected in zip(rows, made.rows, strict=True):
        n, length = len(expected["ids"]), expected["length"]
        assert tuple(item) == COLUMNS and (item["component"], item["n_tokens"]) == (expected["component"], n)
        assert item["input_ids"].tolist() == expected["ids"] + [0] * (length - n)
        assert item["shift_labels"].tolist() == expected["labels"] + [-100] * (length - n)
        assert item["position_ids"].tolist() == expected["positions"] + list(range(length - n))
        sizes = [expected["document"].count(k) for k in range(max(expected["document"]) + 1)]
        assert item["seq_lengths"] == sizes + [length - n] * (n < length) and sum(item["seq_lengths"]) == length
        assert {item[name].dtype for name in ("input_ids", "labels", "shift_labels", "position_ids")} == {np.dtype(np.int64)}


def test_labels_at_their_own_token():
    """Two chunks and padding; the first goes on in another row, and the label of its last token has no place here."""
    batch = Batch(
        input_ids=np.array([[5, 6, 7, 8, 9, 0]], np.uint32), labels=np.array([[6, 7, 42, 9, -100, -100]]),
        position_ids=np.array([[0, 1, 2, 0, 1, 0]], np.int32), document=np.array([[0, 0, 0, 1, 1, -1]], np.int32),
        language=np.array([[0, 0, 0, 0, 0, -1]], np.int16),
        n_tokens=np.array([5]), n_loss_tokens=np.array([4]), component=np.array([0]), row_hash=[b""],
    )  # fmt: skip
    from mixture.dataset import unshifted

    assert unshifted(batch).tolist() == [[-100, 6, 7, -100, 9, -100]]


def test_labels_are_the_shifted_ones_but_those_of_other_rows(made, rows):
    for item in rows:
        labels, shifted, positions = item["labels"], item["shift_labels"], item["position_ids"]
        for t in range(len(labels)):
            assert labels[t] == (shifted[t - 1] if positions[t] > 0 else -100)
            assert labels[t] in (-100, item["input_ids"][t])


def test_an_empty_row(rows):
    for phase, length in enumerate((16, 64)):
        item = rows[31 + phase]
        assert (item["stream_index"], item["component"], item["seq_lengths"]) == (-1, -1, [length])
        assert (item["labels"] == -100).all() and (item["shift_labels"] == -100).all() and not item["input_ids"].any()
        assert item["position_ids"].tolist() == list(range(length))
    mixed = rows.__getitems__([32, 30, 32, 29])
    assert [item["stream_index"] for item in mixed] == [-1, 30, -1, 29]
    assert mixed[0]["input_ids"] is not mixed[2]["input_ids"]
    for outside in ([33], [-1], [31, 32]):
        with pytest.raises(IndexError):
            rows.__getitems__(outside)


def test_columns_are_chosen(made):
    chosen = Rows(made.manifest, columns=["labels", "input_ids"])
    assert tuple(chosen[0]) == ("labels", "input_ids")
    with pytest.raises(ValueError, match="no column text"):
        Rows(made.manifest, columns=["text"])


def test_it_pickles_as_a_path(rows):
    data = pickle.dumps(Batches(rows, tokens=256))
    batches = pickle.loads(data)
    assert len(data) < 2000 and list(batches) == list(Batches(rows, tokens=256))
    assert batches.rows[20]["input_ids"].tolist() == rows[20]["input_ids"].tolist()


def test_batches_by_hand(rows):
    # steps 0 and 1 have 16 rows of main (the second 6 and 10 empty ones, item 31), steps 2 to 4 have 4 of long (the last 1, item 32)
    assert list(Batches(rows, tokens=256)) == [
        [*range(16)], [*range(16, 22), *[31] * 10], [22, 23, 24, 25], [26, 27, 28, 29], [30, 32, 32, 32]
    ]  # fmt: skip
    assert list(Batches(rows, tokens=256, rank=1, world=2, accumulate=2, step=1)) == [
        [31, 31, 31, 31], [31, 31, 31, 31], [24], [25], [28], [29], [32], [32]
    ]  # fmt: skip
    assert list(Batches(rows, sequences=4, step=5, n_steps=2)) == [[20, 21, 31, 31], [22, 23, 24, 25]]
    sizes = [Batches(rows, tokens=256).batch_size, Batches(rows, sequences=4, accumulate=2).batch_size]
    assert sizes == [None, 2]
    assert [len(Batches(rows, tokens=256, accumulate=2, step=step)) for step in (0, 4, 5)] == [10, 2, 0]


def test_batches_that_do_not_divide(rows):
    with pytest.raises(CurateError) as caught:
        Batches(rows, tokens=256, world=4, accumulate=2)
    assert caught.value.where == "phase long" and caught.value.allowed == "a multiple of 8 sequences"


def test_no_torch(made):
    """It is read where there is no torch; `datasets` is loaded only for a Hugging Face dataset."""
    code = (
        "import sys; from mixture.dataset import Rows, Batches; "
        f"rows = Rows({str(made.manifest)!r}); [rows[i] for b in Batches(rows, sequences=1) for i in b]; "
        "print(sorted({'torch', 'datasets', 'transformers', 'accelerate'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_hugging_face_dataset_reads_when_asked(rows):
    batches = Batches(rows, sequences=4, step=5)
    dataset = for_datasets(batches)
    assert dataset.num_rows == 4 * 4 and dataset[1]["stream_index"] == 21 and dataset[2]["stream_index"] == -1
    assert dataset[4]["seq_lengths"] == rows[22]["seq_lengths"] and dataset[4]["labels"].tolist() == rows[22]["labels"].tolist()
    assert [i for i in dataset[4:8]["stream_index"]] == [22, 23, 24, 25]


@pytest.fixture(scope="module")
def data():
    return pytest.importorskip("torch.utils.data", reason="needs torch: the extra `train`")


@pytest.mark.parametrize(("n_workers", "start"), [(0, None), (2, "fork"), pytest.param(2, "spawn", marks=pytest.mark.slow)])
def test_torch_loads_it(data, made, n_workers, start):
    rows = Rows(made.manifest, columns=[name for name in COLUMNS if name != "seq_lengths"])
    loader = data.DataLoader(
        rows, batch_sampler=Batches(rows, tokens=256, accumulate=2), num_workers=n_workers, multiprocessing_context=start
    )
    loaded = list(loader)
    assert [tuple(part["input_ids"].shape) for part in loaded] == [(8, 16)] * 4 + [(2, 64)] * 6
    index = [i for part in loaded for i in part["stream_index"].tolist()]
    assert [i for i in index if i >= 0] == list(range(31)) and index.count(-1) == 10 + 3
    for part in loaded:
        for i, ids, positions in zip(part["stream_index"], part["input_ids"], part["position_ids"], strict=True):
            if i >= 0:
                n = len(made.rows[i]["ids"])
                document = np.append(np.cumsum(positions[:n] == 0) - 1, np.full(len(ids) - n, -1))
                assert row_hash(ids.numpy().astype(np.uint32), document) == made.rows[i]["hash"]
