"""What files beside a file say of its licence: files of a source tree in, the same with `beside` filled in. Imports licenses, listing.

Looked at, from the folder of the file up to the folder the source starts from, and the nearest that says anything counts: metadata of
packages (package.json, pyproject.toml, Cargo.toml, composer.json), then LICENSE, COPYING and the like, whatever `suffixes:` says. Several
licence files in one folder are joined by AND, since nobody says which part is under which; metadata says it where it is a choice.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from curate.recipe import License, Source
from curate.sources.formats import Asked

LICENSE_NAME = re.compile(
    r"(?:un)?licen[cs]es?(?:[_.-].+)?|(?:mit|apache|bsd|l?gpl)[_-]licen[cs]e(?:\..+)?|copying(?:[_.-].+)?", re.IGNORECASE
)
NO_LICENSE = re.compile(
    r".*\.(?:py|js|ts|c|h|cpp|java|go|rs|rb|php|json|html|png|svg|pem|key)$", re.IGNORECASE
)  # license.py is code
MOST_BYTES = 256 << 10  # the longest licence text is 35 kB; a longer file is a list of notices

MOST_FOLDERS = 100_000  # of an archive whose licences are held; one of more is not looked at further
_NAMES = ("LICENSE", "LICENCE", "COPYING", "UNLICENSE", "License", "license", "Copying", "copying")
IN_ARCHIVES = (  # ends of the names looked for in archives
    *(name + end for name in _NAMES for end in ("", ".txt", ".md", ".rst")), "LICENSE-MIT", "LICENSE-APACHE", "LICENSE.MIT",
    "LICENSE.APACHE", "COPYING.LESSER", "COPYING.LIB", "package.json", "Cargo.toml", "pyproject.toml", "composer.json",
)  # fmt: skip

Says = tuple[str, str]  # SPDX expression, evidence


class Folders:
    """What every folder says, each read once. `top`: nothing above it is looked at."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self._known: dict[Path, Says | None] = {}

    def says(self, file: Path) -> Says | None:
        """The licence of one file by the nearest folder; evidence names the file relative to the top."""
        place = file.parent
        passed: list[Path] = []
        found: Says | None = None
        while place.is_relative_to(self.top):
            if place in self._known:
                found = self._known[place]
                break
            passed.append(place)
            if found := _of_folder(place, self.top):
                break
            place = place.parent
        self._known |= dict.fromkeys(passed, found)
        return found


def beside(file: Path, folders: Folders) -> str:
    """`RawFile.beside`: expression, tab, evidence; empty where nothing is said."""
    found = folders.says(file)
    return f"{found[0]}\t{found[1]}" if found else ""


def in_archive(path: Path) -> Callable[[str], str]:
    """The same for the members of an archive, by their names in it; a second reader looks for its licence files first."""
    from curate.sources.lanes import FILE
    from curate.sources.readers.archives import read_archive
    from curate.sources.records import RawRow

    wanted = Source(
        name="licenses", read=["-"], format="tree", type="code", license=License(declared="NOASSERTION"), suffixes=list(IN_ARCHIVES)
    )
    texts: dict[str, dict[str, str]] = {}
    for row in read_archive(path, Asked(MOST_BYTES, source=wanted)):
        if isinstance(row, RawRow) and FILE in row.values and len(texts) < MOST_FOLDERS:
            folder, _, name = row.values[FILE].rpartition("/")
            if name in METADATA or is_license_file(name):
                texts.setdefault(folder, {})[name] = row.values["text"]
    says: dict[str, Says] = {}
    for folder, found in texts.items():
        if one := of_texts(found):
            says[folder] = one[0], ", ".join(f"{folder}/{name}" if folder else name for name in one[1].split(", "))

    def beside_member(name: str) -> str:
        place = name
        while place:
            place = place.rpartition("/")[0]
            if place in says:
                return "\t".join(says[place])
        return ""

    return beside_member


def is_license_file(name: str) -> bool:
    """Does a file of this name hold a licence?"""
    return LICENSE_NAME.fullmatch(name) is not None and not NO_LICENSE.match(name)


def of_texts(texts: dict[str, str]) -> Says | None:
    """What licence files and metadata of one folder say together. `texts`: name -> content."""
    from curate import licenses

    for name, read in METADATA.items():
        if name in texts and (stated := read(texts[name])):
            found = licenses.identify(f"SPDX-License-Identifier: {stated}")
            if found:
                return found[0], name
    found_in: dict[str, str] = {}
    for name in sorted(texts):
        if is_license_file(name) and (found := licenses.identify(texts[name])):
            found_in.setdefault(found[0], name)
    if not found_in:
        return None
    parts = sorted(found_in)
    joined = parts[0] if len(parts) == 1 else " AND ".join(f"({p})" if " OR " in p else p for p in parts)
    return joined, ", ".join(found_in[part] for part in parts)


def _of_folder(folder: Path, top: Path) -> Says | None:
    try:
        names = sorted(p.name for p in folder.iterdir() if p.name in METADATA or is_license_file(p.name))
    except OSError:
        return None
    found = of_texts({name: text for name in names if (text := _text(folder / name)) is not None})
    if found is None:
        return None
    place = folder.relative_to(top).as_posix()
    return found[0], found[1] if place == "." else ", ".join(f"{place}/{name}" for name in found[1].split(", "))


def _text(path: Path) -> str | None:
    try:
        if not path.is_file() or path.stat().st_size > MOST_BYTES:
            return None
        return path.read_bytes().decode("utf-8", errors="replace")
    except OSError:
        return None


def _json_license(text: str) -> str | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return _stated(found.get("license")) if isinstance(found, dict) else None


def _toml_license(*tables: str) -> Callable[[str], str | None]:
    def read(text: str) -> str | None:
        try:
            found: Any = tomllib.loads(text)
        except (ValueError, RecursionError):
            return None
        for table in tables:
            inner: Any = found
            for part in table.split("."):
                inner = inner.get(part) if isinstance(inner, dict) else None
            if isinstance(inner, dict) and (stated := _stated(inner.get("license"))):
                return stated
        return None

    return read


def _stated(value: Any) -> str | None:
    """A licence as metadata has it: an expression, {text: ...} or {type: ...}; "see LICENSE" and the like say nothing."""
    if isinstance(value, dict):
        value = value.get("text") or value.get("type")
    if isinstance(value, list):
        value = " OR ".join(str(one) for one in value)  # composer.json: any of them may be chosen
    if not isinstance(value, str) or "\n" in value or len(value) > 200 or value.upper().startswith(("SEE ", "UNLICENSED")):
        return None
    return value.strip() or None


METADATA: dict[str, Callable[[str], str | None]] = {
    "package.json": _json_license,
    "Cargo.toml": _toml_license("package", "workspace.package"),
    "pyproject.toml": _toml_license("project", "tool.poetry"),
    "composer.json": _json_license,
}
