"""`kind:` of a recipe: what the model is to learn from, and which sources that allows.

cpt: texts, every token learned. sft: conversations, the assistant's turns learned. preference: pairs of answers, each learned against
the other. Imports errors and recipe's own modules.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from curate.errors import CurateError
from curate.recipe.mixture import Mixture
from curate.recipe.mixture_check import Place
from curate.recipe.source import Source

NEEDS = {"sft": "type: conversation, or type: parallel with form: translation", "preference": "type: preference"}


def fill_loss(data: Mapping[str, Any]) -> None:
    """In a recipe of kind sft the assistant's turns are learned, unless a source says loss: all."""
    sources = data.get("sources")
    if data.get("kind") != "sft" or not isinstance(sources, dict):
        return
    for source in sources.values():
        if isinstance(source, dict) and _has_turns(source):
            source.setdefault("loss", "assistant")


def _has_turns(source: Mapping[str, Any]) -> bool:
    options = source.get("parallel")
    return source.get("type") == "conversation" or (isinstance(options, dict) and options.get("form") == "translation")


def check_kind(kind: str, sources: Mapping[str, Source], mixture: Mixture, place: Place) -> None:
    """Every source that a component trains on is one of its kind."""
    if kind == "cpt":
        return
    for name, leaf in mixture.leaves.items():
        for source in leaf.from_:
            fits = sources[source].is_conversation if kind == "sft" else sources[source].type == "preference"
            if not fits:
                raise CurateError(
                    f"kind: {kind} trains on {'conversations' if kind == 'sft' else 'pairs'}, and component {name!r} has source {source!r}",
                    where=place("sources", source, "type"), found=f"type: {sources[source].type}", allowed=NEEDS[kind],
                    next="kind: cpt trains on every type of source as text",
                )  # fmt: skip
