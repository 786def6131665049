"""Every optimizer goes the way of its library's own in a plain loop, follows the schedule, and resumes bit for bit."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from curate.errors import CurateError
from tests.train import plain_loop
from tests.train.conftest import TINY, costs, last, optimizer_state, residual, same_bits, weights
from tests.train.fake import FakeStream
from tests.train.test_cpt import stop_after
from train import cpt

RunFile = Callable[..., Path]
CALM = {**TINY, "attention_dropout": 0.0}
MODEL = {"init": CALM, "seed": 1}


def plainly(stream: FakeStream, make: Callable[[torch.nn.Module], tuple]) -> tuple[torch.nn.Module, list[float]]:
    model = plain_loop.fresh(CALM, seed=1)
    return model, plain_loop.train(model, plain_loop.batches(stream.rows[:22], 4), plain_loop.cosine(6), *make(model))


def test_adafactor(run_file: RunFile, stream: FakeStream, tmp_path: Path) -> None:
    cpt.run(run_file(model=MODEL, optimizer={"name": "adafactor"}))
    model, wanted = plainly(stream, lambda m: (torch.optim.Adafactor(plain_loop.decayed(list(m.parameters()))),))
    mean, largest = residual(weights(last(tmp_path / "run")), model.state_dict())
    assert mean < 1e-6 and largest < 1e-5 and np.abs(np.subtract(costs(tmp_path / "run"), wanted)).max() < 1e-5


def muon(model: torch.nn.Module) -> tuple:
    inside = [p for name, p in model.named_parameters() if p.ndim == 2 and ".layers." in name]
    rest = [p for name, p in model.named_parameters() if not (p.ndim == 2 and ".layers." in name)]
    assert len(inside) == 14 and len(rest) == 7  # q k v o gate up down of two layers; five norms, embedding, head
    return (
        torch.optim.Muon(inside, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(plain_loop.decayed(rest), betas=(0.9, 0.95)),
    )


def orthogonal(grad: torch.Tensor, coefficients: tuple[float, float, float], steps: int, eps: float) -> torch.Tensor:
    """Newton-Schulz in float32; torch's own is in bf16, where rounding of a gradient moves an update by 2^-8 of itself."""
    a, b, c = coefficients
    x = grad.T if grad.shape[0] > grad.shape[1] else grad
    x = x / x.norm().clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if grad.shape[0] > grad.shape[1] else x


def test_muon(run_file: RunFile, stream: FakeStream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.optim._muon, "_zeropower_via_newtonschulz", orthogonal)
    cpt.run(run_file(model=MODEL, optimizer={"name": "muon"}))
    model, wanted = plainly(stream, muon)
    mean, largest = residual(weights(last(tmp_path / "run")), model.state_dict())
    assert mean < 1e-6 and largest < 1e-5 and np.abs(np.subtract(costs(tmp_path / "run"), wanted)).max() < 1e-5
    kept = optimizer_state(last(tmp_path / "run"))
    assert sum("momentum_buffer" in name for name in kept) == 14 and sum("exp_avg_sq" in name for name in kept) == 7


def test_muon_needs_matrices(run_file: RunFile) -> None:
    with pytest.raises(CurateError, match="no matrix of a layer is trained"):
        cpt.run(run_file(optimizer={"name": "muon"}, adapt={"full": {"train_only": ["*norm*", "*embed*"]}}))


def test_weights_in_bf16_do_not_move_by_small_steps(run_file: RunFile, tmp_path: Path) -> None:
    """Why there is rounding by lot: a step of 1e-5 is lost on weights of 0.02, whose neighbours are 1e-4 apart."""
    model = {"init": CALM, "seed": 1, "dtype": "bf16", "weights": "bf16"}
    cpt.run(run_file(model=model, schedule={"kind": "constant", "peak_lr": 1e-6}, optimizer={"weight_decay": 0.0}))
    first, after = plain_loop.fresh(CALM, 1, dtype=torch.bfloat16).state_dict(), weights(last(tmp_path / "run"))
    still = sum(torch.equal(first[name], value) for name, value in after.items() if value.ndim == 1)
    assert still == 5 and all(value.dtype == torch.bfloat16 for value in after.values())  # norms are 1: neighbours 2^-7 apart


BY_LOT = {
    "model": {"init": CALM, "seed": 1, "dtype": "bf16", "weights": "bf16"},
    "optimizer": {"rounding": "stochastic", "weight_decay": 0.0},
    "schedule": {"kind": "constant", "peak_lr": 1e-4},
}


@pytest.mark.slow
def test_rounding_by_lot(run_file: RunFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the mean over a matrix a weight in bf16 goes as far as one in fp32; stopped and not, split and not, it goes the same way."""
    pytest.importorskip("torchao", reason="needs torchao: pip install torchao")
    if shutil.which("c++") is None:
        pytest.skip("torchao compiles its step: needs a C++ compiler")
    cpt.run(run_file("whole", **BY_LOT))
    cpt.run(run_file("fp32", model=MODEL, schedule=BY_LOT["schedule"], optimizer={"weight_decay": 0.0}))
    lot, exact = weights(last(tmp_path / "whole")), weights(last(tmp_path / "fp32"))
    first = plain_loop.fresh(CALM, 1, dtype=torch.bfloat16).state_dict()
    start = plain_loop.fresh(CALM, 1).state_dict()
    moved = torch.cat([(lot[n].float() - first[n].float()).flatten() for n in lot])
    wanted = torch.cat([(exact[n] - start[n]).flatten() for n in exact])
    share = (moved @ wanted / (wanted @ wanted)).item()
    print(f"moved {share:.3f} of the way of fp32")
    assert 0.9 < share < 1.1
    with monkeypatch.context() as patched:
        stop_after(patched, 3)
        cpt.run(run_file("parts", **BY_LOT))
    cpt.run(run_file("parts", **BY_LOT))
    assert same_bits(last(tmp_path / "parts"), last(tmp_path / "whole"))


@pytest.mark.parametrize("rounding", ["nearest", "stochastic"])
@pytest.mark.slow
def test_adamw_in_eight_bits(run_file: RunFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rounding: str) -> None:
    """Near to AdamW; what is kept has a byte a number (of tensors large enough); bit-equal after a stop."""
    library = "bitsandbytes" if rounding == "nearest" else "torchao"
    pytest.importorskip(library, reason=f"needs {library}: pip install {library}")
    init = {**CALM, "hidden_size": 64, "intermediate_size": 128}
    model = {"init": init, "seed": 1, **({"dtype": "bf16", "weights": "bf16"} if rounding == "stochastic" else {})}
    changes = {"model": model, "optimizer": {"name": "adamw_8bit", "rounding": rounding}}
    cpt.run(run_file("whole", **changes))
    cpt.run(run_file("adamw", model=model))
    near = np.abs(np.subtract(costs(tmp_path / "whole"), costs(tmp_path / "adamw"))).max()
    print(f"within {near:.1e} nats of AdamW")
    assert near < 0.02
    if rounding == "nearest":  # torchao's are written in bf16 and divided into eight bits again
        assert any(value.dtype == torch.uint8 for value in optimizer_state(last(tmp_path / "whole")).values())
    with monkeypatch.context() as patched:
        stop_after(patched, 3)
        cpt.run(run_file("parts", **changes))
    cpt.run(run_file("parts", **changes))
    assert same_bits(last(tmp_path / "parts"), last(tmp_path / "whole"))
