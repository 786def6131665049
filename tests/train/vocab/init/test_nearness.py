"""WECHSEL, OFA and FOCUS on vectors small enough to work out by hand; OMP too, and against scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from train.vocab.init.nearness import by_softmax, by_sparsemax, sparsemax
from train.vocab.init.pursuit import by_pursuit, pursue

OLD = np.array([[2.0, 0.0], [0.0, 5.0], [-1.0, 0.0]])  # cosines are of directions: lengths do not matter
IDS = np.array([10, 20, 30])
NEW = np.array([[8.0, 6.0]])  # cosines 0.8, 0.6 and -0.8


def test_softmax_of_the_two_nearest() -> None:
    """exp(0.8 / 0.1) to exp(0.6 / 0.1): 1 / (1 + exp(-2)) and the rest."""
    [found] = by_softmax("wechsel", NEW, OLD, IDS, 2, 0.1)
    first = 1 / (1 + math.exp(-2))
    assert found.how == "wechsel" and found.ids.tolist() == [10, 20]
    assert found.weights.tolist() == pytest.approx([first, 1 - first], abs=1e-12)


def test_softmax_of_all_three_is_colder_with_less_temperature() -> None:
    """Differences to the best are 0, 0.2 and 1.6."""
    for temperature in (1.0, 0.1):
        [found] = by_softmax("ofa", NEW, OLD, IDS, 3, temperature)
        parts = [math.exp(-d / temperature) for d in (0.0, 0.2, 1.6)]
        assert found.weights.tolist() == pytest.approx([part / sum(parts) for part in parts], abs=1e-12)


def test_of_equal_cosines_the_lower_comes_first() -> None:
    [found] = by_softmax(
        "ofa", np.array([[1.0, 1.0]]), np.array([[0.0, 1.0], [1.0, 0.0], [3.0, 3.0]]), np.array([5, 3, 1]), 2, 0.1
    )
    assert found.ids.tolist() == [1, 5]


@pytest.mark.parametrize(
    ("z", "wanted"),
    [
        ([0.8, 0.6, -0.8], [0.6, 0.4, 0.0]),  # threshold (1.4 - 1) / 2 = 0.2
        ([1.0, 0.0], [1.0, 0.0]),  # 1 + 2 * 0 is not above 1: one in the support
        ([0.5, 0.5, 0.5], [1 / 3, 1 / 3, 1 / 3]),
        ([3.0, 1.0], [1.0, 0.0]),
        ([-1.0, -1.2], [0.6, 0.4]),  # threshold (-2.2 - 1) / 2 = -1.6
        ([7.0], [1.0]),
    ],
)
def test_sparsemax(z: list[float], wanted: list[float]) -> None:
    assert sparsemax(torch.tensor([z], dtype=torch.float64))[0].tolist() == pytest.approx(wanted, abs=1e-12)


def test_sparsemax_is_the_nearest_point_of_the_simplex() -> None:
    """The condition of the projection: no point of the simplex makes an angle below 90 degrees with what is left (corners are enough)."""
    z = torch.from_numpy(np.random.default_rng(0).normal(size=(50, 9)))
    p = sparsemax(z)
    assert p.min() >= 0
    torch.testing.assert_close(p.sum(1), torch.ones(50, dtype=torch.float64))
    rest = z - p
    corners = rest - (rest * p).sum(1, keepdim=True)  # rest . (corner - p)
    assert corners.max() <= 1e-12


def test_focus_mixes_by_sparsemax_of_cosines() -> None:
    [found] = by_sparsemax("focus", NEW, OLD, IDS)
    assert found.ids.tolist() == [10, 20]  # the third has weight zero and is left out
    assert found.weights.tolist() == pytest.approx([0.6, 0.4], abs=1e-12)


def test_pursuit_by_hand() -> None:
    """Target (3, 4). Products 3, 4 and 11: the third anchor, 11 / 5 times. Left (0.8, -0.4): the first anchor, and the exact answer is
    twice (1, 2) and once (1, 0)."""
    anchors = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 2.0]], dtype=torch.float64)
    target = torch.tensor([[3.0, 4.0]], dtype=torch.float64)
    chosen, weights = pursue(target, anchors, 1)
    assert chosen.tolist() == [[2]] and weights[0].tolist() == pytest.approx([2.2])
    [found] = by_pursuit("orthogonal_matching", target, anchors, IDS, 64)  # no more than the dimensions
    assert found.ids.tolist() == [30, 10] and found.weights.tolist() == pytest.approx([2.0, 1.0])


def test_pursuit_takes_the_longer_of_two_anchors_of_one_direction() -> None:
    """As mergekit-tokensurgeon, which does not make anchors unit vectors; the shorter adds no direction and gets nothing."""
    anchors = torch.tensor([[1.0, 0.0], [2.0, 0.0]], dtype=torch.float64)
    chosen, weights = pursue(torch.tensor([[6.0, 0.0]], dtype=torch.float64), anchors, 2)
    assert chosen.tolist() == [[1, 0]] and weights[0].tolist() == pytest.approx([3.0, 0.0])


def test_pursuit_agrees_with_scikit_learn() -> None:
    """On unit anchors, which scikit-learn wants; its answer is in the order of the anchors, ours in the order of choice."""
    linear = pytest.importorskip("sklearn.linear_model", reason="pip install scikit-learn")
    lot = np.random.default_rng(3)
    anchors = lot.normal(size=(60, 12))
    anchors /= np.linalg.norm(anchors, axis=1, keepdims=True)
    targets = lot.normal(size=(25, 12))
    wanted = linear.orthogonal_mp(anchors.T, targets.T, n_nonzero_coefs=5).T
    chosen, weights = pursue(torch.from_numpy(targets), torch.from_numpy(anchors), 5)
    found = np.zeros_like(wanted)
    np.put_along_axis(found, chosen.numpy(), weights.numpy(), 1)
    np.testing.assert_allclose(found, wanted, atol=1e-10)
