"""Which tensors of a model's folder have a row for each token: a folder in; their names out, and the config for another vocabulary.

May import curate.errors, curate.recipe, mixture.tokenizer, train.average (Folder); torch, transformers.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PretrainedConfig
from transformers.core_model_loading import revert_weight_conversion

from curate.errors import CurateError
from curate.recipe import TokenizerSpec
from mixture.tokenizer import Tokenizer, load_tokenizer
from train.average import Folder

INDEX = "model.safetensors.index.json"
LISTS = ("suppress_tokens", "begin_suppress_tokens")  # ids of tokens under other names than *_token_id


@dataclass(frozen=True)
class Vocabulary:
    """Names as in the folder's files. `head` is None where it is the embedding."""

    embedding: str
    head: str | None
    bias: str | None
    spare: tuple[str, ...] = ()  # copies of a tied head, which are not written again

    @property
    def is_tied(self) -> bool:
        return self.head is None


def of_vocabulary(path: Path, folder: Folder) -> Vocabulary:
    """Raises CurateError where the matrices are not found, or where another tensor grows with the vocabulary too."""
    check_whole(path, folder)
    config = AutoConfig.from_pretrained(path)
    model = _empty(config)
    named = dict(model.named_parameters(remove_duplicate=False))
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    names = {
        key: next((name for name, p in named.items() if p is wanted), None) if wanted is not None else None
        for key, wanted in (
            ("embedding", embedding.weight),
            ("head", getattr(head, "weight", None)),
            ("bias", getattr(head, "bias", None)),
        )
    }
    tied = bool(config.get_text_config().tie_word_embeddings)
    if tied:  # the head is the same tensor under a name of its own
        names["head"] = next((name for name in named if name.endswith("lm_head.weight")), None)
    _check_no_other(config, {name for name in names.values() if name})
    found = {
        key: in_files(_names_in_files(model, name, named), folder, is_needed=key == "embedding" or not tied) if name else None
        for key, name in names.items()
    }
    spare = (found["head"],) if tied and found["head"] else ()
    return Vocabulary(str(found["embedding"]), None if tied else found["head"], found["bias"], spare)


def in_files(names: list[str], folder: Folder, is_needed: bool) -> str | None:
    """The first of `names` that the files have; they may lack the model's prefix, or have one more."""
    for name in names:
        if name in folder.files:
            return name
        alike = [key for key in folder.files if name.endswith(f".{key}") or key.endswith(f".{name}")]
        if len(alike) == 1:
            return alike[0]
    if is_needed:
        raise CurateError(
            "a matrix of the vocabulary is not in the files", where=str(folder.path), found=f"no {' or '.join(names)}"
        )
    return None


def _names_in_files(model: Any, name: str, named: dict[str, Any]) -> list[str]:
    """The model's own name and the one that transformers saves it under (lm_head of GPT-NeoX is embed_out in files)."""
    return list(dict.fromkeys([name, *revert_weight_conversion(model, {name: named[name]})]))


def _check_no_other(config: PretrainedConfig, known: set[str]) -> None:
    """With one token more, only `known` tensors may be longer."""
    more = AutoConfig.for_model(**config.to_dict())
    more.get_text_config().vocab_size += 1
    before, after = ({name: p.shape for name, p in _empty(c).state_dict().items()} for c in (config, more))
    if others := [name for name in before if before[name] != after.get(name) and name not in known]:
        raise CurateError(
            "this model has another tensor with a row for each token", where=others[0], found=str(list(before[others[0]]))
        )


def _empty(config: PretrainedConfig) -> Any:
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


def check_whole(path: Path, folder: Folder) -> None:
    """All tensors of the index are there."""
    if (path / INDEX).is_file():
        listed = read_object(path / INDEX)["weight_map"]
        missing = [name for name in listed if name not in folder.files]
        if missing:
            raise CurateError("weights are missing", where=str(path), found=f"no {missing[0]} of {listed[missing[0]]}")


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object of others' making."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return dict(found)
    except (ValueError, TypeError) as error:
        raise CurateError("this file is no JSON object", where=str(path), found=str(error)) from error


def ids_of(folder: Path, tokens: list[str]) -> list[int]:
    """Each token's id in the tokenizer of `folder`, -1 where it has none."""
    vocabulary = open_tokenizer(folder).vocabulary
    return [vocabulary.get(token, -1) for token in tokens]


def open_tokenizer(place: Path) -> Tokenizer:
    return load_tokenizer(TokenizerSpec(model=str(place), bos="none", eos="none"))


def config_for(
    config: dict[str, Any], size: int, new_id: dict[int, int], of_role: dict[str, int]
) -> tuple[dict[str, Any], list[str]]:
    """A config.json or generation_config.json for the new vocabulary, and the names of ids that it no longer has.

    `new_id`: old id -> new id; `of_role`: bos, eos, ... of the new tokenizer, for what is not in it."""
    lost: list[str] = []

    def changed(key: str, value: Any) -> Any:
        if key == "text_config" and isinstance(value, dict):
            return {inner: changed(inner, of) for inner, of in value.items()}
        if key == "vocab_size":
            return size
        if value is None or not (key.endswith(("_token_id", "_token_ids")) or key in LISTS):
            return value
        role = key.partition("_token_id")[0]
        ids = [new_id[i] for i in ([value] if isinstance(value, int) else value) if i in new_id]
        ids = ids or ([of_role[role]] if role in of_role else [])
        if not ids:
            lost.append(key)
            return None
        return ids[0] if isinstance(value, int) else ids

    return {key: changed(key, value) for key, value in config.items()}, lost
