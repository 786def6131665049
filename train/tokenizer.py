"""The manifest's tokenizer, looked for where it can be: its files for the checkpoint, its decoder for bits per byte.

A manifest and a model spec in. Looked for: model.tokenizer of the run file, tokenizer/ beside the manifest, the model's own
folder, the hub. A model that comes with another tokenizer than the manifest's is refused.
May import curate.errors, curate.recipe, mixture.tokenizer, train.config.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from curate.errors import CurateError
from curate.recipe import TokenizerSpec
from mixture.tokenizer import Tokenizer, load_tokenizer
from train.config import ModelSpec

BESIDE = ("tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")  # taken along where they exist


@dataclass(frozen=True)
class Found:
    """`files` go into checkpoints as they are. Without a tokenizer `problem` says so, and there are no bits per byte."""

    tokenizer: Tokenizer | None = None
    files: list[Path] = field(default_factory=list)
    problem: str = ""


def find(manifest: dict, manifest_path: Path, model: ModelSpec) -> Found:
    """Raises CurateError when the model, or the run file, brings another tokenizer than the one of the manifest's tokens."""
    wanted = manifest["tokenizer"]
    beside, hub = manifest_path.parent / "tokenizer", (wanted["name"], wanted.get("revision"))
    asked = _open(model.tokenizer, None, "model.tokenizer") if model.tokenizer else None
    own = _own(model)
    for tokenizer, key in ((asked, "model.tokenizer"), (own, "model.init")):
        if tokenizer is not None and tokenizer.sha256 != wanted["sha256"]:
            raise CurateError(
                "this tokenizer is not the one that made the manifest's tokens", where=key,
                found=f"{tokenizer.files.paths[0]} ({tokenizer.sha256[:12]})",
                allowed=f"{wanted['name']} ({wanted['sha256'][:12]})",
                next="build the mixture with the model's tokenizer, or choose the model it was built for",
            )  # fmt: skip
    other = _open(str(beside), None, "manifest") if beside.is_dir() else _open(*hub, "manifest") if hub[1] else None
    tokenizer = asked or own or other
    if tokenizer is None or tokenizer.sha256 != wanted["sha256"]:
        return Found(problem=f"tokenizer {wanted['name']} not found, so no bits per byte (model.tokenizer: can name its folder)")
    folder = tokenizer.files.paths[0].parent
    return Found(tokenizer, [*tokenizer.files.paths, *(folder / name for name in BESIDE if (folder / name).is_file())])


def _own(model: ModelSpec) -> Tokenizer | None:
    """The tokenizer a pretrained model brings along; None for a fresh model and for a folder of weights alone."""
    if not isinstance(model.init, str) or model.init.endswith(".json"):
        return None
    folder = Path(model.init)
    if folder.is_dir() and not any((folder / name).is_file() for name in ("tokenizer.json", "tokenizer.model", "vocab.json")):
        return None
    return _open(model.init, model.revision, "model.init")


def _open(place: str, revision: str | None, key: str) -> Tokenizer:
    try:
        return load_tokenizer(TokenizerSpec(model=place, revision=revision, bos="none", eos="none"))
    except CurateError as error:
        raise CurateError(error.what, where=key, found=error.found or place, allowed=error.allowed, next=error.next) from error
