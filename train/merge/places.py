"""Where the models of a merge lie: places of the run file in, folders of whole models out; adapters are merged into their model first.

A checkpoint or an export of ours is checked against its list of hashes. Adapters are merged in fp32 as `curate train export` does it, into
a temporary folder beside the result: that one model is in memory whole. Home of the hub for merges.
May import curate.errors, train.*; huggingface_hub, peft, transformers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from curate.errors import CurateError
from train import lineage
from train.adapt import ADAPTER
from train.checkpoint import LIST, contents
from train.merge.config import MergeRun, PlaceSpec
from train.merge.shards import Weights

WANTED = ["*.json", "*.safetensors", "*.jinja", "tokenizer*", "merges.txt", "*.model"]  # of a repository of the hub


@dataclass
class Model:
    """One model of the formula. `tokenizer`: the folder that its tokens are read from; `small`: the folder its other files come from."""

    role: str  # a, b1, c1, ...
    said: str  # as the run file has it
    weights: Weights
    tokenizer: Path
    small: Path

    @property
    def config(self) -> dict[str, Any]:
        return json.loads((self.weights.folder / "config.json").read_text())


@contextmanager
def opened(run: MergeRun, near: Path) -> Iterator[dict[str, Model]]:
    """Role -> model; what had to be merged is gone afterwards. The same place twice is opened once."""
    near.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".adapters-", dir=near) as temporary:
        known: dict[str, tuple[Path, Weights]] = {}
        models: dict[str, Model] = {}
        try:
            for role, place in run.places():
                key = f"{place.init}@{place.revision}"
                if key not in known:
                    folder = folder_of(place)
                    whole = _merged(folder, Path(temporary) / role) if (folder / ADAPTER).is_file() else folder
                    known[key] = folder, Weights(_with_config(whole))
                small, weights = known[key]
                models[role] = Model(role, place.init, weights, Path(place.tokenizer) if place.tokenizer else small, small)
            yield models
        finally:
            for _, weights in known.values():
                weights.close()


def folder_of(place: PlaceSpec) -> Path:
    folder = Path(place.init)
    if not folder.is_dir():
        return _fetched(place)
    if (folder / LIST).is_file():
        contents(folder)
    return folder


def _fetched(place: PlaceSpec) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(place.init, revision=place.revision, allow_patterns=WANTED))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise CurateError(
            "this model cannot be fetched from the hub", where=f"{place.init}@{place.revision}", found=str(error).split("\n")[0][:300],
            next="hf auth login where it is gated; or name a folder that has it",
        ) from error  # fmt: skip


def _with_config(folder: Path) -> Path:
    if not (folder / "config.json").is_file():
        raise CurateError(
            "there is no model here", where=str(folder), found="no config.json", allowed="a folder that transformers opens"
        )
    return folder


def _merged(folder: Path, to: Path) -> Path:
    """The whole model of a folder of adapters."""
    if (folder / LIST).is_file():
        from train.export import merge_into

        merge_into(folder, contents(folder), to)
        return to
    try:
        import torch
        from peft import PeftModel
        from transformers import AutoModelForCausalLM
    except ModuleNotFoundError:
        raise CurateError("adapters need peft", where=str(folder), next="pip install -c constraints.txt peft") from None
    said = json.loads((folder / ADAPTER).read_text())
    base = said.get("base_model_name_or_path") or ""
    try:
        model = AutoModelForCausalLM.from_pretrained(base, revision=said.get("revision"), dtype=torch.float32)
    except (OSError, ValueError) as error:
        raise CurateError("the model of these adapters does not open", where=str(folder / ADAPTER), found=base or "no base_model_name_or_path",
                          next="curate train export --merge-adapters where they were trained") from error  # fmt: skip
    PeftModel.from_pretrained(model, str(folder)).merge_and_unload(safe_merge=True).save_pretrained(to)
    return to


def parents_of(run: MergeRun) -> list[dict[str, Any]]:
    """Lines of the receipt, one a place; of adapters one more for the model below them, where a folder or the hub has it."""
    found = []
    for role, place in run.places():
        found.append(lineage.of(role, place.init, place.revision))
        if (below := _below(Path(place.init))) is not None:
            found.append(lineage.of(f"{role}_base", *below))
    return found


def _below(folder: Path) -> tuple[str, str | None] | None:
    if not (folder / ADAPTER).is_file():
        return None
    if (folder / LIST).is_file():
        spec: Mapping[str, Any] = contents(folder)["run"]["model"]
        init = spec["init"]
        return (init, spec.get("revision")) if isinstance(init, str) and not init.endswith(".json") else None
    said = json.loads((folder / ADAPTER).read_text())
    return (said["base_model_name_or_path"], said.get("revision")) if said.get("base_model_name_or_path") else None
