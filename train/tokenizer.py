"""The manifest's tokenizer, looked for where it can be: its files for the checkpoint, its decoder for bits per byte.

A manifest and a model spec in. Looked for: model.tokenizer of the run file, tokenizer/ beside the manifest, the model's own
folder, the hub. A model that comes with another tokenizer than the manifest's is refused. The chat template is the manifest's too, by its
hash: one of ours, the file that the recipe named, or the one beside the manifest.
May import curate.errors, curate.recipe, curate.store, mixture.chat, mixture.tokenizer, train.config.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from curate.errors import CurateError
from curate.recipe import TokenizerSpec, load_recipe
from curate.store import read_json, write_atomic
from mixture.chat import by_sha256
from mixture.tokenizer import Tokenizer, load_tokenizer
from train.config import ModelSpec

TEMPLATE = "chat_template.jinja"
BESIDE = ("tokenizer_config.json", "special_tokens_map.json", TEMPLATE)  # taken along where they exist


@dataclass(frozen=True)
class Found:
    """`files` go into checkpoints as they are. Without a tokenizer `problem` says so, and there are no bits per byte."""

    tokenizer: Tokenizer | None = None
    files: list[Path] = field(default_factory=list)
    problem: str = ""
    template: str | None = None  # the manifest's chat template, where the tokenizer's own folder has another or none
    no_template: str = ""  # why it was not found


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
    files = [*tokenizer.files.paths, *(folder / name for name in BESIDE if (folder / name).is_file())]
    wanted_template = wanted.get("template_sha256")
    if wanted_template in (None, tokenizer.template_sha256):
        return Found(tokenizer, files)
    template = next(
        (text for text in _templates(wanted_template, manifest_path.parent) if _sha256(text) == wanted_template), None
    )
    problem = f"the chat template of the manifest ({wanted_template[:12]}) was not found: checkpoints go without it"
    return Found(tokenizer, files, template=template, no_template="" if template else problem)


def put_template(found: Found, folder: Path, speaks: bool) -> Found:
    """The same with the manifest's template among its files, as a file of the run's folder."""
    files = [file for file in found.files if file.name != TEMPLATE]
    if found.template is None:
        return replace(found, files=files) if found.no_template else found
    if speaks:
        write_atomic(folder / TEMPLATE, found.template.encode())
    return replace(found, files=[*files, folder / TEMPLATE])


def _templates(sha256: str, build: Path) -> Iterator[str]:
    """Where it can be."""
    if text := by_sha256(sha256):
        yield text
    places = [build / "tokenizer" / TEMPLATE]
    if (build / "recipe.yaml").is_file() and (build / "log" / "build.json").is_file():
        try:
            recipe = load_recipe(build / "recipe.yaml", base=Path(read_json(build / "log" / "build.json")["recipe_base"]))
        except CurateError:  # the build has moved and its files have not: `find` says that the template was not found
            recipe = None
        places += [recipe.path(recipe.tokenizer.chat_template)] if recipe and recipe.tokenizer.chat_template else []
    yield from (place.read_text(encoding="utf-8") for place in places if place.is_file())


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


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
