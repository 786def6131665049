"""The rows of a step over several phases: by hand, and against the stream cut up one row at a time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.errors import CurateError
from mixture.batches import Phase, Share, Steps, in_rows, in_tokens, phases_of

# 10 rows of 16 tokens, then 5 rows of 32
TWO = (Phase("main", 0, 10, 16), Phase("anneal", 10, 5, 32))


def test_two_phases_by_hand():
    # 64 tokens a step: 4 rows of main (steps 0 to 2, two rows and two empty ones in the last), 2 of anneal (steps 3 to 5)
    steps = in_tokens(TWO, 64)
    assert (steps.rows, steps.n_steps, steps.n_rows, steps.ends) == ((4, 2), 6, 15, [3, 6])
    assert [steps.share(step) for step in range(6)] == [
        Share(0, range(0, 4), 0), Share(0, range(4, 8), 0), Share(0, range(8, 10), 2),
        Share(1, range(10, 12), 0), Share(1, range(12, 14), 0), Share(1, range(14, 15), 1),
    ]  # fmt: skip
    assert [steps.share(2, rank, 4) for rank in range(4)] == [
        Share(0, range(8, 9), 0), Share(0, range(9, 10), 0), Share(0, range(10, 10), 1), Share(0, range(10, 10), 1)
    ]  # fmt: skip
    assert [steps.share(5, rank, 2) for rank in range(2)] == [Share(1, range(14, 15), 0), Share(1, range(15, 15), 1)]
    assert [steps.cursor(done) for done in range(7)] == [0, 4, 8, 10, 12, 14, 15]
    assert [steps.place(i) for i in (0, 7, 9, 10, 14)] == [(0, 0), (1, 3), (2, 1), (3, 0), (5, 0)]
    assert in_rows(TWO, 4).ends == [3, 5]  # as many rows in every phase, more tokens where they are longer


def test_a_phase_without_rows_has_no_step():
    steps = in_rows((Phase("a", 0, 0, 8), Phase("b", 0, 3, 8), Phase("c", 3, 0, 8)), 2)
    assert steps.ends == [0, 2, 2] and [steps.phase_of(step) for step in range(2)] == [1, 1]
    assert steps.place(2) == (1, 0) and steps.cursor(2) == 3


@st.composite
def runs(draw):
    world = draw(st.integers(1, 6))
    phases, rows, at = [], [], 0
    for number in range(draw(st.integers(1, 4))):
        phases.append(Phase(str(number), at, draw(st.integers(0, 40)), 8))
        at = phases[-1].end
        rows.append(world * draw(st.integers(1, 5)))
    return tuple(phases), tuple(rows), world


@given(runs())
def test_ranks_share_a_step_and_steps_share_the_stream(run):
    phases, rows, world = run
    steps = Steps(phases, rows)
    wanted = []  # the same by cutting every phase into batches
    for number, (phase, size) in enumerate(zip(phases, rows, strict=True)):
        own = list(range(phase.first_index, phase.end))
        wanted += [(number, own[at : at + size], size - len(own[at : at + size])) for at in range(0, len(own), size)]
    assert steps.n_steps == len(wanted)
    for step, (phase, own, n_empty) in enumerate(wanted):
        parts = [steps.share(step, rank, world) for rank in range(world)]
        assert [i for part in parts for i in part.rows] == own and {part.phase for part in parts} == {phase}
        assert sum(part.n_empty for part in parts) == n_empty and len({part.size for part in parts}) == 1
        assert steps.cursor(step) == own[0] and [steps.place(i) for i in own] == [(step, k) for k in range(len(own))]
    assert steps.cursor(steps.n_steps) == phases[-1].end


def test_what_is_not_there():
    steps = in_rows(TWO, 4)
    for step in (-1, 5):
        with pytest.raises(IndexError):
            steps.share(step)
    for i in (-1, 15):
        with pytest.raises(IndexError):
            steps.place(i)
    for rank, world in ((0, 3), (2, 2), (-1, 2)):
        with pytest.raises(ValueError, match="no equal part of 4 rows"):
            steps.share(0, rank, world)


@pytest.mark.parametrize(
    ("tokens", "allowed"), [(48, "32 tokens or 64 tokens"), (0, "32 tokens or 64 tokens"), (80, "64 tokens or 96 tokens")]
)
def test_a_global_batch_is_whole_rows_of_every_phase(tokens, allowed):
    with pytest.raises(CurateError) as caught:
        in_tokens(TWO, tokens)
    assert caught.value.allowed == allowed and "of 16 and of 32 tokens" in caught.value.what


def manifest(*orders):
    return {"phases": [{"name": f"p{i}", "sequence_length": 8, "order": order} for i, order in enumerate(orders)]}


def test_phases_of_a_manifest():
    given_ = manifest({"first_index": 0, "n_sequences": 3}, {"first_index": 3, "n_sequences": 2})
    assert phases_of(given_) == (Phase("p0", 0, 3, 8), Phase("p1", 3, 2, 8))
    with pytest.raises(CurateError, match="do not follow each other"):
        phases_of(manifest({"first_index": 0, "n_sequences": 3}, {"first_index": 0, "n_sequences": 2}))
