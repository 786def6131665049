"""chain.json: which stages are done, of what inputs, and what each made; how receipts of models link.

A stage is done again where its settings, what it reads of earlier stages, or a manifest or recipe it names has changed; what it had made is
set aside under another name, never deleted. May import curate.errors, curate.recipe.files, curate.store, train.chain.config, train.lineage.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from curate.errors import CurateError
from curate.recipe.files import load_extended
from curate.store import canonical_json, digest, file_sha256, read_json, write_json
from train import lineage
from train.chain.config import Chain, Stage, filled

RECORD = "chain.json"
SMALL = 100 << 20  # bytes: manifests, recipes, suites; larger files are known by their path


def read_record(chain: Chain) -> dict[str, dict[str, Any]]:
    """Name of a stage -> its entry."""
    path = chain.to / RECORD
    return {entry["name"]: entry for entry in read_json(path)["stages"]} if path.is_file() else {}


def write_record(chain: Chain, entries: Mapping[str, dict[str, Any]]) -> None:
    chain.to.mkdir(parents=True, exist_ok=True)
    write_json(
        chain.to / RECORD,
        {"kind": "chain", "name": chain.name, "stages": [entries[stage.name] for stage in chain.stages if stage.name in entries]},
    )


def inputs_sha256(stage: Stage, entries: Mapping[str, dict[str, Any]]) -> str:
    """Of a stage's settings, with what earlier stages made in the place of where they put it, and of the small files it names."""
    data = filled(stage.data, {name: f"<{entries[name]['made']}>" for name in stage.uses})
    parts: list[Any] = [stage.method, data, [[str(path), file_sha256(path)] for path in sorted(_files(stage))]]
    if stage.file is not None:
        parts.append(load_extended(stage.file)[0])
    return digest(canonical_json(parts))


def _files(stage: Stage) -> set[Path]:
    paths = {Path(text) for text in _texts(stage.data) if "\n" not in text and len(text) < 4096}
    return {path for path in paths if path.is_file() and path.stat().st_size <= SMALL}


def _texts(data: Any) -> Iterator[str]:
    if isinstance(data, str):
        yield data
    elif isinstance(data, Mapping | list | tuple):
        for value in data.values() if isinstance(data, Mapping) else data:
            yield from _texts(value)


def made_by(stage: Stage, product: Path) -> dict[str, Any]:
    """What a stage made, in hashes; `made` is all of it in one."""
    if stage.method == "build":
        found: dict[str, Any] = {"manifest_sha256": file_sha256(product / "manifest.json")}
    elif stage.method == "evaluate":
        found = {"results_sha256": file_sha256(product / "results.parquet")}
    else:
        found = {
            "weights_sha256": lineage.weights_sha256(product), "receipt_sha256": file_sha256(product / lineage.RECEIPT),
            "parents": read_json(product / lineage.RECEIPT).get("parents", []),
        }  # fmt: skip
        if (product / "tokenizer.json").is_file():
            found["tokenizer_sha256"] = file_sha256(product / "tokenizer.json")
    return {**found, "made": digest(canonical_json(found))}


def check_links(stage: Stage, entry: Mapping[str, Any], entries: Mapping[str, dict[str, Any]]) -> None:
    """The receipt of a stage names the receipts of the stages it went on from. Raises CurateError, exit code 1."""
    if "parents" not in entry:
        return
    named = {parent.get("receipt_sha256") for parent in entry["parents"]}
    for name in stage.uses:
        wanted = entries[name].get("receipt_sha256")
        has_weights = entries[name].get("weights_sha256") is not None  # a tokenizer alone is no model to go on from
        if wanted is not None and has_weights and wanted not in named:
            raise CurateError(
                "the receipt does not name the model that this stage went on from", where=f"stage {stage.name}",
                found=f"no parent with the receipt {wanted[:12]} of {name}", exit_code=1,
            )  # fmt: skip


def set_aside(folder: Path) -> Path:
    """A folder that was made of other inputs, under a name that is free."""
    number = 1
    while (to := folder.with_name(f"{folder.name}.old-{number}")).exists():
        number += 1
    os.rename(folder, to)
    return to
