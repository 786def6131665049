"""Adapters go the way of peft's own in a plain loop; what is saved is what was trained; what is frozen does not move by a bit."""

from __future__ import annotations

import json
from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import PreTrainedModel

from curate.errors import CurateError
from tests.train import plain_loop
from tests.train.conftest import TINY, costs, last, residual, weights
from tests.train.fake import FakeStream
from train import cpt
from train.adapt import adapt
from train.config import Adapt

RunFile = Callable[..., Path]
UNTIED, TIED = {**TINY, "attention_dropout": 0.0}, {**TINY, "attention_dropout": 0.0, "tie_word_embeddings": True}
BOTH = ("embed_tokens", "lm_head")
# what the run file says, and peft's own words for it
WAYS: dict[str, tuple[dict, dict, dict]] = {
    "lora": (UNTIED, {"r": 4, "alpha": 8}, {"lora_alpha": 8}),
    "rslora": (UNTIED, {"r": 4, "alpha": 8, "rslora": True}, {"lora_alpha": 8, "use_rslora": True}),
    "dora": (UNTIED, {"r": 4, "alpha": 8, "dora": True}, {"lora_alpha": 8, "use_dora": True}),
    "some": (UNTIED, {"r": 4, "targets": ["q_proj", "down_proj"], "exclude": ["layers.1.mlp.down_proj"]},
             {"lora_alpha": 32, "target_modules": ["q_proj", "down_proj"], "exclude_modules": ["layers.1.mlp.down_proj"]}),
    "untied matrices": (UNTIED, {"r": 4, "train_also": list(BOTH)}, {"lora_alpha": 32, "modules_to_save": list(BOTH)}),
    "tied matrices": (TIED, {"r": 4, "train_also": list(BOTH)}, {"lora_alpha": 32, "modules_to_save": list(BOTH), "ensure_weight_tying": True}),
}  # fmt: skip


def by_peft(config: dict, **own: Any) -> PeftModel:
    return get_peft_model(
        plain_loop.fresh(config, seed=1),
        LoraConfig(**{"task_type": "CAUSAL_LM", "r": 4, "target_modules": "all-linear", **own}),
    )


@pytest.mark.parametrize("way", WAYS)
def test_adapters_equal_a_plain_loop(way: str, run_file: RunFile, stream: FakeStream, tmp_path: Path) -> None:
    config, asked, own = WAYS[way]
    assert cpt.run(run_file(model={"init": config, "seed": 1}, adapt={"lora": asked})) == 0
    model = by_peft(config, **own)
    wanted = plain_loop.train(model, plain_loop.batches(stream.rows[:22], 4), plain_loop.cosine(6))
    assert np.abs(np.subtract(costs(tmp_path / "run"), wanted)).mean() < 1e-6
    theirs = tmp_path / "theirs"
    model.save_pretrained(theirs, save_embedding_layers=False)
    mean, largest = residual(weights(last(tmp_path / "run")), weights(theirs))
    assert weights(last(tmp_path / "run")).keys() == weights(theirs).keys() and mean < 1e-6 and largest < 1e-5


@pytest.mark.parametrize("way", WAYS)
def test_what_is_saved_is_what_was_trained(way: str, run_file: RunFile, stream: FakeStream, tmp_path: Path) -> None:
    """The adapters of the checkpoint on the base, by peft alone: held-out rows cost what the log says; the base is as it was."""
    config, asked, _ = WAYS[way]
    cpt.run(run_file(model={"init": config, "seed": 1}, adapt={"lora": asked}))
    base = plain_loop.fresh(config, seed=1)
    model = PeftModel.from_pretrained(base, last(tmp_path / "run")).eval()
    events = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    said = [event for event in events if event["event"] == "held_out"][-1]["components"]
    nats, n = 0.0, 0
    with torch.no_grad():
        for row in stream.rows[22:]:
            for k in range(row.document.max() + 1):
                ids = torch.from_numpy(row.input_ids[row.document == k].astype(np.int64))[None]
                if (asked_here := ids.shape[1] - 1) > 0:
                    nats, n = nats + model(input_ids=ids, labels=ids).loss.item() * asked_here, n + asked_here
    assert n == sum(part["tokens"] for part in said.values())
    assert nats / n == pytest.approx(sum(part["loss"] * part["tokens"] for part in said.values()) / n, abs=1e-6)


