"""Promise 6 as a matrix: whatever number of ranks, accumulation and workers before and after a stop, at whichever step: one stream.

A real build of two phases and several passes. Of a stopped run nothing is kept but (steps done, stream hash). The hash is made of the
tokens that were loaded, rank after rank and micro batch after micro batch, never of the hashes that lie beside the rows.
"""

from __future__ import annotations

import random
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq
import pytest

from mixture.dataset import Batches, Rows
from mixture.stream import START, advance, hash_row
from tests.mixture import two_phases

# Tokens of a global batch -> ways of (ranks, micro batches each) that divide its rows of 24 and of 40 tokens
WAYS = {
    720: [(1, 1), (1, 3), (1, 6), (2, 1), (2, 3), (3, 1), (3, 2), (6, 1)],  # 30 and 18 rows
    1440: [(1, 12), (2, 2), (3, 4), (4, 1), (4, 3), (6, 2), (12, 1)],  # 60 and 36
    2880: [(1, 8), (2, 12), (8, 1), (8, 3), (12, 2), (24, 1)],  # 120 and 72
}
N_STEPS = {720: 9, 1440: 5, 2880: 3}  # ceil(171 / rows) + ceil(52 / rows)


class Leg(NamedTuple):
    """One part of a run. workers: None reads as our trainer does, else processes of torch's DataLoader (0: none)."""

    world: int
    accumulate: int
    workers: int | None


class Cell(NamedTuple):
    tokens: int
    stops: tuple[int, ...]  # steps done at each stop
    legs: tuple[Leg, ...]  # one more than stops

    def __str__(self) -> str:
        legs = "-".join(f"{leg.world}x{leg.accumulate}" + ("" if leg.workers is None else f"w{leg.workers}") for leg in self.legs)
        return f"{self.tokens}@{'+'.join(map(str, self.stops))}:{legs}"


def cells() -> list[Cell]:
    """Every step of the smallest batch is a stop, ways before and after are drawn; then runs that stop several times."""
    rng = random.Random(6)
    found = []
    for tokens, ways in WAYS.items():
        for stop in range(1, N_STEPS[tokens]):
            for _ in range(72 // (N_STEPS[tokens] - 1) // 3):
                before, after = rng.sample(ways, 2)
                found.append(Cell(tokens, (stop,), (Leg(*before, rng.choice([None, 0])), Leg(*after, rng.choice([None, 0])))))
    for stops in ((1, 2, 3), (2, 5, 6, 8), tuple(range(1, 9))):
        ways = [rng.choice(WAYS[720]) for _ in range(len(stops) + 1)]
        found.append(Cell(720, stops, tuple(Leg(*way, None) for way in ways)))
    for workers in ((0, 2), (2, 0), (1, 2)):  # before and after; processes cost a tenth of a second each: few ranks
        for stop in (2, 6, 7):
            ways = rng.sample(WAYS[720][:6], 2)
            found.append(Cell(720, (stop,), tuple(Leg(*way, n) for way, n in zip(ways, workers, strict=True))))
    return list(dict.fromkeys(found))


CELLS = cells()


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return Rows(two_phases.build(tmp_path_factory.mktemp("matrix")) / "manifest.json")


def of_item(item: dict) -> bytes | None:
    """Hash of a loaded row, None of an empty one."""
    lengths, n = np.cumsum(item["seq_lengths"]), item["n_tokens"]
    sizes = np.diff([0, *lengths[lengths <= n]])
    return hash_row(sizes, [item["input_ids"][:n]]) if n else None


def of_trainer(rows: Rows, tokens: int, step: int, rank: int, leg: Leg) -> list[bytes | None]:
    """A rank's part of a step as train/cpt.py reads it."""
    batch = rows.stream.batch(step, tokens, rank, leg.world)
    found: list[bytes | None] = []
    for ids, document in zip(batch.input_ids, batch.document, strict=True):
        inside = document >= 0
        found.append(hash_row(np.bincount(document[inside]), [ids[inside]]) if inside.any() else None)
    return found


def of_loader(rows: Rows, tokens: int, first: int, last: int, rank: int, leg: Leg) -> list[list[bytes | None]]:
    """A rank's part of steps [first, last) through torch, step by step."""
    from torch.utils.data import DataLoader

    sampler = Batches(
        rows, tokens=tokens, accumulate=leg.accumulate, rank=rank, world=leg.world, step=first, n_steps=last - first
    )
    loader = DataLoader(rows, batch_sampler=sampler, num_workers=leg.workers or 0, collate_fn=list)
    micro = [[of_item(item) for item in batch] for batch in loader]
    at = range(0, len(micro), leg.accumulate)
    return [[one for part in micro[k : k + leg.accumulate] for one in part] for k in at]


def trained(rows: Rows, tokens: int, first: int, last: int, leg: Leg, state: bytes) -> bytes:
    """Stream hash after steps [first, last), the ranks' rows put together in their order."""
    if leg.workers is None:
        parts = [[of_trainer(rows, tokens, step, rank, leg) for step in range(first, last)] for rank in range(leg.world)]
    else:
        parts = [of_loader(rows, tokens, first, last, rank, leg) for rank in range(leg.world)]
    for of_ranks in zip(*parts, strict=True):
        for one in (one for part in of_ranks for one in part):
            state = advance(state, one) if one is not None else state
    return state


@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_stopped_and_resumed_is_the_same_stream(rows, cell):
    if any(leg.workers is not None for leg in cell.legs):
        pytest.importorskip("torch", reason="needs torch: the extra `train`")
    first, state = 0, START
    for last, leg in zip((*cell.stops, N_STEPS[cell.tokens]), cell.legs, strict=True):
        state = trained(rows, cell.tokens, first, last, leg, state)
        first = last
    assert state.hex() == rows.stream.manifest["roots"]["stream"]


def test_the_matrix_covers_what_it_says(rows):
    """At least 50 resumes; stops inside passes and phases and between phases; more ranks after, and fewer; workers before and after."""
    resumes = [
        (cell.tokens, stop, a, b) for cell in CELLS for stop, a, b in zip(cell.stops, cell.legs, cell.legs[1:], strict=False)
    ]
    assert len(resumes) >= 90
    for tokens, n in N_STEPS.items():
        assert rows.stream.steps(tokens).n_steps == n
    assert {stop for tokens, stop, _, _ in resumes if tokens == 720} == set(range(1, 9))  # 6 is the end of the first phase
    assert any(a.world < b.world for _, _, a, b in resumes) and any(a.world > b.world for _, _, a, b in resumes)
    assert {leg.workers for cell in CELLS for leg in cell.legs} == {None, 0, 1, 2}
    table = pq.read_table(
        rows.stream.path.parent / "selection.parquet", columns=["component", "pass", "stream_index"]
    ).to_pylist()
    passes = {row["stream_index"]: row["pass"] for row in table if row["component"] == "et" and row["stream_index"] is not None}
    for number in (0, 1, 2):  # a stop in the middle of every pass
        own = [i for i, p in passes.items() if p == number]
        assert any(min(own) < rows.stream.steps(720).cursor(stop) <= max(own) for stop in range(1, 9))


def test_a_row_left_out_is_another_stream(rows):
    """The matrix would notice: a rank that begins one row late."""
    leg = Leg(1, 1, None)
    state = trained(rows, 720, 0, 4, leg, START)
    late = [hash_ for hash_ in of_trainer(rows, 720, 4, 0, leg)[1:] if hash_]
    for one in late:
        state = advance(state, one)
    assert trained(rows, 720, 5, 9, leg, state).hex() != rows.stream.manifest["roots"]["stream"]
