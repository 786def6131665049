"""A source of a recipe in, its files out: path, name relative to the pattern's fixed folder, format, size and times.

Names are what people see and what `id: path` hashes; paths never leave this machine. Imports recipe, errors, stream.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import NamedTuple

from curate.errors import CurateError
from curate.recipe import Recipe, Source
from curate.sources.formats import BY_SUFFIX, FORMATS
from curate.sources.stream import strip_compression


class RawFile(NamedTuple):
    """One file of a source. `format`: of formats.py (a file of a tree is text). size -1: it cannot be looked at."""

    path: Path
    name: str
    format: str
    size: int
    mtime_ns: int
    inode: int


def list_files(recipe: Recipe, source: Source) -> list[RawFile]:
    """Every file of `source`, sorted by name.

    Raises CurateError where a pattern or the suffixes match nothing, where the format cannot be told, or does not fit `id: path`.
    """
    found: dict[Path, Path] = {}  # file -> the folder its name starts from
    bases = [_fixed_part(recipe.path(pattern)) for pattern in source.read]
    for path in recipe.files(source):
        base = max((b for b in bases if path.is_relative_to(b)), key=lambda b: len(b.parts))
        for file in _walk(path, source) if path.is_dir() else [path]:
            if source.format != "tree" or _is_wanted(file.relative_to(base), source):
                found.setdefault(file, base)
    if not found:
        raise CurateError(
            "no file is left to read", where=f"sources.{source.name}", next="correct read: or suffixes:",
            found=f"format {source.format}, suffixes {', '.join(source.suffixes) or 'any'}",
        )  # fmt: skip
    names = {file: file.relative_to(base).as_posix() for file, base in found.items()}
    if len(set(names.values())) < len(names) and source.id != "path":  # two patterns with equal names below them
        shared = Path(os.path.commonpath([str(base) for base in bases]))
        names = {file: file.relative_to(shared).as_posix() for file in found}
    return sorted((_look_at(file, name, source) for file, name in names.items()), key=lambda f: f.name)


def format_of(path: Path, source: Source) -> str:
    """The recipe's `format:`, else by the name without .gz or .zst."""
    if source.format in FORMATS:
        return source.format
    if source.format == "tree":
        return "text"
    suffix = Path(strip_compression(path.name)).suffix.lower()
    if suffix not in BY_SUFFIX:
        raise CurateError(
            "the format cannot be told from this name", where=f"sources.{source.name}", found=path.name,
            allowed=", ".join(f"*{s}" for s in BY_SUFFIX) + " (also .gz, .zst)", next=f"format: {', '.join(FORMATS)} or tree",
        )  # fmt: skip
    return BY_SUFFIX[suffix]


def _fixed_part(pattern: Path) -> Path:
    """`/a/b/*/c.txt` -> `/a/b`; a pattern without wildcards starts from the folder it names, or that its file lies in."""
    parts = pattern.parts
    n = next((i for i, part in enumerate(parts) if re.search(r"[*?\[]", part)), None)
    if n is None:
        return pattern if pattern.is_dir() else pattern.parent
    return Path(*parts[:n])


def _walk(folder: Path, source: Source) -> list[Path]:
    if source.format == "auto":
        raise CurateError(
            "a folder needs its format", where=f"sources.{source.name}", found=str(folder),
            allowed=f"tree (each file is a document), {', '.join(FORMATS)}", next="format: tree, or read: folder/*.jsonl",
        )  # fmt: skip
    found = []
    for place, folders, files in os.walk(folder):
        folders[:] = [f for f in folders if not _is_hidden(f)]
        found += [Path(place, file) for file in files if not _is_hidden(file)]
    if source.format == "tree":
        return [file for file in found if _is_wanted(file.relative_to(folder), source)]
    suffixes = source.suffixes or list(FORMATS[source.format].suffixes)
    return [file for file in found if strip_compression(file.name).lower().endswith(tuple(suffixes))]


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__pycache__"


def _is_wanted(relative: Path, source: Source) -> bool:
    if any(_is_hidden(part) for part in relative.parts):
        return False
    return not source.suffixes or strip_compression(relative.name).endswith(tuple(source.suffixes))


def _look_at(file: Path, name: str, source: Source) -> RawFile:
    kind = format_of(file, source)
    if source.id == "path" and not FORMATS[kind].is_one:
        raise CurateError(
            "id: path needs one document per file", where=f"sources.{source.name}", found=f"{name} is {kind}",
            allowed="format: text or tree", next="id: auto",
        )  # fmt: skip
    try:
        found = file.stat()
    except OSError:
        return RawFile(file, name, kind, -1, 0, 0)
    if not stat.S_ISREG(found.st_mode) or not os.access(file, os.R_OK):
        return RawFile(file, name, kind, -1, 0, 0)
    return RawFile(file, name, kind, found.st_size, found.st_mtime_ns, found.st_ino)
