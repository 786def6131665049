"""The model that is evaluated: a subject in; model, tokenizer and what tells them from others out.

A checkpoint of ours is checked against its list of hashes; one of adapters is put over the model that it was trained on. The sha256 is that of
the weights as they are evaluated: names, types, shapes, bytes. May import curate.errors, curate.store, train.*; torch, transformers, peft.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from curate.errors import CurateError
from curate.store import read_json
from train.adapt import ADAPTER
from train.checkpoint import LIST, contents
from train.config import ModelSpec
from train.evaluation.suite import Subject
from train.model import DTYPES, attention_of
from train.quiet import quieten

BLOCK = 1 << 26  # bytes hashed at once


@dataclass(frozen=True)
class Loaded:
    """A model ready to be asked. `name` and `receipt` (JSON, or None) go into every row of results."""

    model: torch.nn.Module
    tokenizer: PreTrainedTokenizerBase
    name: str
    sha256: str
    dtype: str
    receipt: str | None
    whole: torch.nn.Module | None = None  # inside a run: the model with peft's wrapper, where it has one

    @property
    def tokenizer_sha256(self) -> str:
        """Of what the tokenizer does, its chat template included."""
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        said = backend.to_str() if backend is not None else json.dumps(sorted(self.tokenizer.get_vocab().items()))
        return hashlib.sha256(f"{said}{self.tokenizer.chat_template}".encode()).hexdigest()


def load(subject: Subject) -> Loaded:
    """Raises CurateError where the model, its adapter's base or its tokenizer is not there or damaged."""
    folder = Path(subject.init)
    receipt = None
    adapter, base, revision = subject.adapter, subject.init, subject.revision
    if (folder / LIST).is_file():
        found = contents(folder)
        receipt = receipt_of(read_json(folder / "receipt.json"), found["step"])
        if (folder / ADAPTER).is_file():
            adapter, base, revision = str(folder), *_base(found, folder)
    elif (folder / ADAPTER).is_file():
        adapter, base = str(folder), json.loads((folder / ADAPTER).read_text())["base_model_name_or_path"] or ""
    try:
        model = _model(subject, base, revision)
    except (OSError, ValueError) as error:
        raise CurateError("this model does not open", where=base, found=str(error).split("\n")[0][:300]) from error
    if adapter is not None:
        model = _with_adapter(model, adapter)
    device = torch.device("cuda") if torch.cuda.is_available() else torch.device("cpu")
    model = model.to(device).eval()
    name = f"{subject.init}@{subject.revision}" if subject.revision else subject.init
    tokenizer = _tokenizer(subject, base, revision, adapter)
    return Loaded(model, tokenizer, name, weights_sha256(model), subject.dtype, receipt)


def receipt_of(receipt: dict, step: int) -> str:
    """What a checkpoint was trained on, short: steps, tokens, the running hash of every stream."""
    streams = [own["stream_sha256"] for own in receipt["streams"] if own["sequences"]]
    return json.dumps({"step": step, "tokens": receipt["tokens"], "streams": streams})


def _base(found: dict, folder: Path) -> tuple[str, str | None]:
    spec = found["run"]["model"]
    if not isinstance(spec["init"], str) or spec["init"].endswith(".json"):
        raise CurateError("these adapters were trained over a model with fresh weights, which no folder holds", where=str(folder))
    return spec["init"], spec.get("revision")


def _model(subject: Subject, base: str, revision: str | None) -> Any:
    quieten()
    config = AutoConfig.from_pretrained(base, revision=revision)
    spec = ModelSpec(init=base, revision=revision, dtype=subject.dtype, attention=subject.attention)
    settings = {"dtype": DTYPES[subject.dtype], "attn_implementation": attention_of(spec, config)}
    return AutoModelForCausalLM.from_pretrained(base, revision=revision, **settings)


def _with_adapter(model: Any, adapter: str) -> Any:
    try:
        from peft import PeftModel
    except ModuleNotFoundError:
        raise CurateError("adapters need peft", where=adapter, next="pip install -c constraints.txt peft") from None
    return PeftModel.from_pretrained(model, adapter).merge_and_unload()


def _tokenizer(subject: Subject, base: str, revision: str | None, adapter: str | None) -> PreTrainedTokenizerBase:
    """Of the folder that the run file names, of the adapter's, of the model's."""
    places = [(subject.tokenizer, None), (adapter, None), (base, revision)]
    for place, commit in places:
        if place is None or (place == adapter and not list(Path(place).glob("tokenizer*"))):
            continue
        try:
            return open_tokenizer(place, commit)
        except (OSError, ValueError) as error:
            raise CurateError(
                "the model has no tokenizer that opens",
                where=place,
                found=str(error).split("\n")[0][:200],
                next="--set model.tokenizer=FOLDER",
            ) from error
    raise AssertionError


def open_tokenizer(place: str | Path, revision: str | None = None) -> PreTrainedTokenizerBase:
    """A folder that holds tokenizer.json alone gets its special tokens by their usual names."""
    folder = Path(place)
    if (folder / "tokenizer.json").is_file() and not (folder / "tokenizer_config.json").is_file():
        from curate.recipe import TokenizerSpec
        from mixture.tokenizer import load_tokenizer

        special = load_tokenizer(TokenizerSpec(model=str(folder), bos="none", eos="none")).special_strings
        named = {f"{role}_token": text for role, text in special.items() if text is not None}
        return PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), **named)
    return AutoTokenizer.from_pretrained(place, revision=revision)


def weights_sha256(model: torch.nn.Module) -> str:
    """Of every tensor's name, type, shape and bytes, in the order of their names; tied ones once."""
    state = hashlib.sha256()
    for name, tensor in sorted((n, p) for n, p in [*model.named_parameters(), *model.named_buffers()]):
        state.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        data = tensor.detach().contiguous().view(-1).view(torch.uint8)
        for start in range(0, data.numel(), BLOCK):
            state.update(data[start : start + BLOCK].cpu().numpy().tobytes())
    return state.hexdigest()
