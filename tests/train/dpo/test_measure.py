"""Rewards, margins and length bias worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.train.dpo.fake import pair_of
from train.dpo.batch import collate
from train.dpo.config import Loss
from train.dpo.inputs import inputs_of, mismatched
from train.dpo.measure import lines_of, sums
from train.watch.pairs import length_bias, means

MICRO = collate([5, 6], [pair_of([1], [2, 3], [4, 5, 6, 7]), pair_of([1], [2], [3], component=1)])
POLICY, SAID = (
    torch.tensor([-1.0, -2.0, -8.0, -1.0]),
    torch.tensor([-3.0, -1.0, -4.0, -1.0]),
)  # chosen, chosen, rejected, rejected


def test_sums_of_two_pairs() -> None:
    """Rewards: 0.5 (-1 + 3) = 1, 0.5 (-2 + 1) = -0.5; 0.5 (-8 + 4) = -2, 0.5 (-1 + 1) = 0. Lengths 2, 1; 4, 1."""
    lines = lines_of(MICRO, Loss(beta=0.5), torch.tensor([0.2, 0.9]), POLICY, SAID)
    assert lines.tolist() == [[5, 0, pytest.approx(0.2), 1, -2, 2, 4, 1], [6, 1, pytest.approx(0.9), -0.5, 0, 1, 1, 0]]
    found = sums(np.concatenate([lines, [[-1.0] * 8]]), ["a", "b", "c"])
    assert found["all"] == pytest.approx({
        "n": 2, "loss": 1.1, "chosen": 0.5, "rejected": -2, "margin": 2.5, "margin2": 9.25, "correct": 1, "chosen_tokens": 3,
        "rejected_tokens": 5, "length": -2, "length2": 4, "margin_length": -6,
    })  # fmt: skip
    assert set(found) == {"all", "a", "b"} and found["b"]["margin"] == -0.5
    assert means(found["all"]) == pytest.approx({
        "loss": 0.55, "accuracy": 0.5, "margin": 1.25, "reward_chosen": 0.25, "reward_rejected": -1, "chosen_tokens": 1.5,
        "rejected_tokens": 2.5, "length_difference": -1,
    })  # fmt: skip


def test_rewards_by_length_and_without_reference() -> None:
    """IPO: 0.5 x 2 / 2 tokens, 0.5 x -4 / 4; SimPO: 2 x -1 / 2 and 2 x -8 / 4."""
    ipo = lines_of(MICRO, Loss(kind="ipo", beta=0.5), torch.zeros(2), POLICY, SAID)
    assert ipo[0, 3:5].tolist() == [0.5, -0.5]
    simpo = lines_of(MICRO, Loss(kind="simpo", beta=2.0), torch.zeros(2), POLICY, None)
    assert simpo[0, 3:5].tolist() == [-1.0, -4.0]


def test_length_bias_is_pearsons_r() -> None:
    random = np.random.default_rng(0)
    margin, length = random.normal(size=50), random.integers(-20, 20, 50)
    of = {
        "n": 50, "margin": margin.sum(), "margin2": (margin**2).sum(), "length": length.sum(), "length2": (length**2).sum(),
        "margin_length": (margin * length).sum(),
    }  # fmt: skip
    assert length_bias(of) == pytest.approx(np.corrcoef(margin, length)[0, 1])
    assert length_bias({**of, "n": 7}) is None  # too few
    same = {"n": 50, "margin": 5.0, "margin2": 0.5, "length": 10, "length2": 200, "margin_length": 1.0}
    assert length_bias(same) is None  # every margin 0.1


def test_prompts_get_the_next_pairs_answers() -> None:
    pairs = [pair_of([1], [2, 3], [4]), pair_of([5, 6], [7], [8]), pair_of([9], [10], [11, 12, 13])]
    mixed = mismatched(pairs, 3)
    assert [(p.prompt_ids.tolist(), p.chosen_ids.tolist(), p.rejected_ids.tolist()) for p in mixed] == [
        ([1], [7], [8]), ([5, 6], [10], [11]), ([9], [2, 3], [4]),
    ]  # fmt: skip


def test_simpos_margin_is_a_reference_of_so_much_a_token() -> None:
    """margin 1.5 over beta 0.5 is 3 a token: of 2 tokens 6, of 1 token 3."""
    inputs = inputs_of(MICRO, Loss(kind="simpo", beta=0.5, margin=1.5), None)
    assert inputs["ref_chosen_logps"].tolist() == [6.0, 3.0] and inputs["ref_rejected_logps"].tolist() == [0.0, 0.0]


def test_ktos_term_is_handed_in_as_what_an_empty_row_has_lost() -> None:
    inputs = inputs_of(MICRO, Loss(kind="kto"), SAID, kl=0.25)
    assert inputs["label"].tolist() == [True, True, False, False] and inputs["ref_logps"].tolist() == SAID.tolist()
    assert inputs["ref_KL_logps"].tolist() == [-0.25] * 4 and inputs["KL_completion_mask"].sum() == 0
