"""Documents of a row do not see each other, by every attention that runs on a CPU and by the path of the flash kernels."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from curate.errors import CurateError
from tests.train import plain_loop
from tests.train.conftest import TINY
from tests.train.fake import FakeStream
from tests.train.test_invariance import alike
from tests.train.test_selfcheck import checked, isolated
from tests.train.test_trajectory import FAMILIES
from tests.train.varlen import LEAKY, flattened
from train import cpt
from train.batch import Rows, collate
from train.model import Scorer

RunFile = Callable[..., Path]
PATHS = [
    (family, path)
    for family in ("llama", "qwen3", "gemma2", "gemma3")
    for path in ("eager", "sdpa", "flash")
    if (family, path) != ("gemma2", "sdpa")  # which transformers does not have
]


def scorer_of(family: str, path: str) -> Scorer:
    model = plain_loop.fresh(FAMILIES[family], seed=0, attn_implementation="eager" if path == "flash" else path).eval()
    scorer = Scorer(flattened(model) if path == "flash" else model, "fp32")
    assert scorer.is_flat == (path == "flash")
    return scorer


def rows(n: int = 3) -> Rows:
    return collate(FakeStream().rows[:n], range(n))


@pytest.mark.parametrize(("family", "path"), PATHS)
def test_one_document_changed_moves_no_other(family: str, path: str) -> None:
    """Each document of three rows in turn: exactly its own losses move."""
    scorer, given = scorer_of(family, path), rows()
    with torch.no_grad():
        before = scorer.losses(given)
        for i in range(len(given)):
            for k in range(int(given.document[i].max()) + 1):
                own = torch.zeros_like(given.document, dtype=torch.bool)
                own[i] = given.document[i] == k
                changed = torch.where(own, (given.input_ids + 7) % 64, given.input_ids)
                moved = (scorer.losses(replace(given, input_ids=changed)) - before).abs()
                assert moved[~own].max() < 1e-6
                if own.sum() > 2:
                    assert moved[own].max() > 1e-4


@pytest.mark.parametrize(("family", "path"), PATHS)
def test_a_row_costs_what_its_documents_cost_alone(family: str, path: str) -> None:
    """By the model's own logits, document by document, eagerly. Losses of tokens: 1e-5 is rounding at 4 nats, the mean is below 1e-6."""
    scorer, given = scorer_of(family, path), rows()
    alone = plain_loop.fresh(FAMILIES[family], seed=0, attn_implementation="eager").eval()
    with torch.no_grad():
        losses, n = scorer.losses(given), 0
        for i in range(len(given)):
            for k in range(int(given.document[i].max()) + 1):
                at = given.document[i] == k
                ids = given.input_ids[i, at][None]
                wanted = torch.nn.functional.cross_entropy(alone(input_ids=ids).logits[0, :-1], ids[0, 1:], reduction="none")
                found = losses[i, at][:-1]
                n += len(found)
                assert len(found) == 0 or ((found - wanted).abs().max() < 1e-5 and (found - wanted).abs().mean() < 1e-6)
    assert n == given.n_loss_tokens == (losses != 0).sum()


@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_the_check_before_step_one_passes_flat_rows(family: str) -> None:
    model = flattened(plain_loop.fresh(FAMILIES[family], seed=0, attn_implementation="eager"))
    assert "that of the model's own logits" in checked(model)[1]
    assert "none sees another" in isolated(model, 3)


def test_a_flash_kernel_that_leaks_is_refused() -> None:
    model = flattened(plain_loop.fresh(FAMILIES["llama"], seed=0, attn_implementation="eager"), LEAKY)
    with pytest.raises(CurateError, match="sees across documents"):
        isolated(model, 2)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"adapt": {"lora": {"r": 4, "dropout": 0.2}}},
        {"model": {"init": FAMILIES["gemma2"], "seed": 1, "checkpointing": True}},
    ],
    ids=["llama", "lora with dropout", "gemma2, activations computed again"],
)
def test_training_on_flat_rows_is_the_same(
    run_file: RunFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict
) -> None:
    changes = {"model": {"init": {**TINY, "attention_dropout": 0.0}, "seed": 1}, **changes}
    assert cpt.run(run_file("plain", **changes)) == 0
    before = cpt.build
    monkeypatch.setattr(cpt, "build", lambda *settings: flattened(before(*settings)))
    assert cpt.run(run_file("flat", **changes)) == 0
    alike(tmp_path / "plain", tmp_path / "flat")


@pytest.mark.slow
def test_flex_attention(run_file: RunFile, tmp_path: Path) -> None:
    if shutil.which("c++") is None:
        pytest.skip("flex_attention is compiled: needs a C++ compiler")
    scorer: Any = scorer_of("llama", "flex_attention")
    with torch.no_grad():
        found, wanted = scorer.losses(rows()), scorer_of("llama", "eager").losses(rows())
    assert (found - wanted).abs().max() < 1e-5