@pytest.mark.parametrize("config", [UNTIED, TIED], ids=["untied", "tied"])
def test_whole_matrices_move_and_stay_tied(config: dict, run_file: RunFile, tmp_path: Path) -> None:
    cpt.run(run_file(model={"init": config, "seed": 1}, adapt={"lora": {"r": 4, "train_also": list(BOTH)}}))
    base = plain_loop.fresh(config, seed=1)
    before = [base.get_input_embeddings().weight.clone(), base.get_output_embeddings().weight.clone()]
    model = PeftModel.from_pretrained(base, last(tmp_path / "run")).merge_and_unload()
    after = [model.get_input_embeddings().weight, model.get_output_embeddings().weight]
    assert all((new - old).abs().max() > 1e-3 for new, old in zip(after, before, strict=True))
    assert torch.equal(*after) == ("tie_word_embeddings" in config)


def test_one_of_two_tied_matrices_stays_tied_or_is_refused(run_file: RunFile, tmp_path: Path) -> None:
    for name in BOTH:
        cpt.run(run_file(name, model={"init": TIED, "seed": 1}, adapt={"lora": {"r": 4, "train_also": name}}))
        model = PeftModel.from_pretrained(plain_loop.fresh(TIED, seed=1), last(tmp_path / name)).merge_and_unload()
        first = plain_loop.fresh(TIED, seed=1).get_input_embeddings().weight
        assert torch.equal(model.get_input_embeddings().weight, model.get_output_embeddings().weight)
        assert (model.get_input_embeddings().weight - first).abs().max() > 1e-3


FULL: dict[str, dict] = {
    "a layer frozen": {"freeze": "model.layers.0.*"},
    "embedding and head frozen": {"freeze": ["*embed_tokens*", "lm_head*"]},
    "norms only": {"train_only": "*norm*"},
    "one layer but for its norms": {"train_only": ["model.layers.1.*"], "freeze": ["*norm*"]},
}


@pytest.mark.parametrize("way", FULL)
def test_frozen_weights_keep_every_bit(way: str, run_file: RunFile, tmp_path: Path) -> None:
    cpt.run(run_file(model={"init": UNTIED, "seed": 1}, adapt={"full": FULL[way]}))
    before, after = plain_loop.fresh(UNTIED, seed=1).state_dict(), weights(last(tmp_path / "run"))
    only, frozen = (np.atleast_1d(FULL[way].get(key, [])).tolist() for key in ("train_only", "freeze"))
    wanted = {
        name
        for name in before
        if (not only or any(fnmatchcase(name, p) for p in only)) and not any(fnmatchcase(name, p) for p in frozen)
    }
    assert {name for name in after if not torch.equal(before[name], after[name])} == wanted and 0 < len(wanted) < len(before)


def model() -> PreTrainedModel:
    return plain_loop.fresh(UNTIED, seed=1)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"full": {"freeze": "model.layer.0.*"}}, "fits no parameter"),
        ({"full": {"train_only": "lm_heads"}}, "fits no parameter"),
        ({"full": {"freeze": "*"}}, "all weights are frozen"),
        ({"lora": {"targets": "q_projection"}}, "no such module"),
        ({"lora": {"train_also": "embeddings"}}, "no such module"),
        ({"lora": {"targets": ["q_proj", "lm_head"]}}, "whole logits"),
    ],
)
def test_mistakes(how: dict, said: str) -> None:
    with pytest.raises(CurateError, match=said):
        adapt(model(), Adapt.model_validate(how))
