"""A thousand rows under real accelerate, in real processes: a thousand rows, where its own sharing out trains 1024."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from accelerate.data_loader import BatchSamplerShard

from mixture.dataset import Batches, Rows
from tests.mixture import made_stream
from tests.train.loaders import MICRO
from tests.train.test_ranks import TOP


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_stream.write(tmp_path_factory.mktemp("loaders"), [("main", 16, 1000)]).manifest


@pytest.mark.slow
@pytest.mark.parametrize(("world", "plain"), [(2, 1008), (4, 1024)])
def test_a_thousand_rows_are_a_thousand_rows(manifest: Path, tmp_path: Path, world: int, plain: int) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(world)]
    done = subprocess.run(
        [*command, "-m", "tests.train.loaders", str(world), str(manifest), str(tmp_path / "found.json")],
        cwd=TOP, env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(TOP)}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads((tmp_path / "found.json").read_text())
    n_steps = -(-1000 // (MICRO * world))
    for way in ("own", "prepared"):
        assert [len(step) for step in found[way]] == [MICRO * world] * n_steps
        trained = [i for step in found[way] for i in step if i >= 0]
        assert trained == list(range(1000)), way  # gathered in the order of the ranks: the order of the stream
    assert sum(map(len, found["plain"])) == plain and len({i for step in found["plain"] for i in step}) == 1000


@pytest.mark.parametrize("even_batches", [True, False])
def test_micro_batches_of_other_sizes_are_dealt_round_too(tmp_path: Path, even_batches: bool) -> None:
    """Of phases with other row lengths; accelerate drops what has not the size that a batch sampler states, so none is stated."""
    rows = Rows(made_stream.write(tmp_path, [("main", 16, 40), ("long", 64, 9)]).manifest)
    batches = Batches(rows, tokens=256, accumulate=2)
    assert {len(batch) for batch in batches} == {8, 2} and batches.batch_size is None
    parts = [list(BatchSamplerShard(batches, 2, rank, even_batches=even_batches)) for rank in range(2)]
    assert [batch for pair in zip(*parts, strict=True) for batch in pair] == list(batches)
    stated = Stated(batches, 8)
    lost = [list(BatchSamplerShard(stated, 2, rank, even_batches=even_batches)) for rank in range(2)]
    assert sum(map(len, lost)) < len(batches)


class Stated:
    """The same with a size stated, as torch's own BatchSampler has one."""

    drop_last = False

    def __init__(self, batches: Batches, batch_size: int) -> None:
        self.batches, self.batch_size = batches, batch_size

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self.batches)
