"""Files that do not lie on this machine, and the mirror of them that builds read: `curate fetch RECIPE` fills it, nothing else asks a network.

A place is a pattern of `read:` with a scheme (s3://bucket/x/*.jsonl) or a dataset of the Hugging Face hub. MIRRORED, one JSON object a
line beside the mirrored files, says what each of them is and which of them are a place's; it knows no path of this machine, so that a
mirror can be moved. Imports errors.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from curate.errors import CurateError

MIRRORED = "mirrored.jsonl"
COMMIT = re.compile(r"[0-9a-f]{40}")
_URL = re.compile(r"([a-z][a-z0-9+.-]*)://(.*)", re.DOTALL)
_WILD, _WILD_HTTP = re.compile(r"[*?\[{]"), re.compile(r"[{?#]")  # http has no folders to look through: numbers in braces only
_SHOWN = 10  # places named in one message


class Place(NamedTuple):
    """One URL pattern, or one dataset of the hub (`hub` is its id). `where`: of the recipe."""

    where: str
    url: str = ""
    hub: str = ""
    config: str | None = None
    revision: str | None = None
    split: str | None = None

    @property
    def key(self) -> str:
        """How MIRRORED and messages call it."""
        if not self.hub:
            return self.url
        parts = [f"{name} {value}" for name, value in (("config", self.config), ("split", self.split)) if value]
        return " ".join([f"hub {self.hub}@{self.revision or 'no revision'}", *parts])

    @property
    def fixed(self) -> str:
        """The URL of the folder that the names of its files start from."""
        wild = (_WILD_HTTP if is_http(self.url) else _WILD).search(self.url)
        return self.url[: wild.start() if wild else None].rpartition("/")[0] + "/"

    @property
    def folder(self) -> str:
        """That folder below the mirror."""
        return hub_path(self.hub, self.revision or "") if self.hub else mirror_path(self.fixed)


class Entry(NamedTuple):
    """A mirrored file. `path`: below the mirror; `version`: etag or the like of the origin, a revision of the hub."""

    path: str
    url: str
    size: int
    version: str
    sha256: str


def is_url(text: str) -> bool:
    """Whether a pattern names another place than this machine's files."""
    match = _URL.match(text)
    return match is not None and match[1] not in ("file", "local")


def is_http(url: str) -> bool:
    return url.startswith(("http://", "https://"))


def local(text: str) -> str:
    """`file:///a/b` -> `/a/b`; a path as it is."""
    match = _URL.match(text)
    return match[2] if match and match[1] in ("file", "local") else text


def mirror_path(url: str) -> str:
    """`s3://bucket/a/b.jsonl` -> `s3/bucket/a/b.jsonl`: where a URL lies below the mirror, never outside it.

    A query becomes a folder of its own; parts that mean something to a file system (`..`, nothing) are written with percent signs.
    """
    match = _URL.match(url)
    assert match is not None, url
    scheme, rest = match.groups()
    query = ""
    if is_http(url):
        rest, _, query = rest.partition("#")[0].partition("?")
        rest = rest.rpartition("@")[2] if "@" in rest.partition("/")[0] else rest  # never a name or password
    *folders, name = rest.split("/")
    if query:
        folders.append("@" + hashlib.sha256(query.encode()).hexdigest()[:12])
    return "/".join([scheme.replace("+", "%2B"), *map(_safe, folders), *([_safe(name)] if name else [])])


def hub_path(dataset: str, revision: str, file: str = "") -> str:
    return "/".join(["hub", *map(_safe, dataset.split("/")), _safe(revision), *(map(_safe, file.split("/")) if file else ())])


def _safe(part: str) -> str:
    if not part.strip("."):
        return "%2E" * len(part) or "%"
    return part.replace("\0", "%00")


class Mirror:
    """The folder of mirrored files, as MIRRORED says; a line cut short by a crash is not there."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files: dict[str, Entry] = {}
        self.places: dict[str, list[str]] = {}
        journal = root / MIRRORED
        for line in journal.read_bytes().split(b"\n") if journal.exists() else ():
            try:
                said = json.loads(line)
            except ValueError:
                continue
            if "place" in said:
                self.places[said["place"]] = said["files"]
            else:
                self.files[said["path"]] = Entry(**said)

    def missing(self, place: Place) -> str:
        """Why a place cannot be read from here; "" where it can."""
        if place.hub and not COMMIT.fullmatch(place.revision or ""):
            return f"revision {place.revision}: not a commit" if place.revision else "no revision"
        if place.key not in self.places:
            return "not mirrored"
        gone = [
            path for path in self.places[place.key] if path not in self.files or not _has_size(self.root / path, self.files[path])
        ]
        return f"{len(gone)} of {len(self.places[place.key])} files are not there, first {gone[0]}" if gone else ""

    def read(self, place: Place) -> list[Path]:
        """Its files; CurateError where they are not here."""
        check_mirrored(self, [place])
        return [self.root / path for path in self.places[place.key]]


def mirror_at(root: Path) -> Mirror:
    """What the mirror holds by now, read once for each state of MIRRORED. Not to be changed."""
    try:
        found = (root / MIRRORED).stat()
    except OSError:
        return Mirror(root)
    return _mirror_at(root, found.st_mtime_ns, found.st_size)


@functools.lru_cache(maxsize=4)
def _mirror_at(root: Path, mtime_ns: int, size: int) -> Mirror:
    return Mirror(root)


def check_mirrored(mirror: Mirror, places: Iterable[Place]) -> None:
    """Every place lies in the mirror, or one error names all that do not and what to do."""
    missing = [(place, why) for place in places if (why := mirror.missing(place))]
    if not missing:
        return
    shown = [f"{place.where}: {place.key}: {why}" for place, why in missing[:_SHOWN]]
    shown += [f"and {len(missing) - _SHOWN} more"] * (len(missing) > _SHOWN)
    raise CurateError(
        "this lies elsewhere, and builds read the mirror only", where=str(mirror.root), found="\n           ".join(shown),
        allowed="read: of files on this machine, or places that are mirrored; hub: with the 40 hex digits of a commit as revision:",
        next="curate fetch RECIPE, where there is a network (it prints the revision to write where there is none)",
    )  # fmt: skip


def check_content(mirror: Mirror, sha256: dict[Path, str]) -> None:
    """Files of the mirror are what was fetched, byte for byte. `sha256`: what was found, by path."""
    wrong = [
        entry.path for path, found in sha256.items()
        if path.is_relative_to(mirror.root) and (entry := mirror.files.get(path.relative_to(mirror.root).as_posix()))
        and entry.sha256 != found
    ]  # fmt: skip
    if wrong:
        raise CurateError(
            "files of the mirror are not what was fetched: their sha256 is another", where=str(mirror.root), exit_code=1,
            found=", ".join(wrong[:_SHOWN]) + (f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""),
            next="curate fetch RECIPE --verify fetches damaged files again",
        )  # fmt: skip


def _has_size(path: Path, entry: Entry) -> bool:
    try:
        found = path.stat()
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and found.st_size == entry.size
