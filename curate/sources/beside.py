"""What files beside a file say of it: of code its licence, of LaTeX the macros it is written with. A file in, `RawFile.beside` out.

Licences. Looked at, from the folder of the file up to the folder the source starts from, and the nearest that says anything counts: metadata of
packages (package.json, pyproject.toml, Cargo.toml, composer.json), then LICENSE, COPYING and the like, whatever `suffixes:` says. Several
licence files in one folder are joined by AND, since nobody says which part is under which; metadata says it where it is a choice.

Macros. Files named macros, preamble, commands, definitions and the like (.tex, .sty), from the folder of the file up likewise: their
simple definitions. Parts. What a LaTeX source reads by \\input is read with it (lanes/math/inputs.py): of a tree, `RawFile.beside` holds their
names and hashes behind PARTS_BELOW. Imports licenses, recipe, formats, the lanes' macros and inputs.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curate.errors import CurateError
from curate.recipe import License, Source
from curate.sources.formats import FORMATS, Asked
from curate.sources.lanes import BESIDE, FILE, PARTS
from curate.sources.records import RawRow
from curate.store import file_sha256

if TYPE_CHECKING:
    from curate.sources.listing import RawFile

LICENSE_NAME = re.compile(
    r"(?:un)?licen[cs]es?(?:[_.-].+)?|(?:mit|apache|bsd|l?gpl)[_-]licen[cs]e(?:\..+)?|copying(?:[_.-].+)?", re.IGNORECASE
)
NO_LICENSE = re.compile(
    r".*\.(?:py|js|ts|c|h|cpp|java|go|rs|rb|php|json|html|png|svg|pem|key)$", re.IGNORECASE
)  # license.py is code
MACRO_NAME = re.compile(
    r".*(?:macro|preamble|command|definition|defs?|notation|header|shortcut)s?[\w.-]*\.(?:tex|sty|ltx)|macros?\.\w+",
    re.IGNORECASE,
)
MACRO_ENDS = (".tex", ".sty", ".ltx")
MOST_BYTES = 256 << 10  # the longest licence text is 35 kB; a longer file is a list of notices

MOST_PARTS_BYTES = 256 << 20  # of LaTeX sources of one archive held for \input; an archive of more keeps its parts apart
PARTS_BELOW = "\0parts\n"
MOST_FOLDERS = 100_000  # of an archive whose licences are held; one of more is not looked at further
_NAMES = ("LICENSE", "LICENCE", "COPYING", "UNLICENSE", "License", "license", "Copying", "copying")
IN_ARCHIVES = (  # ends of the names looked for in archives
    *(name + end for name in _NAMES for end in ("", ".txt", ".md", ".rst")), "LICENSE-MIT", "LICENSE-APACHE", "LICENSE.MIT",
    "LICENSE.APACHE", "COPYING.LESSER", "COPYING.LIB", "package.json", "Cargo.toml", "pyproject.toml", "composer.json",
)  # fmt: skip

Says = tuple[str, str]  # SPDX expression, evidence


def wants_beside(source: Source) -> bool:
    """Do the documents of a source depend on files beside theirs?"""
    if source.type == "math":
        return source.math is None or (source.math.latex == "clean" and source.math.macros == "expand")
    return source.type == "code" and (source.code is None or source.code.licenses == "found")


class Folders:
    """What every folder says, each read once. `top`: nothing above it is looked at; `kind`: type of the source."""

    def __init__(self, top: Path, kind: str) -> None:
        self.top, self.kind = top, kind
        self._known: dict[Path, str] = {}

    def says(self, file: Path) -> str:
        """`RawFile.beside` of one file, by the nearest folder that says anything: of code expression, tab, evidence; else empty."""
        place = file.parent
        passed: list[Path] = []
        found = ""
        while place.is_relative_to(self.top):
            if place in self._known:
                found = self._known[place]
                break
            passed.append(place)
            if found := _license_of(place, self.top) if self.kind == "code" else _macros_of(place):
                break
            place = place.parent
        self._known |= dict.fromkeys(passed, found)
        return found


def follows(source: Source, is_archive: bool) -> bool:
    """Are the parts of a LaTeX source read with it?"""
    asked = "archives" if source.math is None else source.math.inputs
    return source.type == "math" and (asked == "follow" or (asked == "archives" and is_archive))


def with_parts(listed: list[RawFile], limit: int) -> list[RawFile]:
    """The files of a tree without those that others read; `beside` of a file that reads some says which."""
    from curate.sources.lanes.math import inputs

    names = {
        file.name: file
        for file in listed
        if FORMATS[file.format].is_one and file.name.endswith(inputs.ENDS) and 0 <= file.size <= limit
    }
    seen = {name: inputs.look(text) for name, file in names.items() if (text := _strict(file.path)) is not None}
    planned = inputs.plan(seen, limit)
    parts = {part for found in planned.values() for part in found}
    kept = []
    for file in listed:
        if file.name in parts and file.name not in planned:
            continue
        if file.name in planned:
            lines = [f"{file_sha256(names[part].path)} {part}" for part in planned[file.name]]
            file = file._replace(beside=f"{file.beside}{PARTS_BELOW}" + "\n".join(lines))
        kept.append(file)
    return kept


def parts_of(path: Path, name: str, beside: str) -> tuple[str, dict[str, str]]:
    """(`beside` without the parts, name -> text of every part) of a file as `with_parts` left it. Raises CurateError where one has changed."""
    own, _, lines = beside.partition(PARTS_BELOW)
    top = Path(path.as_posix().removesuffix(name))
    texts = {}
    for line in filter(None, lines.split("\n")):
        sha256, _, part = line.partition(" ")
        text = _strict(top / part)
        if text is None or file_sha256(top / part) != sha256:
            raise CurateError("this file changed while it was read", where=str(top / part), next="run again when it is complete")
        texts[part] = text
    return own, texts


class InArchive:
    """What the members of one archive are read with, by their names in it. A second reader looks for it first."""

    def __init__(self, path: Path, source: Source, limit: int) -> None:
        from curate.sources.lanes.math import inputs

        wants = wants_beside(source)
        self._says = in_archive(path, source.type) if wants else lambda name: ""
        self._texts: dict[str, str] = _sources_in(path, limit, source) if follows(source, True) else {}
        seen = {name: inputs.look(text) for name, text in self._texts.items()}
        self._planned = inputs.plan(seen, limit)
        self._parts = {part for found in self._planned.values() for part in found} - set(self._planned)
        used = self._parts.union(*self._planned.values())
        self._texts = {name: text for name, text in self._texts.items() if name in used}

    def is_part(self, name: str) -> bool:
        """Is the member read with another one?"""
        return name in self._parts

    def fill(self, values: dict[str, Any]) -> None:
        """The keys of a raw row that say what its member is read with."""
        values[BESIDE] = self._says(values[FILE])
        if found := self._planned.get(values[FILE]):
            values[PARTS] = {part: self._texts[part] for part in found}


def _sources_in(path: Path, limit: int, source: Source) -> dict[str, str]:
    """Name -> text of the LaTeX sources of an archive; empty where they are too many to hold."""
    from curate.sources.lanes.math import inputs

    wanted = source.model_copy(update={"suffixes": list(inputs.ENDS), "format": "tree"})
    texts: dict[str, str] = {}
    held = 0
    for row in _rows_of(path, Asked(limit, source=wanted)):
        texts[row.values[FILE]] = row.values["text"]
        held += row.n_bytes
        if held > MOST_PARTS_BYTES:
            return {}
    return texts


def in_archive(path: Path, kind: str) -> Callable[[str], str]:
    """The same for the members of an archive, by their names in it; a second reader looks for what they are read with first."""
    wanted = Source(
        name="beside", read=["-"], format="tree", type="code", license=License(declared="LicenseRef-none"),
        suffixes=list(IN_ARCHIVES if kind == "code" else MACRO_ENDS),
    )  # fmt: skip
    texts: dict[str, dict[str, str]] = {}
    for row in _rows_of(path, Asked(MOST_BYTES, source=wanted)):
        if len(texts) < MOST_FOLDERS:
            folder, _, name = row.values[FILE].rpartition("/")
            if (name in METADATA or is_license_file(name)) if kind == "code" else MACRO_NAME.fullmatch(name):
                texts.setdefault(folder, {})[name] = row.values["text"]
    says: dict[str, str] = {}
    for folder, found in texts.items():
        if kind != "code":
            says[folder] = _definitions(found)
        elif one := of_texts(found):
            says[folder] = "\t".join((one[0], ", ".join(f"{folder}/{name}" if folder else name for name in one[1].split(", "))))

    def beside_member(name: str) -> str:
        place = name
        while place:
            place = place.rpartition("/")[0]
            if place in says:
                return says[place]
        return ""

    return beside_member


def _rows_of(path: Path, asked: Asked) -> Iterator[RawRow]:
    """The members of an archive that can be read, each with its name."""
    from curate.sources.readers.archives import read_archive

    for row in read_archive(path, asked):
        if isinstance(row, RawRow) and FILE in row.values:
            yield row


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


def _license_of(folder: Path, top: Path) -> str:
    found = of_texts(_texts(folder, lambda name: name in METADATA or is_license_file(name)))
    if found is None:
        return ""
    place = folder.relative_to(top).as_posix()
    return f"{found[0]}\t" + (found[1] if place == "." else ", ".join(f"{place}/{name}" for name in found[1].split(", ")))


def _macros_of(folder: Path) -> str:
    return _definitions(_texts(folder, lambda name: MACRO_NAME.fullmatch(name) is not None))


def _definitions(texts: dict[str, str]) -> str:
    from curate.sources.lanes.math import macros

    return "\n".join(found for name in sorted(texts) if (found := macros.definitions(texts[name])))


def _texts(folder: Path, wanted: Callable[[str], bool]) -> dict[str, str]:
    """Name -> content of the wanted files of a folder."""
    try:
        names = sorted(p.name for p in folder.iterdir() if wanted(p.name))
    except OSError:
        return {}
    return {name: text for name in names if (text := _text(folder / name)) is not None}


def _strict(path: Path) -> str | None:
    """A text that the reader of texts takes too; None: it would not."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return None
    return None if "\0" in text else text


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
