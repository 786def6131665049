"""Resume costs the same at step 10 and at step 10 million: nothing is counted up to, only what is asked for is read."""

from __future__ import annotations

import numpy as np
import pytest

from mixture.stream import Stream
from tests.bench.loader import BATCH_ROWS, N_STEPS, ROW, first_batch, sparse_build

STEPS = (10, 10_000_000)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    """640 million rows in sparse files: 54 GB that take less than ten megabytes."""
    return sparse_build(tmp_path_factory.mktemp("sparse"), STEPS)


@pytest.mark.parametrize("step", STEPS)
def test_first_batch_in_two_seconds(manifest, step):
    _, to_open, to_read = first_batch(manifest, step)
    assert to_open + to_read < 2  # issue 5; measured 0.02 s


def test_the_rows_are_those_of_the_step(manifest):
    """Tokens of the sparse build count up, 64 of them a row, in the order in which its steps were written."""
    stream = Stream(manifest)
    assert stream.n_sequences == N_STEPS * BATCH_ROWS > 10_000_000 * BATCH_ROWS
    for number, step in enumerate(STEPS):
        batch = stream.batch(step, rows=BATCH_ROWS)
        first = number * BATCH_ROWS * ROW
        assert batch.input_ids[:, 0].tolist() == list(range(first, first + BATCH_ROWS * ROW, ROW))
        assert (batch.input_ids[:, : ROW - 1] == batch.input_ids[:, :1] + np.arange(ROW - 1)).all()
        assert batch.n_tokens.tolist() == [ROW - 1] * BATCH_ROWS and batch.n_loss_tokens.tolist() == [ROW - 3] * BATCH_ROWS
