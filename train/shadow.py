"""A training step without memory and without arithmetic: a run file and a config in, bytes per layer of the model out.

The trainer's own forward and backward pass (train/model.py, with adapters and gradient checkpointing) runs on torch's fake tensors, which
have shapes and no content, through layer 0 and one layer of every other kind; what is alive is counted op by op. A model of any depth is
put together from that in train/memory.py. Attention is that of torch's fused kernel, which keeps what those of accelerators keep: q, k, v,
the output, a number per row, and where documents share a row their mask in the type of the calculation.
May import curate.errors, train.*; torch, transformers.
"""

from __future__ import annotations

import json
import logging
import warnings
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeAlias

import torch
from torch._subclasses import fake_tensor
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AutoConfig, PretrainedConfig, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from curate.errors import CurateError
from train.adapt import adapt
from train.config import Adapt, ModelSpec, RunFile
from train.dropout import Draws, by_row
from train.model import Scorer, build

KINDS = ("activations", "masks", "copies")  # copies: of weights, in the type of the calculation (autocast)


Bytes: TypeAlias = dict[str, int]  # by kind


@dataclass(frozen=True)
class Layer:
    """Bytes of one layer. `kept` from its forward pass to the end of the forward pass, `held` to its backward pass (the copies that
    autocast makes live as long as the forward pass); `forward` and `backward` are what each pass needs above that."""

    kept: Bytes
    held: Bytes
    forward: int
    backward: int


@dataclass(frozen=True)
class Shadow:
    """`layers`: those that were run, by their kind; layer 0 has its own. `before`, `below`: alive when it begins its forward pass, when
    it has ended its backward pass."""

    first: Layer
    layers: dict[Any, Layer]
    before: Bytes
    below: Bytes
    head: int  # most bytes above what all layers keep, from the last layer to the first backward pass of a layer
    embeddings: int  # the same in the backward pass below layer 0
    kinds: tuple[Any, ...]  # of every layer of the whole model

    def layer(self, number: int) -> Layer:
        return self.layers[self.kinds[number]] if number else self.first


@dataclass
class Meter(TorchDispatchMode):
    """Bytes of tensors that are alive, and their peak since the last mark."""

    length: int
    live: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    peak: int = 0
    marks: list[tuple[str, int, dict[str, int], int]] = field(default_factory=list)  # name, number, live then, peak before it

    def __post_init__(self) -> None:
        super().__init__()
        self._known: dict[int, tuple[str, int]] = {}
        self._weights: set[int] = set()

    def ignore(self, tensors: list[torch.Tensor]) -> None:
        """Weights and their gradients: they are counted elsewhere."""
        for tensor in tensors:
            key = tensor.untyped_storage()._cdata
            self._known[key] = ("activations", 0)
            self._weights.add(key)

    def mark(self, name: str, number: int = 0) -> None:
        self.marks.append((name, number, dict(self.live), self.peak))
        self.peak = sum(self.live.values())

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                self._see(tensor, func is torch.ops.aten._to_copy.default and args[0].untyped_storage()._cdata in self._weights)
        return out

    def _see(self, tensor: torch.Tensor, is_copy: bool) -> None:
        storage = tensor.untyped_storage()
        if storage._cdata in self._known:
            return
        is_mask = tensor.ndim == 4 and tensor.shape[1] == 1 and tensor.shape[2:] == (self.length, self.length)
        kind = "copies" if is_copy else "masks" if is_mask else "activations"
        self._known[storage._cdata] = kind, storage.nbytes()
        self.live[kind] += storage.nbytes()
        self.peak = max(self.peak, sum(self.live.values()))
        weakref.finalize(storage, self._gone, storage._cdata)

    def _gone(self, key: int) -> None:
        kind, size = self._known.pop(key)
        self.live[kind] -= size


