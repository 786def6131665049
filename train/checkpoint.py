"""A checkpoint folder, whole or absent: model, tokenizer, optimizer, receipt, and checkpoint.json that lists them all.

`step-000120/` appears by one rename after every file in it is on disk; what is read back is checked against its list of hashes.
There is no random state in it: every draw of the trainer is a function of (seed, step, row). Nor a scheduler: the rate is a
function of the step. May import curate.errors, curate.store; torch, transformers.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedModel

from curate.errors import CurateError
from curate.store import file_sha256, read_json, write_json

LIST = "checkpoint.json"


@dataclass(frozen=True)
class Checkpoint:
    """A whole checkpoint: `step` steps are done, the next row of the stream is `cursor`."""

    path: Path
    step: int
    cursor: int
    run: dict
    receipt: dict

    def load_optimizer(self, optimizer: torch.optim.Optimizer) -> None:
        optimizer.load_state_dict(torch.load(self.path / "optimizer.pt", map_location="cpu", weights_only=True))


def name_of(step: int) -> str:
    return f"step-{step:06d}"


def save(
    folder: Path, step: int, cursor: int, model: PreTrainedModel, optimizer: torch.optim.Optimizer, *,
    receipt: dict, identity: dict, run: dict, tokenizer: Sequence[Path], keep: int,
) -> Path:  # fmt: skip
    """Write `folder/step-N`, then remove all but the `keep` newest. Only one process of a run calls this."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary, final = folder / f".{name_of(step)}.{os.getpid()}", folder / name_of(step)
    shutil.rmtree(temporary, ignore_errors=True)
    model.save_pretrained(temporary)
    torch.save(optimizer.state_dict(), temporary / "optimizer.pt")
    for file in tokenizer:
        shutil.copyfile(file, temporary / file.name)
    write_json(temporary / "receipt.json", receipt)
    files = [
        {"name": str(file.relative_to(temporary)), "bytes": file.stat().st_size, "sha256": file_sha256(file)}
        for file in sorted(temporary.rglob("*"))
        if file.is_file()
    ]
    write_json(temporary / LIST, {"step": step, "cursor": cursor, "identity": identity, "run": run, "files": files})
    for path in [*temporary.rglob("*"), temporary]:
        _to_disk(path)
    if final.exists():  # a damaged one that this run went back behind
        _remove(final)
    temporary.rename(final)
    _to_disk(folder)
    for old in sorted(s for s in _steps(folder) if s <= step)[:-keep]:
        _remove(folder / name_of(old))
    return final


def newest(folder: Path, identity: dict, say: Callable[[str], None]) -> Checkpoint | None:
    """The newest whole checkpoint, or None where there is none yet. Older ones are tried, aloud, when a newer one is damaged.

    Raises CurateError when it was made from something else than `identity` says, or when all are damaged.
    """
    steps = sorted(_steps(folder), reverse=True)
    for step in steps:
        path = folder / name_of(step)
        try:
            found = _read(path)
        except CurateError as error:
            say(f"{path} is damaged ({error.what}); trying the one before it")
            continue
        if differences := _differences(found.pop("identity"), identity):
            raise CurateError(
                "this checkpoint belongs to another training: " + "; ".join(differences), where=str(path),
                next=f"give the old values back to go on with it, or train anew: --set save.to=FOLDER, or remove {folder}"
                + (" (the mixture was built again, from other input or another recipe)" if "stream_root" in str(differences) else ""),
            )  # fmt: skip
        return Checkpoint(path, found["step"], found["cursor"], found["run"], read_json(path / "receipt.json"))
    if steps:
        raise CurateError(
            "no checkpoint here is whole", where=str(folder), found=f"{len(steps)} damaged", exit_code=1,
            next="save to another folder (save.to) to start from the beginning",
        )  # fmt: skip
    return None


def clean(folder: Path) -> None:
    """Remove what an interrupted save left behind."""
    for path in folder.glob(".step-*"):
        shutil.rmtree(path, ignore_errors=True)


def _read(path: Path) -> dict:
    try:
        found = read_json(path / LIST)
    except FileNotFoundError:
        raise CurateError(f"{LIST} is missing", where=str(path), exit_code=1) from None
    for file in found["files"]:
        at = path / file["name"]
        if not at.is_file() or at.stat().st_size != file["bytes"] or file_sha256(at) != file["sha256"]:
            raise CurateError(f"{file['name']} is not what was written", where=str(path), exit_code=1)
    return found


def _differences(saved: dict, wanted: dict, at: str = "") -> list[str]:
    said: list[str] = []
    for key in sorted({*saved, *wanted}):
        was, now = saved.get(key), wanted.get(key)
        if isinstance(was, dict) and isinstance(now, dict):
            said += _differences(was, now, f"{at}{key}.")
        elif was != now:
            said.append(f"{at}{key} was {_short(was)} and is now {_short(now)}")
    return said


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:16]}..."


def _steps(folder: Path) -> list[int]:
    return [int(path.name.removeprefix("step-")) for path in folder.glob("step-*") if path.name.removeprefix("step-").isdigit()]


def _remove(path: Path) -> None:
    """Rename first: a half-removed checkpoint must not look like one."""
    doomed = path.with_name(f".{path.name}.removed")
    shutil.rmtree(doomed, ignore_errors=True)
    path.rename(doomed)
    shutil.rmtree(doomed)


def _to_disk(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
