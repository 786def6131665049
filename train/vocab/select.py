"""Some tokens of a tokenizer: its tokenizer.json and the ids that stay in; the same with these alone out, numbered anew in their order.

A merge stays where its parts and what it makes stay. Whoever names ids of tokens (post-processor, tokenizer_config.json) is told the new ones.
May import train.vocab.base.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from train.vocab.base import Config, merges_of, tokens_of


def select(config: Config, kept: Collection[int]) -> tuple[Config, dict[int, int]]:
    """The smaller tokenizer, and old id -> new id. Special tokens must be among `kept`."""
    tokens = tokens_of(config)
    new = {old: i for i, old in enumerate(sorted(kept))}
    vocab = {tokens[old]: i for old, i in new.items()}
    merges = [[left, right] for left, right in merges_of(config) if left in vocab and right in vocab and left + right in vocab]
    added = [{**token, "id": new[token["id"]]} for token in config["added_tokens"] if token["id"] in new]
    model = {**config["model"], "vocab": vocab, "merges": merges}
    return {
        **config, "added_tokens": added, "post_processor": renumbered(config["post_processor"], new), "model": model
    }, new  # fmt: skip


def renumbered(part: Any, new: dict[int, int]) -> Any:
    """A post-processor with other ids: those of templates, and the pairs [token, id] of BERT's and RoBERTa's."""
    if not isinstance(part, dict):
        return part
    changed = dict(part)
    if part["type"] == "Sequence":
        changed["processors"] = [renumbered(one, new) for one in part["processors"]]
    if "special_tokens" in part:
        changed["special_tokens"] = {
            name: {**token, "ids": [new[i] for i in token["ids"]]} for name, token in part["special_tokens"].items()
        }
    for key in ("sep", "cls"):
        if key in part:
            changed[key] = [part[key][0], new[part[key][1]]]
    return changed


def renumbered_settings(settings: Config, new: dict[int, int]) -> Config:
    """tokenizer_config.json: its added_tokens_decoder is keyed by id."""
    if "added_tokens_decoder" not in settings:
        return settings
    listed = settings["added_tokens_decoder"].items()
    return {**settings, "added_tokens_decoder": {str(new[int(i)]): token for i, token in listed if int(i) in new}}
