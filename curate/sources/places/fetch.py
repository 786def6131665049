"""A recipe in, its places mirrored on this machine: every file whole and with its sha256 in MIRRORED, or one error that names what is not.

Files come side by side, each into a hidden .part beside its place that a later run goes on from, also in the middle; a finished one
is published by an exclusive link. A file that changed at its origin since it was mirrored is an error unless `update`.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from curate import engine
from curate.errors import CurateError
from curate.recipe import Recipe
from curate.recipe.places import MIRRORED, Entry, Mirror, Place, mirror_at
from curate.sources.places import Remote, Unreachable, listed, opened, version_now
from curate.store import file_sha256, write_atomic
from curate.units import show_bytes

N_FILES = 8  # fetched side by side
SAVE_BYTES = 16 << 20  # between two savings of how far a file is: what kill -9 costs at most
LISTING_WAITS_S = (1.0, 3.0)
TRIES, WAIT_S = 6, 1.0  # of one file without a byte of progress between them, and the first pause, which doubles


@dataclass
class Fetched:
    """What one run of `fetch` found and did. Paths are below the mirror."""

    mirror: str
    places: dict[str, int] = field(default_factory=dict)  # place -> its files
    n_files: int = 0
    n_bytes: int = 0  # of all files of the recipe
    fetched: list[str] = field(default_factory=list)
    fetched_bytes: int = 0  # came over the network this time
    changed: list[str] = field(default_factory=list)  # at their origin, fetched again
    gone: list[str] = field(default_factory=list)  # from their origin, kept here
    damaged: list[str] = field(default_factory=list)  # here, fetched again

    def text(self) -> str:
        lines = [f"{n:>9,} files  {name}" for name, n in self.places.items()]
        lines.append(f"{self.n_files:>9,} files, {show_bytes(self.n_bytes)} in {self.mirror}; "
                     f"fetched now: {len(self.fetched):,} files, {show_bytes(self.fetched_bytes)}")  # fmt: skip
        for what, names in (("changed at their origin", self.changed), ("damaged here", self.damaged)):
            lines += [f"! {len(names):,} were {what} and fetched again: {', '.join(names[:3])}"] * bool(names)
        lines += [f"! {len(self.gone):,} are gone from their origin and kept: {', '.join(self.gone[:3])}"] * bool(self.gone)
        return "\n".join(lines)


def fetch(recipe: Recipe, *, update: bool = False, verify: bool = False, n_files: int = N_FILES) -> Fetched:
    """Mirror every place of a recipe. `update`: what changed or vanished at its origin changes and vanishes here; `verify`: what is here
    is read again and held against its sha256; `n_files`: side by side.

    Raises one CurateError naming everything that could not be had, after all else is here.
    """
    places, root = recipe.places(), recipe.mirror.root
    mirror, found, problems = Mirror(root), Fetched(str(root)), []
    wanted: dict[str, Remote] = {}
    of_place: dict[str, tuple[Place, list[str]]] = {}
    for place in places:
        try:
            remotes = _listed(mirror, place)
        except CurateError as error:
            problems.append(error)
            continue
        paths = [remote.path for remote in remotes]
        gone = [path for path in mirror.places.get(place.key, []) if path not in set(paths) and path in mirror.files]
        if not update:
            found.gone += gone
            paths = sorted([*paths, *gone])
        of_place[place.key] = place, paths
        wanted |= {remote.path: remote for remote in remotes}
    todo = _to_fetch(mirror, wanted, found, problems, update, verify)
    _check_disk(root, todo)
    with engine.progress("fetch", sum(max(r.size, 0) for r in todo), in_bytes=True) as advance:
        problems += _fetch_all(mirror, todo, found, advance, n_files)
    for key, (_, paths) in of_place.items():
        found.places[key] = len(paths)
        if all(path in mirror.files for path in paths) and mirror.places.get(key) != paths:
            _note(root, {"place": key, "files": paths})
    have = {path for _, paths in of_place.values() for path in paths if path in mirror.files}
    found.n_files, found.n_bytes = len(have), sum(mirror.files[path].size for path in have)
    if problems:
        raise _all_of(problems, found)
    return found


def _listed(mirror: Mirror, place: Place) -> list[Remote]:
    """What a place has; of a commit of the hub that is mirrored already nobody is asked."""
    if place.hub and not mirror.missing(place):
        entries = [mirror.files[path] for path in mirror.places[place.key]]
        return [Remote(e.url, e.path, e.size, e.version, e.sha256, is_hub=True) for e in entries]
    for wait_s in LISTING_WAITS_S:
        try:
            return listed(place)
        except Unreachable:
            time.sleep(wait_s)
    return listed(place)


def _to_fetch(
    mirror: Mirror, wanted: dict[str, Remote], found: Fetched, problems: list[CurateError], update: bool, verify: bool
) -> list[Remote]:
    """What is not here yet, not as its origin has it, or not as it came."""
    todo: list[Remote] = []
    changed: list[Remote] = []
    for path, remote in wanted.items():
        entry, here = mirror.files.get(path), mirror.root / path
        if entry is None or not here.is_file():
            todo.append(remote)
        elif (remote.version and remote.version != entry.version) or (remote.size >= 0 and remote.size != entry.size):
            (todo if update else changed).append(remote)
            found.changed += [path] if update else []
        elif here.stat().st_size != entry.size or (verify and file_sha256(here) != entry.sha256):
            found.damaged.append(path)
            todo.append(remote)
    if changed:
        problems.append(CurateError(
            "changed at the origin since it was mirrored", where=str(mirror.root),
            found=", ".join(r.path for r in changed[:5]) + (f" and {len(changed) - 5} more" if len(changed) > 5 else ""),
            next="curate fetch RECIPE --update takes what is there now; the mirrored files are as they were",
        ))  # fmt: skip
    return todo


def _check_disk(root: Path, todo: Sequence[Remote]) -> None:
    needed = sum(max(remote.size - _part_size(root / remote.path), 0) for remote in todo)
    root.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(root).free
    if needed > free:
        raise CurateError(
            "the disk is too small for this mirror", where=str(root), found=f"{show_bytes(free)} free",
            allowed=f"{show_bytes(needed)} are missing yet", next="roots: {mirror: FOLDER} on a larger disk",
        )  # fmt: skip


def _part_size(target: Path) -> int:
    found = _stat(_part_of(target))
    return found.st_size if found else 0


def _fetch_all(
    mirror: Mirror, todo: Sequence[Remote], found: Fetched, advance: Callable[[float], None], n_files: int
) -> list[CurateError]:
    """Largest first, so that none is left alone at the end. What is whole goes into MIRRORED at once."""
    problems: list[CurateError] = []
    lock, stop = threading.Lock(), threading.Event()

    def came(n_bytes: int, is_new: bool) -> None:
        with lock:
            advance(n_bytes)
            found.fetched_bytes += n_bytes if is_new else 0

    queue = sorted(todo, key=lambda remote: (-remote.size, remote.path))
    pool = ThreadPoolExecutor(n_files)
    waiting: dict[Future[Entry], Remote] = {pool.submit(_fetch_one, mirror, remote, came, stop): remote for remote in queue}
    try:
        while waiting:
            for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                remote = waiting.pop(future)
                try:
                    entry = future.result()
                except CurateError as error:
                    problems.append(error)
                except OSError as error:
                    problems.append(CurateError("this cannot be written", where=str(mirror.root / remote.path), found=str(error)))
                else:
                    mirror.files[entry.path] = entry
                    found.fetched.append(entry.path)
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)
    found.fetched.sort()
    return problems


def _fetch_one(mirror: Mirror, remote: Remote, came: Callable[[int, bool], None], stop: threading.Event) -> Entry:
    """One file, whole and as its origin says it is, noted in MIRRORED."""
    target = mirror.root / remote.path
    target.parent.mkdir(parents=True, exist_ok=True)
    with _own(_part_of(target)) as file:
        entry = mirror_at(mirror.root).files.get(remote.path)
        if entry and entry != mirror.files.get(remote.path) and entry.version == remote.version and target.exists():
            _part_of(target).unlink(missing_ok=True)
            return entry  # another process fetched it meanwhile
        part = _Part(file, _state_of(target), remote)
        came(part.resume(), False)
        failed = 0
        while not part.is_whole:
            before = part.n_bytes
            try:
                part.go_on(lambda n: came(n, n > 0), stop)
            except Unreachable:
                part.save()
                failed = 0 if part.n_bytes > before else failed + 1
                if failed >= TRIES or stop.wait(WAIT_S * 2**failed):
                    raise
            if stop.is_set():
                part.save()
                raise CurateError("interrupted", where=remote.path, next="the same command goes on")
        entry = Entry(remote.path, remote.url, part.n_bytes, remote.version, part.finish())
        _publish(_part_of(target), target, entry.sha256)
        _note(mirror.root, entry._asdict())
        _part_of(target).unlink(missing_ok=True)  # last, so that whoever opens it anew sees what was noted
        _state_of(target).unlink(missing_ok=True)
    return entry


class _Part:
    """A file on its way: what is there, its running sha256, and how far it was safe on disk."""

    def __init__(self, file: BinaryIO, state: Path, remote: Remote) -> None:
        self.file, self.state, self.remote = file, state, remote
        self.n_bytes, self.n_saved, self.version = 0, 0, remote.version
        self.sha256, self.git_sha1 = hashlib.sha256(), _git_sha1(remote)
        self.is_whole = False

    def resume(self) -> int:
        """Bytes kept of an earlier run: up to where they were safe, if the origin still has that version and they are unharmed."""
        with contextlib.suppress(OSError, ValueError, KeyError):
            said = json.loads(self.state.read_bytes())
            if said["version"] == self.remote.version and said["url"] == self.remote.url and self.remote.version:
                self.file.seek(0)
                while self.n_bytes < said["n_bytes"] and (block := self.file.read(min(1 << 20, said["n_bytes"] - self.n_bytes))):
                    self._count(block)
                if self.sha256.hexdigest() == said["sha256"]:
                    self.n_saved = self.n_bytes
        if not self.n_saved:
            self._start_over()
        self.file.seek(self.n_bytes)
        self.file.truncate()
        return self.n_bytes

    def go_on(self, came: Callable[[int], None], stop: threading.Event) -> None:
        """From where it is to the end of the answer. Raises Unreachable where that breaks off."""
        if self.n_bytes and self.n_bytes == self.remote.size:
            self.is_whole = True
            return
        answer = opened(self.remote, self.n_bytes)
        if answer.version != self.remote.version:
            raise _changed(self.remote)
        if answer.offset != self.n_bytes:  # the origin cannot skip
            came(-self.n_bytes)
            self._start_over()
        for block in answer.blocks:
            self.file.write(block)
            self._count(block)
            came(len(block))
            if self.n_bytes - self.n_saved >= SAVE_BYTES:
                self.save()
            if stop.is_set():
                return
        self.is_whole = True

    def save(self) -> None:
        self.file.flush()
        os.fsync(self.file.fileno())
        said = {
            "url": self.remote.url,
            "version": self.remote.version,
            "n_bytes": self.n_bytes,
            "sha256": self.sha256.hexdigest(),
        }
        write_atomic(self.state, json.dumps(said).encode())
        self.n_saved = self.n_bytes

    def finish(self) -> str:
        """Its sha256, once size, version and content are what the origin says."""
        self.save()
        remote, found = self.remote, self.sha256.hexdigest()
        problem = ""
        if remote.size >= 0 and self.n_bytes != remote.size:
            problem = f"{self.n_bytes} bytes, {remote.size} expected"
        elif remote.sha256 and found != remote.sha256:
            problem = f"sha256 {found}, {remote.sha256} expected"
        elif remote.git_sha1 and self.git_sha1.hexdigest() != remote.git_sha1:
            problem = f"git's sha1 {self.git_sha1.hexdigest()}, {remote.git_sha1} expected"
        elif version_now(remote) != remote.version:
            raise self._dropped(_changed(remote))
        if problem:
            raise self._dropped(CurateError("what came is not what the origin says it has", where=remote.path, found=problem,
                                            next="the same command fetches it anew"))  # fmt: skip
        return found

    def _dropped(self, error: CurateError) -> CurateError:
        self.state.unlink(missing_ok=True)
        return error

    def _start_over(self) -> None:
        self.file.seek(0)
        self.file.truncate()
        self.n_bytes = self.n_saved = 0
        self.sha256, self.git_sha1 = hashlib.sha256(), _git_sha1(self.remote)

    def _count(self, block: bytes) -> None:
        self.sha256.update(block)
        self.n_bytes += len(block)
        if self.remote.git_sha1:
            self.git_sha1.update(block)


def _git_sha1(remote: Remote) -> Any:
    """Of a blob, as git counts it."""
    return hashlib.sha1(b"blob %d\0" % remote.size, usedforsecurity=False)


def _changed(remote: Remote) -> CurateError:
    return CurateError(
        "this changed at its origin while it was fetched", where=remote.path, found=remote.url, next="the same command again"
    )


@contextlib.contextmanager
def _own(part: Path) -> Iterator[BinaryIO]:
    """The open .part, this thread's alone: another fetch of the same file is waited for."""
    while True:
        with open(part, "ab+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            there = _stat(part)
            if there and os.path.samestat(there, os.fstat(file.fileno())):  # not published meanwhile
                yield file
                return


def _stat(path: Path) -> os.stat_result | None:
    """In one call: between asking whether a .part exists and how large it is, another fetch may publish it."""
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _publish(part: Path, target: Path, sha256: str) -> None:
    """By an exclusive link; a file that is there already stays if it is equal, and is replaced if it is an older version or harmed."""
    try:
        os.link(part, target)
    except FileExistsError:
        if file_sha256(target) != sha256:
            new = target.with_name(f".{target.name}.new")
            new.unlink(missing_ok=True)
            os.link(part, new)
            os.replace(new, target)
    except OSError:  # a file system without links; the lock on the part keeps others away
        os.replace(part, target)


def _part_of(target: Path) -> Path:
    return target.with_name(f".{target.name}.part")


def _state_of(target: Path) -> Path:
    return target.with_name(f".{target.name}.part.json")


def _note(root: Path, said: dict[str, Any]) -> None:
    """One line more of MIRRORED, whole also where several processes write; a torn line before it is closed."""
    root.mkdir(parents=True, exist_ok=True)
    with open(root / MIRRORED, "ab+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        size = file.seek(0, os.SEEK_END)
        if size:
            file.seek(size - 1)
            if file.read(1) != b"\n":
                file.write(b"\n")
        file.write(json.dumps(said, ensure_ascii=False, sort_keys=True).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _all_of(problems: Sequence[CurateError], found: Fetched) -> CurateError:
    """One error is itself; several are listed, each with what to do."""
    if len(problems) == 1:
        return problems[0]
    shown = [str(problem).replace("\n", "\n    ") for problem in problems[:20]]
    shown += [f"and {len(problems) - 20} more"] * (len(problems) > 20)
    return CurateError(
        f"{len(problems)} things could not be fetched; all else is in the mirror", where=found.mirror,
        found="\n    " + "\n    ".join(shown), next="curate fetch RECIPE, when that is done",
    )  # fmt: skip
