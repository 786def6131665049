"""Our losses beside TRL's own path: a DPOTrainer with a reference model online, on the same pairs."""

from __future__ import annotations

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, ByT5Tokenizer, LlamaConfig, PreTrainedModel
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer
from trl.experimental.cpo import CPOTrainer
from trl.trainer.dpo_trainer import DataCollatorForPreference
from trl.trainer.kto_trainer import DataCollatorForUnpairedPreference

from mixture.pairs import Pair
from tests.train.dpo.fake import FakePairs
from train.dpo.batch import collate, micro_batches
from train.dpo.config import DpoFile
from train.dpo.inputs import inputs_of, kl_of, log_probs_of, mismatched
from train.dpo.losses import Losses, PairScorer
from train.dpo.reference import Store, compute

PAIRS = FakePairs(12)


@pytest.fixture(autouse=True)
def state() -> None:
    Accelerator()  # a run has made one before


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
        output_dir=str(tmp_path / "theirs"), bf16=False, activation_checkpointing=False, max_length=None, use_cpu=True,
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


def log_probability(model: PreTrainedModel, prompt: list[int], answer: list[int]) -> torch.Tensor:
    """Of an answer, from the model's whole logits, one answer at a time."""
    logits = model(torch.tensor([prompt + answer])).logits[0].log_softmax(-1)
    return sum(logits[len(prompt) + t - 1, token] for t, token in enumerate(answer))


def test_simpo_is_the_formula_of_trls_experimental_trainer(tmp_path: Path) -> None:
    policy, pairs = tiny(1), PAIRS.pairs[:5]
    parts = [[getattr(pair, f"{name}_ids").tolist() for pair in pairs] for name in ("prompt", "chosen", "rejected")]
    means = [
        torch.stack([log_probability(policy, p, a) / len(a) for p, a in zip(parts[0], answers, strict=True)])
        for answers in parts[1:]
    ]
    asked = SimpleNamespace(
        alpha=0.0, beta=2.0, loss_type="simpo", simpo_gamma=1.2, label_smoothing=0.0, accelerator=Accelerator()
    )
    expected = CPOTrainer.cpo_loss(asked, *means)[0]
    expected.mean().backward()
    their_gradient = gradients(policy).clone()
    policy.zero_grad()

    run = settings(tmp_path, {"kind": "simpo", "beta": 2.0, "margin": 1.2})
    scorer = PairScorer(policy, "fp32").train()
    losses = Losses(run, scorer)
    inputs = inputs_of(collate(range(5), pairs), run.loss, None)
    loss = losses.mean(scorer, inputs)
    loss.backward()
    each = losses.each(inputs, scorer.take()[0][1])
    assert torch.allclose(each, expected.detach(), atol=4e-6, rtol=0)  # float32 at 32 nats, of which the sum of an answer is
    assert abs(loss.item() - expected.mean().item()) <= 1e-6
    assert (gradients(policy) - their_gradient).abs().max() <= 1e-6


