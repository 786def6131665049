"""Where a model's file lies: a recipe's `model:` in, a path out, its sha256 held against the recipe's. Imports errors and store.

A model is a path, or a file of the Hugging Face hub at a pinned revision.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from curate.errors import CurateError
from curate.store import file_sha256


def model_file(
    model: str, revision: str | None, base: Path, *, sha256: str | None = None, where: str = "model", default: str = "model.bin"
) -> Path:
    """`model` as a path (from `base` where relative), else hub id `owner/name[/file]`, file `default`.

    Raises CurateError where there is no such file, the hub cannot give it, or its sha256 is not the one wanted; `where` is the
    recipe's place (`models.hq`).
    """
    path = (base / model).expanduser()
    if not path.is_file():
        path = _of_hub(model, revision, path, where, default)
    if sha256 is not None and (found := model_sha256(path)) != sha256.lower():
        raise CurateError(
            "the model is another file than the recipe names", where=f"{where}.sha256", found=f"{path}: sha256 {found}",
            allowed=sha256, next="get the right file, or write its sha256 into the recipe",
        )  # fmt: skip
    return path


def _of_hub(model: str, revision: str | None, path: Path, where: str, default: str) -> Path:
    parts = model.split("/")
    looks_local = model.startswith((".", "/", "~")) or (path.suffix and len(parts) == 2)
    if len(parts) < 2 or looks_local:
        raise CurateError(
            "no such model", where=f"{where}: model", found=str(path), allowed="a file, or owner/name/file of the hub"
        )  # fmt: skip
    if revision is None:
        raise CurateError(
            "a model of the hub needs a pinned revision", where=f"{where}: revision", found=f"model: {model}",
            allowed="revision: a commit of the repository",
        )  # fmt: skip
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download("/".join(parts[:2]), "/".join(parts[2:]) or default, revision=revision))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise CurateError(
            "the model could not be fetched", where=f"{where}: model", found=f"{model} at {revision}: {error}",
            next="download the file and give its path, or run once with network",
        ) from error  # fmt: skip


def model_sha256(path: Path) -> str:
    """sha256 of a file, read once for each (size, time of change)."""
    found = path.stat()
    return _sha256(path, found.st_size, found.st_mtime_ns)


@lru_cache(maxsize=64)
def _sha256(path: Path, size: int, mtime_ns: int) -> str:
    return file_sha256(path)
