"""A folder that is handed over: filled under a temporary name, renamed once, never over something else.

In: what fills it, and its identity (what is exported, from which manifest, with which choices). Out: the folder with its record, which
lists every other file with bytes and sha256: `manifest.json` of an export of tokens, else export.json. Imports engine, errors, store.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from curate.engine import progress
from curate.errors import CurateError
from curate.store import canonical_json, digest, file_sha256, read_json
from curate.units import show_bytes

VERSION = 1  # of what an export consists of
RECORDS = ("manifest.json", "export.json")
BLOCK = 1 << 22


def identity(kind: str, manifest: Mapping[str, Any], **choices: Any) -> dict[str, Any]:
    """What a receiver can tell an export by: equal identities are exports of equal bytes."""
    of = {"name": manifest["name"], "manifest": digest(canonical_json(manifest)), "stream_root": manifest["roots"]["stream"]}
    return {"kind": kind, "version": VERSION, "of": of, **choices}


def record_of(folder: Path) -> dict[str, Any] | None:
    """The record of an export, None where the folder holds none."""
    for name in RECORDS:
        if (folder / name).is_file():
            record = read_json(folder / name)
            return record if "export" in record else None
    return None


def standing(folder: Path, wanted: Mapping[str, Any]) -> dict[str, Any] | None:
    """The record of the same export, whole, where it lies there already; None where nothing does. Raises CurateError for all else."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    record = record_of(folder) if folder.is_dir() else None
    if record is None or record["export"] != wanted:
        of = {} if record is None else record["export"]
        same = of and all(of.get(name) == wanted[name] for name in ("kind", "of"))
        build = of.get("of")
        name = build["name"] if isinstance(build, dict) else "a model"  # what curate train makes is of no build
        what = f"an export ({of['kind']}) of {'this build, made with other choices' if same else name}" if of else "other files"
        raise CurateError(
            "an export is never written over something else",
            where=str(folder),
            found=what,
            allowed="a new folder, or an empty one",
        )
    if wrong := first_wrong(folder, record["outputs"]):
        raise CurateError("this export lies there already, and is damaged", where=str(folder), found=wrong,
                          next=f"curate verify {folder}, or export to another folder", exit_code=1)  # fmt: skip
    return record


def first_wrong(folder: Path, outputs: Iterable[Mapping[str, Any]]) -> str:
    """The first file that is not as it was written, "" where all are."""
    listed = list(outputs)
    with progress("check", sum(stated["bytes"] for stated in listed)) as advance:
        for stated in listed:
            path = folder / stated["path"]
            if not path.is_file() or path.stat().st_size != stated["bytes"] or file_sha256(path) != stated["sha256"]:
                return str(stated["path"])
            advance(stated["bytes"])
    return ""


@contextlib.contextmanager
def published(folder: Path) -> Iterator[Path]:
    """A new folder beside `folder`, which becomes `folder` when the block ends well, and nothing when it does not."""
    folder = Path(os.path.abspath(folder))
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}")
    temporary.mkdir()
    try:
        yield temporary
        for path in temporary.rglob("*"):  # data reaches the disk before the rename makes it visible
            if path.is_file():
                with open(path, "rb") as file:
                    os.fsync(file.fileno())
        try:
            os.rename(temporary, folder)  # fails where a folder that is not empty stands: the exclusive step
        except OSError as error:
            raise CurateError("an export is never written over something else", where=str(folder), found=str(error)) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_room(folder: Path, n_bytes: int) -> None:
    """Raises CurateError where the disk cannot hold `n_bytes` more."""
    above = next(parent for parent in Path(os.path.abspath(folder)).parents if parent.is_dir())
    if n_bytes > (free := shutil.disk_usage(above).free):
        raise CurateError(
            "the disk is too small for this export", where=str(folder), found=f"{show_bytes(free)} free",
            allowed=f"about {show_bytes(n_bytes)}", next="a folder on a larger disk; --tokens --link copies no token shard",
        )  # fmt: skip


def hand_over(
    source: Path, target: Path, stated: Mapping[str, Any] | None, *, link: bool = False,
    advance: Callable[[int], None] = lambda n: None,
) -> dict[str, Any]:  # fmt: skip
    """Copy or hard-link one file, hashed on the way; returns {bytes, sha256}. `stated`: what it must be.

    Raises CurateError where the file is not what was written, or cannot be linked."""
    target.parent.mkdir(parents=True, exist_ok=True)
    state, size = hashlib.sha256(), 0
    try:
        with open(source, "rb") as file, contextlib.ExitStack() as stack:
            copy = None if link else stack.enter_context(open(target, "wb"))
            while block := file.read(BLOCK):
                state.update(block)
                if copy is not None:
                    copy.write(block)
                size += len(block)
                advance(len(block))
        if link:
            os.link(source, target)
    except FileNotFoundError:
        raise CurateError(
            "a file of this build is missing", where=str(source), next="curate build-mixture makes it again"
        ) from None
    except OSError as error:
        if not link:
            raise
        raise CurateError(
            "this file cannot be hard-linked", where=str(source), found=str(error), next="the same command without --link copies"
        ) from error
    found = {"bytes": size, "sha256": state.hexdigest()}
    if stated is not None and found != {name: stated[name] for name in found}:
        raise CurateError("this file is not what was written, and is not handed on", where=str(source), next="curate verify BUILD",
                          exit_code=1)  # fmt: skip
    return found


def stated_of(path: Path) -> dict[str, Any]:
    """{bytes, sha256} of a file."""
    return {"bytes": path.stat().st_size, "sha256": file_sha256(path)}


def safe_names(names: Iterable[str]) -> dict[str, str]:
    """A name for files and for the hub's configurations for each of `names`: letters, digits, dot, dash and underscore, none twice."""
    found: dict[str, str] = {}
    for name in names:
        plain = re.sub(r"[^\w.-]", "_", name.replace("/", "."), flags=re.ASCII).strip(".-") or "_"
        number = 2
        while plain in found.values():
            plain, number = f"{plain.removesuffix(f'_{number - 1}')}_{number}", number + 1
        found[name] = plain
    return found
