"""Rows by token: the vocabularies of a, b, c in; for every row of a's embeddings and head the rows of b and c out.

A token is what the vocabulary writes (`Ġmaja`, `▁maja`, `<|eot_id|>`): equal strings are equal tokens, whatever their numbers. A row whose
token b or c lacks has no difference and stays a's. May import curate.errors, curate.recipe, mixture.tokenizer, train.merge.*; transformers.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from curate.errors import CurateError
from curate.recipe import TokenizerSpec
from mixture.tokenizer import load_tokenizer
from train.merge.places import Model

NONE = -1
SHOWN = 5  # tokens that a report names


@dataclass(frozen=True)
class Match:
    """Of one vector. `b`, `c`: int64 (rows of a,), NONE where the vector has nothing for the row; no arrays where numbers are the same."""

    b: np.ndarray | None
    c: np.ndarray | None
    said: str
    warning: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)


def tokens_of(model: Model) -> dict[str, int]:
    """Token -> id. Raises CurateError where the folder has no tokenizer."""
    try:
        return load_tokenizer(TokenizerSpec(model=str(model.tokenizer), bos="none", eos="none")).vocabulary
    except CurateError as error:
        raise CurateError(
            f"rows are matched by token, and {model.role} has no tokenizer that opens", where=str(model.tokenizer), found=error.what,
            next=f"name its folder ({model.role[0]}: {{init: ..., tokenizer: FOLDER}}), or rows: id where equal numbers are equal tokens",
        ) from error  # fmt: skip


def check_fits(model: Model, tokens: Mapping[str, int], n_rows: int) -> None:
    largest = max(tokens.values())
    if largest >= n_rows:
        raise CurateError(
            f"the tokenizer of {model.role} has more tokens than its model has rows", where=str(model.tokenizer),
            found=f"id {largest:,}, {n_rows:,} rows", next="is this the tokenizer of this model?",
        )  # fmt: skip


def match(a: Mapping[str, int], b: Mapping[str, int], c: Mapping[str, int], n_rows: int, roles: tuple[str, str]) -> Match:
    """Where a row of a, `n_rows` of them, lies in b and in c. Raises CurateError where they share nothing but single characters."""
    if a == b == c:
        return Match(None, None, f"vocabulary: alike, {len(a):,} tokens", counts={"tokens": len(a)})
    both = [token for token in a if token in b and token in c]
    of_b, of_c = (np.full(n_rows, NONE, np.int64) for _ in "bc")
    ids = np.array([a[token] for token in both], np.int64)
    of_b[ids], of_c[ids] = [b[token] for token in both], [c[token] for token in both]
    words = [token for token in a if is_word(token)]
    shared = sum(is_word(token) for token in both)
    if not shared:
        raise CurateError(
            f"the vocabularies of a and of {roles[0]} - {roles[1]} share nothing", where="vectors",
            found=f"{len(both):,} single characters and special tokens of {len(a):,} tokens",
            allowed="models whose tokenizers were made from one another", next="rows: keep leaves embeddings and head as they are in a",
        )  # fmt: skip
    kept = [token for token in a if token not in b or token not in c]
    left = [token for token in b if token not in a]
    counts = {"matched": len(both), "kept": len(kept), "without_token": n_rows - len(set(a.values())), "left": len(left)}
    said = [f"rows by token: {len(both):,} of a's {n_rows:,} rows get the vector"]
    if kept:
        said.append(f"{len(kept):,} tokens that {roles[0]} or {roles[1]} lacks keep a's rows ({_shown(kept)})")
    if counts["without_token"]:
        said.append(f"{counts['without_token']:,} rows without a token keep a's")
    if left:
        said.append(f"{len(left):,} tokens of {roles[0]} are not in a ({_shown(left)})")
    few = shared < len(words) / 2
    warning = (
        f"only {shared / len(words):.0%} of a's tokens are in {roles[0]} and {roles[1]}: are these models of one family?"
        if few
        else ""
    )
    return Match(of_b, of_c, "; ".join(said), warning, counts)


def is_word(token: str) -> bool:
    """More than a character or a byte, which unrelated vocabularies share too, and no special token."""
    is_special = token.startswith("<") and token.endswith(">")
    return len(token.lstrip("Ġ▁")) > 1 and not is_special


def _shown(tokens: list[str]) -> str:
    return ", ".join(repr(token) for token in tokens[:SHOWN]) + (", ..." if len(tokens) > SHOWN else "")


def row_tensors(folder: Path, names: Iterable[str]) -> tuple[str, list[str]]:
    """(input embeddings, head's tensors) of a folder, by the names in its files; the head is empty where it is tied."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        with torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise CurateError(
            "transformers does not know this model", where=str(folder / "config.json"), found=str(error).split("\n")[0][:300]
        ) from error
    known = set(names)
    inner = model.get_input_embeddings(), model.get_output_embeddings()
    places = [{id(part): name for name, part in model.named_modules()}.get(id(module), "") for module in inner]
    embeddings = _in_file(f"{places[0]}.weight", known)
    if embeddings is None:
        raise CurateError("the embeddings are not among the weights", where=str(folder), found=f"no {places[0]}.weight")
    head = [_in_file(f"{places[1]}.{part}", known) for part in ("weight", "bias")] if places[1] else []
    return embeddings, [name for name in head if name is not None]


def _in_file(name: str, known: set[str]) -> str | None:
    """Files of a model with several parts have a prefix more (language_model.model.embed_tokens.weight) or less."""
    if name in known:
        return name
    ends = [other for other in sorted(known) if other.endswith("." + ".".join(name.split(".")[-2:]))]
    return ends[0] if len(ends) == 1 else None
