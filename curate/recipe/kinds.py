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


# What a mixture of such a kind says where it says nothing: of documents longer than a sequence, and how rows are packed.
DEFAULTS = {"sft": {"overlong": "cut"}, "preference": {"overlong": "drop", "packing": "single"}}


def fill(data: Mapping[str, Any]) -> None:
    """Defaults that hang on the kind. Of sft: the assistant's turns are learned, unless a source says loss: all."""
    kind, mixture, sources = data.get("kind"), data.get("mixture"), data.get("sources")
    if isinstance(mixture, dict) and isinstance(kind, str):
        for key, value in DEFAULTS.get(kind, {}).items():
            mixture.setdefault(key, value)
    if kind == "sft":
        for source in sources.values() if isinstance(sources, dict) else ():
            if isinstance(source, dict) and _has_turns(source):
                source.setdefault("loss", "assistant")


def _has_turns(source: Mapping[str, Any]) -> bool:
    options = source.get("parallel")
    return source.get("type") == "conversation" or (isinstance(options, dict) and options.get("form") == "translation")


def check_kind(kind: str, sources: Mapping[str, Source], mixture: Mixture, place: Place) -> None:
    """Every source that a component trains on is one of its kind, and pairs stay whole."""
    _check_whole(kind, mixture, place)
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


def _check_whole(kind: str, mixture: Mixture, place: Place) -> None:
    """A pair is a sequence of its own, whole or not at all; no other kind has such rows."""
    packing: list[tuple[tuple[str, ...], str]] = [(("mixture", "packing"), mixture.packing)]
    packing += [
        (("mixture", "phases", name, "packing"), phase.packing) for name, phase in mixture.phases.items() if phase.packing
    ]
    for at, how in packing:
        if (how == "single") != (kind == "preference"):
            allowed = "packing: single, one pair a sequence" if kind == "preference" else "best_fit, concat"
            raise CurateError(f"kind: {kind} is not packed so", where=place(*at), found=f"packing: {how}", allowed=allowed)
    overlong: list[tuple[tuple[str, ...], str]] = [(("mixture", "overlong"), mixture.overlong)] if mixture.overlong else []
    overlong += [
        ((*mixture.key_of(name).split("."), "overlong"), leaf.overlong) for name, leaf in mixture.leaves.items() if leaf.overlong
    ]
    for at, what in overlong:
        if kind == "preference" and what != "drop":
            raise CurateError("a pair is never cut", where=place(*at), found=f"overlong: {what}", allowed="overlong: drop",
                              next="a longer sequence_length takes in longer pairs")  # fmt: skip
