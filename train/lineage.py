"""Where a model came from: a folder of a model in, its line of the next receipt's `parents` out. Receipts so linked lead back to a base model.

`weights_sha256` is over the names and hashes of its weight files, so that the same weights elsewhere are the same parent; a checkpoint
or an export of ours lists these hashes already, other files are read once. May import curate.errors, curate.store.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from curate.errors import CurateError
from curate.store import canonical_json, digest, file_sha256, read_json

RECEIPT = "receipt.json"
LISTS = (("checkpoint.json", "files", "name"), ("export.json", "outputs", "path"))  # file, key of the list, key of a name
SUFFIX = ".safetensors"


def of(role: str, place: str, revision: str | None = None) -> dict[str, Any]:
    """One parent. `role`: what it was to the stage (init, a, b, c, tokenizer, reference); `place`: a folder, or an id of the hub, which
    with its revision is all that is said of it. Where the folder has a receipt: its method, name and sha256 too."""
    folder = Path(place)
    if not folder.is_dir():
        return {"role": role, "hub": place, "revision": revision}
    found: dict[str, Any] = {"role": role, "folder": folder.name, "weights_sha256": weights_sha256(folder)}
    if (folder / RECEIPT).is_file():
        receipt = read_json(folder / RECEIPT)
        named = {key: receipt[key] for key in ("method", "name", "steps") if key in receipt}
        found |= named | {"receipt_sha256": file_sha256(folder / RECEIPT)}
    return found


def weights_sha256(folder: Path) -> str | None:
    """Of all weight files, None where there are none (a tokenizer's folder). Raises CurateError where a listed file is missing."""
    hashes = _listed(folder)
    files = sorted(path.name for path in folder.glob(f"*{SUFFIX}"))
    if missing := sorted(set(hashes) - set(files)):
        raise CurateError(
            "weights are missing", where=str(folder), found=f"no {missing[0]}", allowed=f"the {len(hashes)} files of its list"
        )
    if not files:
        return None
    return digest(canonical_json([[name, hashes.get(name) or file_sha256(folder / name)] for name in files]))


def _listed(folder: Path) -> dict[str, str]:
    """Weight file -> sha256, as a list of ours says."""
    for name, entries, key in LISTS:
        if (folder / name).is_file():
            listed = read_json(folder / name)[entries]
            return {entry[key]: entry["sha256"] for entry in listed if entry[key].endswith(SUFFIX) and "/" not in entry[key]}
    return {}
