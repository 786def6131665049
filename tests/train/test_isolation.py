"""Documents in a row do not see each other, and a model for which they do is refused before step one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from curate.errors import CurateError
from tests.train.conftest import TINY
from tests.train.fake import FakeStream
from train import cpt, isolation

CPU = torch.device("cpu")


def tiny(attention: str | None = None, **changes: Any) -> PreTrainedModel:
    torch.manual_seed(0)
    config = {"vocab_size": 64, "max_position_embeddings": 32, "bos_token_id": None, "eos_token_id": None, **TINY, **changes}
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(**config), attn_implementation=attention)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("n_rows", [1, 3])
def test_llama_isolates_documents(attention: str, n_rows: int) -> None:
    assert "none sees another" in isolation.check(tiny(attention), FakeStream(), "fp32", n_rows, CPU)


@pytest.mark.parametrize("model_type", ["qwen2", "gemma2"])
def test_other_families_isolate_documents(model_type: str) -> None:
    changes = {"model_type": model_type, "num_key_value_heads": 2, "head_dim": 8, "pad_token_id": None}
    isolation.check(tiny(**changes), FakeStream(), "fp32", 2, CPU)


def test_bf16_is_within_its_tolerance() -> None:
    isolation.check(tiny(), FakeStream(), "bf16", 2, CPU)


def leaky(model: PreTrainedModel, change: Callable[[dict], dict]) -> PreTrainedModel:
    inner = model.forward
    model.forward = lambda **kwargs: inner(**change(kwargs))  # type: ignore[method-assign]
    return model


LEAKS: dict[str, Callable[[dict], dict]] = {
    "a mask of ones hides the boundaries": lambda k: {**k, "attention_mask": torch.ones_like(k["input_ids"])},
    "a cache hides the boundaries": lambda k: {**k, "use_cache": True},
    "positions are ignored": lambda k: {
        **k,
        "position_ids": torch.arange(k["input_ids"].shape[1])[None].expand_as(k["input_ids"]),
    },
}


@pytest.mark.parametrize("leak", LEAKS)
def test_a_model_that_sees_across_documents_is_refused(leak: str) -> None:
    with pytest.raises(CurateError, match="sees across documents"):
        isolation.check(leaky(tiny(), LEAKS[leak]), FakeStream(), "fp32", 2, CPU)


def test_a_model_with_wrong_positions_is_refused() -> None:
    """Documents apart, but all counted from the row's start: nothing moves, only the loss is another one."""
    model = tiny(model_type="gpt2", n_embd=32, n_head=4, n_layer=2, n_positions=64)
    with torch.no_grad():
        model.transformer.wpe.weight.mul_(50)  # fresh position embeddings are too small to matter

    def shift(kwargs: dict) -> dict:
        packed = kwargs["position_ids"].shape[1] == 32
        return {**kwargs, "position_ids": kwargs["position_ids"] + (10 if packed else 0)}

    with pytest.raises(CurateError, match="not its loss alone"):
        isolation.check(leaky(model, shift), FakeStream(), "fp32", 2, CPU)


def test_dropout_is_off_during_the_check_and_on_after_it() -> None:
    model = tiny(attention_dropout=0.5).train()
    isolation.check(model, FakeStream(), "fp32", 2, CPU)
    assert model.training


def test_run_stops_before_step_one(run_file: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = cpt.build
    monkeypatch.setattr(cpt, "build", lambda *a: leaky(before(*a), LEAKS["a mask of ones hides the boundaries"]))
    with pytest.raises(CurateError, match="sees across documents"):
        cpt.run(run_file())
    assert list((tmp_path / "run").glob("step-*")) == []
