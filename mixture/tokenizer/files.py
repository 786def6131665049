"""Where a tokenizer's files lie and what they declare: a recipe's `tokenizer:` block in, `TokenizerFiles` out.

A local folder, a bare tokenizer.json or tokenizer.model, or a hub id with a pinned commit. Reads JSON and text only, with no
tokenizer library. The files are read directly instead of through AutoTokenizer: that would import torch wherever it is installed
(8 s per worker against 0.2 s), and refuses folders that hold nothing but vocab.json and merges.txt.
Imports errors, the recipe's TokenizerSpec and mixture.chat.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from curate.errors import CurateError
from curate.recipe import TokenizerSpec
from mixture.chat import SHIPPED

Kind = Literal["tokenizers", "vocab_merges", "sentencepiece"]

# What a tokenizer may consist of, first match wins: tokenizer.json is what AutoTokenizer prefers as well.
LAYOUTS: tuple[tuple[Kind, tuple[str, ...]], ...] = (
    ("tokenizers", ("tokenizer.json",)),
    ("vocab_merges", ("vocab.json", "merges.txt")),
    ("sentencepiece", ("tokenizer.model",)),
)
SETTINGS = ("tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")
ROLES = ("bos", "eos", "pad")
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


@dataclass(frozen=True)
class TokenizerFiles:
    """One tokenizer on disk; picklable, so that every worker opens its own."""

    name: str  # hub id, or the folder's name: never a path of this machine
    kind: Kind
    paths: tuple[Path, ...]  # in the order of LAYOUTS
    declared: tuple[tuple[str, str | None], ...]  # role -> special string; a role that no file mentions is absent
    template: str | None  # Jinja source of the chat template


def find_files(spec: TokenizerSpec, resolve: Callable[[str], Path] = Path) -> TokenizerFiles:
    """The files `spec` names; `resolve` turns a path of the recipe into one of this machine (`Recipe.path`).

    Raises CurateError where nothing is there, a hub id has no pinned commit, or no known layout is found.
    """
    place = resolve(spec.model)
    if place.exists():
        folder, name = (place, place.name) if place.is_dir() else (place.parent, place.parent.name)
    else:
        folder, name = _download(spec, place), spec.model
    kind, paths = _layout(folder if place.is_dir() or not place.exists() else place, spec.model)
    config = read_object(folder / "tokenizer_config.json")
    template = _template(spec, resolve, folder, config)
    return TokenizerFiles(name, kind, paths, _declared({**read_object(folder / "special_tokens_map.json"), **config}), template)


def _layout(place: Path, model: str) -> tuple[Kind, tuple[Path, ...]]:
    for kind, names in LAYOUTS:
        if place.is_file() and (place.name,) == names:
            return kind, (place,)
        paths = tuple(place / name for name in names)
        if place.is_dir() and all(path.is_file() for path in paths):
            return kind, paths
    raise CurateError(
        "this is not a tokenizer we can read", where="tokenizer.model", found=model,
        allowed="tokenizer.json, vocab.json with merges.txt, or a SentencePiece tokenizer.model",
        next="write its tokenizer.json with transformers: AutoTokenizer.from_pretrained(...).save_pretrained(FOLDER)",
    )  # fmt: skip


def _download(spec: TokenizerSpec, place: Path) -> Path:
    """The hub's files in its own cache; nothing is asked of the network when the commit is there already."""
    if not HUB_ID.fullmatch(spec.model):
        raise CurateError("no such tokenizer", where="tokenizer.model", found=str(place), allowed="a folder, a file or a hub id")
    if spec.revision is None or not re.fullmatch(r"[0-9a-f]{40}", spec.revision):
        raise CurateError(
            "a tokenizer from the hub needs a pinned commit, and there is no such local folder", where="tokenizer.revision",
            found=f"{spec.model}, revision {spec.revision}", allowed="the 40 hex digits of a commit",
        )  # fmt: skip
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError

    wanted = [*(name for _, names in LAYOUTS for name in names), *SETTINGS]
    try:
        return Path(snapshot_download(spec.model, revision=spec.revision, allow_patterns=wanted))
    except (HfHubHTTPError, OSError) as error:
        raise CurateError(
            "the tokenizer cannot be fetched", where="tokenizer.model", found=f"{spec.model}: {error}",
            next="copy its tokenizer.json and tokenizer_config.json into a folder and name that folder",
        ) from error  # fmt: skip


def read_object(path: Path) -> dict[str, Any]:
    """The object of a JSON file; empty where the file is absent, CurateError where it is damaged."""
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise CurateError("this file is not a JSON object", where=str(path), found=str(error)) from error


def _declared(config: dict[str, Any]) -> tuple[tuple[str, str | None], ...]:
    """bos_token and its like: a string, an object with `content`, or null, which means: has none."""
    found = []
    for role in ROLES:
        if f"{role}_token" in config:
            value = config[f"{role}_token"]
            found.append((role, value["content"] if isinstance(value, dict) else value))
    return tuple(found)


def _template(spec: TokenizerSpec, resolve: Callable[[str], Path], folder: Path, config: dict[str, Any]) -> str | None:
    if spec.chat_template in SHIPPED:
        return SHIPPED[spec.chat_template].source
    if spec.chat_template is not None:
        path = resolve(spec.chat_template)
        if not path.is_file():
            raise CurateError(
                "no such chat template", where="tokenizer.chat_template", found=str(path),
                allowed=f"one of ours ({', '.join(SHIPPED)}) or a file",
            )  # fmt: skip
        return path.read_text(encoding="utf-8")
    if (path := folder / "chat_template.jinja").is_file():
        return path.read_text(encoding="utf-8")
    template = config.get("chat_template")
    if isinstance(template, list):  # several named templates: "default" is the plain chat
        template = next((entry["template"] for entry in template if entry["name"] == "default"), None)
    return template
