"""Block lists, words and opt-outs of the recipe's `urls:`, read once per process.

In: files. Out: `Lists`: sorted keys with a bit per list (16 bytes an entry: 75 MB for the 4.6 million domains of UT1's largest
list), and words. A key is 64 bits: one chance in a million that any of a million hosts meets one of 4.6 million by accident.
Imports errors, store, kernels, address.
"""

from __future__ import annotations

import functools
import gzip
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from curate.errors import CurateError
from curate.signals.urls import kernels
from curate.signals.urls.address import clean_host
from curate.store import file_sha256

OPT_OUT = "opt_out"  # the list of urls.opt_out, beside the categories
MAX_LISTS = 64  # bits of a mask
_FOLDER_FILE = re.compile(r"(?:domains|urls)(?:\.txt)?(?:\.gz)?")
_CATEGORY = re.compile(r"[A-Za-z0-9_]+")
_OTHER_SYNTAX = re.compile(rb"(?m)^(?:\|\||@@|!|\[Adblock|\d+\.\d+\.\d+\.\d+[ \t]+\S)")  # ad-block rules, hosts files

Files = tuple[tuple[str, tuple[str, ...]], ...]  # (list, its files), in the order of bits


class Lists(NamedTuple):
    names: tuple[str, ...]  # bit i of a mask is names[i]
    domains: np.ndarray  # (n,) uint64, sorted, distinct
    domain_masks: np.ndarray  # (n,) uint64
    addresses: np.ndarray
    address_masks: np.ndarray


def list_files(path: Path, where: str) -> tuple[str, ...]:
    """The files of one category: the file itself, or domains and urls of a folder in UT1's layout, plain or gz."""
    if path.is_file():
        return (str(path),)
    found = sorted(str(p) for p in path.iterdir() if p.is_file() and _FOLDER_FILE.fullmatch(p.name)) if path.is_dir() else []
    if not found:
        allowed = "a file with one domain or address a line, or a folder with domains and urls (plain or .gz)"
        raise CurateError("there is no such list", where=where, found=str(path), allowed=allowed)
    return tuple(found)


def check_category(name: str, where: str) -> None:
    """It becomes part of a column's name and of the value of url_category."""
    if not _CATEGORY.fullmatch(name) or name == OPT_OUT:
        allowed = f"letters, digits and _; not {OPT_OUT}"
        raise CurateError("this cannot be a category", where=where, found=repr(name), allowed=allowed)


def check_syntax(path: str, where: str) -> None:
    """The beginning of the file does not look like rules of an ad blocker or a hosts file, which we would misread in silence."""
    opened = gzip.open if path.endswith(".gz") else open
    try:
        with opened(path, "rb") as file:
            head = file.read(1 << 16)
    except (OSError, EOFError) as error:
        raise CurateError("this list cannot be read", where=where, found=f"{path}: {error}") from error
    if match := _OTHER_SYNTAX.search(head):
        line = head[match.start() :].split(b"\n")[0].decode(errors="replace")
        found, allowed = f"{path}: {line}", "example.ee or example.ee/path"
        raise CurateError("this is not a list of domains or addresses", where=where, found=found, allowed=allowed)


def sha256(path: str) -> str:
    stat = Path(path).stat()
    return _sha256(path, stat.st_size, stat.st_mtime_ns)


@functools.cache
def _sha256(path: str, size: int, mtime_ns: int) -> str:
    return file_sha256(Path(path))


@functools.cache
def load(files: Files, sums: tuple[str, ...]) -> Lists:
    """`sums`: sha256 of all the files in order, so that a changed file is read again."""
    domains: list[tuple[np.ndarray, int]] = []
    addresses: list[tuple[np.ndarray, int]] = []
    for bit, (_, paths) in enumerate(files):
        for path in paths:
            data = _read(path)
            room = data.count(b"\n") + 1
            keys = np.empty(room, np.uint64), np.empty(room, np.uint64)
            n_domains, n_addresses = kernels.list_keys(_bytes(data), *keys)
            domains.append((keys[0][:n_domains].copy(), bit))
            addresses.append((keys[1][:n_addresses].copy(), bit))
    return Lists(tuple(name for name, _ in files), *_merged(domains), *_merged(addresses))


def _merged(parts: list[tuple[np.ndarray, int]]) -> tuple[np.ndarray, np.ndarray]:
    """Sorted distinct keys, and the or of their lists' bits."""
    keys = np.concatenate([np.empty(0, np.uint64), *(keys for keys, _ in parts)])
    bits = np.concatenate([np.empty(0, np.uint64), *(np.full(len(keys), 1 << bit, np.uint64) for keys, bit in parts)])
    order = np.argsort(keys, kind="stable")
    keys, bits = keys[order], bits[order]
    first = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]])) if len(keys) else np.empty(0, np.int64)
    return keys[first], np.bitwise_or.reduceat(bits, first) if len(first) else bits


def _read(path: str) -> bytes:
    """The list in lower case; names that are not ASCII in punycode, as addresses have them."""
    data = Path(path).read_bytes()
    data = (gzip.decompress(data) if path.endswith(".gz") else data).lower()
    if data.isascii():
        return data
    return "\n".join(_ascii_line(line) for line in data.decode(errors="replace").split("\n")).encode()


def _ascii_line(line: str) -> str:
    if line.isascii():
        return line
    host, slash, path = line.strip().partition("/")
    return (clean_host(host) or "") + slash + path


def _bytes(data: bytes) -> np.ndarray:
    """A read-only view, as every array of text."""
    return np.frombuffer(data, np.uint8)


@functools.cache
def load_words(files: Files, sums: tuple[str, ...]) -> Mapping[str, tuple[int, ...]]:
    """word in lower case -> the places of its categories in `files`. One word a line, # begins a comment."""
    found: dict[str, list[int]] = {}
    for place, (_, paths) in enumerate(files):
        for path in paths:
            data = Path(path).read_bytes()
            text = (gzip.decompress(data) if path.endswith(".gz") else data).decode()
            words = {line.strip().lower() for line in text.split("\n") if not line.startswith("#")}
            for word in sorted(words - {""}):
                found.setdefault(word, []).append(place)
    return {word: tuple(places) for word, places in found.items()}


def masks(lists: Lists, hosts: Iterable[str | None], rests: Iterable[str]) -> np.ndarray:
    """uint64 (n,): which lists name each address; 0 without a host."""
    parts: list[bytes] = []
    bounds: list[tuple[int, int, int]] = []
    at = 0
    for host, rest in zip(hosts, rests, strict=True):
        name = (host or "").encode()
        part = name + (rest.lower().encode() if host else b"")
        parts.append(part)
        bounds.append((at, at + len(name), at + len(part)))
        at += len(part)
    start, host_end, end = np.array(bounds, np.int64).reshape(-1, 3).T.copy()
    found = np.empty(len(bounds), np.uint64)
    kernels.listed(
        _bytes(b"".join(parts) or b"\0"), start, host_end, end, lists.domains, lists.domain_masks, lists.addresses,
        lists.address_masks, found,
    )  # fmt: skip
    return found
