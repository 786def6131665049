"""Loss and reference log-probabilities of a micro batch of pairs, by TRL's DPOTrainer and KTOTrainer; the loop around them is ours.

In: a scorer, `loss` of the run file, micro batches as train.dpo.batch makes them: rows of k chosen answers, then of the k rejected ones to the
same prompts. Out: the mean loss of the k pairs, differentiable; the loss of each; log-probabilities of the reference.
A trainer wants a data set, a tokenizer and a reference at its start; it gets stand-ins of a few bytes, as all three come from elsewhere here.
May import curate.errors, train.*; torch, transformers, trl, datasets.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import datasets
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, ByT5Tokenizer, LlamaConfig, PrinterCallback
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer

from train.dpo.config import DpoFile, Loss
from train.head import IGNORED
from train.model import Scorer

PAIR = {"prompt": ["p"], "chosen": ["c"], "rejected": ["r"]}
ANSWER = {"prompt": ["p", "p"], "completion": ["c", "r"], "label": [True, False]}
WRITTEN = ("pad_token_id", "use_cache")  # a trainer writes its own into a model's configs
Inputs = dict[str, Tensor]


class PairScorer(Scorer):
    """A Scorer that TRL can call too, and that keeps what entered with gradient and what came out, until `take`."""

    def __init__(self, model: torch.nn.Module, dtype: str) -> None:
        super().__init__(model, dtype)
        self.passes: list[tuple[Tensor, Tensor]] = []  # labels (2k, T), log-probabilities (2k, T - 1)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if "fused_lm_head" not in kwargs:
            return super().forward(*args, **kwargs)
        with torch.autocast(kwargs["input_ids"].device.type, torch.bfloat16, enabled=self.dtype == torch.bfloat16):
            out = self.model(**kwargs)
        if torch.is_grad_enabled() and self.training:
            self.passes.append((kwargs["labels"], out.log_probs.detach()))
        return out

    def take(self) -> list[tuple[Tensor, Tensor]]:
        passes, self.passes = self.passes, []
        return passes


class _Silent:
    """Nothing of ours calls home."""

    def _send_telemetry(self) -> None: ...


class _Paired(_Silent, DPOTrainer): ...


class _Alone(_Silent, KTOTrainer): ...


class Losses:
    """TRL's losses for one scorer. Every process must call them equally often, with equally many pairs."""

    def __init__(self, settings: DpoFile, scorer: PairScorer) -> None:
        self.loss = settings.loss
        device = next(scorer.parameters()).device
        configs = [scorer.causal.config, scorer.causal.config.get_text_config(), scorer.causal.generation_config]
        said = [(config, name, getattr(config, name)) for config in configs for name in WRITTEN if hasattr(config, name)]
        common: dict[str, Any] = {
            "output_dir": settings.save.to, "bf16": False, "activation_checkpointing": False, "max_length": None, "report_to": "none",
            "disable_tqdm": True, "use_cpu": device.type == "cpu", "disable_dropout": False, "router_aux_loss_coef": 0.0,
            "beta": self.loss.beta, "seed": settings.seed % 2**32, "accelerator_config": {"use_configured_state": True},
        }  # fmt: skip
        with _quiet():
            made = (_paired if self.loss.is_paired else _alone)(scorer.model, self.loss, common)
        made.ref_model = None  # the stand-in; with adapters the reference is the model without them
        made.precompute_ref_logps = True  # a batch brings its own
        made.remove_callback(PrinterCallback)
        for config, name, value in said:
            setattr(config, name, value)
        self.trainer = made

    def mean(self, model: torch.nn.Module, inputs: Inputs) -> Tensor:
        """Of the pairs of a micro batch, by one forward pass of `model` (the scorer as accelerate has wrapped it)."""
        found: Tensor = self.trainer.compute_loss(model, inputs)
        return found

    def each(self, inputs: Inputs, log_probs: Tensor) -> Tensor:
        """(k,) losses of the pairs of a pass that is over, from its log-probabilities (2k, T - 1): TRL asked again, one pair at a time."""
        n = len(log_probs) // 2
        return torch.stack([self._one(inputs, log_probs, torch.tensor([i, n + i], device=log_probs.device)) for i in range(n)])

    def _one(self, inputs: Inputs, log_probs: Tensor, rows: Tensor) -> Tensor:
        n = len(log_probs)
        place = rows[:1]
        own = {name: value[rows if len(value) == n else place] for name, value in inputs.items()}
        with torch.no_grad():
            return self.mean(_Again(log_probs[rows]), own)

    def reference(self, model: torch.nn.Module, inputs: Inputs) -> Tensor:
        """(2k,) float32 log-probabilities of the answers, summed over their tokens; of a model with adapters without them."""
        found = self.trainer.compute_ref_log_probs(model, inputs)
        both = torch.cat(found) if self.loss.is_paired else found[0]
        return both.float()

    def forget(self) -> None:
        """What TRL keeps for its own log; ours is train.dpo.measure."""
        self.trainer.log({})
        self.trainer.state.log_history.clear()


class _Again:
    """A pass that is over, as a model. What TRL only logs is 0; of the rows that stand for the KL term nothing is asked."""

    def __init__(self, log_probs: Tensor) -> None:
        self.log_probs = log_probs

    def __call__(self, *, input_ids: Tensor, labels: Tensor, **_: Any) -> SimpleNamespace:
        is_asked = bool((labels != IGNORED).any())
        found = self.log_probs if is_asked else self.log_probs.new_zeros(len(labels), labels.shape[1] - 1)
        nothing = torch.zeros_like(found)
        return SimpleNamespace(log_probs=found, entropy=nothing, mean_logits=nothing, is_top1=nothing.bool(), aux_loss=None)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No bars for data sets of one row, no warnings of stand-ins; and what a trainer draws at its start is not drawn from the run's own chance."""
    was, log = datasets.are_progress_bars_disabled(), logging.getLogger("trl")
    level = log.level
    log.setLevel(logging.ERROR)
    datasets.disable_progress_bars()
    try:
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
        if not was:
            datasets.enable_progress_bars()


def _paired(model: Any, loss: Loss, common: dict[str, Any]) -> DPOTrainer:
    kind = "sigmoid_norm" if loss.kind == "simpo" or (loss.kind == "sigmoid" and loss.length_normalised) else loss.kind
    args = DPOConfig(loss_type=kind, label_smoothing=loss.label_smoothing, **common)
    data = datasets.Dataset.from_dict(PAIR)
    return _Paired(model=model, ref_model=_nobody(), args=args, train_dataset=data, processing_class=ByT5Tokenizer())


def _alone(model: Any, loss: Loss, common: dict[str, Any]) -> KTOTrainer:
    args = KTOConfig(
        loss_type=loss.kind, desirable_weight=loss.desirable_weight, undesirable_weight=loss.undesirable_weight,
        per_device_train_batch_size=2, train_sampling_strategy="sequential", **common,
    )  # fmt: skip
    data = datasets.Dataset.from_dict(ANSWER)
    return _Alone(model=model, ref_model=_nobody(), args=args, train_dataset=data, processing_class=ByT5Tokenizer())


def _nobody() -> Any:
    """Stands for a reference model, which a trainer would load a second time otherwise."""
    config = LlamaConfig(vocab_size=8, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1)
    return AutoModelForCausalLM.from_config(config)
