"""What a stream asks of a model that learns to answer: its labels. Streams in; an error where nothing is asked, lines for people out.

May import curate.errors, mixture.tokenizer (types), train.streams; numpy, transformers (types).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from transformers import PreTrainedModel

from curate.errors import CurateError
from mixture.stream import IGNORED, Row

if TYPE_CHECKING:
    from mixture.tokenizer import Tokenizer
    from train.streams import Streams

LOOK_AT = 64  # rows searched for the tokens that end answers


def check(streams: Streams, paths: Sequence[Path]) -> list[str]:
    """Before the model is read. Raises CurateError for a stream of pairs, and where nothing of a component is asked."""
    said = []
    for manifest, path in zip(streams.manifests, paths, strict=True):
        if manifest.get("kind") == "preference":
            raise CurateError(
                "this manifest is of pairs", where=str(path), found="kind: preference", allowed="kind: sft, or cpt with conversations",
                next="curate train dpo RUN.yaml",
            )  # fmt: skip
        said += [line for name, tokens, asked in _amounts(manifest) if (line := _about(name, tokens, asked, path))]
    return said


def _amounts(manifest: dict) -> list[tuple[str, int, int]]:
    """(component, tokens, loss tokens), of all phases; components whose manifest does not say are left out."""
    found = []
    for component in manifest["components"]:
        phases = [phase for phase in component["phases"] if "loss_tokens" in phase]
        tokens = sum(phase.get("tokens", phase["realised"]) for phase in phases)
        if tokens:
            found.append((component["name"], tokens, sum(phase["loss_tokens"] for phase in phases)))
    return found


def _about(name: str, tokens: int, asked: int, path: Path) -> str:
    if not asked:
        raise CurateError(
            f"nothing of component {name} would be learned: its loss mask is all zero", where=str(path), found=f"0 of {tokens:,} tokens",
            allowed="loss: assistant with a chat template that marks what the assistant writes ({% generation %})",
            next="tokenizer: {chat_template: NAME} in the recipe, one of ours",
        )  # fmt: skip
    return f"{name}: {asked:,} of {tokens:,} tokens are learned" + ("" if asked < 0.97 * tokens else ", prompts too (loss: all)")


def ends(streams: Streams) -> Counter[int]:
    """Id of the last token of a learned span -> how often, in the first rows of every phase."""
    found: Counter[int] = Counter()
    for phase in streams.phases:
        for i in range(phase.first_index, min(phase.end, phase.first_index + LOOK_AT)):
            found.update(_ends(streams.row(i)))
    return found


def _ends(row: Row) -> list[int]:
    """Labels after which nothing is asked, spans cut by the end of a row left out."""
    asked = row.labels != IGNORED
    is_end = asked[:-1] & ~asked[1:]
    return row.labels[:-1][is_end].tolist()


def stop_at_their_end(model: PreTrainedModel, streams: Streams, tokenizer: Tokenizer | None) -> str:
    """The tokens that end answers become ends of generation, beside those the model has. Says which they are."""
    if tokenizer is None:
        return "the tokenizer is not known: whether answers end in a token that stops the model was not looked at"
    controls = {token["id"]: name for name, token in tokenizer.controls.items()}
    common = [i for i, _ in ends(streams).most_common() if i in controls]
    if not common:
        return "no answer ends in a control token: the model does not learn to stop (docs/alignment.md, templates)"
    known = model.generation_config.eos_token_id
    before = [] if known is None else [known] if isinstance(known, int) else list(known)
    model.generation_config.eos_token_id = list(dict.fromkeys([*before, *sorted(common)]))
    return f"answers end in {', '.join(f'{controls[i]} ({i})' for i in common)}: generation stops there"
