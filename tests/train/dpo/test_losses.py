"""Our losses beside TRL's own path: a DPOTrainer with a reference model online, on the same pairs."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, ByT5Tokenizer, LlamaConfig, PreTrainedModel
from trl import DPOConfig, DPOTrainer
from trl.trainer.dpo_trainer import DataCollatorForPreference

from mixture.pairs import Pair
from tests.train.dpo.fake import FakePairs
from train.dpo.batch import collate
from train.dpo.config import DpoFile
from train.dpo.losses import Losses, PairScorer

PAIRS = FakePairs(12)


def settings(tmp_path: Path, loss: dict[str, Any]) -> DpoFile:
    return DpoFile.model_validate({
        "method": "dpo", "name": "tiny", "manifest": "m.json", "model": {"init": {"model_type": "llama"}}, "loss": loss,
        "global_batch": "4 examples", "schedule": {"peak_lr": 1e-3}, "save": {"to": str(tmp_path)},
    })  # fmt: skip


def tiny(seed: int) -> PreTrainedModel:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, initializer_range=0.2
    )
    return AutoModelForCausalLM.from_config(config)


def theirs(tmp_path: Path, model: PreTrainedModel, reference: PreTrainedModel, **options: Any) -> DPOTrainer:
    """TRL as a user has it: it prepares text, and asks the reference in every step."""
    args = DPOConfig(
        output_dir=str(tmp_path / "theirs"), bf16=False, gradient_checkpointing=False, max_length=None, use_cpu=True,
        disable_tqdm=True, **options,
    )  # fmt: skip
    data = Dataset.from_dict({"prompt": ["a"], "chosen": ["b"], "rejected": ["c"]})
    return DPOTrainer(model=model, ref_model=reference, args=args, train_dataset=data, processing_class=ByT5Tokenizer())


def batch_of(pairs: list[Pair]) -> dict[str, torch.Tensor]:
    names = ("prompt_ids", "chosen_ids", "rejected_ids")
    return DataCollatorForPreference(0)([{name: getattr(pair, name).tolist() for name in names} for pair in pairs])


def gradients(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


KINDS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"kind": "sigmoid", "beta": 0.1}, {"loss_type": "sigmoid"}),
    ({"kind": "sigmoid", "beta": 0.5, "length_normalised": True}, {"loss_type": "sigmoid_norm", "beta": 0.5}),
    ({"kind": "ipo", "beta": 0.2}, {"loss_type": "ipo", "beta": 0.2}),
    ({"kind": "hinge"}, {"loss_type": "hinge"}),
    ({"kind": "robust", "label_smoothing": 0.1}, {"loss_type": "robust", "label_smoothing": 0.1}),
    ({"kind": "exo_pair", "label_smoothing": 0.001}, {"loss_type": "exo_pair", "label_smoothing": 0.001}),
    ({"kind": "nca_pair"}, {"loss_type": "nca_pair"}),
    ({"kind": "bco_pair"}, {"loss_type": "bco_pair"}),
    ({"kind": "sppo_hard"}, {"loss_type": "sppo_hard"}),
    ({"kind": "apo_zero"}, {"loss_type": "apo_zero"}),
    ({"kind": "apo_down"}, {"loss_type": "apo_down"}),
    ({"kind": "discopop"}, {"loss_type": "discopop"}),
]


@pytest.mark.parametrize(("ours", "trl"), KINDS, ids=[str(ours) for ours, _ in KINDS])
def test_loss_and_gradient_are_those_of_trl_with_the_reference_online(tmp_path: Path, ours: dict, trl: dict) -> None:
    policy, reference = tiny(1), tiny(2)
    trainer = theirs(tmp_path, copy.deepcopy(policy), copy.deepcopy(reference), **trl)
    pairs = PAIRS.pairs[:6]
    trainer.model.train()
    their_loss = trainer.compute_loss(trainer.model, batch_of(pairs))
    their_loss.backward()

    run = settings(tmp_path, ours)
    micro = collate(range(6), pairs)
    asked = PairScorer(reference, "fp32").eval()
    said = Losses(run, asked).reference(asked, micro.inputs)
    scorer = PairScorer(policy, "fp32").train()
    losses = Losses(run, scorer)
    inputs = {**micro.inputs, "ref_chosen_logps": said[:6], "ref_rejected_logps": said[6:]}
    loss = losses.mean(scorer, inputs)
    loss.backward()

    assert abs(loss.item() - their_loss.item()) <= 1e-6
    assert (gradients(policy) - gradients(trainer.model)).abs().max() <= 1e-6
    ((labels, log_probs),) = scorer.take()
    each = losses.each(inputs, log_probs)
    assert each.shape == (6,) and (labels != -100).sum() == sum(len(p.chosen_ids) + len(p.rejected_ids) for p in pairs)
    assert abs(each.mean().item() - loss.item()) <= 1e-6
    assert each.std() > 0
