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
from curate.recipe.places import Place, is_url
from curate.sources.beside import Folders, follows, wants_beside, with_parts
from curate.sources.formats import ARCHIVE, BY_SUFFIX, FORMATS
from curate.sources.readers.moses import other_side
from curate.sources.stream import strip_compression


class RawFile(NamedTuple):
    """One file of a source. `format`: of formats.py (a file of a tree is text). size -1: it cannot be looked at. `beside`: what files
    beside it say of its document (beside.py), or of an archive how its members are read."""

    path: Path
    name: str
    format: str
    size: int
    mtime_ns: int
    inode: int
    beside: str = ""
    partner: RawFile | None = None  # the other side of parallel text in two files


def list_files(recipe: Recipe, source: Source) -> list[RawFile]:
    """Every file of `source`, sorted by name.

    Raises CurateError where a pattern or the suffixes match nothing, where the format cannot be told, or does not fit `id: path`.
    """
    found: dict[Path, Path] = {}  # file -> the folder its name starts from
    bases, folders = _bases(recipe, source)
    for path in recipe.files(source):
        base = max((b for b in bases if path.is_relative_to(b)), key=lambda b: len(b.parts))
        for file in _walk(path, source) if path.is_dir() else [path]:
            is_given = file == path and (source.format != "tree" or is_archive(file.name)) and base not in folders
            if _is_side(file, source) and (is_given or _is_wanted(file.relative_to(base), source)):
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
    listed = sorted((_look_at(file, name, source) for file, name in names.items()), key=lambda f: f.name)
    if wants_beside(source):
        besides = {base: Folders(base, source.type) for base in set(found.values())}
        listed = [f._replace(beside=besides[found[f.path]].says(f.path)) if FORMATS[f.format].is_one else f for f in listed]
    return with_parts(listed, recipe.limits.document_bytes) if follows(source, False) else listed


def format_of(path: Path, source: Source) -> str:
    """An archive by its name; then the recipe's `format:`, else by the name without .gz or .zst."""
    if is_archive(path.name):
        return ARCHIVE
    if source.format in FORMATS:
        return source.format
    if source.format == "tree":
        return "text"
    suffix = Path(strip_compression(path.name)).suffix.lower()
    if suffix not in BY_SUFFIX:
        raise CurateError(
            "the format cannot be told from this name", where=f"sources.{source.name}", found=path.name,
            allowed=", ".join(f"*{s}" for s in BY_SUFFIX) + " (also .gz, .zst, .bz2, .xz)", next=f"format: {', '.join(FORMATS)} or tree",
        )  # fmt: skip
    return BY_SUFFIX[suffix]


def is_archive(name: str) -> bool:
    """`a.zip`, `a.tar`, `a.tar.gz`, `a.tgz`."""
    return BY_SUFFIX.get(Path(strip_compression(name)).suffix.lower()) == ARCHIVE


def _is_side(file: Path, source: Source) -> bool:
    """Of two files of parallel text, the one of the first language is listed."""
    if source.format != "moses" or source.moses is None or is_archive(file.name):
        return True
    return strip_compression(file.name).lower().endswith(f".{source.moses.languages[0].lower()}")


def _bases(recipe: Recipe, source: Source) -> tuple[list[Path], set[Path]]:
    """The folders that names of its files start from, of what is mirrored the mirrored ones; and those that a URL names as a folder."""
    filled = [(pattern, recipe.filled(pattern)) for pattern in source.read]
    places = [Place("", url) for _, url in filled if is_url(url)] + source.of_hub
    folders = {recipe.mirror.root / place.folder: place.url for place in places if place.url.endswith("/")}
    if folders and source.format == "auto":
        raise _needs_format(source, next(iter(folders.values())))
    found = [_fixed_part(recipe.path(pattern)) for pattern, text in filled if not is_url(text)]
    return found + [recipe.mirror.root / place.folder for place in places], set(folders)


def _fixed_part(pattern: Path) -> Path:
    """`/a/b/*/c.txt` -> `/a/b`; a pattern without wildcards starts from the folder it names, or that its file lies in."""
    parts = pattern.parts
    n = next((i for i, part in enumerate(parts) if re.search(r"[*?\[]", part)), None)
    if n is None:
        return pattern if pattern.is_dir() else pattern.parent
    return Path(*parts[:n])


def _walk(folder: Path, source: Source) -> list[Path]:
    if source.format == "auto":
        raise _needs_format(source, str(folder))
    found = []
    for place, folders, files in os.walk(folder):
        folders[:] = [f for f in folders if not _is_hidden(f)]
        found += [Path(place, file) for file in files if not _is_hidden(file)]
    return [file for file in found if _is_wanted(file.relative_to(folder), source)]


def _needs_format(source: Source, folder: str) -> CurateError:
    return CurateError(
        "a folder needs its format", where=f"sources.{source.name}", found=folder,
        allowed=f"tree (each file is a document), {', '.join(FORMATS)}", next="format: tree, or read: folder/*.jsonl",
    )  # fmt: skip


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__pycache__"


def _is_wanted(relative: Path, source: Source) -> bool:
    """Of the files of a folder: not hidden, and with a suffix of the source, or of its format."""
    if any(_is_hidden(part) for part in relative.parts):
        return False
    if source.format == "tree":
        return not source.suffixes or strip_compression(relative.name).endswith(tuple(source.suffixes))
    suffixes = source.suffixes or FORMATS[source.format].suffixes or ("",)
    return strip_compression(relative.name).lower().endswith(tuple(suffixes))


def _look_at(file: Path, name: str, source: Source) -> RawFile:
    kind = format_of(file, source)
    of_members = source.format if source.format in FORMATS else "text" if source.format == "tree" else "jsonl"
    if source.id == "path" and not FORMATS[of_members if kind == ARCHIVE else kind].is_one:
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
    looked_at = RawFile(file, name, kind, found.st_size, found.st_mtime_ns, found.st_ino)
    if kind == ARCHIVE:
        return looked_at._replace(beside=" ".join([source.format, *source.suffixes]))
    if kind == "moses" and source.moses and (other := other_side(file, source.moses.languages)) is not None:
        return looked_at._replace(partner=_look_at(Path(str(other)), other.name, source.model_copy(update={"format": "text"})))
    return looked_at
