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
from train import cpt, selfcheck
from train.batch import collate
from train.model import Scorer
from train.streams import Streams

CPU = torch.device("cpu")


def isolated(model: PreTrainedModel, n_rows: int = 2, dtype: str = "fp32") -> str:
    scorer = Scorer(model, dtype).eval()
    with torch.no_grad():
        return selfcheck.check_isolation(scorer, streams(), n_rows, scorer.dtype, CPU)


def streams() -> Streams:
    made = FakeStream()
    made.manifest = {"name": "fake", "tokenizer": {"sha256": ""}}
    return Streams([made])  # type: ignore[list-item]


def tiny(attention: str | None = None, **changes: Any) -> PreTrainedModel:
    torch.manual_seed(0)
    config = {"vocab_size": 64, "max_position_embeddings": 32, "bos_token_id": None, "eos_token_id": None, **TINY, **changes}
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(**config), attn_implementation=attention)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("n_rows", [1, 3])
def test_llama_isolates_documents(attention: str, n_rows: int) -> None:
    assert "none sees another" in isolated(tiny(attention), n_rows)


@pytest.mark.parametrize("model_type", ["qwen2", "gemma2"])
def test_other_families_isolate_documents(model_type: str) -> None:
    changes = {"model_type": model_type, "num_key_value_heads": 2, "head_dim": 8, "pad_token_id": None}
    isolated(tiny(**changes))


def test_bf16_is_within_its_tolerance() -> None:
    isolated(tiny(), dtype="bf16")


def leaky(model: PreTrainedModel, change: Callable[[dict], dict]) -> PreTrainedModel:
    decoder = model.get_decoder()
    inner = decoder.forward
    decoder.forward = lambda **kwargs: inner(**change(kwargs))
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
        isolated(leaky(tiny(), LEAKS[leak]))


def test_a_model_with_wrong_positions_is_refused() -> None:
    """Documents apart, but all counted from the row's start: nothing moves, only the loss is another one."""
    model = tiny(model_type="gpt2", n_embd=32, n_head=4, n_layer=2, n_positions=64)
    with torch.no_grad():
        model.transformer.wpe.weight.mul_(50)  # fresh position embeddings are too small to matter

    def shift(kwargs: dict) -> dict:
        packed = kwargs["position_ids"].shape[1] == 32
        return {**kwargs, "position_ids": kwargs["position_ids"] + (10 if packed else 0)}

    with pytest.raises(CurateError, match="not its loss alone"):
        isolated(leaky(model, shift))


def checked(model: PreTrainedModel) -> list[str]:
    scorer = Scorer(model, "fp32")
    return list(selfcheck.check(streams(), {32: 2}, None, scorer, scorer, CPU))


def test_dropout_is_off_during_the_check_and_on_after_it_and_no_weight_moves() -> None:
    model = tiny(attention_dropout=0.5).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    said = checked(model)
    assert model.training and [line.partition(":")[0] for line in said] == ["matrices", "loss", "isolation", "learns"]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_head_that_we_do_not_know_is_refused() -> None:
    """As if an architecture did something to its logits that its config does not say by a name we read."""
    model = tiny()
    model.lm_head.register_forward_hook(lambda module, args, out: out * 0.5)
    with pytest.raises(CurateError, match="not that of this model's own logits"):
        checked(model)


@pytest.mark.parametrize("model_type", ["granite", "cohere", "gemma2"])
def test_what_architectures_do_to_logits_is_known(model_type: str) -> None:
    changes = {"model_type": model_type, "num_key_value_heads": 2, "head_dim": 8, "pad_token_id": None}
    extra = {"granite": {"logits_scaling": 4.0}, "cohere": {"logit_scale": 0.0625}, "gemma2": {"final_logit_softcapping": 0.05}}
    assert "that of the model's own logits" in checked(tiny(**changes, **extra[model_type]))[1]


def test_tied_against_the_config_is_refused() -> None:
    model = tiny(tie_word_embeddings=True)
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
    with pytest.raises(CurateError, match="tied"):
        checked(model)


def test_too_few_rows_for_the_tokenizer_are_refused() -> None:
    class Large:
        vocab_size = 65

    with pytest.raises(CurateError, match="a row for each token"):
        selfcheck.check_matrices(Scorer(tiny(), "fp32"), Large())  # type: ignore[arg-type]


def test_labels_are_counted_beside_the_stream() -> None:
    row = FakeStream().row(0)
    with torch.no_grad(), pytest.raises(CurateError, match="not as many labels"):
        selfcheck.check_loss(Scorer(tiny(), "fp32").eval(), collate([row], [0]), row.n_loss_tokens - 1)


def test_weights_that_do_not_learn_are_refused() -> None:
    model = tiny()
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
    with pytest.raises(CurateError, match="do not learn"):
        selfcheck.check_learns(Scorer(model, "fp32"), collate([FakeStream().row(0)], [0]))


def test_run_stops_before_step_one(run_file: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = cpt.build
    monkeypatch.setattr(cpt, "build", lambda *a: leaky(before(*a), LEAKS["a mask of ones hides the boundaries"]))
    with pytest.raises(CurateError, match="sees across documents"):
        cpt.run(run_file())
    assert list((tmp_path / "run").glob("step-*")) == []