class _Marked(torch.nn.Module):
    """A layer that says when its passes begin. Around it and not inside: there a checkpointed layer runs twice."""

    def __init__(self, layer: torch.nn.Module, number: int, meter: Meter, is_last: bool) -> None:
        super().__init__()
        self.layer, self.number, self.meter, self.is_last = layer, number, meter, is_last

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.layer, name)

    def forward(self, hidden: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        if self.number == 0 and hidden.requires_grad:
            hidden.register_hook(lambda _: self.meter.mark("embeddings backward"))
        self.meter.mark("layer", self.number)
        out = self.layer(hidden, *args, **kwargs)
        if (first := out[0] if isinstance(out, tuple) else out).requires_grad:
            first.register_hook(lambda _: self.meter.mark("layer backward", self.number))
        if self.is_last:
            self.meter.mark("head")
        return out


def run_shadow(run: RunFile, config: PretrainedConfig, rows: int, length: int) -> Shadow:
    """One forward and backward pass of `rows` rows of `length` tokens. Raises CurateError where a model looks at values while it runs."""
    model = run.model.model_copy(update={"init": {}, "revision": None, "compile": False})
    return _shadow(
        run.model_copy(update={"model": model}).model_dump_json(include={"model", "adapt"}), config.to_json_string(), rows, length
    )


@lru_cache(maxsize=64)
def _shadow(settings: str, config_json: str, rows: int, length: int) -> Shadow:
    said, config = json.loads(settings), config_from(config_json)
    spec, how = ModelSpec.model_validate(said["model"]), Adapt.model_validate(said["adapt"])
    plain = spec.model_copy(update={"checkpointing": False, "attention": "auto"})
    kinds = kinds_of(plain.model_dump_json(), how.model_dump_json(), config_json)
    wanted = [0, *sorted({kind: number for number, kind in reversed(list(enumerate(kinds))) if number}.values())]
    logging.getLogger(fake_tensor.__name__).setLevel(logging.CRITICAL)  # it prints the traceback of what we say in a line
    with warnings.catch_warnings(), FakeTensorMode():
        warnings.simplefilter("ignore")
        try:
            meter = _one_step(spec, how, config, rows, length, wanted)
        except RuntimeError as error:  # those of fake tensors are
            raise CurateError(
                f"the memory of {config.model_type} cannot be told before it runs: its step fails without values or without a GPU",
                where="model.init", found=str(error).splitlines()[0],
            ) from error  # fmt: skip
    return _read(meter, [kinds[number] for number in wanted], kinds)


def without_memory(spec: ModelSpec, how: Adapt, config: PretrainedConfig) -> PreTrainedModel:
    """The trainer's model on the meta device, not adapted yet. Quantised weights stand there in the type of the calculation."""
    if how.lora:
        how = Adapt(lora=how.lora.model_copy(update={"quantize": "none"}))
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return build(spec.model_copy(update={"init": {"model_type": config.model_type}, "attention": "auto"}), how, config)


@lru_cache(maxsize=64)
def kinds_of(spec_json: str, how_json: str, config_json: str) -> tuple[Any, ...]:
    """Per layer what tells it from others: its kind of attention, its weights, which are trained, whether anything below it is."""
    how, config = Adapt.model_validate_json(how_json), config_from(config_json)
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = Scorer(adapt(without_memory(ModelSpec.model_validate_json(spec_json), how, config), how), "fp32")
    types = getattr(config.get_text_config(), "layer_types", None)
    below = model.causal.get_input_embeddings().weight.requires_grad
    kinds = []
    for number, layer in enumerate(model.decoder.layers):
        own = tuple((name, tuple(p.shape), p.requires_grad) for name, p in layer.named_parameters())
        kinds.append((types[number] if types else "", own, below))
        below = below or any(is_trained for _, _, is_trained in own)
    return tuple(kinds)


def config_from(text: str) -> PretrainedConfig:
    """A config of its own, which may be changed, from its JSON."""
    values = json.loads(text)
    return AutoConfig.for_model(values.pop("model_type"), **values)


def _one_step(spec: Any, how: Any, config: PretrainedConfig, rows: int, length: int, wanted: list[int]) -> Meter:
    with unset_fake_temporarily(), torch.device("meta"):  # peft cannot put its adapters beside fake weights
        scorer = Scorer(_of_some_layers(without_memory(spec, how, config), wanted, how), spec.dtype).train()
    to_fake(scorer)
    draws = Draws()
    by_row(scorer, draws)
    draws.rows = range(rows)
    meter = Meter(length)
    weights = list(scorer.parameters())
    for weight in weights:
        if weight.requires_grad:
            weight.grad = torch.zeros_like(weight)
    meter.ignore([*weights, *scorer.buffers(), *(w.grad for w in weights if w.grad is not None)])
    layers = scorer.decoder.layers
    for number, layer in enumerate(list(layers)):
        layers[number] = _Marked(layer, number, meter, number + 1 == len(layers))
    scorer.is_flat = False
    scorer.hidden = _hidden(scorer, spec.attention, rows, length)
    ids = torch.zeros(rows, length, dtype=torch.long)
    with meter:
        loss, losses = scorer(ids, ids, ids, torch.ones(rows, length))
        del losses
        meter.mark("backward")
        loss.backward()
        meter.mark("end")
    return meter


def _of_some_layers(model: Any, wanted: list[int], how: Adapt) -> torch.nn.Module:
    """The model with these layers only, adapted; patterns of `adapt.full` may name layers that are not there any more."""
    if how.full:
        model = adapt(model, how)
    decoder = model.get_decoder()
    decoder.layers = torch.nn.ModuleList(decoder.layers[number] for number in wanted)
    for config in {id(c): c for c in (decoder.config, model.config.get_text_config())}.values():
        config.num_hidden_layers = len(wanted)
        if types := getattr(config, "layer_types", None):
            config.layer_types = [types[number] for number in wanted] if len(types) != len(wanted) else types
    return model if how.full else adapt(model, how)


def to_fake(model: torch.nn.Module) -> None:
    """Weights and buffers from meta to fake, in place; tied ones stay tied."""
    made: dict[int, torch.Tensor] = {}
    for module in model.modules():
        for values in (module._parameters, module._buffers):
            for name, value in values.items():
                if value is not None and id(value) not in made:
                    fake = torch.empty(value.shape, dtype=value.dtype, device="cpu")
                    made[id(value)] = torch.nn.Parameter(fake, value.requires_grad) if values is module._parameters else fake
                if value is not None:
                    values[name] = made[id(value)]


def _hidden(scorer: Scorer, attention: str, rows: int, length: int) -> Callable[..., torch.Tensor]:
    """Scorer.hidden, with the mask of rows that hold several documents: fake tensors have no positions to make one from."""
    name = "eager" if attention == "eager" else "sdpa" if attention in ("auto", "sdpa") else "shadow"
    for config in {id(m.config): m.config for m in scorer.modules() if hasattr(m, "config")}.values():
        if hasattr(config, "_attn_implementation"):
            config._attn_implementation = name
    ALL_ATTENTION_FUNCTIONS.register("shadow", _without_mask)
    types = set(getattr(scorer.decoder.config, "layer_types", None) or ())

    def hidden(ids: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        def mask() -> torch.Tensor:
            dtype = torch.bool if name == "sdpa" else scorer.decoder.get_input_embeddings().weight.dtype
            return torch.zeros(rows, 1, length, length, dtype=dtype)

        masks: Any = None if name == "shadow" else {kind: mask() for kind in types} if len(types) > 1 else mask()
        return scorer.decoder(input_ids=ids, position_ids=positions, attention_mask=masks, use_cache=False).last_hidden_state

    return hidden


def _without_mask(module: torch.nn.Module, query: Any, key: Any, value: Any, mask: Any, **kwargs: Any) -> Any:
    """Kernels that know the documents by their lengths: no mask."""
    return sdpa_attention_forward(module, query, key, value, None, **{**kwargs, "is_causal": True})


def _read(meter: Meter, ran: list[Any], kinds: tuple[Any, ...]) -> Shadow:
    """Marks as bytes per layer. A mark's peak is that of the time before it; a layer below all that is trained has no backward pass."""
    at = {(name, number): k for k, (name, number, *_) in enumerate(meter.marks)}
    n = len(ran)

    def live(name: str, number: int = 0) -> Bytes:
        return meter.marks[at.get((name, number), -1)][2]

    def peak_above(name: str, number: int = 0) -> int:
        if (k := at.get((name, number))) is None:
            return 0
        return meter.marks[k + 1][3] - sum(meter.marks[k][2].values())

    forward = [*(live("layer", i) for i in range(n)), live("head")]
    backward = [live("embeddings backward"), *(live("layer backward", i) for i in range(n))]
    layers = [
        Layer(
            _minus(forward[i + 1], forward[i]),
            _minus(backward[i + 1], backward[i]),
            peak_above("layer", i),
            peak_above("layer backward", i),
        )
        for i in range(n)
    ]
    head = max(peak_above("head"), peak_above("backward") + sum(_minus(live("backward"), live("head")).values()))
    return Shadow(
        layers[0],
        dict(zip(ran[1:], layers[1:], strict=True)),
        forward[0],
        backward[0],
        head,
        peak_above("embeddings backward"),
        kinds,
    )


def _minus(later: Bytes, sooner: Bytes) -> Bytes:
    return {kind: later[kind] - sooner[kind] for kind in KINDS}
