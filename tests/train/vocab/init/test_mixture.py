"""New rows worked out by hand; copied rows bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from train.vocab.init.mixture import Drawn, Mixture, directions, fill, moments, of_pieces

QUIET = Drawn(noise=0.0, seed=0)
OLD = torch.tensor([[1.0, 2.0], [3.0, -2.0], [5.0, 6.0], [9.0, 9.0]])  # three tokens and a row of padding


def test_rows_of_a_new_vocabulary() -> None:
    """Token 0 is the old 2, token 1 is of the pieces 0 and 1, token 2 of 1 alone twice weighted, token 3 the mean; a row of padding."""
    made = {
        1: of_pieces(np.array([0, 1])), 2: Mixture("focus", np.array([1]), np.array([2.0])), 3: Mixture("mean"),
    }  # fmt: skip
    new = fill(OLD, 3, np.array([2, -1, -1, -1]), made, 5, QUIET)  # type: ignore[arg-type]
    assert new.tolist() == [[5.0, 6.0], [2.0, 0.0], [6.0, -4.0], [3.0, 2.0], [3.0, 2.0]]


def test_a_piece_that_comes_twice_counts_twice() -> None:
    """(1 + 1 + 3) / 3 and (2 + 2 - 2) / 3."""
    new = fill(OLD, 3, np.array([-1]), {0: of_pieces(np.array([0, 0, 1]))}, 1, QUIET)  # type: ignore[dict-item]
    assert new[0].tolist() == pytest.approx([5 / 3, 2 / 3], abs=1e-6)
    assert of_pieces(np.array([], np.int64)) is None


def test_a_bias_is_mixed_without_noise() -> None:
    bias = torch.tensor([1.0, 3.0, 8.0, 100.0])
    new = fill(bias, 3, np.array([1, -1, -1]), {1: of_pieces(np.array([0, 2])), 2: Mixture("mean")}, 4, Drawn(1.0, 0))  # type: ignore[dict-item]
    assert new.tolist() == [3.0, 4.5, 4.0, 4.0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_copied_rows_keep_every_bit(dtype: torch.dtype) -> None:
    """Not a number, minus zero and the smallest numbers too."""
    odd = torch.tensor([[float("nan"), -0.0], [1e-45, -1e-45], [float("inf"), 1 / 3]]).to(dtype)
    new = fill(odd, 3, np.array([2, -1, 0, 1]), {1: Mixture("focus", np.array([2]), np.array([1.0]))}, 4, Drawn(0.5, 0))
    kind = torch.int32 if dtype == torch.float32 else torch.int16
    assert torch.equal(new.view(kind)[[0, 2, 3]], odd.view(kind)[[2, 0, 1]])


def test_sums_are_rounded_once() -> None:
    """256 + 1 + 1 is 256 when summed in bf16; a third of 258 is 86."""
    old = torch.tensor([[256.0], [1.0], [1.0]], dtype=torch.bfloat16)
    new = fill(old, 3, np.array([-1]), {0: of_pieces(np.array([0, 1, 2]))}, 1, QUIET)  # type: ignore[dict-item]
    assert new.item() == 86


def test_noise_is_of_the_seed_and_of_the_old_rows_width() -> None:
    """The second dimension has no width, so it gets no noise; the first has 2 times sqrt(2/3)."""
    old = torch.tensor([[1.0, 7.0], [3.0, 7.0], [5.0, 7.0]])
    made = {i: Mixture("mean") for i in range(2000)}

    def drawn(seed: int, noise: float = 0.1) -> torch.Tensor:
        return fill(old, 3, np.full(2000, -1), made, 2000, Drawn(noise, seed))

    found = drawn(0)
    assert found[:, 1].unique().tolist() == [7.0]
    assert len(found[:, 0].unique()) > 1900
    assert found[:, 0].std().item() == pytest.approx(0.1 * 2 * (2 / 3) ** 0.5, rel=0.05)  # 2000 draws: within 3 of 1.6 %
    assert torch.equal(found, drawn(0)) and not torch.equal(found, drawn(1))
    assert drawn(3, 0.0).unique(dim=0).tolist() == [[3.0, 7.0]]


def test_normal_is_drawn_with_the_moments_of_the_old_rows() -> None:
    found = fill(OLD, 3, np.full(4000, -1), {i: Mixture("normal") for i in range(4000)}, 4000, Drawn(0.0, 1)).double()
    mean, deviation = moments(OLD, 3)
    assert mean.tolist() == [3.0, 2.0]
    assert deviation.tolist() == pytest.approx([(8 / 3) ** 0.5, (32 / 3) ** 0.5])
    assert found.mean(0).tolist() == pytest.approx(mean.tolist(), abs=0.2)
    assert found.std(0).tolist() == pytest.approx(deviation.tolist(), rel=0.05)


def test_rank_keeps_the_leading_directions() -> None:
    """Rows (3, 0) and (0, 1): the leading direction is the first axis. 0.6 of one and 0.4 of the other is (1.8, 0.4), of which (1.8, 0) stays."""
    old = torch.tensor([[3.0, 0.0], [0.0, 1.0]])
    made = {0: Mixture("ofa", np.array([0, 1]), np.array([0.6, 0.4])), 1: of_pieces(np.array([0, 1]))}
    new = fill(old, 2, np.array([-1, -1]), made, 2, QUIET, rank=1)  # type: ignore[arg-type]
    assert new[0].tolist() == pytest.approx([1.8, 0.0], abs=1e-7)
    assert new[1].tolist() == [1.5, 0.5]  # what OFA has no vector for is left as it is


def test_rank_is_the_paper_s_factorisation() -> None:
    """As OFA writes it: coordinates U_k are mixed, and primitives S_k V_k' give them back their length."""
    lot = np.random.default_rng(0)
    old = lot.normal(size=(30, 8))
    u, s, v = np.linalg.svd(old, full_matrices=False)
    ids, weights = np.array([4, 9, 21]), np.array([0.5, 0.3, 0.2])
    wanted = (weights @ u[ids][:, :3]) @ (np.diag(s[:3]) @ v[:3])
    new = fill(torch.from_numpy(old), 30, np.array([-1]), {0: Mixture("ofa", ids, weights)}, 1, QUIET, rank=3)
    np.testing.assert_allclose(new[0].numpy(), wanted, atol=1e-12)
    assert directions(torch.from_numpy(old), 3).shape == (8, 3)
