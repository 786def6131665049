"""Dropout by row: the right share, scaled; the same bits for a row whatever stands beside it; others at another step, place or seed."""

from __future__ import annotations

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from train.dropout import OPTIMIZER, Draws, RowDropout, by_row, draw


def dropped(x: torch.Tensor, rows: list[int], *, seed: int = 0, step: int = 0, place: int = 1, p: float = 0.3) -> torch.Tensor:
    draws = Draws()
    draws.begin(seed, step, rows)
    return RowDropout(p, place, draws).train()(x)


def test_share_and_scale() -> None:
    """100,000 draws: the share's standard deviation is 0.0014."""
    out = dropped(torch.ones(2, 50, 1000), [4, 5])
    assert out.unique().tolist() == [0, pytest.approx(1 / 0.7)]
    assert (out == 0).float().mean().item() == pytest.approx(0.3, abs=0.007)
    assert not torch.equal(out[0], out[1])


def test_a_row_has_its_own_draws() -> None:
    x = torch.randn(4, 8, 16)
    whole = dropped(x, [10, 11, 12, 13])
    parts = torch.cat([dropped(x[:1], [10]), dropped(x[1:3], [11, 12]), dropped(x[3:], [13])])
    flat = dropped(x.reshape(1, 32, 16), [10, 11, 12, 13])
    assert torch.equal(whole, parts) and torch.equal(whole, flat.view(4, 8, 16))


@pytest.mark.parametrize("other", [{"seed": 1}, {"step": 1}, {"place": 2}])
def test_others_draw_otherwise(other: dict) -> None:
    x = torch.ones(1, 8, 16)
    assert not torch.equal(dropped(x, [3]), dropped(x, [3], **other))
    assert not torch.equal(dropped(x, [3]), dropped(x, [4])) and torch.equal(dropped(x, [3]), dropped(x, [3]))


def test_gradient_is_that_of_what_was_kept() -> None:
    x = torch.ones(1, 8, 16, requires_grad=True)
    out = dropped(x, [3])
    out.sum().backward()
    assert torch.equal(x.grad, out.detach())


def test_evaluation_drops_nothing() -> None:
    x = torch.ones(1, 8, 16)
    assert RowDropout(0.3, 1, Draws()).eval()(x) is x


def test_a_shape_that_does_not_have_the_rows_is_our_mistake() -> None:
    with pytest.raises(RuntimeError, match="for 4 rows"):
        dropped(torch.ones(3, 8, 16), [1, 2, 3, 4])


def test_every_dropout_of_a_model_is_replaced() -> None:
    model = GPT2LMHeadModel(
        GPT2Config(n_embd=16, n_head=2, n_layer=2, vocab_size=8, embd_pdrop=0.1, resid_pdrop=0.2, attn_pdrop=0)
    )
    # the embedding's one, and of each layer two of the residual (attention, mlp)
    assert by_row(model, Draws()) == 5
    kept = {(module.p, module.place) for module in model.modules() if isinstance(module, RowDropout)}
    assert kept == {(0.1, 1), (0.2, 2), (0.2, 3), (0.2, 4), (0.2, 5)}
    assert all(module.p == 0 for module in model.modules() if isinstance(module, torch.nn.Dropout))


def test_what_an_optimizer_draws_does_not_depend_on_the_rows() -> None:
    found = []
    for rows in ([1, 2], [7]):
        draws = Draws()
        draws.begin(5, 9, rows)
        draws.begin_update(5, 9)
        found.append(torch.rand(3).tolist())
    assert found[0] == found[1]
    assert len({draw(5, 9, OPTIMIZER), draw(5, 9, -1), draw(5, 9, 0), draw(5, 10, OPTIMIZER)}) == 4