@pytest.mark.parametrize("kind", ["kto", "apo_zero_unpaired"])
def test_answers_judged_alone_are_those_of_trls_kto_trainer(tmp_path: Path, kind: str) -> None:
    """TRL has the whole global batch in one micro batch here, and so the same KL term."""
    policy, reference = tiny(2), tiny(1)  # these two have a KL term above 0
    pairs, weights = PAIRS.pairs[:6], {"desirable_weight": 1.0, "undesirable_weight": 1.5}
    args = KTOConfig(
        output_dir=str(tmp_path / "theirs"), bf16=False, activation_checkpointing=False, max_length=None, use_cpu=True,
        disable_tqdm=True, loss_type=kind, beta=0.1, per_device_train_batch_size=2, train_sampling_strategy="sequential", **weights,
    )  # fmt: skip
    data = Dataset.from_dict({"prompt": ["a", "a"], "completion": ["b", "c"], "label": [True, False]})
    trainer = KTOTrainer(
        model=copy.deepcopy(policy), ref_model=copy.deepcopy(reference), args=args, train_dataset=data,
        processing_class=ByT5Tokenizer(),
    )  # fmt: skip
    examples = [
        {
            "prompt_ids": pair.prompt_ids.tolist(), "completion_ids": getattr(pair, name).tolist(), "label": name == "chosen_ids",
            **({"KL_completion_ids": getattr(other, name).tolist()} if kind == "kto" else {}),
        }
        for name in ("chosen_ids", "rejected_ids")
        for pair, other in zip(pairs, [*pairs[1:], pairs[0]], strict=True)
    ]  # fmt: skip
    trainer.model.train()
    their_loss = trainer.compute_loss(trainer.model, DataCollatorForUnpairedPreference(0)(examples))
    their_loss.backward()

    run = settings(tmp_path, {"kind": kind, **weights})
    asked = PairScorer(reference, "fp32").eval()
    known = Store(tmp_path / "reference", {"of": kind})
    wanted = [*pairs, *mismatched(pairs, 40)]
    compute(known, wanted, Losses(run, asked), asked, Accelerator(), 128, print)
    scorer = PairScorer(policy, "fp32").train()
    losses, micro = Losses(run, scorer), collate(range(6), pairs)
    kl = kl_of(list(micro_batches(range(6), mismatched(pairs, 40), 100)), scorer, known, Accelerator()) if kind == "kto" else 0.0
    inputs = inputs_of(micro, run.loss, known.of(micro), kl)
    loss = losses.mean(scorer, inputs)
    loss.backward()
    assert (kl > 0.01) == (kind == "kto")
    assert abs(loss.item() - their_loss.item()) <= 1e-6
    assert (gradients(policy) - gradients(trainer.model)).abs().max() <= 1e-6
    assert abs(losses.each(inputs, scorer.take()[0][1]).mean().item() - loss.item()) <= 1e-6


def test_with_adapters_the_reference_is_the_model_without_them(tmp_path: Path) -> None:
    base, pairs = tiny(1), PAIRS.pairs[:4]
    alone = PairScorer(copy.deepcopy(base), "fp32").eval()
    run, micro = settings(tmp_path, {"kind": "sigmoid"}), collate(range(4), pairs)
    expected = Losses(run, alone).reference(alone, micro.inputs)
    config = LoraConfig(task_type="CAUSAL_LM", r=4, target_modules="all-linear")
    adapted = get_peft_model(base, config)
    with torch.no_grad():
        for name, p in adapted.named_parameters():
            if "lora_B" in name:
                p.normal_(std=0.5)
    scorer = PairScorer(adapted, "fp32").train()
    losses = Losses(run, scorer)
    assert list(adapted.peft_config) == ["default"]  # no second set of adapters for the reference
    assert torch.equal(losses.reference(scorer, micro.inputs), expected)
    moved = log_probs_of(scorer, micro.inputs).sum(1)
    assert (moved - expected).abs().min() > 0.1


def test_a_trainer_leaves_the_models_config_as_it_was(tmp_path: Path) -> None:
    policy = tiny(1)
    before = policy.config.to_json_string(), policy.generation_config.to_json_string()
    Losses(settings(tmp_path, {"kind": "sigmoid"}), PairScorer(policy, "fp32"))
    assert (policy.config.to_json_string(), policy.generation_config.to_json_string()) == before


def test_a_filler_teaches_nothing(tmp_path: Path) -> None:
    """The gradient of three pairs is the same with a fourth place that is a filler, but for the share."""
    run, found = settings(tmp_path, {"kind": "sigmoid"}), []
    for n_fillers in (0, 1):
        policy = tiny(1)
        scorer = PairScorer(policy, "fp32").train()
        losses = Losses(run, scorer)
        micro = collate([0, 1, 2, *[-1] * n_fillers], [*PAIRS.pairs[:3], *[None] * n_fillers])
        inputs = inputs_of(micro, run.loss, torch.zeros(2 * len(micro)))
        (losses.mean(scorer, inputs) * len(micro) / 3).backward()
        found.append((gradients(policy), losses.each(inputs, scorer.take()[0][1])[:3]))
    assert (found[0][0] - found[1][0]).abs().max() <= 1e-6
    assert torch.allclose(found[0][1], found[1][1], atol=1e-6, rtol=0)
